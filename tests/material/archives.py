"""Archives for the tests of the container: good ones, and the means to build bad ones byte by byte."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterable
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
import zstandard

from fxarchive.container import (
    MAGIC,
    Archive,
    Header,
    NewSection,
    Writer,
    open_archive,
    write,
)
from fxarchive.errors import (
    FxArchiveError,
)
from fxarchive.limits import DEFAULT_LIMITS, Limits

WRITER = Writer("0.1.0", "2.13.0", "3.11.8")


HEADER = Header(
    2, 2, ("alpha", "beta"), WRITER, "GraphModule", {"nodes": 3}, {"note": "é", "runs": [1, 2.5, None]}
)


GRAPH = b"the graph, " * 20


WEIGHTS = bytes(range(256)) * 2


SECTIONS = (
    NewSection("graph", "zstd", len(GRAPH), [GRAPH]),
    NewSection("storage/0", "raw", len(WEIGHTS), [WEIGHTS]),
    NewSection("storage/1", "raw", 0, []),
    NewSection("extra", "zstd", 0, []),
)


CONTENT = {"graph": GRAPH, "storage/0": WEIGHTS, "storage/1": b"", "extra": b""}


class ForwardOnly:
    """A stream that has nothing but `write`, and takes a little less than it is given."""

    def __init__(self, most: int = 1_000_000) -> None:
        self.data = bytearray()
        self._most = most

    def write(self, data: bytes | memoryview, /) -> int:
        self.data += data[: self._most]
        return min(len(data), self._most)


class Ranges:
    """A range reader that counts what is asked of it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.reads = 0
        self.size = len(data)

    def read_at(self, offset: int, size: int, /) -> bytes:
        self.reads += 1
        return self._data[offset : offset + size]


def archive_bytes(
    header: Header = HEADER, sections: Iterable[NewSection] = SECTIONS, **options: Any
) -> bytes:
    file = io.BytesIO()
    write(file, header, sections, **options)
    return file.getvalue()


def contents(archive: Archive) -> dict[str, bytes]:
    """Every section, read in both ways."""
    found = {}
    archive.check_all()
    for name, section in archive.sections.items():
        found[name] = archive.read(name)
        buffer = bytearray(section.size)
        archive.read_into(name, buffer)
        assert buffer == found[name]
        view = archive.map(name)
        assert view is None or view == buffer
    return found


def refusal(data: bytes, limits: Limits = DEFAULT_LIMITS, **options: Any) -> FxArchiveError:
    with pytest.raises(FxArchiveError) as caught:
        contents(open_archive(data, limits=limits, **options))
    return caught.value


def header_frame(fields: object, version: int = 1, packed: bytes | None = None) -> bytes:
    data = msgpack.packb(fields) if packed is None else packed
    fixed = MAGIC + struct.pack("<I", version)
    digest = hashlib.sha256(fixed + data).digest()
    return struct.pack("<II", 0x184D2A5A, 44 + len(data)) + fixed + digest + data


FIELDS: dict[str, Any] = {
    "features": [],
    "metadata": {},
    "min_reader": 2,
    "root": "GraphModule",
    "schema": 2,
    "summary": {},
    "writer": {"fxarchive": "0.1.0", "python": "3.11.8", "torch": "2.13.0"},
}


FIRST = header_frame(FIELDS)


def finished(body: bytes, entries: object, *, packed: bytes | None = None, first: bytes = FIRST) -> bytes:
    """An archive with a right identity around whatever it is told."""
    data = msgpack.packb(entries) if packed is None else packed
    offset = len(first) + len(body)
    index = struct.pack("<II", 0x184D2A5C, len(data) + 56) + data + struct.pack("<QQ", offset, len(data))
    return first + body + index + hashlib.sha256(first + index).digest() + b"\x89FXE\r\n\x1a\n"


def zstd_archive(stored: bytes, size: int) -> bytes:
    entry = ["s", "zstd", size, [len(FIRST), len(stored)], hashlib.sha256(stored).digest()]
    return finished(stored, [entry])


RAW_AT = -(-(len(FIRST) + 8) // 64) * 64


RAW_BODY = (
    struct.pack("<II", 0x184D2A5B, RAW_AT - len(FIRST) - 8 + 10)
    + bytes(RAW_AT - len(FIRST) - 8)
    + b"0123456789"
)


DIGEST = hashlib.sha256(b"0123456789").digest()


RAW_ENTRY = ["s", "raw", 10, [RAW_AT, 10], DIGEST]


def changed(**fields: object) -> bytes:
    return finished(b"", [], first=header_frame(dict(sorted({**FIELDS, **fields}.items()))))


def entry(**parts: object) -> bytes:
    names = ("name", "codec", "size", "extents", "sha256")
    values = dict(zip(names, RAW_ENTRY, strict=True)) | parts
    return finished(RAW_BODY, [[values[name] for name in names]])


def tail(offset: int, size: int, *, end: bytes = b"\x89FXE\r\n\x1a\n") -> bytes:
    data = finished(RAW_BODY, [RAW_ENTRY])
    return data[:-56] + struct.pack("<QQ", offset, size) + data[-40:-8] + end


GOOD = finished(RAW_BODY, [RAW_ENTRY])


INDEX_AT, INDEX_SIZE = struct.unpack("<QQ", GOOD[-56:-40])


def compressed(content: bytes, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(**({"write_checksum": True} | options)).compress(content)
