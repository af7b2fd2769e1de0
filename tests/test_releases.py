"""What each torch release has, as the shipped tables say."""

from __future__ import annotations

import pytest
import torch

from fxarchive import releases


def test_the_running_torch_has_what_the_tables_say() -> None:
    release = releases.release_of(torch.__version__)
    if release not in releases.releases():
        pytest.skip("the tables do not know this torch; tools/make_releases.py adds it")
    running = [str(schema) for schema in torch._C._jit_get_all_schemas() if str(schema).startswith("aten::")]
    assert len(running) > 3000
    at = releases.releases().index(release)
    for text in running:
        named = releases.history(text.partition("(")[0])
        assert text in [schema for schema, (first, last) in named if first <= at <= last]


@pytest.mark.parametrize(
    ("operator", "last"), [("aten::cholesky", "2.13"), ("aten::qr", "2.13"), ("aten::rename", "2.12")]
)
def test_removed_operators_are_gone_behind_their_last_release(operator: str, last: str) -> None:
    known = releases.releases()
    assert [r for r in known if releases.has_operator(operator, r)] == list(known[: known.index(last) + 1])


def test_functions() -> None:
    assert releases.has_function("torch.ops.higher_order.map", "2.7") is True
    assert releases.has_function("torch.ops.higher_order.map", "2.8") is False
    assert releases.has_function("torch.no_such_function", "2.8") is None


def test_a_release_that_no_table_knows_is_named() -> None:
    with pytest.raises(ValueError, match=r"the tables know torch 2\.7 to 2\.\d+, and not 1\.13"):
        releases.schema_in("aten::add.Tensor", "1.13")
    with pytest.raises(ValueError, match=r"'two' is not a release of torch"):
        releases.release_of("two")
