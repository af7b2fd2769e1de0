"""Checks of what a file says about the shape of a tensor, before torch sees it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from fxarchive import tables
from fxarchive.codec.values import CONSTANTS, newer_torch
from fxarchive.errors import InvalidDocument, MissingOperator, Problem

MAX_DIMENSIONS = 1024
"""Dimensions that a tensor may have (spec/limits.md); kernels of torch take 64."""

MAX_EXTENT = tables.MAX_EXTENT
"""Bound of sizes, strides, offsets, elements and bytes: torch computes with signed 64-bit integers."""


_INTEGER = frozenset({int})
_DTYPES = CONSTANTS["dtype"]


def check_integers(values: Any, what: str, where: str) -> list[int]:
    """Return ``values`` if it is a list of at most `MAX_DIMENSIONS` integers from 0 to `MAX_EXTENT`."""
    if type(values) is not list or len(values) > MAX_DIMENSIONS:
        raise InvalidDocument(where, f"its {what} is not a list of up to {MAX_DIMENSIONS} integers")
    if not values or (
        _INTEGER.issuperset(map(type, values)) and min(values) >= 0 and max(values) <= MAX_EXTENT
    ):
        return values
    for value in values:
        if type(value) is not int or not 0 <= value <= MAX_EXTENT:
            raise InvalidDocument(where, f"its {what} has the entry {value!r}")
    return values


def check_integer(value: Any, what: str, where: str) -> int:
    """Return ``value`` if it is an integer from 0 to `MAX_EXTENT`."""
    if type(value) is not int or not 0 <= value <= MAX_EXTENT:
        raise InvalidDocument(where, f"its {what} is {value!r}")
    return value


def check_flag(record: dict[str, Any], name: str, where: str, default: bool = False) -> bool:
    """Return the flag ``name`` of ``record``; ``default`` if it is left out."""
    flag = record.get(name, default)
    if type(flag) is not bool:
        raise InvalidDocument(where, f"its {name} is {flag!r}")
    return flag


def check_dtype(name: Any, where: str) -> torch.dtype:
    """Return the dtype called ``name`` (without ``torch.``) in the running torch."""
    dtype = _DTYPES.get(name) if type(name) is str else None
    if dtype is None:
        if type(name) is not str:
            raise InvalidDocument(where, f"its dtype is {name!r:.80}")
        raise MissingOperator([Problem(f"torch.{name:.80}", newer_torch())])
    found: torch.dtype = dtype
    return found


def name_of_dtype(dtype: torch.dtype) -> str:
    """Return the name of ``dtype`` without ``torch.``."""
    return str(dtype).removeprefix("torch.")


def contiguous_strides(size: list[int]) -> list[int]:
    """Return the strides of a contiguous tensor of ``size``, as torch computes them.

    >>> contiguous_strides([2, 0, 3])
    [3, 3, 1]
    """
    strides = [1] * len(size)
    for i in range(len(size) - 2, -1, -1):
        strides[i] = strides[i + 1] * (size[i + 1] or 1)
    return strides


def needed_elements(size: list[int], stride: list[int], offset: int) -> int:
    """Return how many elements a storage must hold for a view of it; 0 if the view has none.

    >>> needed_elements([2, 3], [3, 1], 4)
    10
    """
    last = offset
    for length, step in zip(size, stride, strict=True):
        if length == 0:
            return 0
        last += (length - 1) * step
    return last + 1


def check_extent(size: list[int], stride: list[int], offset: int, itemsize: int, where: str) -> int:
    """Return the bytes of storage that a tensor needs.

    Args:
        size, stride, offset: in elements, each from 0 to `MAX_EXTENT`.
        itemsize: bytes of an element.

    Raises:
        InvalidDocument: the lists differ in length, or a product leaves the signed 64-bit range.
    """
    if len(size) != len(stride):
        raise InvalidDocument(where, f"it has {len(size)} sizes and {len(stride)} strides")
    elements = 1
    for length in size:
        elements *= length or 1
    needed = needed_elements(size, stride, offset) * itemsize
    if max(elements, needed) > MAX_EXTENT:
        raise InvalidDocument(
            where, f"a tensor of size {_shown(size)} and stride {_shown(stride)} is too large for torch"
        )
    return needed


def _shown(values: list[int]) -> str:
    return str(values) if len(values) <= 8 else f"[{', '.join(map(str, values[:8]))}, ...]"


def silence(dtype: torch.dtype | None, layout: torch.layout = torch.strided) -> AbstractContextManager[Any]:
    """Return a context for making a tensor of a kind that torch warns about, as an archive asks for it.

    Args:
        dtype: its dtype, None for a quantized one.
        layout: its layout.
    """
    if layout is torch.strided and dtype not in (None, torch.complex32):
        return nullcontext()
    return _without_warnings()


@contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def reason(error: Exception) -> str:
    """Return what torch says of an error, without the trace of C++ frames that it may append."""
    return str(error).partition("\n")[0].rstrip(".")
