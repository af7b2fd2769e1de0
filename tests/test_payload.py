"""What a document unfolds to is bounded by what it is stored in, for readers and writers alike."""

from __future__ import annotations

import dataclasses
import io
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fxarchive
from fxarchive import container, packing, payload, reading, wire
from fxarchive.container import Header, NewSection, Writer
from fxarchive.document import DOCUMENT
from fxarchive.errors import TooLarge
from fxarchive.limits import DEFAULT_LIMITS, MIB, Limits
from fxarchive.packing.room import Room

from .documents import HOLE, graph, small

HEADER = Header(2, 2, (), Writer("0.1.0", "2.13.0", "3.11.8"), "GraphModule")
FOLDER = Path(__file__).parent / "corpus"
MANY = 2_000_000
LONG = [b"\x01\x00", "a" * 255]
"""A column of one string."""


def stored(data: bytes) -> container.Archive:
    stream = io.BytesIO()
    container.write(stream, HEADER, [NewSection(DOCUMENT, "zstd", len(data), [data])])
    return container.open_archive(stream.getvalue())


def packed(**parts: Any) -> bytes:
    return wire.dumps({**packing.pack(small()), **parts})


def of_opcodes(opcodes: bytes) -> bytes:
    return b"\x80\x05}\x8c\x06values](" + opcodes + b"es."


def wide_rows() -> bytes:
    """Rows of dicts of thirty entries, a byte each."""
    entries: list[Any] = [part for at in range(30) for part in (f"k{at}", at or [2])]
    return packed(values=[[[1, *entries]], b"\x01" + bytes(MANY), [[b"\x01" + bytes(MANY)]]])


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty dicts": (lambda: of_opcodes(b"}" * 20 * MIB), "The size of the values of the document in bytes"),
    "numbers": (lambda: of_opcodes(b"K\x01" * 20 * MIB), "The size of the values of the document in bytes"),
    "short strings": (
        lambda: of_opcodes(b"\x8c\x01x" * 20 * MIB),
        "The size of the values of the document in bytes",
    ),
    "zeros": (lambda: packed(texts=[b"", bytes(70 * MIB)]), "The size of a document of "),
    "a column": (
        lambda: packed(fakes={"description": b"\x01" + bytes(40 * MIB)}),
        "The number of values of the document",
    ),
    "half a column": (
        lambda: packed(fakes={"device": [b"\x01" + bytes(40 * MIB), []]}),
        "The number of values of the document",
    ),
    "rows": (wide_rows, "The number of values of the document"),
    "strings": (
        lambda: packed(texts=[b"\x01\x00" + b"\xff" * MANY, "a" * 255 + "\n" * MANY]),
        "The number of characters of the document",
    ),
    "counted strings": (
        lambda: packed(
            values=[[[2]], b"\x01" + bytes(MANY), [[[LONG, b"\x01" + bytes(MANY), b"\x01" + bytes(MANY)]]]]
        ),
        "The number of characters of the document",
    ),
    "names": (
        lambda: packed(
            graphs=[
                {
                    **packing.pack(small())["graphs"][0],
                    "ops": bytes([2]) * MANY,
                    "targets": b"\x01" + bytes(MANY),
                    "names": [LONG, b"\x01" + b"\x01" * MANY, b"\x01" + b"\x02" * MANY],
                }
            ]
        ),
        "The number of characters of the document",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_cannot_unfold_to_much(name: str) -> None:
    make, what = BOMBS[name]
    archive = stored(make())
    assert archive.size < 100_000
    start = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge) as caught:
            reading.read_document(archive)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.what.startswith(what)
    assert time.process_time() - start < 10
    assert peak < 150 * MIB  # of which up to 64 MiB and 256 bytes a stored byte are the payload


def chain(count: int) -> Any:
    """As regular a graph as there is, so that nearly nothing of it has to be stored."""
    document = {**small(), "modules": [], "root": ["graph", 0], "texts": ["x", "output"]}
    document["targets"] = [["function", "torch.relu"]]
    names = " ".join(["x", *[f"relu_{at}" for at in range(count)], "output"])
    columns = graph(
        names, [0, *[2] * count, 5], [0, *[0] * count, 1], [[[], []], [[HOLE], []]], [1] * (count + 1)
    )
    document["graphs"] = [{**columns, "pattern": [0, *[1] * (count + 1)]}]
    return document


def test_a_very_regular_graph_is_still_read() -> None:
    """Half a million equal nodes; `test_scale` has two millions."""
    data = payload.payload_of(chain(500_000))
    archive = stored(data)
    assert len(data) > 3000 * archive.sections[DOCUMENT].stored_size
    assert len(reading.read_document(archive)["graphs"][0]["pattern"]) == 500_002


LIMITED = {
    "payload_free": "The size of a document of",
    "opcode_bytes": "The size of the values of the document in bytes",
    "values": "The number of values of the document",
    "characters": "The number of characters of the document",
}


@pytest.mark.parametrize("name", LIMITED)
def test_each_limit(name: str) -> None:
    """At the limit a document is written and read; one below it, neither."""
    document = chain(1000)
    data = payload.payload_of(document)
    room = packing.measure(document, packing.pack(document))
    exact = {
        "payload_free": len(data),
        "opcode_bytes": wire.check_opcodes(data),
        "values": room.used[0],
        "characters": room.used[1],
    }[name]
    # what is granted for each stored byte is none here
    strict = dataclasses.replace(DEFAULT_LIMITS, ratio=0, payload_ratio=0)
    enough, too_little = (dataclasses.replace(strict, **{name: most}) for most in (exact, exact - 1))
    assert payload.payload_of(document, enough) == data
    assert reading.read_document(stored(data), enough) == document
    for attempt in (
        lambda: payload.payload_of(document, too_little),
        lambda: reading.read_document(stored(data), too_little),
    ):
        with pytest.raises(TooLarge) as caught:
            attempt()
        assert caught.value.what.startswith(LIMITED[name])
        assert (caught.value.found, caught.value.limit) == (exact, exact - 1)


@pytest.mark.parametrize(("ratio", "name"), [("payload_ratio", "payload_free"), ("ratio", "values")])
def test_a_larger_file_may_unfold_to_more(ratio: str, name: str) -> None:
    document = chain(1000)
    data = payload.payload_of(document)
    archive = stored(data)
    none = dataclasses.replace(DEFAULT_LIMITS, **{name: 0, ratio: 1})
    with pytest.raises(TooLarge):
        reading.read_document(archive, none)
    some = dataclasses.replace(none, **{ratio: 50})
    assert reading.read_document(archive, some) == document


def test_what_is_measured_is_what_unpack_counts() -> None:
    for document in (small(), chain(3)):
        wire_form, room = packing.pack(document), Room()
        assert packing.unpack(wire_form, room) == document
        assert packing.measure(document, wire_form).used == room.used != (0, 0)


def test_no_archive_of_the_corpus_is_near_a_limit() -> None:
    """All are read with a hundredth of the defaults."""
    narrow = dataclasses.replace(
        DEFAULT_LIMITS, payload_free=MIB, opcode_bytes=65_536, values=262_144, characters=524_288, copies=MIB
    )
    none = dataclasses.replace(narrow, payload_free=0, opcode_bytes=0, values=0, characters=0, copies=0)
    count = 0
    for path in sorted((FOLDER / "schema-2").rglob("*.fxa")):
        with open(path, "rb") as file:
            archive = container.open_archive(file)
            for limits in (narrow, none):
                reading.read_document(archive, limits)
        count += 1
    assert count > 300


def test_load_takes_the_limits() -> None:
    data = fxarchive.dumps([1, 2, 3])
    with pytest.raises(TooLarge, match="values of the document in bytes"):
        fxarchive.loads(data, limits=Limits(opcode_bytes=0, ratio=0))
