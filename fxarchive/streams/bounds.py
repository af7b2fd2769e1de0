"""How much a foreign stream may ask for; `spec/limits.md` lists the numbers."""

from __future__ import annotations

from dataclasses import dataclass

OPCODES = 32 * 1024 * 1024
INTEGER_BYTES = 65_536
BLOB_BYTES = 4 * 1024**3
BLOB_MEMBERS = 65_536

STORED_FREE = 4_194_304
STORED_RATIO = 64
"""A stream in an archive is compressed: so many bytes of it count whatever it is stored in, and so many more for each
stored byte. Opcodes of real streams are fewer than ten times as many; only weights of zeros compress better."""


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


def weight_of(size: int, stored: int | None) -> int:
    """Return how many bytes a stream of ``size`` bytes counts for, by which what is made of it is bounded.

    Args:
        size: bytes of the stream.
        stored: bytes that it is stored in; None if it is a file of its own.

    >>> weight_of(1000, None), weight_of(10**9, 1000)
    (1000, 4258304)
    """
    return size if stored is None else min(size, STORED_FREE + STORED_RATIO * stored)
