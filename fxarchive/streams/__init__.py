"""Reading pickle streams inertly: what a stream says is recorded, and nothing that it names is called.

`read` interprets the opcodes and returns records (`records`); `blobs.read_blob` does the same for the zip files that
``torch.save`` makes, which tensors in a stream hold.
"""

from __future__ import annotations

from fxarchive.streams.blobs import Blob, read_blob, storage_of
from fxarchive.streams.bounds import OPCODES, Bounds, weight_of
from fxarchive.streams.interpreter import read
from fxarchive.streams.records import Call, FrozenSet, Name, Pairs, PersistentId, Set

__all__ = [
    "OPCODES",
    "Blob",
    "Bounds",
    "Call",
    "FrozenSet",
    "Name",
    "Pairs",
    "PersistentId",
    "Set",
    "read",
    "read_blob",
    "storage_of",
    "weight_of",
]
