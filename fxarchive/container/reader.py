"""Read an archive: bounded checks in a fixed order, then sections on demand."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

from ..errors import CorruptArchive, TooLarge, TruncatedArchive
from ..limits import DEFAULT_LIMITS, MIB, Limits
from .frames import (
    DATA_FRAME,
    SKIPPABLE_HEADER,
    ZSTD_HEADER_MAX,
    check_zstd_header,
    decompress,
    decompress_into,
    skippable_header,
)
from .header import CONTAINER_VERSION, Header, check_supported, header_extent, read_header
from .index import TAIL_BYTES, Section, check_cover, decode_index, decode_tail, split_index
from .sources import Buffer, FileSource, RangeReader, Source, as_source, read_exactly
from .writer import NewSection

_FIRST_READ = 4096
_CHUNK = MIB
"""What is read at a time: larger pieces leave the cache before they are used, which makes a copy five times slower."""

LOCAL_CHUNK = 1 << 19
"""What is read at a time from a local file: malloc hands out larger pieces as new pages, whose faults take twice as
long as the copy itself."""


class Location(NamedTuple):
    """A range of bytes in the file."""

    offset: int
    size: int


class Archive:
    """An open archive whose header, tail and index have been checked; sections are checked as they are read.

    It does not own what it reads from: keep a file open as long as sections are read. Maps outlive both.

    Attributes:
        header: the `Header`.
        container_version: the version of the frames.
        sections: `Section` by name, in file order.
        identity: SHA-256 over header and index, in hexadecimal. The index holds the digest of every section,
            so two archives with one identity hold the same bytes.
        size: bytes of the file.
    """

    def __init__(
        self,
        source: Source,
        header: Header,
        identity: bytes,
        sections: dict[str, Section],
        frames: list[int],
        limits: Limits,
    ) -> None:
        self._source = source
        self._limits = limits
        self._frames = dict(zip(sections, frames, strict=True))
        self._found: set[str] = set()
        self.header = header
        self.container_version = CONTAINER_VERSION
        self.sections: Mapping[str, Section] = MappingProxyType(sections)
        self.identity = identity.hex()
        self.size = source.size

    def section(self, name: str) -> Section:
        """The section called `name`, once its frame headers and padding are what the index says.

        Raises:
            CorruptArchive: there is none, or its frames are not where they should be.
            TooLarge: its Zstandard window is over `limits.window_bytes`.
        """
        section = self.sections.get(name)
        if section is None:
            raise CorruptArchive("the index", f"there is no section {name!r:.80}")
        if name not in self._found:
            self._check_frames(section, self._frames[name])
            self._found.add(name)
        return section

    def read(self, name: str) -> bytes:
        """The content of a section, its digest checked before anything is decompressed.

        Raises:
            CorruptArchive: no such section, altered bytes, or a frame that is not what was declared.
            TooLarge: the section is over `limits.payload_bytes`, or its window over `limits.window_bytes`.
        """
        section = self.section(name)
        if section.size > self._limits.payload_bytes:
            raise TooLarge(f"The size of section {name!r} in bytes", section.size, self._limits.payload_bytes)
        stored = self._stored(section)
        _check_digest(section, hashlib.sha256(stored).digest())
        if section.codec == "raw":
            return bytes(stored)
        return decompress(stored, name, section.size, self._limits.window_bytes)

    def read_into(self, name: str, buffer: bytearray | memoryview | mmap.mmap) -> None:
        """Fill a writable buffer of exactly the section's size, without a second copy of it in memory.

        The buffer holds nothing to rely on if an error is raised.

        Raises:
            CorruptArchive, TooLarge: as `read`, but for `limits.payload_bytes`: the caller chose the size.
            ValueError: the buffer has another size.
        """
        section = self.section(name)
        target = memoryview(buffer).cast("B")
        if target.nbytes != section.size:
            raise ValueError(f"section {name!r} has {section.size} bytes and the buffer {target.nbytes}")
        if section.codec == "zstd":
            self.check(name)
            decompress_into(self._chunks(section), name, target, self._limits.window_bytes)
            return
        digest = hashlib.sha256()
        done = 0
        for chunk in self._chunks(section):
            target[done : done + len(chunk)] = chunk
            digest.update(chunk)
            done += len(chunk)
        _check_digest(section, digest.digest())

    def location(self, name: str) -> Location | None:
        """Where the content of a section lies in the file as it is, or None if it lies nowhere in one piece.

        Offsets are multiples of 64. Digests are not checked; `check` does that.

        Raises:
            CorruptArchive: no such section, or its frames are not where they should be.
        """
        section = self.section(name)
        if section.codec != "raw" or len(section.extents) != 1:
            return None
        return Location(*section.extents[0])

    def map(self, name: str) -> memoryview | None:
        """The content of a section without a copy, or None where only `read` and `read_into` can give it.

        A file on disk is mapped once, as private pages: what is written to the view stays in this process.
        From bytes in memory the view is writable if they are. Digests are not checked; `check` does that.

        Raises:
            CorruptArchive: no such section, or its frames are not where they should be.
            StoreError: the system refuses to map the file.
        """
        location = self.location(name)
        mapper = getattr(self._source, "map", None)
        if location is None or mapper is None:
            return None
        whole: memoryview | None = mapper()
        return None if whole is None else whole[location.offset : location.offset + location.size]

    def check(self, name: str) -> None:
        """Compare the stored bytes of a section with its digest, and nothing else, in bounded memory.

        Raises:
            CorruptArchive: they differ, there is no such section, or its frames are not where they should be.
        """
        section = self.section(name)
        digest = hashlib.sha256()
        for chunk in self._chunks(section):
            digest.update(chunk)
        _check_digest(section, digest.digest())

    def check_all(self) -> None:
        """`check` every section, in file order."""
        for name in self.sections:
            self.check(name)

    def copy_of(self, name: str, *, verified: bool = True) -> NewSection:
        """A section to `write` into another archive with its stored bytes as they are, verified as they pass.

        With ``verified=False`` they are not hashed at all, and the copy has the digest that they should have: it
        must be checked in the archive that was written, which finds what was altered here and what there.

        Raises:
            CorruptArchive: as `check`; for altered bytes, from `write` when they have been passed on.
        """
        section = self.section(name)
        if not verified:
            chunks = self._chunks(section)
            return NewSection(name, section.codec, section.size, chunks, section.stored_size, section.sha256)
        return NewSection(name, section.codec, section.size, self._verified(section), section.stored_size)

    def check_frames(self) -> None:
        """Compare every frame header and padding with the index; `open_archive` does so unless told not to.

        Raises:
            CorruptArchive, TooLarge: as `section`.
        """
        for name in self.sections:
            self.section(name)

    def _check_frames(self, section: Section, start: int) -> None:
        where = f"section {section.name!r}"
        if section.codec == "zstd":
            prefix = read_exactly(self._source, start, min(ZSTD_HEADER_MAX, section.stored_size))
            check_zstd_header(bytes(prefix), section.name, section.size, self._limits.window_bytes)
            return
        for offset, size in section.extents:
            before = bytes(read_exactly(self._source, start, offset - start))
            expected = skippable_header(DATA_FRAME, offset + size - start - SKIPPABLE_HEADER.size)
            if before[: SKIPPABLE_HEADER.size] != expected:
                raise CorruptArchive(where, f"the frame header at {start} is not what the index says")
            if before.count(0, SKIPPABLE_HEADER.size) != len(before) - SKIPPABLE_HEADER.size:
                raise CorruptArchive(where, f"the padding after {start} is not zero")
            start = offset + size

    def _chunks(self, section: Section) -> Iterator[bytes | memoryview]:
        chunk = LOCAL_CHUNK if isinstance(self._source, FileSource) and self._source.plain else _CHUNK
        for offset, size in section.extents:
            for done in range(0, size, chunk):
                yield read_exactly(self._source, offset + done, min(chunk, size - done))

    def _verified(self, section: Section) -> Iterator[bytes | memoryview]:
        digest = hashlib.sha256()
        for chunk in self._chunks(section):
            digest.update(chunk)
            yield chunk
        _check_digest(section, digest.digest())

    def _stored(self, section: Section) -> bytes | memoryview:
        if len(section.extents) == 1:
            return read_exactly(self._source, *section.extents[0])
        return b"".join(self._chunks(section))


def open_archive(
    source: Buffer | BinaryIO | RangeReader,
    *,
    schema: int | None = None,
    features: Collection[str] = (),
    walk: bool = True,
    limits: Limits = DEFAULT_LIMITS,
) -> Archive:
    """Open an archive and check everything but the content of its sections.

    The checks come in the order of `spec/container.md`, section 8, each before what depends on it.

    Args:
        source: bytes in memory, a binary file that can seek (it stays open and its position changes), or an
            object with `size` and `read_at(offset, size)`.
        schema: newest schema that the caller can read; None to open whatever there is, for a look at it.
        features: features that the caller knows, if `schema` is given.
        walk: compare every frame header with the index now, one small read a section; if False, as for remote
            sources, each is compared when its section is first used.
        limits: the bounds to keep.

    Raises:
        NotAnArchive: the bytes are something else.
        TruncatedArchive: they end too early.
        CorruptArchive: they were altered, or no writer made them.
        TooNew: the container version, the schema or a feature is not known.
        TooLarge: something is over a limit.
        StoreError: the source cannot be read.

    >>> import io
    >>> from fxarchive.container import Header, NewSection, Writer, open_archive, write
    >>> file = io.BytesIO()
    >>> header = Header(2, 2, (), Writer("0.1.0", "2.13.0", "3.11.8"), "GraphModule")
    >>> written = write(file, header, [NewSection("graph", "zstd", 5, [b"hello"])])
    >>> archive = open_archive(file.getvalue(), schema=2)
    >>> archive.read("graph"), archive.identity == written.identity
    (b'hello', True)
    """
    source = as_source(source)
    first = bytes(read_exactly(source, 0, min(_FIRST_READ, source.size)))
    header_end = header_extent(first, limits)
    if header_end > source.size:
        raise TruncatedArchive(f"it ends after {source.size} bytes and the header has {header_end}")
    if header_end > len(first):
        first = bytes(read_exactly(source, 0, header_end))
    header = read_header(first, limits)
    if schema is not None:
        check_supported(header, schema, features)
    if source.size < header_end + SKIPPABLE_HEADER.size + 1 + TAIL_BYTES:
        raise TruncatedArchive(f"it ends after {source.size} bytes, before an index")
    end = bytes(read_exactly(source, source.size - TAIL_BYTES, TAIL_BYTES))
    tail = decode_tail(end, source.size, header_end, limits)
    frame = bytes(read_exactly(source, tail.index_offset, source.size - tail.index_offset))
    covered, listed = split_index(frame, tail)
    identity = hashlib.sha256(first[:header_end] + covered).digest()
    if identity != tail.identity:
        raise CorruptArchive("the index", "the digest over header and index does not match")
    sections = decode_index(listed, limits)
    frames = check_cover(list(sections.values()), header_end, tail.index_offset)
    archive = Archive(source, header, identity, sections, frames, limits)
    if walk:
        archive.check_frames()
    return archive


def _check_digest(section: Section, found: bytes) -> None:
    if found != section.sha256:
        raise CorruptArchive(f"section {section.name!r}", "its digest does not match its bytes")
