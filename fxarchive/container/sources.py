"""What an archive can be read from: bytes in memory, a binary file, or anything that reads ranges."""

from __future__ import annotations

import io
import mmap
import os
import threading
from typing import BinaryIO, Protocol, runtime_checkable

from ..errors import StoreError, TruncatedArchive

Buffer = bytes | bytearray | memoryview | mmap.mmap


@runtime_checkable
class RangeReader(Protocol):
    """Anything that knows its size and reads a range of bytes, such as an object in a remote store."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    def read_at(self, offset: int, size: int, /) -> bytes | memoryview:
        """The `size` bytes from `offset`."""


class BufferSource:
    """Bytes in memory; ranges are views, not copies."""

    def __init__(self, buffer: Buffer) -> None:
        self._view = memoryview(buffer).cast("B")
        self.size = self._view.nbytes

    def read_at(self, offset: int, size: int, /) -> memoryview:
        return self._view[offset : offset + size]

    def map(self) -> memoryview:
        return self._view


class FileSource:
    """A binary file that can seek; its position may change. Safe to read from several threads.

    Attributes:
        plain: whether it is a file of the system, which can be mapped and is read without a seek.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._map: memoryview | None = None
        # Other files that have a descriptor, such as gzip.GzipFile, do not show its bytes.
        raw = file.raw if isinstance(file, io.BufferedReader) else file
        self.plain = type(raw) is io.FileIO
        self._path = str(getattr(file, "name", "the file"))
        try:
            self.size = file.seek(0, os.SEEK_END)
        except StoreError:
            raise
        except (OSError, ValueError) as error:
            raise StoreError(self._path, f"it cannot be read at any offset ({error})") from error

    def read_at(self, offset: int, size: int, /) -> bytes:
        try:
            if self.plain:
                return self._read(lambda at, count: os.pread(self._file.fileno(), count, at), offset, size)
            with self._lock:
                self._file.seek(offset)
                return self._read(lambda _, count: self._file.read(count), offset, size)
        except StoreError:
            raise
        except (OSError, ValueError) as error:
            raise StoreError(self._path, f"it cannot be read ({error})") from error

    @staticmethod
    def _read(read: _Read, offset: int, size: int) -> bytes:
        """All of the range: one call may give less, on Linux never more than 2 GiB."""
        piece = read(offset, size)
        if len(piece) == size or not piece:
            return piece
        pieces = [piece]
        done = len(piece)
        while done < size and (piece := read(offset + done, size - done)):
            pieces.append(piece)
            done += len(piece)
        return b"".join(pieces)

    def map(self) -> memoryview | None:
        """The file as private writable pages: a write changes memory, never the file."""
        if not self.plain:
            return None
        if self._map is None and self.size:
            # Without a reservation, a file larger than the memory of the machine can be mapped too.
            flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0)
            try:
                pages = mmap.mmap(
                    self._file.fileno(), self.size, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE
                )
            except (OSError, ValueError) as error:
                raise StoreError(self._path, f"it cannot be mapped into memory ({error})") from error
            self._map = memoryview(pages)
        return self._map


class _Read(Protocol):
    def __call__(self, offset: int, size: int, /) -> bytes: ...


Source = BufferSource | FileSource | RangeReader


def as_source(source: Buffer | BinaryIO | RangeReader) -> Source:
    """Wrap whatever `open_archive` accepts.

    Raises:
        TypeError: it is none of these.
        StoreError: a file that cannot seek.
    """
    if isinstance(source, (bytes, bytearray, memoryview, mmap.mmap)):
        return BufferSource(source)
    if isinstance(source, RangeReader):
        return source
    text = isinstance(source, io.TextIOBase)
    if hasattr(source, "read") and hasattr(source, "seek") and not text:
        return FileSource(source)
    raise TypeError(
        f"an archive is read from bytes, a binary file or a range reader, not {type(source).__name__}"
    )


def read_exactly(source: Source, offset: int, size: int) -> bytes | memoryview:
    """The bytes of a range that the size of the source says are there.

    Raises:
        TruncatedArchive: the source has fewer; it became shorter after it was opened.
    """
    data = source.read_at(offset, size)
    if len(data) != size:
        raise TruncatedArchive(f"only {len(data)} of the {size} bytes at {offset} could be read")
    return data
