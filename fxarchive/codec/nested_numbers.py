"""Numbers of nested integers: in a process each has an id, in an archive the number in which it was met."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.document import NESTED_INT_SYMBOLS
from fxarchive.errors import InvalidDocument

SymInt: Any = torch.SymInt  # torch leaves its constructor untyped

_MODULE = "torch.nested._internal.nested_int"

MOST_COEFFICIENT = 2**31

_OUT_OF_REACH = itertools.count(2**40)
"""Ids for archives with symbols. A FakeTensorMode numbers what it makes from where the process stood when the mode was
made, and begins there again each time it traces. Two tensors of one id have one symbol in a ShapeEnv, so no id there
may ever come from these counters."""

_OF_MODES = itertools.count(2**50, 2**32)
"""Where the modes that are made for archives begin, each with numbers of its own."""


def number_apart(mode: Any) -> None:
    """Let a new FakeTensorMode number the ragged sizes that it makes apart from all others.

    It lives as long as what was loaded, and tensors of the process that are made meanwhile would get the same numbers.
    """
    if "nt_tensor_id_initial_count" in vars(mode):
        mode.nt_tensor_id_initial_count = mode.nt_tensor_id_counter = next(_OF_MODES)


def is_nested_int(value: Any) -> bool:
    """Whether a SymInt is the size of a ragged dimension."""
    cls = type(value.node)
    return cls.__module__ == _MODULE and cls.__name__ == "NestedIntNode"


def numbers_of(enc: Encoder, id_: Any, coefficient: Any) -> list[int]:
    """Return the number in the archive of a nested integer that torch numbered ``id_``, and its coefficient.

    Raises:
        Refused: they are not the numbers of a nested integer.
    """
    if type(id_) is not int or type(coefficient) is not int or not 1 <= coefficient < MOST_COEFFICIENT:
        raise Refused.because("a nested integer without a number cannot be kept")
    numbers: dict[int, int] = enc.state.setdefault("nested integers", {})
    return [numbers.setdefault(id_, len(numbers)), coefficient]


def check_numbers(number: Any, coefficient: Any, where: str) -> None:
    """Raise `InvalidDocument` unless these are a number and a coefficient of a nested integer."""
    fits = type(number) is int and type(coefficient) is int and number >= 0
    if not fits or not 1 <= coefficient < MOST_COEFFICIENT:
        raise InvalidDocument(where, f"{number!r:.40}, {coefficient!r:.40} are not its two numbers")


def id_of(dec: Decoder, number: int) -> int:
    """Return the id that this process has for a number of the archive: a new one for each decoding."""
    from torch.nested._internal import nested_tensor

    ids: dict[int, int] = dec.state.setdefault("ids of nested integers", {})
    if number not in ids:
        if NESTED_INT_SYMBOLS in dec.features:
            ids[number] = next(_OUT_OF_REACH)
        else:
            ids[number] = nested_tensor._tensor_id_counter
            nested_tensor._tensor_id_counter += 1
    return ids[number]


def nested_int(id_: int, coefficient: int) -> torch.SymInt:
    """Return a nested integer."""
    from torch.nested._internal.nested_int import NestedIntNode

    found: torch.SymInt = SymInt(NestedIntNode(id_, coefficient))
    return found
