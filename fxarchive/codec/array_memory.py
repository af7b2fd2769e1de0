"""Where the bytes of arrays lie: which of them are one storage, and which lie in the storage of a tensor.

Arrays that see the same memory see the same memory after a load. numpy does not say who owns what a view sees (the
base may be a buffer of anything), so addresses tell: arrays whose memory overlaps are one storage, which begins at the
first byte that one of them sees and ends with the last. What no saved array sees is not kept.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from fxarchive.codec.encoder import LONGEST_PATH, Encoder, Refused
from fxarchive.codec.storages import HOST_MEMORY, encode_storage
from fxarchive.errors import Problem, UnsupportedValue, shortened

OVERLAP = (
    "it shares part of its memory with a tensor that sees another part; copy it with .copy(), or make the tensor "
    "from the whole array"
)


class Span(NamedTuple):
    """Memory that an array or a storage sees."""

    start: int
    end: int
    """Addresses; the last is that of the byte behind it."""
    row: int
    """Of the array in `arrays`; -1 for a storage."""
    held: Any
    """The array, or the storage."""
    path: str = ""


def note(enc: Encoder, array: Any, row: int, low: int, high: int) -> None:
    """Let ``array`` find its storage when all that sees its memory is known.

    Args:
        enc: the encoder.
        array: one with elements.
        row: of `arrays`; gets ``storage`` and, where it is not 0, ``offset``.
        low, high: bytes from its first element to the first and behind the last byte that it sees.
    """
    spans: list[Span] = enc.state.setdefault("memory of arrays", [])
    if not spans:
        enc.at_end(lambda: _place(enc, spans))
    address = array.__array_interface__["data"][0]
    spans.append(Span(address + low, address + high, row, array, enc.here()))


def _place(enc: Encoder, arrays: list[Span]) -> None:
    stored = [
        Span(storage.data_ptr(), storage.data_ptr() + storage.nbytes(), -1, storage)
        for storage in enc.state.get(HOST_MEMORY, ())
    ]
    problems: list[tuple[int, Problem]] = []
    groups: list[tuple[int, Any, list[Span]]] = []
    for group in _overlapping([*arrays, *stored]):
        seen = sorted([span for span in group if span.row >= 0], key=lambda span: span.row)
        storages = [span for span in group if span.row < 0]
        if not seen:
            continue
        if not storages:
            groups.append((seen[0].row, _memory(seen), seen))
        for span in seen if storages else ():
            around = [held for held in storages if held.start < span.end and span.start < held.end]
            if len(around) == 1 and around[0].start <= span.start and span.end <= around[0].end:
                groups.append((span.row, around[0].held, [span]))
            else:
                problems.append((span.row, Problem(_shown(span.path), OVERLAP)))
    if problems:
        raise UnsupportedValue([problem for _, problem in sorted(problems)])
    for _, storage, seen in sorted(groups, key=lambda group: group[0]):
        try:
            row = encode_storage(enc, storage, keep=True)
        except Refused as refused:
            raise UnsupportedValue(refused.below(_shown(seen[0].path))) from None
        for span in seen:
            record = enc.document["arrays"][span.row]  # type: ignore[typeddict-item]
            record["storage"] = row
            offset = span.held.__array_interface__["data"][0] - storage.data_ptr()
            if offset:
                record["offset"] = offset


def _overlapping(spans: list[Span]) -> Iterator[list[Span]]:
    """Yield the spans in groups: those of two groups share no byte."""
    group: list[Span] = []
    end = 0
    for span in sorted(spans, key=lambda span: (span.start, span.end, span.row)):
        if group and span.start >= end:
            yield group
            group = []
        group.append(span)
        end = span.end if len(group) == 1 else max(end, span.end)
    if group:
        yield group


def _memory(spans: list[Span]) -> torch.UntypedStorage:
    """Return a storage over the memory of arrays, which live as long as it does."""
    start, end = min([span.start for span in spans]), max([span.end for span in spans])
    buffer: Any = (ctypes.c_char * (end - start)).from_address(start)
    buffer.arrays = [span.held for span in spans]
    return torch.frombuffer(buffer, dtype=torch.uint8).untyped_storage()


def _shown(path: str) -> str:
    return shortened(path.lstrip("."), LONGEST_PATH) or "the object"
