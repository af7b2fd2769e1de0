"""Damaged archives are refused: every truncation, every flipped bit, without memory or other errors."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxarchive.container import (
    Header,
    NewSection,
    header_extent,
    open_archive,
)
from fxarchive.errors import (
    FxArchiveError,
    NotAnArchive,
    TruncatedArchive,
)

from .material.archives import (
    WRITER,
    archive_bytes,
    contents,
)


def small_archive() -> bytes:
    sections = (
        NewSection("graph", "zstd", 40, [b"graph" * 8]),
        NewSection("storage/0", "raw", 30, [b"s" * 30]),
        NewSection("extra", "zstd", 0, []),
    )
    return archive_bytes(Header(2, 2, (), WRITER, "GraphModule", {}, {"k": 1}), sections, frame_data_bytes=20)


def everything(data: bytes, walk: bool = True) -> tuple[Header, dict[str, bytes]]:
    archive = open_archive(data, schema=2, walk=walk)
    return archive.header, contents(archive)


@pytest.mark.parametrize("walk", [True, False])
def test_every_truncation_is_refused(walk: bool) -> None:
    data = small_archive()
    for length in range(len(data)):
        with pytest.raises((TruncatedArchive, NotAnArchive)):
            everything(data[:length], walk)


@pytest.mark.parametrize("walk", [True, False])
def test_every_flipped_bit_is_refused_or_changes_nothing(walk: bool) -> None:
    data = small_archive()
    expected = everything(data)
    refused = 0
    for position in range(len(data) * 8):
        altered = bytearray(data)
        altered[position // 8] ^= 1 << position % 8
        try:
            assert everything(bytes(altered), walk) == expected
        except FxArchiveError:
            refused += 1
    assert refused == len(data) * 8, "no byte of an archive is without meaning"


def test_damage_takes_no_memory() -> None:
    data = small_archive()
    choice = random.Random(3)
    tracemalloc.start()
    try:
        for _ in range(300):
            altered = bytearray(data)
            for _ in range(choice.randint(1, 4)):
                altered[choice.randrange(len(altered))] = choice.choice(
                    [0, 0xFF, 0x7F, 0x80, choice.randrange(256)]
                )
            try:
                everything(bytes(altered))
            except FxArchiveError:
                continue
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20


@given(st.binary(max_size=300), st.booleans())
@settings(deadline=None)
def test_any_bytes_are_refused(tail: bytes, headed: bool) -> None:
    start = small_archive()[: header_extent(small_archive())] if headed else b""
    with pytest.raises(FxArchiveError):
        open_archive(start + tail)


def test_appended_and_prepended_bytes_are_refused() -> None:
    data = small_archive()
    for altered in (data + b"\0", data + data, b"\0" + data):
        with pytest.raises(FxArchiveError):
            everything(altered)
