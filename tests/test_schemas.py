"""Operator schemas taken apart."""

from __future__ import annotations

import pytest
import torch

from fxarchive import schemas
from fxarchive.releases import history, releases, schema_in


def test_every_schema_of_the_tables_is_understood() -> None:
    seen = 0
    for release in releases():
        for name in ("aten::add.Tensor", "aten::cholesky", "prims::uniform", "inductor::accumulate_grad_"):
            text = schema_in(name, release)
            if text is not None:
                assert schemas.parse(text).name == name
                seen += 1
    assert seen > 30


@pytest.mark.parametrize(
    "operator",
    [
        torch.ops.aten.add.Tensor,
        torch.ops.aten.cholesky_solve.default,
        torch.ops.aten.max_pool2d_with_indices.default,
        torch.ops.aten.linalg_qr.default,
        torch.ops.aten._scaled_dot_product_flash_attention.default,
        torch.ops.aten.gelu.default,
    ],
)
def test_arguments_are_those_that_torch_sees(operator: torch._ops.OpOverload) -> None:
    found = schemas.parse(str(operator._schema))
    assert [(a.name, a.keyword, a.default is not None) for a in found.arguments] == [
        (a.name, a.kwarg_only, a.has_default_value()) for a in operator._schema.arguments
    ]
    assert found.name == operator.name()


def test_every_operator_of_the_running_torch_is_understood() -> None:
    for schema in torch._C._jit_get_all_schemas():
        found = schemas.parse(str(schema))
        names = [argument.name for argument in schema.arguments]
        assert [argument.name for argument in found.arguments] == names


@pytest.mark.parametrize(
    "text",
    [
        "",
        "aten::add",
        "aten::add(Tensor self -> Tensor",
        "add(Tensor self) -> Tensor",
        "a::b(Tensor) -> Tensor",
    ],
)
def test_what_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"schema|argument"):
        schemas.parse(text)


def test_names_differ_from_defaults_in_quotes() -> None:
    found = schemas.parse('x::y(str a="b, (c=", *, Tensor(a!)? out=None) -> (Tensor(a!) q, int[] r)')
    assert [(a.name, a.kind, a.default, a.keyword) for a in found.arguments] == [
        ("a", "str", '"b, (c="', False),
        ("out", "Tensor?", "None", True),
    ]
    assert found.returns == "(Tensor, int[])"


def test_history_is_in_order_and_without_overlap() -> None:
    spans = [span for _, span in history("aten::_fused_rms_norm")]
    assert spans == sorted(spans)
    assert spans[0][1] < spans[1][0]
