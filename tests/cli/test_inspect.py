"""``fxarchive inspect``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch

from fxarchive import api
from fxarchive.cli.output import size_text
from fxarchive.summary import summarise
from tests.cli.conftest import Call
from tests.cli.test_main import PROGRAM, processor_seconds
from tests.documents import archive_of, graph, small
from tests.material import models


def test_what_people_see(call: Call, good: Path) -> None:
    code, out, err = call("inspect", good)
    lines = out.splitlines()
    identity = next(line for line in lines if line.startswith("  identity")).split()[1]
    size = good.stat().st_size
    document = (
        next(line for line in lines if line.startswith("  size")).partition("graph ")[2].partition(",")[0]
    )
    assert (code, err) == (0, "")
    assert lines == [
        str(good),
        "  object      GraphModule: 1 graph, 7 nodes, 2 modules, 3 tensors, 3 FakeTensors",
        "  written by  fxarchive 0.1.0, torch 2.13.0, Python 3.11.8",
        "  format      container 1, schema 2",
        f"  identity    {identity}",
        f"  size        {size_text(size)} ({size:,} bytes): graph {document}, weights 4.0 KiB in 1 section",
        "  parameters  6, and 2,048 in buffers",
        "  trust       mine.Block",
        "              mine.helper",
        "  import      mine",
        "              mine.ops",
        "  metadata    note = first",
        "",
        "inputs",
        "  x  f32[2, 3]",
        "",
        "outputs",
        "  add   f32[2, 3]",
        "  relu  i64[7]@cuda:1",
        "        None",
        "",
        "calls",
        "  1  aten.add.Tensor",
        "  1  mine.relu.default",
        "  1  tanh                            method",
        "  1  torch.nn.modules.linear.Linear  module",
        "",
        "largest weights",
        "   4.0 KiB  table on cuda:0",
        "  24 bytes  lin.weight",
        "  16 bytes  part of another value",
    ]


def test_long_lists_are_cut_unless_full(call: Call, tmp_path: Path) -> None:
    document = small()
    count = 40
    document["targets"] += [["function", f"torch.f{number}"] for number in range(count)]
    names = " ".join(map("n{}".format, range(count)))
    document["graphs"][0] = graph(names, [2] * count, list(range(5, 5 + count)), [[[], []]] * count, [])
    path = tmp_path / "wide.fxa"
    path.write_bytes(archive_of(document))
    short, full = call("inspect", path).out, call("inspect", "--full", path).out
    assert "  and 28 more" in short
    assert short.count("  1  torch.f") == 12
    assert full.count("  1  torch.f") == count + full.count("  1  torch.fx")
    assert "module classes" in full


def test_a_large_graph_is_not_read_and_that_is_said(call: Call, tmp_path: Path) -> None:
    document = small()
    summary = summarise(document)
    document["texts"].append("x" * 1_000_000)
    path = tmp_path / "large.fxa"
    path.write_bytes(archive_of(document, summary=summary))
    out = call("inspect", path).out
    assert "7 nodes" in out
    assert "--full reads it" in out
    assert "--full reads it" not in call("inspect", "--full", path).out


def test_json_is_one_object_a_file(call: Call, good: Path, bad: Path) -> None:
    code, out, err = call("inspect", "--json", good, bad, good)
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [line["path"] for line in found] == [str(good), str(bad), str(good)]
    assert [line["error_kind"] for line in found] == [None, "NotAnArchive", None]
    assert err.count("\n") == 1
    assert found[0] == found[2]
    assert set(found[0]) == {
        "path", "size", "identity", "container_version", "schema", "min_reader", "features", "writer", "root",
        "metadata", "dropped", "too_new", "complete", "contents", "sections", "error", "error_kind",
            "old", "history", "stuck", "notes",
    }  # fmt: skip
    assert found[0]["contents"]["outputs"][1]["shape"] == [7]


def test_metadata_that_json_lacks(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "odd.fxa"
    path.write_bytes(archive_of(small(), metadata={"b": b"\x00\xff", "n": float("nan"), "i": float("-inf")}))
    found = json.loads(call("inspect", "--json", path).out)
    assert found["metadata"] == {"b": {"base64": "AP8="}, "n": "nan", "i": "-inf"}


def test_the_rest_is_shown_after_a_bad_file(call: Call, good: Path, bad: Path) -> None:
    code, out, err = call("inspect", bad, good)
    assert code == 1
    assert f"\n{good}\n" in f"\n{out}"
    assert str(bad) in err


def test_a_newer_archive_is_described_as_far_as_possible(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "new.fxa"
    path.write_bytes(archive_of(small(), schema=7, min_reader=7, summary={"dropped": ["a: b"] * 40}))
    code, out, _ = call("inspect", path)
    assert code == 0
    assert "too new     The archive needs schema 7 and this fxarchive supports up to 2" in out
    assert "and 28 more" in out


@pytest.mark.slow
def test_500_mb_in_under_200_ms_and_without_torch(tmp_path: Path) -> None:
    root = torch.nn.Module()
    record = torch.fx.Graph()
    x = record.placeholder("x")
    for number in range(125):
        root.register_parameter(f"p{number}", torch.nn.Parameter(torch.zeros(1000, 1000)))
        x = record.call_function(torch.add, (x, record.get_attr(f"p{number}")))
    record.output(x)
    path = tmp_path / "large.fxa"
    api.save(torch.fx.GraphModule(root, record), path)
    assert path.stat().st_size > 500_000_000
    assert processor_seconds(["inspect", str(path)]) < 0.2


def test_100_000_nodes_in_under_200_ms(tmp_path: Path) -> None:
    path = tmp_path / "long.fxa"
    api.save(models.chain(100_000), path)
    assert processor_seconds(["inspect", str(path)]) < 0.2
    done = subprocess.run([*PROGRAM, "inspect", str(path)], capture_output=True, text=True, check=True)
    assert "100,002 nodes" in done.stdout
    assert "torch.relu" in done.stdout


def test_symbolic_sizes_and_where_tensors_are_in_a_tree(call: Call, tmp_path: Path) -> None:
    rows = torch.export.Dim("rows", min=2, max=64)
    program = torch.export.export(torch.nn.Linear(8, 2), (torch.randn(4, 8),), dynamic_shapes=({0: rows},))
    path = tmp_path / "tree.fxa"
    api.save({"program": program, "tables": [torch.ones(3)]}, path)
    code, out, _ = call("inspect", path)
    symbol = str(next(iter(program.range_constraints)))
    assert code == 0
    assert "  features    exported-programs, " in out
    assert f"\nsymbols\n  {symbol}  2 to 64, captured with 4\n" in out
    assert "['tables'][0]" in out
    shown = call("show", path).out.splitlines()
    assert shown[0].startswith("graph 0 (['program']): ")
    assert any(f": f32[{symbol}, " in line for line in shown)
    held = json.loads(call("inspect", "--json", path).out)["contents"]
    assert held["symbols"] == [{"name": symbol, "least": "2", "most": "64", "hint": "4"}]
