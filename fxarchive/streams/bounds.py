"""How much a foreign stream may ask for; `spec/limits.md` lists the numbers."""

from __future__ import annotations

from dataclasses import dataclass

OPCODES = 32 * 1024 * 1024
INTEGER_BYTES = 65_536
BLOB_BYTES = 4 * 1024**3
BLOB_MEMBERS = 65_536


@dataclass(frozen=True)
class Bounds:
    """The bounds that the reader of a stream keeps.

    Args:
        opcodes: opcodes of one pickle; each makes at most one object.
        integer_bytes: bytes of one integer.
        blob_bytes: bytes of what ``torch.save`` made, of all such blobs in a stream together.
        blob_members: files in one of them.
    """

    opcodes: int = OPCODES
    integer_bytes: int = INTEGER_BYTES
    blob_bytes: int = BLOB_BYTES
    blob_members: int = BLOB_MEMBERS


DEFAULT_BOUNDS = Bounds()
