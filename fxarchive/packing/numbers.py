"""Columns of whole numbers as bytes: half a million numbers become one string, which costs the wire nothing.

A column is one byte that says how it is written, and little-endian numbers of 1, 2 or 4 bytes. `spec/packing.md`
is the reference.
"""

from __future__ import annotations

import sys
from array import array
from itertools import accumulate
from operator import sub
from typing import Any

MAX_NUMBER = 2**32 - 1

DIFFERENCES = 0x10
"""Flag of the first byte: each number is stored as what it is more than the one before, the first as it is."""

_UNSIGNED = {array(code).itemsize: code for code in "BHIL" if array(code).itemsize in (1, 2, 4)}
_SIGNED = {array(code).itemsize: code for code in "bhil" if array(code).itemsize in (1, 2, 4)}
_CODES = {**_UNSIGNED, **{DIFFERENCES | width: code for width, code in _SIGNED.items()}}
_SWAPPED = sys.byteorder == "big"


def pack_numbers(numbers: list[int]) -> bytes:
    """Return the bytes of a column of numbers from 0 to `MAX_NUMBER`, as few as that takes.

    Raises:
        ValueError, TypeError: it holds something else.

    >>> pack_numbers([7, 8, 9]).hex(" "), pack_numbers([]), pack_numbers([3, 900]).hex(" ")
    ('11 07 01 01', b'', '02 03 00 84 03')
    """
    if not numbers:
        return b""
    packed = packed_numbers(numbers)
    if packed is None:
        raise ValueError(f"a column of numbers holds one that is not from 0 to {MAX_NUMBER}")
    return packed


def packed_numbers(numbers: list[Any]) -> bytes | None:
    """Return the bytes of a column that is not empty, or None if it holds something else."""
    if set(map(type, numbers)) != {int}:
        return None
    distinct = set(numbers)  # mostly fewer, so that asking them is quick
    highest = max(distinct)
    if min(distinct) < 0 or highest > MAX_NUMBER:
        return None
    width = _width(highest, 8)
    if len(distinct) <= 2 < len(numbers):  # their differences are neither fewer nor narrower
        return bytes([width]) + _bytes(array(_UNSIGNED[width], numbers))
    steps = [numbers[0], *map(sub, numbers[1:], numbers)]
    distinct_steps = set(steps)
    reach = max(max(distinct_steps), -1 - min(distinct_steps))
    step_width = _width(reach, 7)
    # what repeats is compressed, whatever its width; numbers that count up repeat in their differences only
    if step_width < width or (step_width == width and len(distinct_steps) < len(distinct)):
        return bytes([DIFFERENCES | step_width]) + _bytes(array(_SIGNED[step_width], steps))
    return bytes([width]) + _bytes(array(_UNSIGNED[width], numbers))


def unpack_numbers(data: Any) -> list[int]:
    """Return the numbers of a column.

    Raises:
        ValueError, TypeError: it is not one.

    >>> unpack_numbers(bytes.fromhex("11070101"))
    [7, 8, 9]
    """
    if type(data) is not bytes:
        raise TypeError("a column of numbers is not bytes")
    if not data:
        return []
    if data[0] == 1 and len(data) > 1:
        return list(data[1:])
    code = _CODES.get(data[0])
    if code is None or len(data) == 1:
        raise ValueError("a column of numbers does not say how it is written")
    column = array(code, data[1:])
    if _SWAPPED:
        column.byteswap()
    if data[0] < DIFFERENCES:
        return column.tolist()
    numbers = list(accumulate(column))
    if min(numbers) < 0 or max(numbers) > MAX_NUMBER:
        raise ValueError(f"a column of numbers holds one that is not from 0 to {MAX_NUMBER}")
    return numbers


def _width(number: int, bits: int) -> int:
    """Bytes of a number whose highest byte has ``bits`` bits; 8 for one that four bytes do not hold."""
    for width in (1, 2, 4):
        if number < 1 << (8 * width - 8 + bits):
            return width
    return 8


def _bytes(column: array[int]) -> bytes:
    if _SWAPPED:
        column.byteswap()
    return column.tobytes()
