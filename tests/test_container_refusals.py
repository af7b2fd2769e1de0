"""Each refusal of `spec/container.md`, section 8, in its order, by the bytes that cause it."""

from __future__ import annotations

import dataclasses
import struct
import tracemalloc

import msgpack  # type: ignore[import-untyped]
import pytest
import zstandard

from fxarchive.container import (
    check_supported,
    open_archive,
)
from fxarchive.errors import (
    CorruptArchive,
    NotAnArchive,
    TooLarge,
    TooNew,
    TruncatedArchive,
)
from fxarchive.limits import DEFAULT_LIMITS

from .material.archives import (
    DIGEST,
    FIELDS,
    FIRST,
    GOOD,
    INDEX_AT,
    INDEX_SIZE,
    RAW_AT,
    RAW_BODY,
    RAW_ENTRY,
    archive_bytes,
    changed,
    compressed,
    contents,
    entry,
    finished,
    header_frame,
    refusal,
    tail,
    zstd_archive,
)


def test_the_archives_built_here_are_good_where_nothing_is_wrong() -> None:
    assert contents(open_archive(finished(RAW_BODY, [RAW_ENTRY]))) == {"s": b"0123456789"}
    assert contents(open_archive(changed())) == {}
    stored = zstandard.ZstdCompressor(write_checksum=True).compress(b"hello")
    assert contents(open_archive(zstd_archive(stored, 5))) == {"s": b"hello"}


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "it is empty"),
        (
            b"PK\x03\x04rest",
            "it is a zip, as torch.save and torch.export.save write; load it with torch and save it again",
        ),
        (b"\x80\x04\x95", "it looks like a pickle, which fxarchive never loads"),
        (zstandard.compress(b"x"), "it is a Zstandard frame without the header of an archive before it"),
        (
            b"\x50\x2a\x4d\x18\0\0\0\0",
            "it starts with a Zstandard skippable frame that is not the header of an archive",
        ),
        (
            b"\x5a\x2a\x4d\x18\x40\0\0\0notmagic",
            "it starts with a Zstandard skippable frame that is not the header of an archive",
        ),
        (b"hello, world", "it starts with the bytes 68 65 6c 6c 6f 2c 20 77"),
    ],
)
def test_not_an_archive(data: bytes, hint: str) -> None:
    error = refusal(data)
    assert type(error) is NotAnArchive
    assert str(error) == f"Not an fxarchive file: {hint}."


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (FIRST[:3], "it ends after 3 bytes, within the header"),
        (FIRST[:51], "it ends after 51 bytes, within the header"),
        (FIRST[:80], f"it ends after 80 bytes and the header has {len(FIRST)}"),
        (FIRST, f"it ends after {len(FIRST)} bytes, before an index"),
        (
            finished(RAW_BODY, [RAW_ENTRY])[:-1],
            "it does not end with the end mark, so its writer did not finish or its end is lost",
        ),
    ],
)
def test_truncated(data: bytes, text: str) -> None:
    error = refusal(data)
    assert type(error) is TruncatedArchive
    assert str(error) == f"The archive is truncated: {text}; write or fetch it again."


NEWER = {"writer": {"fxarchive": "9.1"}, "anything": [1]}


@pytest.mark.parametrize(
    ("data", "what", "found", "supported", "release"),
    [
        (header_frame(NEWER, version=2), "container version", 2, "up to 1", "9.1"),
        (header_frame(None, version=2), "container version", 2, "up to 1", "(the newest release)"),
        (
            header_frame(None, version=3, packed=b"\xc1"),
            "container version",
            3,
            "up to 1",
            "(the newest release)",
        ),
        (
            header_frame({"writer": {"fxarchive": "\n"}}, version=3),
            "container version",
            3,
            "up to 1",
            "(the newest release)",
        ),
        (changed(schema=4, min_reader=3), "schema", 3, "up to 2", "0.1.0"),
        (changed(features=["a", "b", "c"]), "feature", "a, c", "b", "0.1.0"),
    ],
)
def test_too_new(data: bytes, what: str, found: object, supported: str, release: str) -> None:
    error = refusal(data, schema=2, features=("b",))
    assert isinstance(error, TooNew)
    assert (error.what, error.found, error.supported, error.writer) == (what, found, supported, release)


def test_a_newer_schema_that_older_readers_may_read_is_opened() -> None:
    assert open_archive(changed(schema=3), schema=2).header.schema == 3


def test_without_a_schema_newer_archives_are_opened_for_a_look() -> None:
    header = open_archive(changed(schema=4, min_reader=3, features=["new"])).header
    with pytest.raises(TooNew, match=r"^The archive needs schema 3 and this fxarchive supports up to 2;"):
        check_supported(header, 2, ())
    with pytest.raises(
        TooNew, match=r"^The archive needs feature new and this fxarchive supports no features;"
    ):
        check_supported(header, 3, ())


KEYS = f"it must be a map with the keys {', '.join(FIELDS)}, perhaps history, and no other"


CHANGE = {"by": "0.3.0", "from": 1, "notes": ["a note"], "predecessor": bytes(32), "to": 2}


CANONICAL = "its msgpack is not in canonical form"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (header_frame(FIELDS, version=0), "container version 0 was never in use"),
        (
            struct.pack("<II", 0x184D2A5A, 44) + FIRST[8:52],
            "its frame declares 44 bytes, too few to hold a header",
        ),
        (FIRST[:60] + b"\xff" + FIRST[61:], "its digest does not match"),
        (header_frame(None, packed=b"\xc1"), "its msgpack is invalid (FormatError)"),
        (
            header_frame(None, packed=msgpack.packb(FIELDS)[:-1]),
            "its msgpack is invalid (Unpack failed: incomplete input)",
        ),
        (
            header_frame(None, packed=msgpack.packb(FIELDS) + b"\0"),
            "its msgpack is invalid (unpack(b) received extra data)",
        ),
        (header_frame([]), KEYS),
        (header_frame({**FIELDS, "z": 1}), KEYS),
        (header_frame({"schema": 1}), KEYS),
        (header_frame(dict(reversed(FIELDS.items()))), CANONICAL),
        (
            header_frame(
                None, packed=msgpack.packb(FIELDS).replace(b"\xa6schema\x02", b"\xa6schema\xcc\x02")
            ),
            CANONICAL,
        ),
        (header_frame(None, packed=b"\x88" + msgpack.packb(FIELDS)[1:] + b"\xa6schema\x02"), CANONICAL),
        (changed(schema=0), "schema must be an int from 1 to 2147483647"),
        (changed(schema=True), "schema must be an int from 1 to 2147483647"),
        (changed(schema=2**31), "schema must be an int from 1 to 2147483647"),
        (changed(min_reader=3), "min_reader must be an int from 1 to schema"),
        (changed(features=["b", "a"]), "features must be sorted, each once"),
        (changed(features=["a", "a"]), "features must be sorted, each once"),
        (
            changed(features=["A"]),
            "features must be a list of names of lower-case letters, digits, dots, dashes and underscores",
        ),
        (
            changed(features={}),
            "features must be a list of names of lower-case letters, digits, dots, dashes and underscores",
        ),
        (changed(writer={}), "writer must be a map with the keys fxarchive, python, torch and no other"),
        (
            changed(writer={**FIELDS["writer"], "torch": "\x1b"}),
            "each release in writer must be printable ASCII of at most 100 characters",
        ),
        (changed(root=""), "root must be printable ASCII of 1 to 100 characters"),
        (changed(root="a" * 101), "root must be printable ASCII of 1 to 100 characters"),
        (changed(summary=[]), "summary must be a map"),
        (changed(metadata=None), "metadata must be a map"),
        (changed(history=[]), "history must be a list that is not empty"),
        (changed(history={}), "history must be a list that is not empty"),
        (
            changed(history=[{**CHANGE, "why": ""}]),
            "each entry of history must be a map with the keys by, from, notes, predecessor, to and no other",
        ),
        (
            changed(history=[{**CHANGE, "from": 0}]),
            "from and to in history must be two ints from 1 to 2147483647",
        ),
        (
            changed(history=[{**CHANGE, "from": 2}]),
            "from and to in history must be two ints from 1 to 2147483647",
        ),
        (
            changed(history=[{**CHANGE, "to": 2.0}]),
            "from and to in history must be two ints from 1 to 2147483647",
        ),
        (
            changed(history=[{**CHANGE, "by": "é"}]),
            "by in history must be printable ASCII of at most 100 characters",
        ),
        (changed(history=[{**CHANGE, "predecessor": bytes(31)}]), "predecessor in history must be 32 bytes"),
        (changed(history=[{**CHANGE, "notes": [1]}]), "notes in history must be a list of text"),
        (
            changed(history=[CHANGE, CHANGE]),
            "each entry of history must end where the next one, or the archive, is",
        ),
        (
            changed(history=[{**CHANGE, "to": 3}]),
            "each entry of history must end where the next one, or the archive, is",
        ),
    ],
)
def test_corrupt_header(data: bytes, reason: str) -> None:
    error = refusal(data)
    assert type(error) is CorruptArchive
    assert (error.where, error.reason) == ("the header", reason)


def test_an_archive_with_a_history_is_good() -> None:
    (change,) = open_archive(changed(history=[CHANGE])).header.history
    assert change == (1, 2, "0.3.0", "00" * 32, ("a note",))


def nested(levels: int) -> bytes:
    return b"\x91" * levels + b"\xc0"


@pytest.mark.parametrize(
    "packed",
    [
        nested(33),
        nested(600),
        nested(100_000),
        b"\xdd\xff\xff\xff\xff" * 50,
        b"\xdf\xff\xff\xff\xff" * 50,
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xa1\xff",
        msgpack.packb(msgpack.ExtType(5, b"x")),
        msgpack.packb(msgpack.Timestamp(1)),
        b"\xc7\x00\x05",
        b"\xd4\xff\x00",
        msgpack.packb({1: 2}),
        msgpack.packb({b"k": 2}),
        b"\x81\x90\x01",
        b"\xca\x3f\x80\x00\x00",
        b"\xdc\x00\x01\xc0",
        msgpack.packb([None] * 32_769),
    ],
    ids=lambda packed: packed[:6].hex(),
)
def test_hostile_msgpack(packed: bytes) -> None:
    known = msgpack.packb(FIELDS)
    value = known.replace(b"\xa8metadata\x80", b"\xa8metadata\x81\xa1k" + packed)
    tracemalloc.start()
    try:
        assert type(refusal(header_frame(None, packed=value))) is CorruptArchive
        assert type(refusal(finished(b"", None, packed=packed))) is CorruptArchive or packed[0] == 0xDD
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("offset", [0, INDEX_AT - 1, INDEX_AT + 1, 2**63, 2**64 - 1])
def test_an_index_that_is_not_where_the_tail_says(offset: int) -> None:
    error = refusal(tail(offset, INDEX_SIZE))
    assert isinstance(error, CorruptArchive)
    assert error.where == "the tail"


def test_an_index_frame_that_does_not_match_its_tail() -> None:
    error = refusal(GOOD[:INDEX_AT] + b"\x5b" + GOOD[INDEX_AT + 1 :])
    assert isinstance(error, CorruptArchive)
    assert (error.where, error.reason) == ("the index", "its frame header does not match the tail")


def test_an_altered_index() -> None:
    error = refusal(GOOD.replace(DIGEST, bytes(32)))
    assert isinstance(error, CorruptArchive)
    assert error.reason == "the digest over header and index does not match"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (finished(b"", {}), "it is not a msgpack list"),
        (finished(b"", None), "it is not a msgpack list"),
        (finished(b"", [1]), "it declares 1 sections in 2 bytes"),
        (finished(b"", [bytes(50)]), "entry 0 is not a list of five"),
        (finished(b"", [[1, bytes(50)]]), "entry 0 is not a list of five"),
        (finished(b"", None, packed=b"\xdc\x00\x00"), CANONICAL),
        (finished(RAW_BODY, [RAW_ENTRY, RAW_ENTRY]), "two sections are named 's'"),
        (entry(name="a b"), "a section is named 'a b', which is not printable ASCII without spaces"),
        (entry(name=""), "a section is named '', which is not printable ASCII without spaces"),
        (entry(name=b"s"), "a section is named b's', which is not printable ASCII without spaces"),
        (entry(name="é"), "a section is named 'é', which is not printable ASCII without spaces"),
        (entry(codec="lz4"), "section 's' has the codec 'lz4', not raw or zstd"),
        (entry(codec=["raw"]), "section 's' has the codec ['raw'], not raw or zstd"),
        (entry(size=-1), "section 's' has the size -1"),
        (entry(size=2**63), f"section 's' has the size {2**63}"),
        (entry(size=10.0), "section 's' has the size 10.0"),
        (entry(size=11), "section 's' stores 10 bytes for a content of 11"),
        (entry(extents=[]), "section 's' has no list of offsets and sizes in pairs"),
        (entry(extents=[RAW_AT]), "section 's' has no list of offsets and sizes in pairs"),
        (
            entry(extents=[2**63, 10]),
            "section 's' has an offset or a size that is no int from 0 to 2**63 - 1",
        ),
        (entry(extents=[True, 10]), "section 's' has an offset or a size that is no int from 0 to 2**63 - 1"),
        (entry(extents=[RAW_AT, 10, RAW_AT + 18, 0]), "section 's' has an empty piece"),
        (entry(extents=[RAW_AT, 2**32], size=2**32), "section 's' has a piece that no frame can hold"),
        (
            entry(extents=[RAW_AT - 64, 10]),
            f"section 's' lies at {RAW_AT - 64} instead of {RAW_AT}, next in line",
        ),
        (
            entry(extents=[RAW_AT + 64, 10]),
            f"section 's' lies at {RAW_AT + 64} instead of {RAW_AT}, next in line",
        ),
        (
            entry(extents=[2**63 - 1, 10]),
            f"section 's' lies at {2**63 - 1} instead of {RAW_AT}, next in line",
        ),
        (
            entry(extents=[RAW_AT, 9], size=9),
            f"the sections end at {RAW_AT + 9} and the index starts at {RAW_AT + 10}",
        ),
        (finished(RAW_BODY, []), f"the sections end at {len(FIRST)} and the index starts at {RAW_AT + 10}"),
        (entry(sha256=bytes(31)), "section 's' has no sha256 of 32 bytes"),
        (entry(sha256="x" * 32), "section 's' has no sha256 of 32 bytes"),
        (entry(codec="zstd", extents=[len(FIRST), 8]), "section 's' is not one Zstandard frame"),
        (
            entry(codec="zstd", extents=[len(FIRST), 9, len(FIRST) + 9, 9]),
            "section 's' is not one Zstandard frame",
        ),
        (
            entry(codec="zstd", size=9 * 32768 + 1, extents=[len(FIRST), 9]),
            "section 's' declares 294913 bytes, more than 9 stored bytes can hold",
        ),
    ],
)
def test_corrupt_index(data: bytes, reason: str) -> None:
    error = refusal(data)
    assert type(error) is CorruptArchive
    assert (error.where, error.reason) == ("the index", reason)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x5c" + RAW_BODY[1:], f"the frame header at {len(FIRST)} is not what the index says"),
        (
            RAW_BODY[:4] + b"\xff" + RAW_BODY[5:],
            f"the frame header at {len(FIRST)} is not what the index says",
        ),
        (RAW_BODY[:8] + b"\1" + RAW_BODY[9:], f"the padding after {len(FIRST)} is not zero"),
        (RAW_BODY[:-1] + b"x", "its digest does not match its bytes"),
    ],
)
@pytest.mark.parametrize("walk", [True, False])
def test_corrupt_raw_section(body: bytes, reason: str, walk: bool) -> None:
    error = refusal(finished(body, [RAW_ENTRY]), walk=walk)
    assert type(error) is CorruptArchive
    assert (error.where, error.reason) == ("section 's'", reason)


HELLO = compressed(b"hello" * 10)


TRAILED = [HELLO + b"\0", HELLO + HELLO, HELLO + compressed(b""), HELLO + b"\x50\x2a\x4d\x18\0\0\0\0"]


def frame(content_size: int, *blocks: bytes) -> bytes:
    """An ordinary frame with an eight-byte content size, a checksum that is wrong, and a window of 1 KiB."""
    return b"\x28\xb5\x2f\xfd\xc4\x00" + struct.pack("<Q", content_size) + b"".join(blocks) + bytes(4)


def run_block(length: int, last: bool = False) -> bytes:
    """A block of one byte repeated (RFC 8878, section 3.1.1.2)."""
    return (length << 3 | 1 << 1 | last).to_bytes(3, "little") + b"x"


def take(data: bytes, size: int, how: str) -> None:
    archive = open_archive(data)
    archive.check("s")
    if how == "read":
        archive.read("s")
    else:
        archive.read_into("s", bytearray(size))


@pytest.mark.parametrize(
    ("stored", "size", "reason"),
    [
        (b"\x27" + HELLO[1:], 50, "a Zstandard frame should start here and does not"),
        (HELLO[:4] + b"\xff" * 9, 50, "the Zstandard frame header is invalid"),
        (
            compressed(b"hello" * 10, write_content_size=False),
            50,
            "the Zstandard frame declares no content size",
        ),
        (HELLO, 49, "the Zstandard frame declares 50 bytes and the index declares 49"),
        (compressed(b"hello" * 10, write_checksum=False), 50, "the Zstandard frame has no checksum"),
        (HELLO[:-1] + bytes([HELLO[-1] ^ 1]), 50, "its Zstandard frame does not decode"),
        (HELLO[:-1], 50, "its Zstandard frame does not decode"),
        (HELLO[:-4], 50, "its Zstandard frame does not decode"),
        *[(stored, 50, "its Zstandard frame does not decode") for stored in TRAILED],
        (compressed(b"") + compressed(b""), 0, "its Zstandard frame does not decode"),
        (compressed(b"") + b"\0", 0, "its Zstandard frame does not decode"),
        (frame(0, run_block(1000, last=True)), 0, "its Zstandard frame does not decode"),
        (
            frame(10, *[run_block(1000)] * 2000, run_block(1, last=True)),
            10,
            "its Zstandard frame does not decode",
        ),
        (frame(10**6, run_block(1000, last=True), b"pad" * 20), 10**6, "its Zstandard frame does not decode"),
    ],
)
@pytest.mark.parametrize("how", ["read", "read_into"])
def test_corrupt_compressed_section(stored: bytes, size: int, reason: str, how: str) -> None:
    data = zstd_archive(stored, size)
    with pytest.raises(CorruptArchive) as caught:
        take(data, size, how)
    assert caught.value.where == "section 's'"
    assert caught.value.reason.startswith(reason)


def test_a_dictionary_is_refused() -> None:
    samples = [f"{n} a sample of words, number {n * 7}".encode() for n in range(1000)]
    dictionary = zstandard.train_dictionary(2000, [*samples])
    stored = compressed(b"hello" * 10, dict_data=dictionary)
    error = refusal(zstd_archive(stored, 50))
    assert isinstance(error, CorruptArchive)
    assert error.reason == f"the Zstandard frame asks for dictionary {dictionary.dict_id()}"


@pytest.mark.parametrize("walk", [True, False])
def test_a_bomb_takes_no_memory(walk: bool) -> None:
    """2 GiB of content in 64 KiB, declared as 10 bytes, then as what it is and over the limit."""
    blocks = [run_block(128 * 1024)] * (2**31 // 2**17)
    tracemalloc.start()
    try:
        assert type(refusal(zstd_archive(frame(10, *blocks), 10), walk=walk)) is CorruptArchive
        small = dataclasses.replace(DEFAULT_LIMITS, payload_bytes=2**20)
        assert type(refusal(zstd_archive(frame(2**31, *blocks), 2**31), small, walk=walk)) is TooLarge
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_an_unknown_section_and_a_buffer_of_another_size() -> None:
    archive = open_archive(archive_bytes())
    with pytest.raises(CorruptArchive, match="corrupt in the index: there is no section 'none'"):
        archive.read("none")
    with pytest.raises(ValueError, match=r"^section 'graph' has 220 bytes and the buffer 3$"):
        archive.read_into("graph", bytearray(3))
