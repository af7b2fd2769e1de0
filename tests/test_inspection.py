"""`inspect` on archives made by hand and on real ones."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fxarchive import api
from fxarchive.errors import (
    ArchiveNotFound,
    CorruptArchive,
    InvalidDocument,
    NotAnArchive,
    StoreError,
    TruncatedArchive,
)
from fxarchive.inspection import READ_BYTES, from_summary, inspect
from fxarchive.nodes import Calls
from fxarchive.ports import Port
from fxarchive.summary import Contents, describe, summarise
from tests.documents import archive_of, small
from tests.material import models


def file_of(document: Any, **header: Any) -> io.BytesIO:
    return io.BytesIO(archive_of(document, **header))


def test_everything_that_the_header_and_the_index_say() -> None:
    metadata = {"note": "first", "n": [1, None]}
    info = inspect(file_of(small(), metadata=metadata, summary={"dropped": ["graph.x: why", 3]}))
    assert (info.container_version, info.schema, info.min_reader, info.features) == (1, 2, 2, ())
    assert (info.writer.fxarchive, info.writer.torch, info.writer.python) == ("0.1.0", "2.13.0", "3.11.8")
    assert (info.root, info.metadata, info.dropped) == ("GraphModule", metadata, ("graph.x: why",))
    assert [section.name for section in info.sections] == ["document", "storages/1"]
    assert info.sections[1].size == info.sections[1].stored_size == 4096
    assert info.too_new is None
    assert len(info.identity) == 64


def test_a_small_document_is_read() -> None:
    info = inspect(file_of(small()))
    assert info.complete
    assert info.contents == describe(small())


def test_a_large_document_is_left_alone_and_the_summary_stands_for_it() -> None:
    document = small()
    summary = summarise(document)
    document["texts"].append("x" * READ_BYTES)
    file = file_of(document, summary=summary)
    info = inspect(file)
    assert not info.complete
    whole = describe(document)
    for name in (
        "nodes",
        "graphs",
        "modules",
        "parameters",
        "weight_bytes",
        "calls",
        "trust",
        "imports",
        "examples",
    ):
        assert getattr(info.contents, name) == getattr(whole, name)
    assert info.contents.inputs == (Port("x", "f32[2, 3]"),)
    assert inspect(file, full=True).contents == whole


def test_full_false_reads_no_document() -> None:
    info = inspect(file_of(small(), summary={"nodes": 5}), full=False)
    assert (info.complete, info.contents.nodes) == (False, 5)


def test_a_summary_of_any_other_form_is_passed_over() -> None:
    assert from_summary({}) == Contents()
    odd = {
        "nodes": "5", "graphs": True, "inputs": "x",
        "calls": [["method", "view", 2], ["method", "view"], 4, ["a", "b", "c"]],
        "outputs": [["a", 1], ["b", "f32[]"]], "trust": [1, "a.b", None], "examples": 1,
    }  # fmt: skip
    assert from_summary(odd) == Contents(
        calls=(Calls("method", "view", 2),), outputs=(Port("b", "f32[]"),), trust=("a.b",)
    )


def test_a_newer_schema_is_described_by_its_header() -> None:
    info = inspect(file_of(small(), schema=9, min_reader=9, summary={"nodes": 7}))
    assert info.too_new is not None
    assert "schema 9" in info.too_new
    assert (info.schema, info.contents.nodes, info.complete) == (9, 7, False)
    assert "warp" in str(inspect(file_of(small(), features=("warp",))).too_new)


def test_a_document_that_breaks_its_schema_is_an_error() -> None:
    document = small()
    document["graphs"][0]["names"] = 3
    with pytest.raises(InvalidDocument):
        inspect(file_of(document))


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    good = archive_of(small())
    cases: list[tuple[bytes, type[Exception]]] = [
        (b"", NotAnArchive),
        (b"PK\x03\x04 and more", NotAnArchive),
        (good[:100], TruncatedArchive),
        (good[:-1], TruncatedArchive),
        (good[:200].replace(b"GraphModule", b"GraphMudule") + good[200:], CorruptArchive),
    ]
    for number, (data, error) in enumerate(cases):
        path = tmp_path / f"{number}.fxa"
        path.write_bytes(data)
        with pytest.raises(error):
            inspect(path)
    with pytest.raises(ArchiveNotFound):
        inspect(tmp_path / "none.fxa")
    with pytest.raises(StoreError):
        inspect(tmp_path)


def test_to_dict_is_json() -> None:
    document = small()
    plain = inspect(file_of(document)).to_dict()
    assert json.loads(json.dumps(plain)) == json.loads(json.dumps(plain, default=list))
    assert plain["writer"] == {"fxarchive": "0.1.0", "torch": "2.13.0", "python": "3.11.8"}
    assert plain["contents"]["calls"][0] == {"kind": "operator", "name": "aten.add.Tensor", "calls": 1}
    assert plain["contents"]["inputs"][0]["shape"] == (2, 3)


@pytest.fixture(scope="module")
def saved() -> dict[str, tuple[Any, bytes]]:
    """The hand-written graphs that can be saved, with their archives."""
    found = {}
    for build in (models.resnet, models.mixed_calls, models.fake_propagated, models.nested_graph_modules):
        torch.manual_seed(0)
        gm, inputs = build()
        found[build.__name__] = gm, api.dumps(gm, example_inputs=inputs)
    return found


def test_counts_are_those_of_torch(saved: dict[str, tuple[Any, bytes]]) -> None:
    for gm, data in saved.values():
        found = inspect(io.BytesIO(data)).contents
        graphs = {id(m.graph): m.graph for m in gm.modules() if isinstance(m, torch.fx.GraphModule)}.values()
        assert found.graphs == len(graphs)
        assert found.nodes == sum([len(graph.nodes) for graph in graphs])
        assert found.modules == len(list(gm.modules()))
        assert found.parameters == sum([parameter.numel() for parameter in gm.parameters()])
        assert found.buffers == sum([buffer.numel() for buffer in gm.buffers()])
        called = sum([node.op.startswith("call") for graph in graphs for node in graph.nodes])
        assert sum([call.calls for call in found.calls]) == called
        assert found.examples


def test_inputs_and_outputs_are_those_of_the_example(saved: dict[str, tuple[Any, bytes]]) -> None:
    found = inspect(io.BytesIO(saved["resnet"][1])).contents
    assert found.inputs == (Port("x", "f32[2, 3, 32, 32]", "float32", (2, 3, 32, 32), "cpu"),)
    assert [port.text for port in found.outputs] == ["f32[2, 10]"]


def test_the_summary_in_the_header_says_the_same(saved: dict[str, tuple[Any, bytes]]) -> None:
    for _, data in saved.values():
        whole, brief = inspect(io.BytesIO(data)).contents, inspect(io.BytesIO(data), full=False).contents
        assert brief.nodes == whole.nodes
        assert brief.parameters == whole.parameters
        assert brief.calls == whole.calls[: len(brief.calls)]
        assert [port.text for port in brief.inputs] == [port.text for port in whole.inputs]


def test_inspect_needs_no_torch(tmp_path: Path, saved: dict[str, tuple[Any, bytes]]) -> None:
    path = tmp_path / "resnet.fxa"
    path.write_bytes(saved["resnet"][1])
    program = (
        "import sys\nfrom fxarchive.inspection import inspect\nfrom fxarchive.verification import verify\n"
        "from fxarchive.listing import list_graphs\n"
        f"assert inspect({str(path)!r}).complete\nassert verify({str(path)!r}).ok\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
