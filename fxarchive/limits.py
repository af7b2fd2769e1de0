"""How much a reader accepts before it refuses: every number that bounds memory or time, in one place.

`spec/limits.md` lists them with the reason for each. A writer keeps to the same numbers, so that whatever it
writes can be read with the defaults.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True)
class Limits:
    """The bounds that a reader and a writer keep; pass a copy with larger numbers to go beyond one.

    Args:
        header_bytes: size of the header's msgpack map, in bytes.
        header_depth: nesting of lists and maps in the header; the header map itself is level 1.
        header_items: entries of any one list or map in the header.
        index_bytes: size of the index's msgpack list, in bytes.
        sections: number of sections in one archive.
        pieces: frames that one raw section may span.
        name_bytes: length of a section's name, in bytes.
        payload_free: size of a document's payload, in bytes, however few it is stored in.
        payload_ratio: bytes that it may have beyond that for each stored byte.
        opcode_bytes: bytes of the payload outside of its long strings and columns.
        values: values that the document unfolds to.
        characters: characters that the document unfolds to.
        copies: entries that are made again for each use of what the document says once.
        ratio: how many more of these four there may be for each stored byte.
        payload_bytes: size of a section that `Archive.read` brings into memory, in bytes.
        window_bytes: memory that a Zstandard frame may ask of its decoder, in bytes.

    >>> from dataclasses import replace
    >>> replace(DEFAULT_LIMITS, payload_bytes=16 * GIB).payload_bytes
    17179869184
    """

    header_bytes: int = 16 * MIB
    header_depth: int = 32
    header_items: int = 32_768
    index_bytes: int = 256 * MIB
    sections: int = 4_194_304
    pieces: int = 1_024
    name_bytes: int = 255
    payload_bytes: int = 4 * GIB
    payload_free: int = 64 * MIB
    payload_ratio: int = 256
    opcode_bytes: int = 8 * MIB
    values: int = 32 * MIB
    characters: int = 64 * MIB
    copies: int = 128 * MIB
    ratio: int = 64
    window_bytes: int = 128 * MIB


DEFAULT_LIMITS = Limits()
