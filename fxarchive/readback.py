"""Reading back what is written while the rest is still being written.

Hashing is what bounds the copy of large weights. A thread that follows the writer hashes what lies in the file, so
that writing, hashing and syncing take the time of the slowest of them and not of all three.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from queue import SimpleQueue
from typing import Any

from fxarchive.container import Section
from fxarchive.staging import Staged, store_error
from fxarchive.threads import Threads

_PIECE = 1 << 18
"""What is read at a time: it stays in the cache until it is hashed."""


class ReadBack:
    """The digests of sections as they lie in a file, taken in a thread that follows its writer.

    Use it as a context: the thread is gone when that ends, finished or not.

    Attributes:
        staged: the file.
        extents: which bytes of each section have been read back so far, as offsets and sizes.
    """

    def __init__(self, staged: Staged, names: Collection[str]) -> None:
        """Begin, with the first bytes that are followed.

        Args:
            staged: the file that is being written.
            names: the sections that are worth a thread.
        """
        self.staged = staged
        self.extents: dict[str, list[tuple[int, int]]] = {}
        self._names = names
        self._written: SimpleQueue[tuple[str, int, int] | None] = SimpleQueue()
        self._digests: dict[str, Any] = {}
        self._threads = Threads()
        self._begun = False

    def follow(self, name: str, offset: int, size: int) -> None:
        """Take note that ``size`` bytes of a section were written at ``offset``; `container.write` calls it.

        Raises:
            StoreError: the disk is full, or fails.
        """
        if name not in self._names:
            return
        self.staged.flush()
        if not self._begun:
            self._begun = True
            self._threads.start(self._run)
        self._written.put((name, offset, size))

    def digest_of(self, section: Section) -> bytes | None:
        """Wait for all that was written, and return the digest of a section; None if it was not followed there.

        Raises:
            StoreError: the file cannot be read back.
        """
        self._written.put(None)
        self._threads.wait()
        followed = tuple(self.extents.get(section.name, ())) == section.extents
        return self._digests[section.name].digest() if followed and section.name in self._digests else None

    def __enter__(self) -> ReadBack:
        return self

    def __exit__(self, *_: object) -> None:
        self._written.put(None)
        self._threads.stop()

    def _run(self) -> None:
        try:
            with open(self.staged.temporary, "rb", buffering=0) as file:
                buffer = memoryview(bytearray(_PIECE))
                while (run := self._written.get()) is not None and not self._threads.stopped:
                    self._hash(file, buffer, *run)
        except OSError as error:
            raise store_error(self.staged.target, error) from error

    def _hash(self, file: Any, buffer: memoryview, name: str, offset: int, size: int) -> None:
        digest = self._digests.setdefault(name, hashlib.sha256())
        done = 0
        file.seek(offset)
        while done < size and not self._threads.stopped:
            count = file.readinto(buffer[: size - done])
            if not count:
                break
            digest.update(buffer[:count])
            done += count
        extents = self.extents.setdefault(name, [])
        if extents and sum(extents[-1]) == offset:
            offset, before = extents.pop()
            done += before
        extents.append((offset, done))
