"""Where the bytes of storages come from when an archive is loaded: mapped, copied, or out of an older document."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

from fxarchive.container import Archive
from fxarchive.limits import KIB

SMALL_STORAGE = 64 * KIB
"""Storages of at most this many bytes are checked against their digest at every load: it costs nothing."""

ALIGNMENT = 64
"""Bytes; `codec.storages` copies what is not so aligned."""


class Sections:
    """The bytes of storages: mapped where that is possible and wanted, else copied.

    What a migration took out of an older document stands beside the sections of the archive.
    """

    def __init__(self, archive: Archive, mmap: bool, migrated: Mapping[str, bytes]) -> None:
        self._archive = archive
        self._mmap = mmap
        self._migrated = migrated

    def writable(self, name: str) -> memoryview:
        """Return the bytes of a section as memory that may be written to, and that no file changes with."""
        held = self._migrated.get(name)
        if held is not None:
            buffer = aligned(len(held))
            buffer[:] = held
            return buffer
        section = self._archive.section(name)
        mapped = self._archive.map(name) if self._mmap else None
        if mapped is not None and not mapped.readonly:
            if section.size <= SMALL_STORAGE:
                self._archive.check(name)
            return mapped
        buffer = aligned(section.size)
        self._archive.read_into(name, buffer)
        return buffer

    def read(self, name: str) -> bytes:
        """Return the content of a section."""
        return self._migrated[name] if name in self._migrated else self._archive.read(name)


def aligned(size: int) -> memoryview:
    """Return zeroed memory that tensors can use where it is: torch wants a multiple of 64 as its address."""
    memory = bytearray(size + ALIGNMENT - 1)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % ALIGNMENT
    return memoryview(memory)[start : start + size]
