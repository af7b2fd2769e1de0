"""Columns of strings: what a string shares with the one before, and what of it is a number that counts.

Names in a graph come in runs (``h.0.ln_1.weight``, ``h.0.ln_1.bias``) and are counted (``linear``, ``linear_1``).
"""

from __future__ import annotations

import re
from itertools import compress, count
from operator import ne
from typing import Any

from fxarchive.packing.numbers import pack_numbers, unpack_numbers

LONGEST = 255
"""Characters that a string takes from another at most: bounds what a byte of a column can unfold to."""

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def pack_strings(strings: list[str]) -> list[Any]:
    """Return ``[lengths, rests]``: how many characters each string takes from the one before, and what follows
    them, with a newline between, or as a list if there are newlines in them.

    >>> pack_strings(["h.0.weight", "h.0.bias"])
    [b'\\x01\\x00\\x04', 'h.0.weight\\nbias']
    """
    lengths: list[int] = []
    rests: list[str] = []
    before = ""
    for string in strings:
        length = _shared(before[:LONGEST], string)
        lengths.append(length)
        rests.append(string[length:])
        before = string
    plain = any(["\n" in rest for rest in rests])
    return [pack_numbers(lengths), rests if plain else "\n".join(rests)]


def _shared(before: str, string: str) -> int:
    if string.startswith(before):
        return len(before)
    differing = compress(count(), map(ne, before, string))
    return next(differing, min(len(before), len(string)))


def unpack_strings(packed: Any) -> list[str]:
    """Return the strings of `pack_strings`.

    Raises:
        ValueError, TypeError: it is not what that returns.
    """
    column, rests = packed
    lengths = unpack_numbers(column)
    if type(rests) is str:
        rests = rests.split("\n") if lengths else []
    if type(rests) is not list:
        raise TypeError("the rests of a column of strings are neither a string nor a list")
    strings: list[str] = []
    before = ""
    for length, rest in zip(lengths, rests, strict=True):
        if length > len(before) or length > LONGEST:
            raise ValueError("a string takes more from the one before than it may, or than that has")
        before = before[:length] + rest
        strings.append(before)
    return strings


def split_counted(string: str) -> tuple[str, int]:
    """Split ``linear_12`` in what is counted and its number; 0 for what has none.

    >>> split_counted("linear_12"), split_counted("linear"), split_counted("x_0")
    (('linear', 12), ('linear', 0), ('x_0', 0))
    """
    if not string[-1:].isdigit():  # quick, since most are not counted
        return string, 0
    base, _, number = string.rpartition("_")
    if not base or len(base) > LONGEST or _NUMBER.fullmatch(number) is None:
        return string, 0
    return base, int(number)


class StepCounter:
    """The last number of each string that is counted; what is stored is by how much the next differs."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def step(self, base: str, number: int) -> int:
        """Return what is stored for ``number``: twice the step from the last, odd for steps down."""
        step = number - self._last.get(base, -1)
        self._last[base] = number
        return 2 * step if step >= 0 else -2 * step - 1


def joined_counted(bases: list[str], steps: list[int]) -> list[str]:
    """Return the strings of which ``bases`` are counted and `StepCounter` gave ``steps``.

    Raises:
        ValueError: a number is below 0, or a base that is too long has one.

    >>> joined_counted(["mul", "add", "add", "add"], [2, 2, 2, 0])
    ['mul', 'add', 'add_1', 'add_1']
    """
    last: dict[str, int] = {}
    numbers: list[int] = []
    add, get = numbers.append, last.get
    for base, step in zip(bases, steps, strict=True):
        number = get(base, -1) + (-(step + 1 >> 1) if step & 1 else step >> 1)
        last[base] = number
        add(number)
    if not numbers:
        return []
    if min(numbers) < 0:
        raise ValueError("a counted string has a number below 0")
    if max(map(len, bases)) > LONGEST and any(
        [number and len(base) > LONGEST for base, number in zip(bases, numbers, strict=True)]
    ):
        raise ValueError(f"a string of more than {LONGEST} characters is counted")
    return [f"{base}_{number}" if number else base for base, number in zip(bases, numbers, strict=True)]
