"""The matrix of releases sees what is wrong: `tests.cross`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import fx

import fxarchive
from fxarchive import codec
from fxarchive.document import SCHEMA, Document
from fxarchive.errors import Problem
from fxarchive.migrations.content import Content

from .corpus.checking import RUNNING
from .corpus.expected import reason
from .cross import outcomes, reading
from .cross.outcomes import Outcome

PLACE = ("fresh", "2.15.0", "entry")


def graph_of(operator: str) -> Document:
    graph = fx.Graph()
    graph.output(graph.call_function(torch.ops.aten.relu.default, (graph.placeholder("x"),)))
    document = codec.encode(fx.GraphModule(torch.nn.Module(), graph)).document
    return {
        **document,
        "targets": [["operator", f"aten::{operator}", f"aten::{operator}(Tensor self) -> Tensor", None]],
    }


OPENS, LACKS = graph_of("relu"), graph_of("gone")


def judged(document: Document, load: Any) -> Outcome:
    return reading.judged(PLACE, lambda: Content(SCHEMA, document), load)


def lacking() -> Any:
    raise fxarchive.MissingOperator([Problem("aten::gone", "load with another")])


def test_what_loads_and_computes_what_it_did_is_exact() -> None:
    assert judged(OPENS, list) == Outcome(RUNNING, *PLACE, "exact")


def test_what_is_not_as_it_was_is_wrong() -> None:
    found = judged(OPENS, lambda: ["output 0 differs"])
    assert (found.state, found.text, found.fails) == ("wrong", "output 0 differs", True)


def test_what_raises_anything_else_is_wrong() -> None:
    def broken() -> Any:
        raise KeyError("x")

    assert judged(OPENS, broken).text == "KeyError: 'x'"


def test_a_refusal_that_compat_did_not_foresee_is_wrong() -> None:
    found = judged(OPENS, lacking)
    assert found.state == "wrong"
    assert found.text.startswith("compat says that it opens; MissingOperator: ")
    assert "; compat --torch running says that it opens" in found.text


def test_what_loads_although_compat_says_no_is_wrong() -> None:
    found = judged(LACKS, list)
    assert (found.state, found.text.partition(";")[0]) == ("wrong", "compat says that it does not open")


def test_a_refusal_that_compat_foresaw_needs_a_reason() -> None:
    found = judged(LACKS, lacking)
    assert (found.state, found.error, found.reason, found.fails) == ("refused", "MissingOperator", None, True)


@pytest.mark.parametrize(
    ("name", "writer", "reader", "error", "allowed"),
    [
        ("newer_dtypes", "2.15.0", "2.13.0", "MissingOperator", True),
        ("newer_dtypes", "2.15.0", "2.15.0", "MissingOperator", False),
        ("newer_dtypes", "2.7.1", "2.15.0", "MissingOperator", False),
        ("newer_dtypes", "2.15.0", "2.13.0", "InvalidDocument", False),
        ("atoms", "2.15.0", "2.13.0", "MissingOperator", False),
    ],
)
def test_a_reason_is_for_one_error_of_one_entry(
    name: str, writer: str, reader: str, error: str, allowed: bool
) -> None:
    assert (reason(name, writer, reader, error) is not None) == allowed


def test_the_matrix_shows_everything() -> None:
    exact = Outcome("2.8.0", "fresh", "2.7.1", "add", "exact")
    refused = Outcome("2.8.0", "fresh", "2.15.0", "newer_dtypes", "refused", "MissingOperator", "no")
    wrong = Outcome("2.8.0", "fresh", "2.15.0", "mul", "wrong", text="output 0 differs by up to 1")
    assert outcomes.shown([exact, refused, wrong]).splitlines() == [
        "exact / read; rows wrote, columns read; ! has failures",
        "                       2.8.0",
        "fresh 2.7.1              1/1",
        "fresh 2.15.0            0/2!",
        "refused, as expected: its dtypes are those of the torch that wrote it",
        "    newer_dtypes: 2.15.0 -> 2.8.0",
        "FAILED fresh 2.15.0 -> 2.8.0  mul: wrong: output 0 differs by up to 1",
    ]
    assert outcomes.failures([exact, refused, wrong]) == [wrong]
    assert [entry["reason"] is None for entry in outcomes.plain([exact, refused, wrong])] == [
        True,
        False,
        True,
    ]
