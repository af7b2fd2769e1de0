"""Calls in a graph's columns, read out and replaced."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import fx

from fxarchive import codec
from fxarchive.calls import Calls
from fxarchive.document import OPS
from fxarchive.errors import InvalidDocument
from fxarchive.migrations.operators.calls import Call, Operand, Result

from .documents import HOLE, graph

FUNCTION = OPS.index("call_function")


def chain() -> Any:
    """``a = f(x, 1); b = g(a, k=[x, a]); output(b)``, with metadata on a and b and a type on b."""
    return graph(
        "x a b output",
        [0, 2, 2, 5],
        [0, 7, 8, 0],
        [[[], []], [[HOLE, 1], []], [[HOLE], ["k", ["ilist", [HOLE, HOLE]]]], [[HOLE], []]],
        [1, 1, 2, 1, 1],
        types=[[2], ["int"]],
        keys=["tag"],
        layouts=[[], [0]],
        layout=[0, 1, 1, 0],
        columns=[["plain", ["of a", "of b"]]],
    )


def test_a_call_is_read_with_its_operands() -> None:
    calls = Calls(chain(), "graph 0")
    assert calls.read(1, "function", "f") == Call("function", "f", (Operand(0), 1))
    assert calls.read(2, "function", "g") == Call(
        "function", "g", (Operand(1),), {"k": ["ilist", [Operand(0), Operand(1)]]}
    )
    assert calls.users() == {0, 1, 2}


def test_replaced_by_one_call() -> None:
    calls = Calls(chain(), "graph 0")
    new, places = calls.replaced({1: [Call("function", "h", (2, Operand(0)))]}, lambda call: (FUNCTION, 9))
    assert places == [0, 1, 2, 3]
    again = Calls(new, "graph 0")
    assert again.read(1, "function", "h") == Call("function", "h", (2, Operand(0)))
    assert again.read(2, "function", "g") == calls.read(2, "function", "g")
    assert (new["targets"], new["layout"], new["types"], new["columns"]) == (
        [0, 9, 8, 0], [0, 1, 1, 0], [[2], ["int"]], chain()["columns"],
    )  # fmt: skip


def test_replaced_by_several() -> None:
    calls = Calls(chain(), "graph 0")
    steps = [
        Call("function", "first", (Operand(0),)),
        Call("function", "second", (["ilist", [Result(0), Operand(0)]],)),
        Call("function", "last", (Result(1), Result(0))),
    ]
    new, places = calls.replaced({2: steps}, lambda call: (FUNCTION, 20 + steps.index(call)))
    assert new["names"].split("\n") == ["x", "a", "b_0", "b_1", "b", "output"]
    assert (places, new["targets"], new["layout"]) == (
        [0, 1, 4, 5],
        [0, 7, 20, 21, 22, 0],
        [0, 1, 0, 0, 1, 0],
    )
    assert new["types"] == [[4], ["int"]]
    again = Calls(new, "graph 0")
    assert again.read(3, "function", "") == Call("function", "", (["ilist", [Operand(2), Operand(0)]],))
    assert again.read(4, "function", "") == Call("function", "", (Operand(3), Operand(2)))
    assert again.read(5, "function", "") == Call("function", "", (Operand(4),))


def test_new_names_are_not_taken() -> None:
    record = graph("a_0 a", [0, 2], [0, 7], [[[], []], [[HOLE], []]], [1])
    new, _ = Calls(record, "graph 0").replaced(
        {1: [Call("function", "f", (Operand(0),)), Call("function", "g", (Result(0),))]},
        lambda call: (FUNCTION, 0),
    )
    assert new["names"].split("\n") == ["a_0", "a_0_", "a"]


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidDocument, match="its columns do not fit together"):
        Calls(graph("a", [0], [0], [[[HOLE], []]], []), "graph 0")


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.booleans()), min_size=1, max_size=30))
def test_a_graph_whose_calls_are_replaced_by_themselves_is_the_same(
    steps: list[tuple[int, int, bool]],
) -> None:
    built = fx.Graph()
    nodes = [built.placeholder("x")]
    for first, second, keyword in steps:
        left, right = nodes[first % len(nodes)], nodes[second % len(nodes)]
        arguments = {"other": right} if keyword else {}
        nodes.append(built.call_function(torch.add, (left,) if keyword else (left, [right, 1]), arguments))
    built.output(nodes[-1])
    record = codec.encode(built).document["graphs"][0]
    calls = Calls(record, "graph 0")
    same = {
        number: [calls.read(number, "function", "torch.add")]
        for number, op in enumerate(record["ops"])
        if op == FUNCTION
    }
    row = record["targets"][1]
    new, places = calls.replaced(same, lambda call: (FUNCTION, row))
    assert new == record
    assert places == list(range(len(record["ops"])))
