"""The payload of an archive: its document packed and pickled, within the same bounds for reader and writer.

What a document unfolds to is bounded by what it is stored in, so that a small file cannot ask for the memory of a
large one. Payloads of real graphs have ten times their stored bytes at most, those of very regular ones thousands of
times as many, so each bound has a part that is free.
"""

from __future__ import annotations

from typing import Any

import zstandard

from fxarchive import packing, repeats, wire
from fxarchive.container.writer import LEVEL
from fxarchive.document import Document
from fxarchive.errors import TooLarge
from fxarchive.limits import DEFAULT_LIMITS, Limits
from fxarchive.packing.room import Room

MOST_A_BYTE = 512
"""Values or characters that a byte of a payload unfolds to at most: with 64 entries for each hole of a form and 255
characters that a string takes from another, they are fewer."""


def payload_of(document: Document, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the payload of a document, if a reader with the same limits takes it.

    Raises:
        TooLarge: it unfolds to more than such a reader grants.
        UnsupportedValue: as `wire.dumps`.
    """
    packed = packing.pack(document)
    payload = wire.dumps(packed, limits)
    size = len(payload)
    values, characters = (0, 0) if _is_small(size, limits) else packing.measure(document, packed).used
    if (
        size > min(limits.payload_free, limits.opcode_bytes)
        or values > limits.values
        or characters > limits.characters
        or not repeats.are_few(document, packed, limits.copies)
    ):
        stored = len(zstandard.ZstdCompressor(level=LEVEL).compress(payload))
        check_size(size, stored, limits)
        wire.check_opcodes(payload, _most(limits.opcode_bytes, stored, limits))
        _room(stored, limits).take(values, characters)
        repeats.check_copies(document, packed, _most(limits.copies, stored, limits))
    return payload


def check_size(size: int, stored: int, limits: Limits = DEFAULT_LIMITS) -> None:
    """Check that a payload of ``size`` bytes may be stored in ``stored`` bytes.

    Raises:
        TooLarge: it may not.
    """
    most = limits.payload_free + limits.payload_ratio * stored
    if most < size <= limits.payload_bytes:  # what is over that is refused for it
        raise TooLarge(f"The size of a document of {stored} stored bytes", size, most)


def loads(payload: bytes, stored: int, limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """Return the packed document of a payload that is stored in ``stored`` bytes. Raises as `wire.loads`."""
    return wire.loads(payload, limits, _most(limits.opcode_bytes, stored, limits))


def unpack(packed: Any, size: int, stored: int, limits: Limits = DEFAULT_LIMITS) -> Document:
    """Return the document of its wire form, which has a payload of ``size`` bytes, stored in ``stored``.

    Raises:
        InvalidDocument, TooLarge: as `packing.unpack` and `repeats.check_copies`.
    """
    document = packing.unpack(packed, None if _is_small(size, limits) else _room(stored, limits))
    if not repeats.are_few(document, packed, limits.copies):
        repeats.check_copies(document, packed, _most(limits.copies, stored, limits))
    return document


def _is_small(size: int, limits: Limits) -> bool:
    """Whether a payload is too small for what it unfolds to to be over a limit, so that it need not be counted."""
    return size * MOST_A_BYTE <= min(limits.values, limits.characters)


def _room(stored: int, limits: Limits) -> Room:
    return Room(_most(limits.values, stored, limits), _most(limits.characters, stored, limits))


def _most(free: int, stored: int, limits: Limits) -> int:
    return free + limits.ratio * stored
