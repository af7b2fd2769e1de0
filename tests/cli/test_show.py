"""``fxarchive show``."""

from __future__ import annotations

import json
from pathlib import Path

import fxarchive
from tests.cli.conftest import Call
from tests.documents import archive_of, graph, small


def test_a_line_a_node(call: Call, good: Path) -> None:
    code, out, err = call("show", good)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "graph 0 (the root): 7 nodes",
        "  %x : f32[2, 3] = placeholder x",
        "  %w : f32[2, 3] = get_attr lin.weight",
        "  %add : f32[2, 3] = call_function aten.add.Tensor(%x, %w, alpha=2)",
        "  %tanh = call_method tanh(%add)",
        "  %lin = call_module lin(%tanh)",
        "  %relu : i64[7]@cuda:1 = call_function mine.relu.default(%lin)",
        "  output(((%add, %relu), None))",
    ]


def test_metadata_stands_below_its_node(call: Call, good: Path) -> None:
    lines = call("show", "--metadata", good).out.splitlines()
    assert lines[2] == "      val: f32[2, 3]"
    assert "      note: 'word word " in "\n".join(lines)


def nested(tmp_path: Path) -> Path:
    document = small()
    document["graphs"].append(graph("y output", [0, 5], [0, 4], [[[], []], [[["hole"]], []]], [1]))
    document["modules"][1] = {"training": True, "graph": 1}
    path = tmp_path / "nested.fxa"
    path.write_bytes(archive_of(document))
    return path


def test_nested_graphs_follow_and_can_be_picked(call: Call, tmp_path: Path) -> None:
    path = nested(tmp_path)
    assert "\n\ngraph 1 (lin): 2 nodes\n  %y = placeholder x\n  output(%y)\n" in call("show", path).out
    assert call("show", "--graph", 1, path).out.startswith("graph 1 (lin): 2 nodes\n")


def test_a_graph_that_is_not_there_is_wrong_usage(call: Call, good: Path) -> None:
    code, out, err = call("show", "--graph", 5, good)
    assert (code, out) == (2, "")
    assert "there is no graph 5: the archive has 1 graph" in err


def test_an_archive_without_graphs_says_so(call: Call, tmp_path: Path) -> None:
    fxarchive.save([1, 2], tmp_path / "list.fxa")
    says = "no graph: the archive holds a list; see fxarchive inspect\n"
    assert call("show", tmp_path / "list.fxa") == (0, says, "")
    assert call("show", "--json", tmp_path / "list.fxa") == (0, "", "")


def test_json_is_one_object_a_graph(call: Call, tmp_path: Path) -> None:
    found = [json.loads(line) for line in call("show", "--json", nested(tmp_path)).out.splitlines()]
    assert [(line["graph"], line["modules"]) for line in found] == [(0, [""]), (1, ["lin"])]
    assert found[0]["nodes"][2] == {
        "name": "add",
        "op": "call_function",
        "target": "aten.add.Tensor",
        "arguments": "%x, %w, alpha=2",
        "value": "f32[2, 3]",
    }
    (line,) = call("show", "--json", "--metadata", "--graph", 0, nested(tmp_path)).out.splitlines()
    assert json.loads(line)["nodes"][0]["metadata"] == {"val": "f32[2, 3]"}


def test_a_bad_document_is_one_line(call: Call, tmp_path: Path) -> None:
    document = small()
    document["graphs"][0]["pattern"] = [9] * 7
    path = tmp_path / "bad.fxa"
    path.write_bytes(archive_of(document))
    code, out, err = call("show", "--json", path)
    assert code == 1
    assert json.loads(out)["error_kind"] == "InvalidDocument"
    assert err.startswith(f"fxarchive: {path}: The archive is corrupt in graph 0: ")
    assert err.count("\n") == 1
