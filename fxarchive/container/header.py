"""The header: the first frame, readable alone, which says what the archive is and who can read it."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import (
    CorruptArchive,
    NotAnArchive,
    TooLarge,
    TooNew,
    TruncatedArchive,
    UnsupportedValue,
)
from ..limits import DEFAULT_LIMITS, Limits
from . import history
from .frames import HEADER_FRAME, MAX_SKIPPABLE_CONTENT, SKIPPABLE_HEADER, ZSTD_MAGIC, skippable_header
from .history import Change
from .plain import mapping_problems, pack_plain, unpack, unpack_plain

MAGIC = b"\x89FXA\r\n\x1a\n"
"""At offset 8. As in PNG, a transfer that strips the eighth bit or rewrites line ends breaks it."""

CONTAINER_VERSION = 1
"""The version of the frames, not of what the sections mean.

History:
    1 (0.3.0): first.

To change it: any change to what `spec/container.md` says of the bytes is a new number. Keep bytes 0 to 51 and
the meaning of the map's `writer` as they are, for ever: they let each reader name the release that a newer
file needs. Keep reading every older number, add the vectors of the new one and leave those of the old ones
alone.
"""

_FIXED = struct.Struct("<8sI32s")
_DIGEST_OFFSET = SKIPPABLE_HEADER.size + 12
_MAP_OFFSET = SKIPPABLE_HEADER.size + _FIXED.size
_FRAME_MAGIC = skippable_header(HEADER_FRAME, 0)[:4]

_KEYS = ("features", "metadata", "min_reader", "root", "schema", "summary", "writer")
_OPTIONAL = "history"
_WRITER_KEYS = ("fxarchive", "python", "torch")
_FEATURE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PRINTABLE = re.compile(r"[ -~]{0,100}")
_MAX_SCHEMA = 2**31 - 1
_UNKNOWN_RELEASE = "(the newest release)"


class Writer(NamedTuple):
    """Who wrote an archive: releases, each at most 100 characters of printable ASCII, or empty."""

    fxarchive: str
    torch: str
    python: str


@dataclass(frozen=True)
class Header:
    """What an archive says of itself before any section is read.

    Args:
        schema: version of the document in the archive, from 1.
        min_reader: lowest schema that a reader must know to read it, from 1 to `schema`.
        features: names that a reader must know to read it; sorted, without repeats.
        writer: who wrote it.
        root: kind of the object that was saved, printable ASCII of 1 to 100 characters.
        summary: plain values for people who look into the file; never needed to read it.
        metadata: the user's plain values.
        history: how it came to this schema, if it was not saved in it, oldest first.
    """

    schema: int
    min_reader: int
    features: tuple[str, ...]
    writer: Writer
    root: str
    summary: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    history: tuple[Change, ...] = ()


def encode_header(header: Header, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The header frame, first in the archive.

    Raises:
        UnsupportedValue: `summary` or `metadata` hold something that is not plain.
        TooLarge: the map is larger than `limits.header_bytes`.
        ValueError: another field breaks a rule of its own.
    """
    problems = [
        problem
        for name, value in (("metadata", header.metadata), ("summary", header.summary))
        for problem in mapping_problems(value, name, limits)
    ]
    if problems:
        raise UnsupportedValue(problems)
    fields: dict[str, Any] = {
        "features": list(header.features),
        "metadata": header.metadata,
        "min_reader": header.min_reader,
        "root": header.root,
        "schema": header.schema,
        "summary": header.summary,
        "writer": {name: getattr(header.writer, name) for name in _WRITER_KEYS},
    }
    if header.history:
        fields = dict(sorted({**fields, "history": history.packed(header.history)}.items()))
    if broken := _broken_rule(fields):
        raise ValueError(f"the header is not valid: {broken}")
    data = pack_plain(fields, "header", limits)
    _check_map_size(len(data), limits)
    fixed = MAGIC + struct.pack("<I", CONTAINER_VERSION)
    digest = hashlib.sha256(fixed + data).digest()
    return skippable_header(HEADER_FRAME, _FIXED.size + len(data)) + fixed + digest + data


def header_extent(prefix: bytes, limits: Limits = DEFAULT_LIMITS) -> int:
    """How many bytes from the start of the archive `read_header` needs; this call needs the first 52.

    Raises:
        NotAnArchive: the bytes start something else.
        TruncatedArchive: fewer than 52 bytes.
        TooNew: the container version is newer than this reader; pass the whole header to learn its writer.
        TooLarge: the header is larger than `limits.header_bytes`.
        CorruptArchive: the declared size or the version cannot be.

    >>> header = Header(2, 2, (), Writer("0.1.0", "2.13.0", "3.11.8"), "GraphModule")
    >>> header_extent(encode_header(header)[:52])
    170
    """
    if (
        prefix[:4] != _FRAME_MAGIC[: len(prefix)]
        or prefix[8:16] != MAGIC[: max(0, len(prefix) - 8)]
        or not prefix
    ):
        raise NotAnArchive(_what_else(prefix))
    if len(prefix) < _MAP_OFFSET:
        raise TruncatedArchive(f"it ends after {len(prefix)} bytes, within the header")
    _, content = SKIPPABLE_HEADER.unpack_from(prefix)
    _, version, _ = _FIXED.unpack_from(prefix, SKIPPABLE_HEADER.size)
    if version > CONTAINER_VERSION:
        writer = _writer_of_newer(prefix[: SKIPPABLE_HEADER.size + content], limits)
        raise TooNew("container version", version, f"up to {CONTAINER_VERSION}", writer)
    if version < 1:
        raise CorruptArchive("the header", f"container version {version} was never in use")
    size = content - _FIXED.size
    if size < 1:
        raise CorruptArchive("the header", f"its frame declares {content} bytes, too few to hold a header")
    _check_map_size(size, limits)
    return _MAP_OFFSET + int(size)


def read_header(prefix: bytes, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Read the header from the first bytes of an archive; more bytes than it needs do no harm.

    The checks come in the order of `spec/container.md`, section 8. Whether this reader knows the schema and
    the features is another question: `check_supported`.

    Raises:
        NotAnArchive, TooNew, TooLarge: as `header_extent`.
        TruncatedArchive: the prefix is too short; `header_extent` says how many bytes to fetch.
        CorruptArchive: the digest is wrong, the map is not canonical msgpack or breaks a rule.

    >>> header = Header(2, 2, (), Writer("0.1.0", "2.13.0", "3.11.8"), "GraphModule")
    >>> read_header(encode_header(header)) == header
    True
    """
    end = header_extent(prefix, limits)
    if len(prefix) < end:
        raise TruncatedArchive(f"it ends after {len(prefix)} bytes and the header has {end}")
    fixed, digest = prefix[SKIPPABLE_HEADER.size : _DIGEST_OFFSET], prefix[_DIGEST_OFFSET:_MAP_OFFSET]
    data = prefix[_MAP_OFFSET:end]
    if hashlib.sha256(fixed + data).digest() != digest:
        raise CorruptArchive("the header", "its digest does not match")
    fields = unpack_plain(data, "the header", limits)
    if broken := _broken_rule(fields):
        raise CorruptArchive("the header", broken)
    return Header(
        schema=fields["schema"],
        min_reader=fields["min_reader"],
        features=tuple(fields["features"]),
        writer=Writer(**fields["writer"]),
        root=fields["root"],
        summary=fields["summary"],
        metadata=fields["metadata"],
        history=history.unpacked(fields.get("history", [])),
    )


def check_supported(header: Header, schema: int, features: Collection[str]) -> None:
    """Refuse an archive that a reader of `schema`, which knows `features`, may not read.

    Raises:
        TooNew: names the schema, or every feature that is not known.
    """
    release = header.writer.fxarchive or _UNKNOWN_RELEASE
    if header.min_reader > schema:
        raise TooNew("schema", header.min_reader, f"up to {schema}", release)
    unknown = [name for name in header.features if name not in features]
    if unknown:
        known = ", ".join(sorted(features)) or "no features"
        raise TooNew("feature", ", ".join(unknown), known, release)


def _broken_rule(fields: Any) -> str | None:
    """The first rule of the header map that `fields`, a plain value, breaks."""
    if type(fields) is not dict or tuple(sorted(fields.keys() - {_OPTIONAL})) != _KEYS:
        return f"it must be a map with the keys {', '.join(_KEYS)}, perhaps {_OPTIONAL}, and no other"
    schema, min_reader, features = fields["schema"], fields["min_reader"], fields["features"]
    if type(schema) is not int or not 1 <= schema <= _MAX_SCHEMA:
        return f"schema must be an int from 1 to {_MAX_SCHEMA}"
    if type(min_reader) is not int or not 1 <= min_reader <= schema:
        return "min_reader must be an int from 1 to schema"
    if type(features) is not list or not all(type(f) is str and _FEATURE.fullmatch(f) for f in features):
        return "features must be a list of names of lower-case letters, digits, dots, dashes and underscores"
    if features != sorted(set(features)):
        return "features must be sorted, each once"
    writer = fields["writer"]
    if type(writer) is not dict or tuple(sorted(writer)) != _WRITER_KEYS:
        return f"writer must be a map with the keys {', '.join(_WRITER_KEYS)} and no other"
    if not all(type(release) is str and _PRINTABLE.fullmatch(release) for release in writer.values()):
        return "each release in writer must be printable ASCII of at most 100 characters"
    root = fields["root"]
    if type(root) is not str or not root or not _PRINTABLE.fullmatch(root):
        return "root must be printable ASCII of 1 to 100 characters"
    for name in ("summary", "metadata"):
        if type(fields[name]) is not dict:
            return f"{name} must be a map"
    if _OPTIONAL in fields:
        return history.broken_rule(fields[_OPTIONAL], schema, _MAX_SCHEMA)
    return None


def _check_map_size(size: int, limits: Limits) -> None:
    limit = min(limits.header_bytes, MAX_SKIPPABLE_CONTENT - _FIXED.size)
    if size > limit:
        raise TooLarge("The header size in bytes", size, limit)


def _writer_of_newer(prefix: bytes, limits: Limits) -> str:
    """The release that wrote a container of a later version, as far as this reader can tell."""
    if len(prefix) > _MAP_OFFSET + limits.header_bytes:
        return _UNKNOWN_RELEASE
    try:
        release = unpack(prefix[_MAP_OFFSET:], "the header", limits.header_items)["writer"]["fxarchive"]
    except (CorruptArchive, TypeError, KeyError):
        return _UNKNOWN_RELEASE
    known = type(release) is str and release and _PRINTABLE.fullmatch(release)
    return release if known else _UNKNOWN_RELEASE


def _what_else(prefix: bytes) -> str:
    """What bytes that start no archive look like, and where that may have come from."""
    if not prefix:
        return "it is empty"
    if prefix.startswith(b"PK\x03\x04"):
        return "it is a zip, as torch.save and torch.export.save write; load it with torch and save it again"
    if len(prefix) > 1 and prefix[0] == 0x80 and prefix[1] <= 5:
        return "it looks like a pickle, which fxarchive never loads"
    if prefix.startswith(ZSTD_MAGIC):
        return "it is a Zstandard frame without the header of an archive before it"
    if len(prefix) >= 4 and prefix[1:4] == _FRAME_MAGIC[1:] and prefix[0] & 0xF0 == 0x50:
        return "it starts with a Zstandard skippable frame that is not the header of an archive"
    return f"it starts with the bytes {prefix[:8].hex(' ')}"
