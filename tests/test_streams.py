"""Reading pickle streams inertly: what a stream says comes back, and nothing that it names is touched."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections import OrderedDict
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fxarchive import streams
from fxarchive.errors import BadStream, TooLarge
from fxarchive.streams import Bounds, Call, FrozenSet, Name, Pairs, PersistentId, Set, read, read_blob
from fxarchive.streams.records import NOTHING
from tests.stream_writer import write

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
)
PLAIN = st.recursive(
    ATOMS, lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner)
)


def plain(record: Any) -> Any:
    """A record of plain values as these values."""
    if type(record) is Pairs:
        return {key: plain(value) for key, value in record}
    if type(record) in (list, tuple):
        return type(record)(map(plain, record))
    if type(record) is FrozenSet:
        return frozenset(map(plain, record.items))
    return set(map(plain, record.items)) if type(record) is Set else record


@given(PLAIN, st.sampled_from([2, 3, 4, 5]))
def test_plain_values_come_back(value: Any, protocol: int) -> None:
    if protocol == 2:  # bytes are a call there
        value = [part for part in [value] if b"\x81\xc2" not in pickle.dumps(value)]
    found = read(pickle.dumps(value, protocol))
    if protocol > 2:
        assert plain(found) == value


@given(PLAIN)
def test_what_is_written_back_reads_the_same(value: Any) -> None:
    assert plain(read(write(read(pickle.dumps(value, 4))))) == value


class Custom(dict):  # type: ignore[type-arg]
    pass


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_sets_calls_names_and_states(protocol: int) -> None:
    custom = Custom(a=1)
    custom.extra = [2]  # type: ignore[attr-defined]
    name, ordered, made = read(pickle.dumps((pickle.dumps, OrderedDict(x=1), custom), protocol))
    assert str(name) in ("_pickle.dumps", "pickle.dumps")
    assert (ordered.name, plain(ordered.entries)) == ("collections.OrderedDict", [("x", 1)])
    assert (made.new, made.function.qualname, made.entries) == (True, "Custom", [("a", 1)])
    assert made.fields() == {"extra": [2]}
    if protocol >= 4:
        assert plain(read(pickle.dumps([{1}, frozenset({2}), bytearray(b"x")], protocol)))[:2] == [{1}, {2}]


def test_a_call_with_keywords_and_slots() -> None:
    slots = b"\x80\x04\x8c\x01m\x8c\x01C\x93)\x81(N}\x8c\x01aK\x01s\x86b."
    made = read(b"\x80\x04\x8c\x01m\x8c\x01C\x93)}\x8c\x01kK\x01s\x92.")
    assert (made.name, made.args, plain(made.kwargs), made.state) == ("m.C", (), {"k": 1}, NOTHING)
    assert read(slots.replace(b"(N}", b"N}")).fields() == {"a": 1}


def test_sharing_and_cycles_are_kept() -> None:
    shared: list[Any] = []
    loop: list[Any] = [shared, shared]
    loop.append(loop)
    found = read(pickle.dumps(loop))
    assert found[0] is found[1]
    assert found[2] is found


def test_persistent_ids_are_records() -> None:
    found = read(b"\x80\x04\x8c\x01kQ.")
    assert (type(found), found.value) == (PersistentId, "k")


BROKEN = {
    "nothing": (b"", "does not begin"),
    "protocol 0": (b"cos\nsystem\n(S'id'\ntR.", "does not begin"),
    "protocol 9": (b"\x80\x09N.", "does not begin"),
    "text opcodes": (b"\x80\x02I1\n.", "0x49 is not read: no writer of torch uses it"),
    "instance": (b"\x80\x02(S'id'\nios\nsystem\n.", "is not read"),
    "object": (b"\x80\x02(cos\nsystem\no.", "0x6f is not read"),
    "extension": (b"\x80\x02\x82\x01.", "by a number that only a process knows"),
    "buffer": (b"\x80\x05\x97.", "a buffer outside the stream"),
    "unknown opcode": (b"\x80\x04\xff.", "0xff is not read: it is unknown"),
    "no stop": (b"\x80\x04N", "it ends without STOP"),
    "more after the end": (b"\x80\x04N.N", "1 bytes follow its end"),
    "nothing on the stack": (b"\x80\x04.", "more or less than one value"),
    "two values": (b"\x80\x04NN.", "more or less than one value"),
    "an open group": (b"\x80\x04N(.", "more or less than one value"),
    "an empty stack": (b"\x80\x04\x85.", "takes more from the stack"),
    "memo of nothing": (b"\x80\x04\x94.", "takes more from the stack"),
    "missing memo": (b"\x80\x04j\xff\xff\xff\xff.", "refers to memo entry 4294967295"),
    "huge string": (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.", "announces 9223372036854775807 bytes"),
    "huge frame": (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.", "a frame is longer"),
    "negative long": (b"\x80\x04\x8b\xff\xff\xff\xff.", "a negative length"),
    "no group": (b"\x80\x04]e.", "ends a group that it did not begin"),
    "odd dict": (b"\x80\x04}(Nu.", "a key without a value"),
    "append to a number": (b"\x80\x04K\x01Na.", "appends to something that is no list"),
    "item of a number": (b"\x80\x04K\x01NNs.", "sets an item of something"),
    "member of a number": (b"\x80\x04K\x01(N\x90.", "adds members to something"),
    "name of numbers": (b"\x80\x04K\x01K\x02\x93.", "by something other than two strings"),
    "endless name": (b"\x80\x04c" + b"a" * 9000, "a line of text has no end"),
    "name not in UTF-8": (b"\x80\x04c\xff\nx\n.", "is not UTF-8"),
    "text not in UTF-8": (b"\x80\x04\x8c\x01\xff.", "is not UTF-8"),
    "state of a number": (b"\x80\x04K\x01Nb.", "gives state to something"),
    "two states": (b"\x80\x04\x8c\x01m\x8c\x01C\x93)\x81NbNb.", "gives state to one object twice"),
    "another protocol inside": (b"\x80\x04\x80\x00N.", "a protocol that is not read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_stream_is_refused(name: str) -> None:
    data, message = BROKEN[name]
    with pytest.raises(BadStream, match=message):
        read(data)


def test_every_cut_of_a_stream_is_refused() -> None:
    data = pickle.dumps([{"a": (1, 2.5, "x" * 300)}, {3}, OrderedDict(b=b"y"), 2**70], 4)
    for end in range(len(data)):
        with pytest.raises(BadStream):
            read(data[:end])


def test_limits() -> None:
    with pytest.raises(TooLarge, match="opcodes of the stream is 4"):
        read(b"\x80\x04NNNN.", bounds=Bounds(opcodes=3))
    with pytest.raises(TooLarge, match="integer of the stream is 9"):
        read(pickle.dumps(2**66), bounds=Bounds(integer_bytes=8))


def deep(levels: int) -> bytes:
    return b"\x80\x04" + b"]" * levels + b"a" * (levels - 1) + b"."


def laughs(levels: int) -> bytes:
    """Each level holds the one before ten times, by ten references."""
    parts = [b"\x80\x04N\x94"]
    parts += [b"(" + b"".join([b"j" + struct.pack("<I", at)] * 10) + b"t\x94" for at in range(levels)]
    return b"".join(parts) + b"\x86."


def many_memo_entries(count: int) -> bytes:
    return b"\x80\x04N" + b"".join(b"r" + struct.pack("<I", 2**32 - 1 - at) for at in range(count)) + b"."


COSTLY = {
    "deep": deep(50_000),
    "laughs": laughs(1000),
    "large memo indices": many_memo_entries(20_000),
    "frames": b"\x80\x04" + b"\x95\x00\x00\x00\x00\x00\x00\x00\x00" * 20_000 + b"N.",
    "doubles": b"\x80\x04]" + b"2" * 50_000 + b".",
    "marks": b"\x80\x04" + b"(" * 50_000 + b".",
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_bomb_costs_no_more_than_its_bytes(name: str) -> None:
    data = COSTLY[name]
    tracemalloc.start()
    start = time.process_time()
    with contextlib.suppress(BadStream):
        read(data)
    seconds = time.process_time() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 5
    assert peak < 1_000_000 + 300 * len(data)


# blobs


def saved(obj: Any, zipped: bool) -> bytes:
    file = io.BytesIO()
    torch.save(obj, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


@pytest.mark.parametrize("zipped", [True, False])
def test_storages_in_blobs_are_bytes(zipped: bool) -> None:
    tensor = torch.arange(5, dtype=torch.int32)
    for obj in (tensor, tensor.untyped_storage(), tensor._typed_storage()):
        blob = read_blob(saved(obj, zipped))
        assert list(blob.storages.values()) == [tensor.numpy().tobytes()]
        pid = blob.root.args[0] if type(blob.root) is Call else blob.root
        facts = streams.storage_of(pid, "the blob")
        assert (facts.device, facts.nbytes) == ("cpu", 20)


def zip_of(**files: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, (data, method) in files.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name.replace('_', '.')}"), data, method)
    return file.getvalue()


STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
BAD_BLOBS = {
    "empty": (b"", "does not begin"),
    "cut zip": (zip_of(data_pkl=(b"\x80\x02N.", STORED))[:60], "is not a whole zip file"),
    "compressed": (zip_of(data_pkl=(bytes(10**6), DEFLATED)), "is compressed"),
    "no pickle": (zip_of(other=(b"", STORED)), "holds no data.pkl"),
    "big-endian": (zip_of(data_pkl=(b"\x80\x02N.", STORED), byteorder=(b"big", STORED)), "big-endian"),
    "broken pickle": (zip_of(data_pkl=(b"\x80\x02R.", STORED)), "takes more from the stack"),
    "no magic": (pickle.dumps(1, 2) * 5, "not what torch.save writes"),
}


@pytest.mark.parametrize("name", BAD_BLOBS)
def test_a_broken_blob_is_refused(name: str) -> None:
    data, message = BAD_BLOBS[name]
    with pytest.raises(BadStream, match=message):
        read_blob(data)


@pytest.mark.parametrize("zipped", [True, False])
def test_every_cut_of_a_blob_is_refused(zipped: bool) -> None:
    data = saved(torch.arange(9), zipped)
    for end in range(0, len(data), 7):
        with pytest.raises(BadStream):
            read_blob(data[:end])


def test_sizes_in_blobs_are_checked() -> None:
    data = bytearray(saved(torch.arange(3), False))
    at = data.rindex(struct.pack("<q", 3))
    for count in (-1, 2, 4, 2**62):
        data[at : at + 8] = struct.pack("<q", count)
        with pytest.raises(BadStream, match=r"another size|bytes follow"):
            read_blob(bytes(data))
    with pytest.raises(TooLarge):
        read_blob(saved(torch.arange(99), True), bounds=Bounds(blob_bytes=100))
    with pytest.raises(TooLarge):
        read_blob(zip_of(**{f"f{at}": (b"", STORED) for at in range(9)}), bounds=Bounds(blob_members=8))


def test_names_are_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError(f"an import of {args}")

    data = b"\x80\x04\x8c\x04evil\x8c\x04code\x93\x8c\x02id\x85R}b."
    with monkeypatch.context() as patched:
        patched.setattr(builtins, "__import__", refuse)
        found = read(data)
    assert (found.name, found.args) == ("evil.code", ("id",))
    assert isinstance(found.function, Name)
