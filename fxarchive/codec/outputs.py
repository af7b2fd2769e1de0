"""Comparing what a graph computes now with what it computed when it was saved, bit for bit."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree


def count_leaves(value: Any) -> int:
    """Return how many values stand in nested containers.

    >>> count_leaves((1, {"a": [2, None]}))
    3
    """
    children = _children(value)
    return 1 if children is None else sum([count_leaves(child) for _, child in children])


def differences(expected: Any, found: Any, path: str = "output") -> Iterator[str]:
    """Yield one clause for each place where two outputs differ: in type, dtype, shape, device or any bit.

    >>> list(differences([torch.tensor(1.0)], [torch.tensor(1.5)]))
    ['output[0] differs in 1 of 1 elements']
    """
    if type(expected) is not type(found):
        yield f"{path} is a {type(found).__qualname__} and was a {type(expected).__qualname__}"
    elif isinstance(expected, torch.Tensor):
        yield from _tensor_differences(expected, found, path)
    elif (children := _children(expected)) is not None:
        others = _children(found) or []
        if [step for step, _ in children] != [step for step, _ in others]:
            yield f"{path} has {len(others)} entries and had {len(children)}, or other keys"
            return
        for (step, mine), (_, other) in zip(children, others, strict=True):
            yield from differences(mine, other, path + step)
    elif not _equal(expected, found):
        yield f"{path} is {found!r:.80} and was {expected!r:.80}"


def _children(value: Any) -> list[tuple[str, Any]] | None:
    if isinstance(value, Mapping):
        return [(f"[{key!r:.80}]", held) for key, held in value.items()]
    if isinstance(value, list | tuple):
        return [(f"[{at}]", held) for at, held in enumerate(value)]
    if isinstance(value, slice):
        return [(".start", value.start), (".stop", value.stop), (".step", value.step)]
    # other containers that are registered as such, whose own == may not work on tensors
    held, spec = pytree.tree_flatten(value, is_leaf=lambda part: part is not value)
    return None if spec.is_leaf() else [(f"[{at}]", part) for at, part in enumerate(held)]


def _equal(expected: Any, found: Any) -> bool:
    if isinstance(expected, float):
        return struct.pack("<d", expected) == struct.pack("<d", found)
    if isinstance(expected, complex):
        return _equal(expected.real, found.real) and _equal(expected.imag, found.imag)
    return bool(expected == found)


def _tensor_differences(expected: torch.Tensor, found: torch.Tensor, path: str) -> Iterator[str]:
    for name in ("dtype", "shape", "layout", "device"):
        before, now = getattr(expected, name), getattr(found, name)
        if before != now:
            yield f"{path} has {name} {now} and had {before}"
            return
    if expected.is_meta or isinstance(expected, torch._subclasses.FakeTensor):
        return
    for mine, other in zip(_dense_parts(expected), _dense_parts(found), strict=True):
        if mine.shape != other.shape:
            yield f"{path} stores {other.numel()} elements and stored {mine.numel()}"
            return
        before, now = _bytes(mine), _bytes(other)
        if not torch.equal(before, now):
            count = int((before != now).any(dim=-1).sum())
            yield f"{path} differs in {count} of {mine.numel()} elements"
            return


def _dense_parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Return the strided tensors that make up a tensor of any layout."""
    if tensor.is_quantized:
        return [tensor.int_repr(), torch.dequantize(tensor)]
    if tensor.layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return [tensor]


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a strided tensor, one row an element."""
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return plain.reshape(-1, 1).view(torch.uint8)
