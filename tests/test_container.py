"""What is written comes back, from any source, to any stream; mistakes of the caller are named."""

from __future__ import annotations

import ast
import dataclasses
import io
import mmap
import os
import random
import shutil
import struct
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxarchive import container
from fxarchive.container import (
    ALIGNMENT,
    NewSection,
    Written,
    header_extent,
    open_archive,
    read_header,
    write,
)
from fxarchive.errors import (
    CorruptArchive,
    StoreError,
    TruncatedArchive,
    UnsupportedValue,
)

from .material.archives import (
    CONTENT,
    GRAPH,
    HEADER,
    SECTIONS,
    WEIGHTS,
    ForwardOnly,
    Ranges,
    archive_bytes,
    contents,
)


def test_what_is_written_comes_back() -> None:
    stream = ForwardOnly(most=100)
    written = write(stream, HEADER, SECTIONS)
    archive = open_archive(bytes(stream.data), schema=2, features={"alpha", "beta"})
    assert archive.header == HEADER
    assert contents(archive) == CONTENT
    assert list(archive.sections) == list(CONTENT)
    assert written == Written(archive.identity, archive.size, tuple(archive.sections.values()))
    assert archive.size == len(stream.data)


def test_the_same_input_gives_the_same_bytes_however_it_is_cut() -> None:
    content = random.Random(1).randbytes(1_500_000) + bytes(2_000_000)
    for codec in ("raw", "zstd"):
        whole = archive_bytes(sections=[NewSection("s", codec, len(content), [content])])
        for step in (999_999, 70_001, 3_500_000):
            pieces = [memoryview(content)[at : at + step] for at in range(0, len(content), step)]
            assert (
                archive_bytes(sections=[NewSection("s", codec, len(content), [b"", *pieces, b""])]) == whole
            )


def test_metadata_in_another_order_gives_the_same_bytes() -> None:
    one = dataclasses.replace(HEADER, metadata={"a": {"x": 1, "y": 2}, "b": 3})
    other = dataclasses.replace(HEADER, metadata={"b": 3, "a": {"y": 2, "x": 1}})
    assert archive_bytes(one) == archive_bytes(other)


def test_chunks_may_be_any_contiguous_buffer() -> None:
    numbers = memoryview(struct.pack("<4d", 1, 2, 3, 4)).cast("d", (2, 2))
    as_they_are: Any = [numbers]
    data = archive_bytes(
        sections=[NewSection("s", "raw", 32, [numbers.cast("B")]), NewSection("t", "raw", 32, as_they_are)]
    )
    archive = open_archive(data)
    assert archive.read("s") == archive.read("t") == numbers.tobytes()


@pytest.mark.parametrize("frame_data_bytes", [1, 7, 64, 100, 511, 512, 513])
def test_large_sections_span_frames(frame_data_bytes: int) -> None:
    data = archive_bytes(frame_data_bytes=frame_data_bytes)
    archive = open_archive(data)
    assert contents(archive) == CONTENT
    pieces = -(-512 // frame_data_bytes)
    assert len(archive.sections["storage/0"].extents) == pieces
    assert (archive.location("storage/0") is None) == (pieces > 1)
    assert (archive.map("storage/0") is None) == (pieces > 1)


def test_raw_data_is_aligned_and_lies_where_location_says() -> None:
    sizes = [0, 1, 63, 64, 65, 1000]
    data = archive_bytes(sections=[NewSection(f"s{size}", "raw", size, [b"x" * size]) for size in sizes])
    archive = open_archive(data)
    for size in sizes:
        location = archive.location(f"s{size}")
        assert location is not None
        assert location.offset % ALIGNMENT == 0
        assert location.size == size
        assert data[location.offset :][:size] == b"x" * size
    assert open_archive(archive_bytes()).location("graph") is None


def test_a_mapped_file_is_private_and_outlives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.fxa"
    path.write_bytes(archive_bytes())
    with path.open("rb") as file:
        view = open_archive(file).map("storage/0")
    assert view is not None
    view[:4] = b"mine"
    assert view == b"mine" + WEIGHTS[4:]
    assert path.read_bytes() == archive_bytes()


def test_the_stock_tool_reads_archives(tmp_path: Path) -> None:
    zstd = shutil.which("zstd")
    if zstd is None:
        pytest.skip("the zstd command is not installed")
    path = tmp_path / "a.fxa"
    path.write_bytes(archive_bytes(frame_data_bytes=100))
    for flag in ("-t", "-l"):
        subprocess.run([zstd, flag, str(path)], check=True, capture_output=True)
    assert subprocess.run([zstd, "-dc", str(path)], check=True, capture_output=True).stdout == GRAPH


def test_sections_are_copied_in_stored_form() -> None:
    data = archive_bytes(frame_data_bytes=100)
    archive = open_archive(data)
    copied = archive_bytes(
        archive.header, [archive.copy_of(name) for name in archive.sections], frame_data_bytes=100
    )
    assert copied == data


def test_sections_are_copied_without_hashing_and_checked_afterwards() -> None:
    data = bytearray(archive_bytes())
    archive = open_archive(data)
    assert (
        archive_bytes(archive.header, [archive.copy_of(n, verified=False) for n in archive.sections]) == data
    )
    location = archive.location("storage/0")
    assert location is not None
    data[location.offset + 5] ^= 1
    copied = open_archive(archive_bytes(sections=[archive.copy_of("storage/0", verified=False)]))
    with pytest.raises(CorruptArchive, match="section 'storage/0': its digest does not match its bytes"):
        copied.check_all()
    with pytest.raises(ValueError, match="has a digest of 3 bytes, not 32"):
        archive_bytes(sections=[NewSection("s", "raw", 1, [b"x"], sha256=b"abc")])


def test_altered_bytes_are_noticed_while_they_are_copied() -> None:
    data = bytearray(archive_bytes())
    location = open_archive(data).location("storage/0")
    assert location is not None
    data[location.offset + 5] ^= 1
    archive = open_archive(data)
    with pytest.raises(CorruptArchive, match="section 'storage/0': its digest does not match its bytes"):
        archive_bytes(sections=[archive.copy_of("storage/0")])


@pytest.mark.parametrize("kind", ["bytes", "mmap", "file", "unbuffered", "memory file", "ranges"])
def test_every_source_gives_the_same(kind: str, tmp_path: Path) -> None:
    data = archive_bytes(frame_data_bytes=300)
    path = tmp_path / "a.fxa"
    path.write_bytes(data)
    with path.open("rb") as file, path.open("rb", buffering=0) as unbuffered:
        sources = {
            "bytes": data,
            "mmap": mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ),
            "file": file,
            "unbuffered": unbuffered,
            "memory file": io.BytesIO(data),
            "ranges": Ranges(data),
        }
        assert contents(open_archive(sources[kind])) == CONTENT  # type: ignore[arg-type]


def test_a_remote_source_is_read_in_few_ranges() -> None:
    sections = [NewSection(f"s{number}", "raw", 1000, [bytes(1000)]) for number in range(100)]
    source = Ranges(archive_bytes(sections=sections))
    archive = open_archive(source, walk=False)
    assert source.reads == 3
    assert archive.read("s50") == bytes(1000)
    assert source.reads == 5


def test_sections_are_read_from_several_threads() -> None:
    sections = [NewSection(f"s{n}", "zstd", 100_000, [bytes([n]) * 100_000]) for n in range(20)]
    archive = open_archive(io.BytesIO(archive_bytes(sections=sections)))
    wrong: list[int] = []

    def work(start: int) -> None:
        for number in range(start, 20):
            if archive.read(f"s{number}") != bytes([number]) * 100_000:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_header_is_read_from_a_prefix() -> None:
    data = archive_bytes()
    needed = header_extent(data[:52])
    assert read_header(data[:needed]) == HEADER
    assert read_header(data[: needed + 10]) == HEADER
    with pytest.raises(
        TruncatedArchive,
        match=f"^The archive is truncated: it ends after 60 bytes and the header has {needed};",
    ):
        read_header(data[:60])


def test_a_header_larger_than_the_first_read() -> None:
    header = dataclasses.replace(HEADER, metadata={"long": "x" * 10_000})
    assert open_archive(archive_bytes(header)).header == header


def test_identity_covers_header_and_sections() -> None:
    changed_header = dataclasses.replace(HEADER, metadata={})
    changed_section = (*SECTIONS[:1], NewSection("storage/0", "raw", 1, [b"x"]), *SECTIONS[2:])
    archives = [archive_bytes(), archive_bytes(changed_header), archive_bytes(sections=changed_section)]
    assert len({open_archive(data).identity for data in archives}) == 3


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(
    metadata=st.dictionaries(st.text(), plain_values, max_size=5),
    sections=st.lists(
        st.tuples(st.sampled_from(["raw", "zstd"]), st.lists(st.binary(max_size=200), max_size=4)), max_size=5
    ),
    frame_data_bytes=st.integers(1, 300),
)
@settings(deadline=None)
def test_round_trip(
    metadata: dict[str, Any], sections: list[tuple[str, list[bytes]]], frame_data_bytes: int
) -> None:
    header = dataclasses.replace(HEADER, metadata=metadata)
    new = [
        NewSection(f"s{n}", codec, len(b"".join(chunks)), chunks)
        for n, (codec, chunks) in enumerate(sections)
    ]
    archive = open_archive(archive_bytes(header, new, frame_data_bytes=frame_data_bytes))
    assert archive.header == header
    assert contents(archive) == {f"s{n}": b"".join(chunks) for n, (_, chunks) in enumerate(sections)}


def test_floats_keep_their_bits() -> None:
    bits = [0, 1 << 63, 0x7FF0 << 48, 0xFFF8 << 48, 0x7FF8_0000_0000_1234]
    values = [struct.unpack(">d", struct.pack(">Q", b))[0] for b in bits]
    header = dataclasses.replace(HEADER, metadata={"values": values})
    found = read_header(archive_bytes(header)).metadata["values"]
    assert [struct.pack(">d", value) for value in found] == [struct.pack(">d", value) for value in values]


@pytest.mark.parametrize(
    ("section", "text"),
    [
        (NewSection("s", "raw", 3, [b"ab"]), "the chunks of section 's' hold fewer than its 3 bytes"),
        (NewSection("s", "raw", 3, [b"ab", b"cd"]), "the chunks of section 's' hold more than its 3 bytes"),
        (NewSection("s", "raw", 2, [b"ab", b"cd"]), "the chunks of section 's' hold more than its 2 bytes"),
        (NewSection("s", "zstd", 3, [b"ab"]), "the chunks of section 's' hold fewer than its 3 bytes"),
        (NewSection("s", "zstd", 1, [b"ab"]), "the chunks of section 's' hold more than its 1 bytes"),
        (NewSection("s", "lz4", 2, [b"ab"]), "section 's' has the codec 'lz4', not raw or zstd"),
        (
            NewSection("a b", "raw", 2, [b"ab"]),
            "a section is named 'a b', which is not printable ASCII without spaces",
        ),
        (NewSection("s", "raw", 2, [b"ab"], 3), "section 's' is raw, so its stored size is its size"),
        (SECTIONS[0], "two sections are named 'graph'"),
    ],
)
def test_sections_that_break_a_rule(section: NewSection, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}$"):
        archive_bytes(sections=[SECTIONS[0], section])


def test_frames_of_no_or_too_many_bytes() -> None:
    for wrong in (0, 2**32):
        with pytest.raises(ValueError, match=f"^frame_data_bytes is {wrong}, not from 1 to {2**32 - 2**16}$"):
            archive_bytes(frame_data_bytes=wrong)


class Special(dict):  # type: ignore[type-arg]
    """Not a plain dict."""


@pytest.mark.parametrize(
    ("metadata", "problems"),
    [
        (
            {"a": (1,), "b": {"c": {1, 2}}},
            [("metadata['a']", "is a builtins.tuple"), ("metadata['b']['c']", "is a builtins.set")],
        ),
        (
            {"a": [0, 2**64, -(2**63) - 1]},
            [("metadata['a'][1]", "is an int outside"), ("metadata['a'][2]", "is an int outside")],
        ),
        ({"a": "\ud800"}, [("metadata['a']", "holds a lone surrogate")]),
        (
            {"a": {"\ud800": 1, 2: 3}},
            [("metadata['a']", "has the key '\\ud800'"), ("metadata['a']", "has the key 2")],
        ),
        ({"a": Special()}, [("metadata['a']", "is a ")]),
        ([], [("metadata", "is a list, not a dict")]),
    ],
)
def test_metadata_that_is_not_plain(metadata: Any, problems: list[tuple[str, str]]) -> None:
    with pytest.raises(UnsupportedValue) as caught:
        archive_bytes(dataclasses.replace(HEADER, metadata=metadata))
    assert [path for path, _ in caught.value.problems] == [path for path, _ in problems]
    for (_, why), (_, start) in zip(caught.value.problems, problems, strict=True):
        assert why.startswith(start)


def test_metadata_that_holds_itself() -> None:
    metadata: dict[str, Any] = {}
    metadata["self"] = metadata
    with pytest.raises(UnsupportedValue, match="is nested deeper than 32 levels"):
        archive_bytes(dataclasses.replace(HEADER, metadata=metadata))


def test_a_header_that_breaks_a_rule() -> None:
    with pytest.raises(
        ValueError, match=r"^the header is not valid: min_reader must be an int from 1 to schema$"
    ):
        archive_bytes(dataclasses.replace(HEADER, min_reader=3))


def test_sources_of_other_kinds() -> None:
    for source in ("path.fxa", io.StringIO(), 3):
        with pytest.raises(
            TypeError, match=r"^an archive is read from bytes, a binary file or a range reader, not "
        ):
            open_archive(source)  # type: ignore[arg-type]


def test_a_file_that_cannot_seek() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with open(reading, "rb") as file, pytest.raises(StoreError, match="it cannot be read at any offset"):
        open_archive(file)


def test_a_file_that_was_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.fxa"
    path.write_bytes(archive_bytes())
    with path.open("rb") as file:
        archive = open_archive(file)
    for use in (archive.read, archive.map):
        with pytest.raises(StoreError, match=r"(read|mapped)"):
            use("storage/0")


def test_a_file_that_became_shorter(tmp_path: Path) -> None:
    path = tmp_path / "a.fxa"
    path.write_bytes(archive_bytes())
    with path.open("rb") as file:
        archive = open_archive(file)
        os.truncate(path, 100)
        with pytest.raises(TruncatedArchive, match=r"bytes at [0-9]+ could be read"):
            archive.read("storage/0")


def test_short_reads_are_continued() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 7))

    assert contents(open_archive(Slow(archive_bytes()))) == CONTENT


def test_check_takes_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.fxa"

    def chunks() -> Iterator[bytes]:
        yield from (bytes(2**20) for _ in range(64))

    with path.open("wb") as out:
        write(
            out, HEADER, [NewSection("s", "raw", 2**26, chunks()), NewSection("z", "zstd", 2**26, chunks())]
        )
    tracemalloc.start()
    try:
        with path.open("rb") as file:
            open_archive(file).check_all()
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def imported(path: Path) -> set[str]:
    """The packages that a module imports, anywhere in it; relative imports count as fxarchive."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("fxarchive" if node.level else str(node.module).split(".")[0])
    return found


def test_the_container_imports_little() -> None:
    folder = Path(container.__file__).parent
    found = set().union(*(imported(path) for path in folder.glob("*.py")))
    assert found - set(sys.stdlib_module_names) == {"fxarchive", "msgpack", "zstandard"}
    assert not found & {"pickle", "marshal", "importlib", "shelve", "subprocess"}
