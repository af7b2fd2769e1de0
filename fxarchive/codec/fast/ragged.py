"""The sizes that a jagged tensor of FakeTensors has for itself: which expressions they are, beyond what they come to.

torch computes them from the parts whenever it builds one, by what its environment knows at that time: `s80 - 1`, and
later, when a guard said so, `s77`. The class keeps them in two attributes and answers with these. Where the running
torch has them not, the sizes stay as its class computed them, which are equal.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

_SIZE, _STRIDE = "_size", "_strides"


def is_fake_jagged(tensor: Any) -> bool:
    """Whether ``tensor`` is a jagged tensor around FakeTensors."""
    return (
        tensor.layout is torch.jagged
        and type(tensor).__module__.startswith("torch.nested.")
        and type(tensor._values) is FakeTensor
    )


def is_of(tensor: Any, size: Any, stride: Any) -> bool:
    """Whether size and stride of ``tensor`` equal these, by what their environment knows; nothing is learnt."""
    found, given = (*tensor.size(), *tensor.stride()), (*size, *stride)
    return len(found) == len(given) and all(map(_is_equal, found, given))


def _is_equal(number: Any, other: Any) -> bool:
    if type(number) is int and type(other) is int:
        return number == other
    import sympy

    nodes = [each.node for each in (number, other) if type(each) is not int]
    env = nodes[0].shape_env
    if nodes[-1].shape_env is not env:
        return False
    held = [each if type(each) is int else each.node._expr for each in (number, other)]
    terms = [env.replace(each if isinstance(each, sympy.Basic) else sympy.Integer(each)) for each in held]
    return terms[0] == terms[1] or bool(sympy.expand(terms[0] - terms[1]) == 0)


def restate(tensor: Any, size: list[Any], stride: list[Any]) -> None:
    """Give ``tensor`` equal numbers in place of those that its class computed."""
    state = vars(tensor)
    if type(state.get(_SIZE)) is tuple and type(state.get(_STRIDE)) is tuple:
        state[_SIZE], state[_STRIDE] = tuple(size), tuple(stride)
        tensor._clear_non_serializable_cached_data()  # what C++ remembers of them
