"""Write an archive in one forward pass, to a stream of which nothing is asked but `write`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

import zstandard

from ..limits import DEFAULT_LIMITS, MIB, Limits
from .frames import (
    DATA_FRAME,
    FRAME_DATA_BYTES,
    SKIPPABLE_HEADER,
    ZSTD_HEADER_MAX,
    aligned_data_offset,
    check_zstd_header,
    skippable_header,
)
from .header import Header, encode_header
from .index import CODECS, Section, check_name, encode_index, finish_index

LEVEL = 3
_PIECE = MIB
"""What the compressor is fed at a time, so that its output does not depend on the cut of the chunks."""


class Writable(Protocol):
    """A binary stream to write to, forward only."""

    def write(self, data: bytes | memoryview, /) -> int | None:
        """Write what it can and say how many bytes; None means all."""


class NewSection(NamedTuple):
    """A section to write.

    Args:
        name: printable ASCII without spaces, unique in the archive.
        codec: "raw" (aligned to 64 bytes, can be mapped) or "zstd".
        size: bytes of content.
        chunks: the content as C-contiguous buffers, in order; they are read once, as they are written.
        stored_size: None, or for chunks that are already in stored form, their bytes in all; a compressed
            section is copied so without being decompressed.
        sha256: None, or the digest of the stored bytes, for what is copied from another archive: then they are
            not hashed as they are written, and whoever reads the archive back must `check` it.
    """

    name: str
    codec: str
    size: int
    chunks: Iterable[bytes | bytearray | memoryview]
    stored_size: int | None = None
    sha256: bytes | None = None


class Written(NamedTuple):
    """What was written: the archive's identity in hexadecimal, bytes in all, and where every section lies."""

    identity: str
    size: int
    sections: tuple[Section, ...]


def write(
    stream: Writable,
    header: Header,
    sections: Iterable[NewSection],
    *,
    limits: Limits = DEFAULT_LIMITS,
    frame_data_bytes: int = FRAME_DATA_BYTES,
    copied: Callable[[str, int, int], None] = lambda name, offset, size: None,
) -> Written:
    """Write an archive; the same header and sections give the same bytes.

    Compressed bytes, and so the identity, can differ between releases of the Zstandard library.

    Args:
        stream: where to; it is neither flushed nor closed.
        header: what the archive says of itself.
        sections: what it holds, in file order; consumed one by one, so they can be made as they are written.
        limits: the bounds to keep, so that readers with the same limits open the archive.
        frame_data_bytes: data bytes of one skippable frame, at most 2**32 - 2**16.
        copied: told of bytes of a section that came with its digest, when the stream has them: its name, their
            offset, how many.

    Raises:
        UnsupportedValue: the header's `summary` or `metadata` hold values that are not plain.
        TooLarge: header, index or the number of sections is over a limit.
        ValueError: a section breaks a rule: its name, its codec, or chunks that are not of its size.
        OSError: from the stream. After any error the stream holds no archive.
    """
    if not 0 < frame_data_bytes <= FRAME_DATA_BYTES:
        raise ValueError(f"frame_data_bytes is {frame_data_bytes}, not from 1 to {FRAME_DATA_BYTES}")
    output = _Output(stream, copied)
    first = encode_header(header, limits)
    output.write(first)
    written: dict[str, Section] = {}
    for section in sections:
        if problem := check_name(section.name, limits):
            raise ValueError(problem)
        if section.name in written:
            raise ValueError(f"two sections are named {section.name!r}")
        if section.sha256 is not None and len(section.sha256) != 32:
            raise ValueError(f"section {section.name!r} has a digest of {len(section.sha256)} bytes, not 32")
        if section.codec not in CODECS:
            raise ValueError(f"section {section.name!r} has the codec {section.codec!r}, not raw or zstd")
        feed = _Feed(section)
        if section.codec == "raw":
            written[section.name] = _write_raw(output, section, feed, frame_data_bytes)
        elif section.stored_size is None:
            written[section.name] = _write_zstd(output, section, feed)
        else:
            written[section.name] = _write_stored_zstd(output, section, feed, section.stored_size, limits)
        feed.end()
    index = encode_index(tuple(written.values()), output.position, limits)
    identity = hashlib.sha256(first + index).digest()
    output.write(index + finish_index(identity))
    return Written(identity.hex(), output.position, tuple(written.values()))


class _Output:
    """A stream that knows how far it is and takes all of what it is given."""

    def __init__(self, stream: Writable, copied: Callable[[str, int, int], None]) -> None:
        self._stream = stream
        self._copied = copied
        self.position = 0

    def write(self, data: bytes | memoryview) -> None:
        """Unbuffered files write less than asked, on Linux never more than 2 GiB."""
        self.position += len(data)
        done = self._stream.write(data)
        if done is None or done == len(data):
            return
        rest = memoryview(data)
        while done is not None and done < len(rest):
            rest = rest[done:]
            done = self._stream.write(rest)

    def write_hashed(self, data: bytes | memoryview, digest: _Digest) -> None:
        """Write and hash, one after the other: hashing in a thread beside the write gained nothing."""
        self.write(data)
        digest.update(data)

    def digest_of(self, section: NewSection) -> _Digest:
        """What to hash a section with, where its digest is not known."""
        return hashlib.sha256() if section.sha256 is None else _Known(section.name, section.sha256, self)

    def tell_copied(self, name: str, size: int) -> None:
        """The last `size` bytes are of a section whose digest is known."""
        self._copied(name, self.position - size, size)


class _Digest(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class _Known:
    """The digest of bytes that were hashed before, in place of one that is computed."""

    def __init__(self, name: str, digest: bytes, output: _Output) -> None:
        self._name = name
        self._digest = digest
        self._output = output

    def update(self, data: bytes | memoryview, /) -> None:
        """Leave the bytes, which were just written, to whoever reads them back."""
        self._output.tell_copied(self._name, len(data))

    def digest(self) -> bytes:
        return self._digest


class _Feed:
    """The chunks of a section as one run of bytes that must have exactly its size."""

    def __init__(self, section: NewSection) -> None:
        self._name = section.name
        self._total = section.size if section.stored_size is None else section.stored_size
        self._chunks = iter(section.chunks)
        self._rest = memoryview(b"")

    def take(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes, in pieces as they come."""
        while size:
            while not self._rest:
                self._rest = self._next()
            piece = self._rest[:size]
            self._rest = self._rest[size:]
            size -= len(piece)
            yield piece

    def end(self) -> None:
        """All has been taken."""
        if self._rest or any(memoryview(chunk).nbytes for chunk in self._chunks):
            raise ValueError(f"the chunks of section {self._name!r} hold more than its {self._total} bytes")

    def _next(self) -> memoryview:
        try:
            view = memoryview(next(self._chunks))
        except StopIteration:
            raise ValueError(
                f"the chunks of section {self._name!r} hold fewer than its {self._total} bytes"
            ) from None
        return view.cast("B") if view.nbytes else memoryview(b"")


def _write_raw(output: _Output, section: NewSection, feed: _Feed, frame_data_bytes: int) -> Section:
    if section.stored_size not in (None, section.size):
        raise ValueError(f"section {section.name!r} is raw, so its stored size is its size")
    digest = output.digest_of(section)
    extents: list[tuple[int, int]] = []
    remaining = section.size
    while remaining or not extents:
        data_start = output.position + SKIPPABLE_HEADER.size
        offset = data_start if extents else aligned_data_offset(output.position)
        size = min(remaining, frame_data_bytes)
        padding = offset - data_start
        output.write(skippable_header(DATA_FRAME, padding + size) + bytes(padding))
        for piece in feed.take(size):
            output.write_hashed(piece, digest)
        extents.append((offset, size))
        remaining -= size
    return Section(section.name, "raw", section.size, tuple(extents), digest.digest())


def _write_zstd(output: _Output, section: NewSection, feed: _Feed) -> Section:
    digest = hashlib.sha256()
    offset = output.position
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True)
    frame = compressor.compressobj(size=section.size)
    for done in range(0, section.size, _PIECE):
        pieces = list(feed.take(min(_PIECE, section.size - done)))
        output.write_hashed(frame.compress(pieces[0] if len(pieces) == 1 else b"".join(pieces)), digest)
    output.write_hashed(frame.flush(), digest)
    return Section(section.name, "zstd", section.size, ((offset, output.position - offset),), digest.digest())


def _write_stored_zstd(
    output: _Output, section: NewSection, feed: _Feed, stored_size: int, limits: Limits
) -> Section:
    digest = output.digest_of(section)
    offset = output.position
    prefix = b"".join(feed.take(min(ZSTD_HEADER_MAX, stored_size)))
    check_zstd_header(prefix, section.name, section.size, limits.window_bytes)
    output.write_hashed(prefix, digest)
    for piece in feed.take(stored_size - len(prefix)):
        output.write_hashed(piece, digest)
    return Section(section.name, "zstd", section.size, ((offset, stored_size),), digest.digest())
