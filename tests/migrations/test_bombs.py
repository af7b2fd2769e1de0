"""Streams that say little and ask for much: each ends in one clear error, soon and in little memory."""

from __future__ import annotations

import copy
import io
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import fxarchive
from fxarchive import bundles, container
from fxarchive.container import Header, NewSection, Writer
from fxarchive.document import STREAM
from fxarchive.errors import BadStream, FxArchiveError, MigrationFailed, NotAGraphPickler, TooLarge
from fxarchive.streams import Call, Name, Pairs, read
from tests import stream_writer
from tests.stream_writer import write

from .test_schema_1_to_2 import dumped, graph

SECONDS = 20
"""Of one processor, on a machine that does other work: a bomb that went off takes minutes or does not end."""

P4 = b"\x80\x04"


class Repeating(stream_writer._Writer):
    """Refers to long strings and bytes by the memo, as pickle does not for those that only look alike."""

    def put(self, record: Any) -> None:
        if type(record) not in (str, bytes) or len(record) < 1000:
            super().put(record)
        elif ("long", record) in self.memo:
            self.parts.append(b"j" + struct.pack("<I", self.memo["long", record]))  # type: ignore[index]
        else:
            self.parts.append(stream_writer._opcodes(record))
            self.memo["long", record] = len(self.memo)  # type: ignore[index]
            self.parts.append(b"\x94")


def repeated(record: Any) -> bytes:
    writer = Repeating()
    writer.put(record)
    return P4 + b"".join(writer.parts) + b"."


def named(module: str, name: str) -> bytes:
    return b"".join([b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)]) + b"\x93"


def tensor(blob: bytes, size: tuple[int, ...] = (1,)) -> Call:
    storage = Call(Name("torch.storage", "_load_from_bytes"), (blob,))
    hooks = Call(Name("collections", "OrderedDict"), ())
    return Call(
        Name("torch._utils", "_rebuild_tensor_v2"), (storage, 0, size, (1,) * len(size), False, hooks)
    )


def blob() -> bytes:
    """What torch.save makes of a storage, in its older form."""
    root = read(dumped([torch.ones(10_000)]))
    data: bytes = root[0].args[0].args[0]
    return data


def zipped(change: Callable[[zipfile.ZipFile], None]) -> bytes:
    made, file = io.BytesIO(), io.BytesIO()
    torch.save(torch.ones(10_000), made)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with zipfile.ZipFile(io.BytesIO(made.getvalue())) as source:
            for member in source.infolist():
                archive.writestr(member.filename, source.read(member))
        change(archive)
    return file.getvalue()


def overlap(archive: zipfile.ZipFile) -> None:
    """List the same bytes as two thousand files."""
    (held,) = (member for member in archive.filelist if member.filename.endswith("data/0"))
    for number in range(1, 2000):
        again = copy.copy(held)
        again.filename = f"{held.filename[:-1]}{number}"
        archive.filelist.append(again)


def deflate(archive: zipfile.ZipFile) -> None:
    archive.writestr("archive/data/9", bytes(50_000_000), zipfile.ZIP_DEFLATED)


def same_names() -> bytes:
    """Three thousand nodes with one name of half a million characters."""
    root = read(dumped(graph()))
    state = root.args[0].fields()["graph"].state
    node = root.args[0].fields()["graph"].fields()["nodes"][0]
    nodes = []
    for _ in range(3000):
        other = Call(node.function, (), new=True)
        other.state = Pairs([(k, "n" * 500_000 if k == "name" else v) for k, v in node.state.items])
        nodes.append(other)
    state.items = [(key, tuple(nodes) if key == "nodes" else value) for key, value in state.items]
    return repeated(root)


def long_big_int() -> bytes:
    return b"\x8b" + struct.pack("<i", 60_000) + b"\x7f" * 60_000


def doubled(levels: int) -> bytes:
    """Tuples of two of the one before: the last has 2 ** levels leaves."""
    parts = [P4, b"()\x94"]
    for level in range(levels):
        parts.append(b"h" + bytes([level]) + b"h" + bytes([level]) + b"\x86\x94")
    return b"".join(parts) + b"l."


def cases() -> Iterator[tuple[str, bytes, type[FxArchiveError], str]]:
    many = 50_000
    yield "laughs", doubled(40), TooLarge, "The number of values of the document"
    yield "marks", P4 + b"(" * many + b".", BadStream, "it leaves more or less than one value"
    yield "lists", P4 + b"]" * many + b".", BadStream, "it leaves more or less than one value"
    yield "deep tuples", P4 + b"N" + b"\x85" * many + b".", MigrationFailed, "nested more than 128 containers"
    yield "deep calls", P4 + named("a", "b") + b")R" * many + b".", MigrationFailed, "what a method makes"
    yield "persistent ids", P4 + b"N" + b"Q" * many + b".", MigrationFailed, "the state of the reader itself"
    yield (
        "one string of bytes",
        P4
        + b"]("
        + b"\x8e"
        + struct.pack("<Q", 10**6)
        + bytes(10**6)
        + b"\x94"
        + (b"h\x00" * 50_000)
        + b"e.",
        TooLarge,
        "The size of the document",
    )
    yield (
        "one integer",
        P4 + b"](" + long_big_int() + b"\x94" + b"h\x00" * 50_000 + b"e.",
        TooLarge,
        "document",
    )
    yield "one name", same_names(), TooLarge, "The size of the document"
    yield "one storage", repeated([tensor(blob()) for _ in range(2000)]), TooLarge, "The size of the storages"
    yield "files that overlap", write([tensor(zipped(overlap))]), BadStream, "so that they overlap"
    yield "compressed files", write([tensor(zipped(deflate))]), BadStream, "is compressed"
    yield (
        "size of a tensor",
        write([tensor(blob(), (2**40,))]),
        MigrationFailed,
        "it needs 4398046511104 bytes",
    )
    huge = Call(
        Name("torch._utils", "_rebuild_meta_tensor_no_storage"),
        (Name("torch", "float32"), (2**62, 2**62), (1, 1), False),
    )
    yield "size without a storage", write([huge]), MigrationFailed, "beyond what memory can have"
    yield "length of text", P4 + b"\x8d" + struct.pack("<Q", 2**63) + b"x.", BadStream, "it announces"
    yield (
        "length of an integer",
        P4 + b"\x8b" + struct.pack("<i", 2**31 - 1) + b"1.",
        BadStream,
        "it announces",
    )
    yield "negative length", P4 + b"\x8b" + struct.pack("<i", -1) + b"1.", BadStream, "a negative length"
    yield "length of a frame", P4 + b"\x95" + struct.pack("<Q", 2**60) + b"N.", BadStream, "a frame is longer"
    yield "extension", P4 + b"\x82\x01.", BadStream, "a number that only a process knows"
    yield "buffer", b"\x80\x05\x97.", BadStream, "a buffer outside the stream"
    yield (
        "instance by text",
        b"\x80\x02(X\x02\x00\x00\x00idios\nsystem\n.",
        BadStream,
        "no writer of torch uses it",
    )
    yield "instance by mark", b"\x80\x02(cos\nsystem\no.", BadStream, "no writer of torch uses it"
    yield "state twice", P4 + named("a", "B") + b")\x81}b}b.", BadStream, "state to one object twice"
    yield "protocol 6", b"\x80\x06N.", BadStream, "protocol 2 to 5"
    yield "name of numbers", P4 + b"K\x01K\x02\x93.", BadStream, "something other than two strings"


CASES = {name: found for name, *found in cases()}


@pytest.mark.parametrize("name", CASES)
def test_a_bomb_ends_soon_in_one_clear_error(name: str) -> None:
    data, error, message = CASES[name]
    start = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(error, match=message) as caught:
            fxarchive.adopt(data, io.BytesIO(), torch="2.13", to=2)  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < SECONDS
    assert peak < 150 * 2**20
    assert len(str(caught.value)) < 1000


IN_ARCHIVES = {
    "empty dicts": (P4 + b"](" + b"}" * 20_000_000 + b"e.", "The number of opcodes of the stream"),
    "empty tuples": (P4 + b"](" + b")" * 20_000_000 + b"e.", "The number of opcodes of the stream"),
    "one tuple again and again": (
        P4 + b"]((" + b"N" * 200 + b"t\x94" + b"h\x00" * 500_000 + b"e.",
        "The number of values of the document",
    ),
    "one text again and again": (
        P4 + b"](\x8e" + struct.pack("<Q", 10**6) + b"t" * 10**6 + b"\x94" + b"h\x00" * 100 + b"e.",
        "The size of the document",
    ),
}


@pytest.mark.parametrize("name", IN_ARCHIVES)
def test_a_stream_in_an_archive_counts_by_what_it_is_stored_in(name: str) -> None:
    stream, message = IN_ARCHIVES[name]
    data = of_stream(stream)
    assert len(data) < 10_000
    start = time.process_time()
    with pytest.raises(TooLarge, match=message):
        fxarchive.loads(data)
    assert time.process_time() - start < SECONDS


def of_stream(stream: bytes) -> bytes:
    """An archive of schema 1, as whoever means harm writes it."""
    header = Header(1, 1, (), Writer("0.3.0", "2.13", ""), "GraphModule")
    file = io.BytesIO()
    container.write(file, header, [NewSection(STREAM, "zstd", len(stream), [stream])])
    return file.getvalue()


def test_weights_of_zeros_are_no_bomb() -> None:
    """They compress ten thousand times, and make no more records than others."""
    data = of_stream(dumped([torch.zeros(20_000_000, dtype=torch.uint8)]))
    assert len(data) < 10_000
    with pytest.warns(fxarchive.OldSchemaWarning):
        (loaded,) = fxarchive.loads(data)
    assert loaded.shape == (20_000_000,)


def test_a_pickle_that_another_refers_to_a_thousand_times_is_looked_into_once() -> None:
    held = pickle.dumps(["x"] * 1_000_000)
    start = time.process_time()
    assert bundles.streams_in(pickle.dumps([bundles.PICKLER, [held] * 1000])) == []
    assert time.process_time() - start < SECONDS


def test_pickles_in_pickles_are_looked_for_at_so_many_places() -> None:
    data = pickle.dumps(bundles.PICKLER.decode())
    for _ in range(bundles.DEEPEST):  # a thousand to the power of eight places
        data = pickle.dumps([data] * 1000)
    start = time.process_time()
    assert len(bundles.streams_in(data)) == bundles.MOST_STREAMS
    with pytest.raises(ValueError, match="there is no stream there"):
        bundles.stream_at(data, ["elsewhere"])
    assert time.process_time() - start < SECONDS


def test_a_stream_that_is_there_twice_is_found_at_both_places() -> None:
    held = dumped(graph())
    data = pickle.dumps({"a": held, "b": [held]})
    assert bundles.streams_in(data) == [("a",), ("b", 0)]
    assert bundles.stream_at(data, ("b", 0)) == held


def test_every_truncation_is_one_clear_error() -> None:
    data = dumped([torch.ops.aten.add.Tensor, {"a": (1, 2.5), "b": torch.ones(2)}])
    for end in range(len(data)):
        with pytest.raises((BadStream, NotAGraphPickler)):
            fxarchive.adopt(data[:end], io.BytesIO())


# records that are not what they say: found by changing parts of real streams


def instance(name: str, **fields: Any) -> Call:
    module, _, qualname = name.rpartition(".")
    made = Call(Name(module, qualname), (), new=True)
    made.state = Pairs(list(fields.items()))
    return made


MALFORMED: dict[str, tuple[Any, str]] = {
    "UUID": (instance("uuid.UUID", int=1, is_safe=bytearray(b"x")), "a UUID is not a number of 128 bits"),
    "zone": (Call(Name("datetime", "timezone"), ()), "a time zone has no offset"),
    "action": (
        instance(
            "torch.fx.traceback.NodeSource",
            pass_name="x",
            action=[Call(Name("torch.fx.traceback", "NodeSourceAction"), 2.5)],
        ),
        "an action of its own",
    ),
    "symbol": (
        Call(Name("sympy.core.symbol", "Symbol"), ("s0",), "positive", new=True),
        "the assumptions of 's0'",
    ),
    "size": (
        Call(
            Name("torch.fx._graph_pickler", "_TensorPickleData.unpickle"),
            (
                instance(
                    "torch.fx._graph_pickler._TensorPickleData",
                    metadata=instance(
                        "torch._subclasses.meta_utils.MetaTensorDesc",
                        id=1,
                        storage=instance("torch._subclasses.meta_utils.MetaStorageDesc", id=1, size=4),
                    ),
                ),
                None,
            ),
        ),
        "a torch.Size is expected here and there is a NoneType",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_record_without_its_parts_is_refused(name: str) -> None:
    record, message = MALFORMED[name]
    with pytest.raises(MigrationFailed, match=message):
        fxarchive.adopt(write([record]), io.BytesIO(), torch="2.13", to=2)
