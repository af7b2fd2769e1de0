"""How much a foreign stream may ask for."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class Bounds:
    """The bounds that the reader of a stream keeps.

    Args:
        opcodes: opcodes of one stream, and of all blobs in it together; each makes at most one object.
        integer_bytes: bytes of one integer.
        blob_bytes: bytes that the zip files in a stream may hold together when they are unpacked.
        blob_members: files in one of them.
        depth: zip files inside zip files.
    """

    opcodes: int = 32 * MIB
    integer_bytes: int = 65_536
    blob_bytes: int = 4 * 1024 * MIB
    blob_members: int = 65_536
    depth: int = 4


DEFAULT_BOUNDS = Bounds()
