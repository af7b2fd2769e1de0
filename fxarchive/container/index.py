"""The index: the last frame, which lists every section and ends in a tail of fixed size."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import CorruptArchive, TooLarge, TruncatedArchive
from ..limits import Limits
from .frames import (
    ALIGNMENT,
    INDEX_FRAME,
    MAX_SKIPPABLE_CONTENT,
    SKIPPABLE_HEADER,
    ZSTD_FRAME_MIN,
    ZSTD_MAX_RATIO,
    aligned_data_offset,
    skippable_header,
)
from .plain import pack, unpack

END_MAGIC = b"\x89FXE\r\n\x1a\n"
"""The last eight bytes of an archive: its writer finished."""

_TAIL = struct.Struct("<QQ32s8s")
TAIL_BYTES = _TAIL.size
_TAIL_COVERED = 16
"""Bytes of the tail, its two integers, that the identity covers."""

_ENTRY_MIN = 40
"""No entry of the list is shorter, in bytes."""

CODECS = ("raw", "zstd")
_NAME = re.compile(r"[!-~]+")


class Section(NamedTuple):
    """Where a section lies in the file, and what it must be.

    name: unique in the archive. codec: "raw" or "zstd". size: bytes of content. extents: (offset, bytes) of
    each stored piece, from the start of the file. sha256: digest of the stored bytes, 32 bytes.
    """

    name: str
    codec: str
    size: int
    extents: tuple[tuple[int, int], ...]
    sha256: bytes

    @property
    def stored_size(self) -> int:
        """Bytes that the section takes in the file, without frame headers and padding."""
        return sum(size for _, size in self.extents)


class Tail(NamedTuple):
    """The end of the file: where the index frame starts, bytes of its list, digest over header and index."""

    index_offset: int
    index_size: int
    identity: bytes


def check_name(name: object, limits: Limits) -> str | None:
    """Why `name` cannot name a section, or None."""
    if type(name) is not str or not _NAME.fullmatch(name):
        return f"a section is named {name!r:.80}, which is not printable ASCII without spaces"
    if len(name) > limits.name_bytes:
        return (
            f"the section name {name[:80]!r}... has {len(name)} bytes, over the limit of {limits.name_bytes}"
        )
    return None


def encode_index(sections: Sequence[Section], index_offset: int, limits: Limits) -> bytes:
    """The index frame up to its digest; `finish_index` adds the rest.

    Raises:
        TooLarge: more sections, pieces of one, or bytes than the limits.
    """
    _check_count(len(sections), limits)
    for section in sections:
        if len(section.extents) > limits.pieces:
            raise TooLarge(
                f"The number of pieces of section {section.name!r}", len(section.extents), limits.pieces
            )
    entries = [
        (s.name, s.codec, s.size, [number for extent in s.extents for number in extent], s.sha256)
        for s in sections
    ]
    data = pack(entries)
    _check_size(len(data), limits)
    tail = struct.pack("<QQ", index_offset, len(data))
    return skippable_header(INDEX_FRAME, len(data) + TAIL_BYTES) + data + tail


def finish_index(identity: bytes) -> bytes:
    """The bytes after those of `encode_index`: the digest over header frame and these, and the end magic."""
    return identity + END_MAGIC


def decode_tail(data: bytes, file_size: int, header_end: int, limits: Limits) -> Tail:
    """Read the last `TAIL_BYTES` bytes of a file.

    Raises:
        TruncatedArchive: they do not end in the end magic.
        TooLarge: the index is larger than `limits.index_bytes`.
        CorruptArchive: the index cannot lie where they say.
    """
    index_offset, index_size, identity, magic = _TAIL.unpack(data)
    if magic != END_MAGIC:
        raise TruncatedArchive(
            "it does not end with the end mark, so its writer did not finish or its end is lost"
        )
    _check_size(index_size, limits)
    if (
        index_offset < header_end
        or index_offset + SKIPPABLE_HEADER.size + index_size + TAIL_BYTES != file_size
    ):
        raise CorruptArchive(
            "the tail",
            f"an index of {index_size} bytes at {index_offset} does not end a file of {file_size} bytes",
        )
    return Tail(index_offset, index_size, identity)


def split_index(frame: bytes, tail: Tail) -> tuple[bytes, bytes]:
    """The part of the index frame that the identity covers, and the msgpack list.

    Raises:
        CorruptArchive: the frame is not an index frame of the size that the tail gives.
    """
    expected = skippable_header(INDEX_FRAME, tail.index_size + TAIL_BYTES)
    if frame[: len(expected)] != expected:
        raise CorruptArchive("the index", "its frame header does not match the tail")
    end = SKIPPABLE_HEADER.size + tail.index_size
    return frame[: end + _TAIL_COVERED], frame[SKIPPABLE_HEADER.size : end]


def decode_index(data: bytes, limits: Limits) -> dict[str, Section]:
    """Read the list of sections, in file order.

    Raises:
        CorruptArchive: it is not canonical msgpack of the shape in the spec, or a name repeats.
        TooLarge: more sections than `limits.sections`.
    """
    count = _declared_count(data)
    _check_count(count, limits)
    if count * _ENTRY_MIN > len(data):
        raise CorruptArchive("the index", f"it declares {count} sections in {len(data)} bytes")
    entries = unpack(data, "the index", max(count, 4 * limits.pieces))
    sections: dict[str, Section] = {}
    for number, entry in enumerate(entries):
        section = _section(number, entry, limits)
        if section.name in sections:
            raise CorruptArchive("the index", f"two sections are named {section.name!r}")
        sections[section.name] = section
    if pack(entries) != data:
        raise CorruptArchive("the index", "its msgpack is not in canonical form")
    return sections


def check_cover(sections: Sequence[Section], start: int, end: int) -> list[int]:
    """Where the first frame of each section starts, given that the frames fill the file from start to end.

    Raises:
        CorruptArchive: two sections overlap, or bytes between them belong to none.
    """
    position = start
    starts: list[int] = []
    for section in sections:
        starts.append(position)
        frame = position
        for number, (offset, size) in enumerate(section.extents):
            if section.codec == "zstd":
                expected = frame
            elif number == 0:
                expected = aligned_data_offset(frame)
            else:
                expected = frame + SKIPPABLE_HEADER.size
            if offset != expected:
                raise CorruptArchive(
                    "the index",
                    f"section {section.name!r} lies at {offset} instead of {expected}, next in line",
                )
            frame = offset + size
        position = frame
    if position != end:
        raise CorruptArchive("the index", f"the sections end at {position} and the index starts at {end}")
    return starts


def _section(number: int, entry: Any, limits: Limits) -> Section:
    if type(entry) is not list or len(entry) != 5:
        raise CorruptArchive("the index", f"entry {number} is not a list of five")
    name, codec, size, numbers, digest = entry
    if bad_name := check_name(name, limits):
        raise CorruptArchive("the index", bad_name)
    where = f"section {name!r}"
    if codec not in CODECS:
        raise CorruptArchive("the index", f"{where} has the codec {codec!r:.80}, not raw or zstd")
    if type(size) is not int or not 0 <= size < 2**63:
        raise CorruptArchive("the index", f"{where} has the size {size!r:.80}")
    if type(numbers) is not list or not numbers or len(numbers) % 2:
        raise CorruptArchive("the index", f"{where} has no list of offsets and sizes in pairs")
    if len(numbers) > 2 * limits.pieces:
        raise CorruptArchive(
            "the index", f"{where} has {len(numbers) // 2} pieces, over the limit of {limits.pieces}"
        )
    if not all(type(value) is int and 0 <= value < 2**63 for value in numbers):
        raise CorruptArchive(
            "the index", f"{where} has an offset or a size that is no int from 0 to 2**63 - 1"
        )
    if type(digest) is not bytes or len(digest) != 32:
        raise CorruptArchive("the index", f"{where} has no sha256 of 32 bytes")
    extents = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    section = Section(name, codec, size, extents, digest)
    if broken := _broken_sizes(section):
        raise CorruptArchive("the index", f"{where} {broken}")
    return section


def _broken_sizes(section: Section) -> str | None:
    stored = section.stored_size
    if section.codec == "raw":
        if stored != section.size:
            return f"stores {stored} bytes for a content of {section.size}"
        if len(section.extents) > 1 and not all(size for _, size in section.extents):
            return "has an empty piece"
        if any(size > MAX_SKIPPABLE_CONTENT - (ALIGNMENT - 1) for _, size in section.extents):
            return "has a piece that no frame can hold"
        return None
    if len(section.extents) != 1 or stored < ZSTD_FRAME_MIN:
        return "is not one Zstandard frame"
    if section.size > stored * ZSTD_MAX_RATIO:
        return f"declares {section.size} bytes, more than {stored} stored bytes can hold"
    return None


def _declared_count(data: bytes) -> int:
    """Entries that the list declares (msgpack specification: fixarray, array 16, array 32)."""
    if data[:1] and data[0] & 0xF0 == 0x90:
        return data[0] & 0x0F
    for marker, width in ((0xDC, 2), (0xDD, 4)):
        if data[:1] and data[0] == marker and len(data) > width:
            return int.from_bytes(data[1 : 1 + width], "big")
    raise CorruptArchive("the index", "it is not a msgpack list")


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.sections:
        raise TooLarge("The number of sections", count, limits.sections)


def _check_size(size: int, limits: Limits) -> None:
    limit = min(limits.index_bytes, MAX_SKIPPABLE_CONTENT - TAIL_BYTES)
    if size > limit:
        raise TooLarge("The index size in bytes", size, limit)
