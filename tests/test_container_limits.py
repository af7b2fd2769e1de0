"""Each limit: at it an archive is read, one below it is refused, before what it bounds is allocated."""

from __future__ import annotations

import dataclasses
import random
import struct
from pathlib import Path

import pytest
import zstandard

from fxarchive.container import (
    NewSection,
    header_extent,
    open_archive,
)
from fxarchive.errors import (
    CorruptArchive,
    TooLarge,
    UnsupportedValue,
)
from fxarchive.limits import Limits

from .material.archives import (
    CONTENT,
    FIRST,
    WEIGHTS,
    archive_bytes,
    contents,
    finished,
    refusal,
    tail,
    zstd_archive,
)


def at_limit(name: str, value: int) -> tuple[Limits, Limits]:
    return Limits(**{name: value}), Limits(**{name: value - 1})


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("header_bytes", header_extent(archive_bytes()) - 52, "The header size in bytes"),
        ("index_bytes", struct.unpack("<Q", archive_bytes()[-48:-40])[0], "The index size in bytes"),
        ("sections", 4, "The number of sections"),
    ],
)
def test_limits_of_readers_and_writers(name: str, value: int, what: str) -> None:
    enough, too_little = at_limit(name, value)
    assert contents(open_archive(archive_bytes(limits=enough), limits=enough)) == CONTENT
    for attempt in (
        lambda: open_archive(archive_bytes(), limits=too_little),
        lambda: archive_bytes(limits=too_little),
    ):
        with pytest.raises(TooLarge) as caught:
            attempt()
        assert (caught.value.what, caught.value.found, caught.value.limit) == (what, value, value - 1)


def test_limit_of_declared_sections_comes_before_reading_them() -> None:
    error = refusal(finished(b"", None, packed=b"\xdd\xff\xff\xff\xff"))
    assert isinstance(error, TooLarge)
    assert (error.what, error.found, error.limit) == ("The number of sections", 2**32 - 1, 4_194_304)


def test_limit_of_declared_header_comes_before_reading_it() -> None:
    error = refusal(struct.pack("<II", 0x184D2A5A, 2**32 - 1) + FIRST[8:])
    assert isinstance(error, TooLarge)
    assert (error.found, error.limit) == (2**32 - 1 - 44, 16 * 2**20)


def test_limit_of_declared_index_comes_before_reading_it() -> None:
    error = refusal(tail(2**40, 2**40))
    assert isinstance(error, TooLarge)
    assert (error.found, error.limit) == (2**40, 256 * 2**20)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("header_depth", 3, "is nested deeper than 2 levels"),
        ("header_items", 7, "has 7 entries, over the limit of 6"),
    ],
)
def test_limits_of_values_in_the_header(name: str, value: int, why: str) -> None:
    enough, too_little = at_limit(name, value)
    assert contents(open_archive(archive_bytes(limits=enough), limits=enough)) == CONTENT
    with pytest.raises(CorruptArchive):
        open_archive(archive_bytes(), limits=too_little)
    with pytest.raises(UnsupportedValue, match=why):
        archive_bytes(limits=too_little)


def test_limit_of_pieces() -> None:
    enough, too_little = at_limit("pieces", 6)
    data = archive_bytes(frame_data_bytes=100, limits=enough)
    assert contents(open_archive(data, limits=enough)) == CONTENT
    with pytest.raises(CorruptArchive, match="section 'storage/0' has 6 pieces, over the limit of 5"):
        open_archive(data, limits=too_little)
    with pytest.raises(
        TooLarge, match=r"^The number of pieces of section 'storage/0' is 6, over the limit of 5;"
    ):
        archive_bytes(frame_data_bytes=100, limits=too_little)


def test_limit_of_names() -> None:
    sections = [NewSection("n" * 255, "raw", 0, [])]
    enough, too_little = at_limit("name_bytes", 255)
    data = archive_bytes(sections=sections, limits=enough)
    assert list(open_archive(data, limits=enough).sections) == ["n" * 255]
    with pytest.raises(CorruptArchive, match="has 255 bytes, over the limit of 254"):
        open_archive(data, limits=too_little)
    with pytest.raises(ValueError, match="has 255 bytes, over the limit of 254"):
        archive_bytes(sections=sections, limits=too_little)


def test_limit_of_payloads() -> None:
    enough, too_little = at_limit("payload_bytes", 512)
    assert open_archive(archive_bytes(), limits=enough).read("storage/0") == WEIGHTS
    archive = open_archive(archive_bytes(), limits=too_little)
    with pytest.raises(
        TooLarge, match=r"^The size of section 'storage/0' in bytes is 512, over the limit of 511;"
    ):
        archive.read("storage/0")
    buffer = bytearray(512)
    archive.read_into("storage/0", buffer)
    assert buffer == WEIGHTS


def test_limit_of_windows() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=22, write_checksum=True)
    content = random.Random(5).randbytes(2**20) * 6
    stored = zstandard.ZstdCompressor(compression_params=parameters).compress(content)
    data = zstd_archive(stored, len(content))
    enough, too_little = at_limit("window_bytes", 2**22)
    assert contents(open_archive(data, limits=enough)) == {"s": content}
    error = refusal(data, too_little)
    assert isinstance(error, TooLarge)
    assert (error.what, error.found, error.limit) == (
        "The Zstandard window of section 's' in bytes",
        2**22,
        2**22 - 1,
    )


def test_the_spec_lists_every_limit() -> None:
    text = (Path(__file__).parent.parent / "spec" / "limits.md").read_text()
    for limit in dataclasses.fields(Limits):
        assert f"| `{limit.name}` | {limit.default:,} |" in text
