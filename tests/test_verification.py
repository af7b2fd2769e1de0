"""`verify`, with and without a replay."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fxarchive import api
from fxarchive.codec.outputs import count_leaves, differences
from fxarchive.errors import (
    ArchiveNotFound,
    CorruptArchive,
    ForbiddenName,
    InvalidDocument,
    NotAnArchive,
    ReplayFailed,
    TooNew,
    UntrustedNames,
)
from fxarchive.verification import verify
from tests.documents import archive_of, small
from tests.material import models


def check(data: bytes, **options: Any) -> Any:
    return verify(io.BytesIO(data), **options)


def test_a_good_archive() -> None:
    report = check(archive_of(small()))
    assert (report.ok, report.error, report.sections_checked) == (True, None, 2)
    assert report.bytes_checked > 4096
    assert report.trust == ("mine.Block", "mine.helper")
    assert report.outputs_compared is None


def test_what_is_wrong_is_in_the_report(tmp_path: Path) -> None:
    good = archive_of(small())
    broken = bytearray(good)
    broken[good.rindex(bytes(4096)) + 7] ^= 1
    forbidden = small()
    forbidden["graphs"][0]["names"] = forbidden["graphs"][0]["names"].replace("tanh", "a;b")
    cases: list[tuple[bytes, type[Exception]]] = [
        (b"", NotAnArchive),
        (bytes(broken), CorruptArchive),
        (archive_of(forbidden), ForbiddenName),
        (archive_of(small(), schema=9, min_reader=9), TooNew),
        (archive_of({**small(), "tensors": {}}), InvalidDocument),
    ]
    for data, error in cases:
        report = check(data)
        assert (report.ok, type(report.error)) == (False, error)
    assert type(verify(tmp_path / "none").error) is ArchiveNotFound


def test_how_far_the_check_came_is_in_the_report() -> None:
    data = bytearray(archive_of(small()))
    data[data.rindex(bytes(4096)) + 7] ^= 1
    report = check(bytes(data))
    assert report.identity is not None
    assert report.sections_checked == 1


@pytest.mark.parametrize("record", [{"size": 4095}, {"section": "storages/2"}, {"section": "document"}])
def test_sections_and_storages_belong_together(record: dict[str, Any]) -> None:
    document = small()
    data = archive_of(document)
    payload = copy.deepcopy(document)
    payload["storages"][1].update(record)
    report = check(_with_document(data, document, payload))
    assert isinstance(report.error, CorruptArchive)


def test_a_section_that_nothing_refers_to_is_refused() -> None:
    document = small()
    payload = copy.deepcopy(document)
    payload["storages"][1] = {"size": 1, "device": "cpu", "data": b"a"}
    report = check(_with_document(archive_of(document), document, payload))
    assert isinstance(report.error, InvalidDocument)
    assert "storages/1" in str(report.error)


def _with_document(data: bytes, document: Any, payload: Any) -> bytes:
    """Return the archive of ``document`` with another document in place of its own."""
    from fxarchive import container, packing, wire
    from fxarchive.container import NewSection

    archive = container.open_archive(data)
    held = wire.dumps(packing.pack(payload))
    stream = io.BytesIO()
    sections = [NewSection("document", "zstd", len(held), [held]), archive.copy_of("storages/1")]
    container.write(stream, archive.header, sections)
    return stream.getvalue()


def test_to_dict_is_json() -> None:
    plain = check(b"nothing").to_dict()
    assert json.loads(json.dumps(plain)) == {**plain, "trust": []}
    assert (plain["ok"], plain["error_kind"]) == (False, "NotAnArchive")
    assert check(archive_of(small())).to_dict()["error"] is None


@pytest.mark.parametrize(
    "build", [models.resnet, models.mixed_calls, models.in_place_and_random, models.constants]
)
def test_a_replay_gives_the_stored_outputs(build: Any) -> None:
    torch.manual_seed(0)
    gm, inputs = build()
    report = check(api.dumps(gm, example_inputs=inputs), run=True)
    assert report.error is None
    assert report.outputs_compared == count_leaves(gm(*inputs))


def relu() -> torch.fx.GraphModule:
    return torch.fx.symbolic_trace(torch.nn.ReLU())


def test_a_replay_needs_stored_inputs() -> None:
    report = check(api.dumps(relu()), run=True)
    assert isinstance(report.error, ReplayFailed)
    assert "example_inputs" in str(report.error)


def test_other_outputs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    data = api.dumps(relu(), example_inputs=(torch.tensor([-1.0, 2.0]),))
    monkeypatch.setattr("fxarchive.codec.replay.replay", lambda obj, args, kwargs: torch.tensor([0.0, 2.5]))
    report = check(data, run=True)
    assert isinstance(report.error, ReplayFailed)
    assert "output differs in 1 of 2 elements" in str(report.error)


def test_a_graph_that_raises_is_an_error_in_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(obj: Any, args: Any, kwargs: Any) -> Any:
        raise RuntimeError("boom\nand more")

    data = api.dumps(relu(), example_inputs=(torch.ones(2),))
    monkeypatch.setattr("fxarchive.codec.replay.replay", fail)
    assert "RuntimeError (boom and more)" in str(check(data, run=True).error)


def test_a_replay_trusts_only_what_it_is_told() -> None:
    report = check(archive_of(small()), run=True)
    assert isinstance(report.error, UntrustedNames)
    assert not isinstance(
        check(archive_of(small()), run=True, trust=("mine.Block", "mine.helper")).error, UntrustedNames
    )


@pytest.mark.parametrize(
    ("expected", "found", "says"),
    [
        (1, 1.0, "is a float and was a int"),
        (0.0, -0.0, "is -0.0 and was 0.0"),
        (1j, 2j, "is 2j and was 1j"),
        ([1], [1, 2], "has 2 entries and had 1"),
        ({"a": 1}, {"b": 1}, "or other keys"),
        ((1, [2]), (1, [3]), "output[1][0] is 3 and was 2"),
        (
            torch.zeros(2),
            torch.zeros(2, dtype=torch.float64),
            "has dtype torch.float64 and had torch.float32",
        ),
        (torch.zeros(2), torch.zeros(3), "has shape torch.Size([3]) and had torch.Size([2])"),
        (torch.zeros(2), torch.tensor([0.0, -0.0]), "differs in 1 of 2 elements"),
        (torch.zeros(2), torch.zeros(2, device="meta"), "has device meta and had cpu"),
        (torch.eye(2).to_sparse(), torch.zeros(2, 2).to_sparse(), "stores 0 elements and stored 4"),
        (torch.eye(2).to_sparse(), 2 * torch.eye(2).to_sparse(), "differs in 2 of 2 elements"),
    ],
)
def test_differences_name_the_place(expected: Any, found: Any, says: str) -> None:
    (clause,) = differences(expected, found)
    assert says in clause


@pytest.mark.parametrize(
    "value",
    [
        None, 1, float("nan"), complex(float("nan"), 0), "text", torch.float32,
        torch.tensor([float("nan")]), torch.zeros(0, 3), torch.tensor(1), torch.tensor(True),
        torch.randn(3, 4).t(), torch.randn(3, dtype=torch.complex64).conj(), torch.ones(2, device="meta"),
        torch.ones(3, dtype=torch.float8_e4m3fn),
        {"a": (torch.ones(2), [None])},
    ],
)  # fmt: skip
def test_a_value_does_not_differ_from_its_copy(value: Any) -> None:
    assert list(differences(value, copy.deepcopy(value))) == []


@pytest.mark.filterwarnings("ignore")  # torch warns that these are in beta or will go
def test_compressed_and_quantized_tensors_are_compared_by_their_parts() -> None:
    def values(scale: float) -> list[torch.Tensor]:
        dense = scale * torch.eye(4)
        quantized = torch.quantize_per_tensor(torch.ones(3), 0.1 * scale, 2, torch.quint8)
        blocks = [dense.to_sparse_bsr((2, 2)), dense.to_sparse_bsc((2, 2))]
        return [dense.to_sparse_csr(), dense.to_sparse_csc(), *blocks, quantized]

    for one, same, other in zip(values(1.0), values(1.0), values(2.0), strict=True):
        assert list(differences(one, same)) == []
        assert len(list(differences(one, other))) == 1
