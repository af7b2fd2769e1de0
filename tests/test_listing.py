"""Graphs as text."""

from __future__ import annotations

import pytest

from fxarchive.document import empty_document
from fxarchive.errors import InvalidDocument
from fxarchive.listing import GraphInfo, list_graphs, list_nodes
from tests.documents import HOLE, graph, small


def test_a_line_a_node_with_shapes() -> None:
    assert [str(line) for line in list_nodes(small(), 0)] == [
        "%x : f32[2, 3] = placeholder x",
        "%w : f32[2, 3] = get_attr lin.weight",
        "%add : f32[2, 3] = call_function aten.add.Tensor(%x, %w, alpha=2)",
        "%tanh = call_method tanh(%add)",
        "%lin = call_module lin(%tanh)",
        "%relu : i64[7]@cuda:1 = call_function mine.relu.default(%lin)",
        "output(((%add, %relu), None))",
    ]


def test_metadata_is_there_where_it_is_asked_for() -> None:
    lines = list(list_nodes(small(), 0, metadata=True))
    assert lines[0].metadata == (("val", "f32[2, 3]"),)
    assert lines[1].metadata == ()
    assert lines[2].metadata == (("note", repr("word " * 20)), ("val", "f32[2, 3]"))
    assert {line.metadata for line in list_nodes(small(), 0)} == {()}


def test_the_best_description_of_a_value_is_taken() -> None:
    document = small()
    document["graphs"][0].update(
        keys=["example_value", "val"],
        layouts=[[], [0], [0, 1]],
        layout=[2, 0, 1, 0, 0, 0, 0],
        columns=[["plain", [7, ["tuple", [["fake", 2], None]]]], ["fake", [0]]],
    )
    found = {line.name: line.value for line in list_nodes(document, 0)}
    assert (found["x"], found["add"], found["tanh"]) == ("f32[2, 3]", "(i64[7]@cuda:1, None)", "")


def test_placeholders_show_their_default() -> None:
    document = small()
    document["graphs"] = [graph("x", [0], [0], [[[2.5], []]], [])]
    assert [str(line) for line in list_nodes(document, 0)] == ["%x = placeholder x(2.5)"]


def test_every_graph_is_listed_with_the_module_that_holds_it() -> None:
    document = small()
    document["graphs"] += [graph("", [], [], [], []), graph("", [], [], [], [])]
    document["modules"] += [{"training": True, "graph": 1}, {"training": False, "graph": 1}]
    document["modules"][1]["modules"] = ["inner", 2]
    assert list_graphs(document) == (
        GraphInfo(0, 7, ("",)),
        GraphInfo(1, 0, ("lin.inner", "GraphModule")),
        GraphInfo(2, 0, ()),
    )
    assert list_graphs(empty_document()) == ()


def test_an_empty_graph_has_no_lines() -> None:
    document = small()
    document["graphs"] = [graph("", [], [], [], [])]
    assert list(list_nodes(document, 0)) == []


def test_names_are_escaped() -> None:
    document = small()
    red = "\x1b[31m"
    document["texts"] = [red] * 6
    document["targets"][0][1] = red
    document["graphs"][0]["names"] = "\n".join([red] * 7)
    document["graphs"][0]["keys"] = [red, "note"]
    text = "".join([f"{line}{line.metadata}" for line in list_nodes(document, 0, metadata=True)])
    assert "\\x1b[31m" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("row", [1, -1])
def test_a_graph_that_is_not_there_is_an_error(row: int) -> None:
    with pytest.raises(InvalidDocument):
        list(list_nodes(small(), row))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("names", "x"), ("ops", bytes([99] * 7)), ("targets", [0]), ("pattern", [9] * 7),
        ("patterns", [[[HOLE]]]), ("operands", []), ("operands", [50] * 7), ("layout", [0]),
        ("layout", [8] * 7),
        ("columns", [["fake", [0]]]), ("keys", 5),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_schema_is_one_error(key: str, value: object) -> None:
    document = small()
    document["graphs"][0][key] = value
    with pytest.raises(InvalidDocument):
        list(list_nodes(document, 0, metadata=True))
