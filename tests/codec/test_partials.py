"""functools.partial: a listed or trusted function with values, and nothing that runs."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import fx, nn

from fxarchive import codec
from fxarchive.errors import InvalidDocument, UnsupportedValue

from ..compare import assert_same
from .through import through_the_codec

CALLS: list[int] = []


def counted() -> None:
    """A function of the user; each call is noted."""
    CALLS.append(1)


def test_partials_come_back() -> None:
    shared = [1, 2.0]
    values = [
        functools.partial(torch.add, 1, alpha=2),
        functools.partial(torch.ops.aten.add.Tensor, shared, other=shared),
        functools.partial(functools.partial(torch.relu)),
    ]
    again = through_the_codec(values)
    assert_same(values, again)
    assert int(again[0](3)) == 7
    assert again[1].args[0] is again[1].keywords["other"]


def test_only_archives_with_partials_carry_the_flag() -> None:
    assert codec.encode([functools.partial(torch.add)]).features == {"partial-functions"}
    assert codec.encode([torch.add]).features == frozenset()


def test_partials_in_arguments_of_nodes_come_back() -> None:
    graph = fx.Graph()
    graph.output(graph.call_function(torch.relu, (graph.placeholder("x"), functools.partial(torch.add, 1))))
    again = through_the_codec(graph)
    assert_same(graph, again)


def with_attribute() -> Any:
    value = functools.partial(torch.add)
    value.name = "mine"  # type: ignore[attr-defined]
    return value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (functools.partial(lambda x: x), r"func: the function .* hold code\)"),
        (functools.partial(torch.add, lambda: 1), r"args\[0\]: the function"),
        (functools.partial(torch.add, alpha=lambda: 1), r"alpha: the function"),
        (functools.partial(nn.ReLU()), r"a functools.partial of a ReLU cannot be kept; use a function"),
        (with_attribute(), "with attributes cannot be kept; take them away"),
    ],
)
def test_partials_that_hold_code_are_refused(value: Any, why: str) -> None:
    with pytest.raises(UnsupportedValue, match=why):
        through_the_codec(value)


@pytest.mark.parametrize(
    "tagged",
    [
        ["partial", "torch.add", [], []],
        ["partial", [], [], []],
        ["partial", ["tuple", []], [], []],
        ["partial", ["target", 7], [], []],
        ["partial", ["target", 0], [], ["alpha"]],
        ["partial", ["target", 0], [], [1, 2]],
        ["partial", ["target", 0], 3, []],
        ["partial", ["target", 0]],
    ],
)
def test_hostile_partials_are_refused(tagged: Any) -> None:
    def change(document: dict[str, Any]) -> None:
        document["root"] = tagged

    with pytest.raises(InvalidDocument):
        through_the_codec(functools.partial(torch.add), change=change)


def test_a_partial_runs_nothing_when_it_is_loaded() -> None:
    again = through_the_codec(functools.partial(counted), trust=(f"{__name__}.counted",))
    assert CALLS == []
    again()
    assert CALLS == [1]
