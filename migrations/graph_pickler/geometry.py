"""Sizes, strides and what they need of a storage, as torch computes them."""

from __future__ import annotations

from fxarchive.migrations.graph_pickler.translation import Untranslatable

MOST = 2**63 - 1


def contiguous_strides(size: list[int]) -> list[int]:
    """Return the strides of a contiguous tensor of ``size``.

    >>> contiguous_strides([2, 0, 3])
    [3, 3, 1]
    """
    strides = [1] * len(size)
    for i in range(len(size) - 2, -1, -1):
        strides[i] = strides[i + 1] * (size[i + 1] or 1)
    return strides


def needed_bytes(size: list[int], stride: list[int], offset: int, item_bytes: int) -> int:
    """Return the bytes that a storage must have for a view of it; 0 if the view has no element.

    Raises:
        Untranslatable: the numbers are none that a tensor can have.

    >>> needed_bytes([2, 3], [3, 1], 4, 4)
    40
    """
    if len(size) != len(stride) or not all([0 <= number <= MOST for number in (*size, *stride, offset)]):
        raise Untranslatable.because("its size, stride and offset are not those of a tensor")
    last = offset
    for length, step in zip(size, stride, strict=True):
        if length == 0:
            return 0
        last += (length - 1) * step
    if (last + 1) * item_bytes > MOST:
        raise Untranslatable.because("it reaches beyond what memory can have")
    return (last + 1) * item_bytes
