"""Comparing outputs bit for bit: what differs is named by its path."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from fxarchive.codec.outputs import count_leaves, differences

from ..material import programs

ONE = torch.tensor([1.0, 2.0])


@pytest.mark.parametrize(
    ("expected", "found", "said"),
    [
        (ONE, ONE.clone(), None),
        (ONE, torch.tensor([1.0, 2.5]), "output differs in 1 of 2 elements"),
        (ONE, ONE.double(), "output has dtype torch.float64"),
        (torch.tensor(0.0), torch.tensor(-0.0), "output differs in 1 of 1 elements"),
        (torch.tensor(float("nan")), torch.tensor(float("nan")), None),
        ({"a": [1, (2,)]}, {"a": [1, (3,)]}, "output['a'][1][0] is 3 and was 2"),
        ([1], (1,), "output is a tuple and was a list"),
        ([1], [1, 2], "output has 2 entries and had 1"),
        (0.0, -0.0, "output is -0.0 and was 0.0"),
        (1, True, "output is a bool and was a int"),
        (slice(ONE, None), slice(ONE.clone(), None), None),
        (slice(ONE, 3), slice(torch.tensor([1.0, 2.5]), 3), "output.start differs in 1 of 2 elements"),
        (ONE.to_sparse(), torch.tensor([1.0, 3.0]).to_sparse(), "output differs in 1 of 2 elements"),
    ],
)
def test_differences_are_named(expected: Any, found: Any, said: str | None) -> None:
    lines = list(differences(expected, found))
    assert lines == [] if said is None else lines[0].startswith(said)


def test_registered_containers_are_looked_into() -> None:
    """The == of a dataclass asks tensors for a truth value."""
    pair, other = programs.Pair(ONE, ONE), programs.Pair(ONE, ONE + 0.5)
    assert list(differences([pair], [copy.deepcopy(pair)])) == []
    assert list(differences([pair], [other])) == ["output[0][1] differs in 2 of 2 elements"]
    assert count_leaves([pair]) == 2


def test_leaves_of_slices_count() -> None:
    assert count_leaves([slice(1, 2), {"a": 3}]) == 4
