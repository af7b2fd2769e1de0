"""Arrays of numpy as data: which dtypes are kept, and which bytes an array sees; without numpy."""

from __future__ import annotations

import re

MAX_DIMENSIONS = 64
"""Dimensions that an array of numpy 2 may have (spec/limits.md)."""

DTYPE = re.compile(
    r"\|[biu]1|[<>](?:[iu][248]|f[248]|c8|c16)|\|S[1-9][0-9]{0,8}|[<>]U[1-9][0-9]{0,8}"
    r"|[<>][mM]8(?:\[(?:[1-9][0-9]{0,8})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)
"""What numpy calls the dtypes that are kept: ``<f4``, ``|b1``, ``>U12``, ``<M8[ns]``."""


def itemsize(dtype: str) -> int:
    """Return the bytes of an element of a dtype that `DTYPE` matches.

    >>> itemsize("<f4"), itemsize(">U3"), itemsize("<M8[25s]")
    (4, 12, 8)
    """
    size = int(dtype[2:].partition("[")[0])
    return size * 4 if dtype[1] == "U" else size


def contiguous_strides(size: list[int], itemsize: int) -> list[int]:
    """Return the strides of an array in C order, in bytes.

    >>> contiguous_strides([2, 3], 4)
    [12, 4]
    """
    strides = [itemsize] * len(size)
    for at in range(len(size) - 2, -1, -1):
        strides[at] = strides[at + 1] * size[at + 1]
    return strides


def extent(size: list[int], stride: list[int], itemsize: int) -> tuple[int, int]:
    """Return the first byte and the byte behind the last that an array with elements sees.

    Both count from the first element; strides may be negative.

    >>> extent([3, 2], [-8, 4], 4)
    (-16, 8)
    """
    steps = [(length - 1) * step for length, step in zip(size, stride, strict=True)]
    return sum([step for step in steps if step < 0]), sum([step for step in steps if step > 0]) + itemsize
