"""The data-only pickle: what it writes, what it reads back, and everything that it refuses."""

from __future__ import annotations

import json
import math
import pickle
import pickletools
import struct
import subprocess
import sys
import tracemalloc
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxarchive import wire
from fxarchive.errors import CorruptArchive, FxArchiveError, TooLarge, UnsupportedValue
from fxarchive.limits import DEFAULT_LIMITS

from .ids import shown

VECTORS = Path(__file__).parent.parent / "spec" / "vectors" / "wire"
NAMES = {code.code.encode("latin-1")[0]: code.name for code in pickletools.opcodes}
ALLOWED = frozenset(b"\x80\x95.N\x88\x89KMJ\x8a\x8bG\x8cX\x8dCB\x8e]ae(}su")
SAMPLE = {
    "ints": [0, 255, 256, 65535, 65536, -1, 2**31, -(2**63), 2**2100],
    "atoms": [None, True, False, 1.5, -0.0, "é\ud800", b"\x00\xff", "x" * 300, b"y" * 300],
    "lists": [[], [1], [[], [[]]], {}, {"a": {}}, {"a": 1, "b": [2]}],
}


def same(one: Any, other: Any) -> bool:
    """Equality that tells 1 from True and 1.0, and compares floats by their bits and dicts by their order."""
    if type(one) is not type(other):
        return False
    if type(one) is float:
        return struct.pack("<d", one) == struct.pack("<d", other)
    if type(one) is list:
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is dict:
        return same(list(one), list(other)) and all(map(same, one.values(), other.values()))
    return bool(one == other)


def payload(body: bytes) -> bytes:
    return b"\x80\x05" + body


def document_with(body: bytes) -> bytes:
    """A payload whose document is ``{"k": BODY}``."""
    return payload(b"}\x8c\x01k" + body + b"s.")


def test_same_tells_values_apart() -> None:
    nan = struct.unpack("<d", b"\x01\x00\x00\x00\x00\x00\xf8\x7f")[0]
    for one, other in [(1, True), (1, 1.0), (0.0, -0.0), (math.nan, nan), ("", b""), ([], {}), ([1], [True])]:
        assert not same(one, other)
        assert same(one, one)
    assert not same({"a": 1, "b": 2}, {"b": 2, "a": 1})


# writing


def test_round_trip_of_every_type() -> None:
    assert same(wire.loads(wire.dumps(SAMPLE)), SAMPLE)


def test_nan_keeps_its_payload() -> None:
    bits = b"\x01\x02\x03\x04\x05\x06\xf8\xff"
    (value,) = wire.loads(wire.dumps({"k": [struct.unpack("<d", bits)[0]]}))["k"]
    assert struct.pack("<d", value) == bits


atoms = st.none() | st.booleans() | st.integers() | st.floats() | st.binary()
texts = st.text(st.characters(codec=None), max_size=8)
values = st.recursive(
    atoms | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(texts, values))
def test_round_trip(document: dict[str, Any]) -> None:
    data = wire.dumps(document)
    again = wire.loads(data)
    assert same(again, document)
    assert wire.dumps(again) == data
    wire._check_keys(data)


def test_large_columns_come_back() -> None:
    document = {
        "a": list(range(200_000)),
        "b": [f"n{i}" * (i % 90) for i in range(3000)],
        "c": [None] * 50_001,
    }
    document["d"] = [b"z" * 200_000, "w" * 100_000, [[i, [i]] for i in range(20_000)]]
    data = wire.dumps(document)
    assert same(wire.loads(data), document)
    assert wire._is_canonical(document, data)
    wire._check_keys(data)


def test_bytes_depend_on_values_alone() -> None:
    text = "".join(["a", "b"])
    shared: list[Any] = [text, text]
    assert wire.dumps({"x": [shared, shared]}) == wire.dumps({"x": [["ab", "a" + "b"], ["ab", text[:]]]})


def test_bytes_are_the_same_in_any_process() -> None:
    code = (
        "from fxarchive import wire; print(wire.dumps({'a': [1, 'b', {'c': None}], 'd': {'e': 2.5}}).hex())"
    )
    runs = {
        subprocess.check_output([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, text=True)
        for seed in ("0", "1")
    }
    assert len(runs) == 1


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        (),
        (1,),
        {1},
        frozenset(),
        bytearray(b"x"),
        1j,
        range(3),
        OrderedDict(a=1),
        Text("a"),
        object(),
        len,
        int,
        ...,
        lambda: 0,
    ],
    ids=shown,
)
def test_other_types_are_refused_with_their_path(value: Any) -> None:
    with pytest.raises(UnsupportedValue, match="which is not plain data") as caught:
        wire.dumps({"a": [0, {"b": value}]})
    assert [problem.path for problem in caught.value.problems] == ["document['a'][1]['b']"]


@pytest.mark.parametrize("key", [1, None, b"a", (), Text("a")], ids=shown)
def test_other_keys_are_refused(key: Any) -> None:
    for document in ({key: 1}, {"a": [{key: 1}]}, {"a": {"b": 1, key: []}}):
        with pytest.raises(UnsupportedValue, match="keys must be of type str"):
            wire.dumps(document)


def test_every_problem_is_listed() -> None:
    with pytest.raises(UnsupportedValue) as caught:
        wire.dumps({"a": (), "b": [set(), 1]})
    assert sorted(problem.path for problem in caught.value.problems) == ["document['a']", "document['b'][0]"]


def nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth - 1):
        value = [value]
    return {"k": value}


def test_depth_up_to_the_limit() -> None:
    document = nested(wire.MAX_DEPTH)
    assert wire.loads(wire.dumps(document)) == document


@pytest.mark.parametrize("depth", [wire.MAX_DEPTH + 1, 2000, 100_000])
def test_depth_over_the_limit(depth: int) -> None:
    with pytest.raises(TooLarge, match="nesting depth of the document is 385, over the limit of 384"):
        wire.dumps(nested(depth))
    body = b"]" * (depth - 1) + b"N" + b"a" * (depth - 1)
    with pytest.raises(TooLarge, match="nesting depth of the document is 385"):
        wire.loads(document_with(body))


def test_depth_does_not_depend_on_the_caller() -> None:
    document = nested(wire.MAX_DEPTH)

    def call(frames: int) -> Any:
        return call(frames - 1) if frames else wire.loads(wire.dumps(document))

    assert call(sys.getrecursionlimit() - 250) == document


def test_cycles_are_refused() -> None:
    cycle: list[Any] = []
    cycle += [cycle, cycle]
    with pytest.raises(TooLarge, match="nesting depth"):
        wire.dumps({"k": cycle})


def test_size_limit() -> None:
    limits = replace(DEFAULT_LIMITS, payload_bytes=100)
    with pytest.raises(TooLarge, match="size of the document in bytes is"):
        wire.dumps({"k": list(range(100))}, limits)
    with pytest.raises(TooLarge, match="size of the document in bytes is 101, over the limit of 100"):
        wire.loads(b"N" * 101, limits)


def test_int_limit() -> None:
    fits = -(1 << (8 * wire.MAX_INT_BYTES - 1))
    assert wire.loads(wire.dumps({"k": fits})) == {"k": fits}
    with pytest.raises(TooLarge, match="size of an int in bytes is 65537"):
        wire.dumps({"k": fits - 1})


# reading


@pytest.mark.parametrize("opcode", [code for code in range(256) if code not in ALLOWED])
def test_every_other_opcode_is_refused_by_name(opcode: int) -> None:
    name = NAMES.get(opcode, f"0x{opcode:02x}")
    for body in (b"", b"\x00" * 16, b"os\nsystem\n."):
        with pytest.raises(CorruptArchive, match=rf"the opcode {name} at byte 5 is not one of plain data"):
            wire.loads(payload(b"]K\x01" + bytes([opcode]) + body))


class Evil:
    def __init__(self, *result: Any) -> None:
        self.result = result

    def __reduce__(self) -> Any:
        return self.result


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value", [Evil(print, ("owned",)), Evil(eval, ("1/0",)), print, Evil(list, (), {"a": 1}), Text("a")]
)
def test_pickles_that_call_are_refused(value: Any, protocol: int) -> None:
    data = pickle.dumps({"k": [value]}, protocol)
    with pytest.raises(CorruptArchive):
        wire.loads(data)
    with pytest.raises(CorruptArchive, match="is not one of plain data"):
        wire.loads(
            payload(b"}" + data.lstrip(b"\x80\x05")[1:]) if protocol == 0 else payload(b"q\x00" + data)
        )


def test_the_unpickler_alone_also_refuses() -> None:
    for body in (b"cos\nsystem\n.", b"Pid\n.", b"\x8c\x02os\x8c\x06system\x93."):
        with pytest.raises(CorruptArchive, match="malformed"):
            wire._unpickle(payload(body))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "does not begin with PROTO 5"),
        (b"\x80\x04}.", "does not begin with PROTO 5"),
        (b"}.", "does not begin with PROTO 5"),
        (payload(b""), "ends without STOP"),
        (payload(b"}"), "ends without STOP"),
        (payload(b"}.}"), "1 bytes follow STOP"),
        (payload(b"}.\n"), "1 bytes follow STOP"),
        (payload(b"\x80\x05}."), "the opcode PROTO at byte 2"),
        (payload(b"]."), "the document is not a dict"),
        (payload(b"N."), "the document is not a dict"),
        (payload(b"."), "malformed"),
        (payload(b"e."), "malformed"),
        (payload(b"a."), "malformed"),
        (payload(b"NNa."), "malformed"),
        (payload(b"\x8c\x01a(NNu."), "malformed"),
        (document_with(b"\x8c\x02\xff\xfe"), "malformed"),
        (payload(b"}K"), "argument of the opcode at byte 3 is cut off"),
        (payload(b"}G1234567"), "argument of the opcode at byte 3 is cut off"),
        (payload(b"}X\x01\x00"), "argument of the opcode at byte 3 is cut off"),
        (payload(b"}X\x05\x00\x00\x00a."), "at byte 3 announces 5 bytes"),
        (payload(b"}\x8c\x05a."), "at byte 3 announces 5 bytes"),
        (payload(b"}\x8d" + struct.pack("<Q", 2**63) + b"."), f"announces {2**63} bytes"),
        (payload(b"}\x8e" + struct.pack("<Q", 2**63) + b"."), f"announces {2**63} bytes"),
        (payload(b"}\x8d" + b"\xff" * 8 + b"."), f"announces {2**64 - 1} bytes"),
        (payload(b"}B\xff\xff\xff\xff."), f"announces {2**32 - 1} bytes"),
        (payload(b"}\x8b\xff\xff\xff\xff."), f"announces {2**32 - 1} bytes"),
        (payload(b"\x95\xff\xff\xff\xff\xff\xff\xff\xff}."), "frame at byte 2 is longer"),
        (payload(b"\x95" + struct.pack("<Q", 2**63) + b"}."), "frame at byte 2 is longer"),
        (payload(b"\x95\x00"), "frame at byte 2 overlaps another or has no length"),
        (
            payload(b"\x95" + struct.pack("<Q", 11) + b"\x95" + struct.pack("<Q", 2) + b"}."),
            "frame at byte 11 overlaps",
        ),
        (payload(b"}K\x01Ns."), "a key of a dict is not a string"),
        (document_with(b"}(K\x01Nu"), "a key of a dict is not a string"),
        (payload(b"}(\x8c\x01aN\x8c\x01aNu."), "the key 'a' twice"),
        (payload(b"}\x8c\x01aNs\x8c\x01aNs."), "the key 'a' twice"),
        (document_with(b"](}(\x8c\x02abNX\x02\x00\x00\x00abNue"), "the key 'ab' twice"),
    ],
)
def test_refusals(data: bytes, reason: str) -> None:
    with pytest.raises(CorruptArchive) as caught:
        wire.loads(data)
    assert reason in caught.value.reason
    assert caught.value.where == "the graph section"


def test_another_pickler_may_frame_and_batch_otherwise() -> None:
    data = payload(b"}(\x8c\x01a](K\x01e(K\x02eX\x01\x00\x00\x00bJ\x05\x00\x00\x00u.")
    assert not wire._is_canonical({"a": [1, 2], "b": 5}, data)
    assert wire.loads(data) == {"a": [1, 2], "b": 5}


def test_every_truncation_is_refused() -> None:
    data = wire.dumps(SAMPLE)
    for size in range(len(data)):
        with pytest.raises(CorruptArchive):
            wire.loads(data[:size])


def test_every_flipped_bit_is_an_error_or_a_document() -> None:
    data = wire.dumps(SAMPLE)
    tracemalloc.start()
    try:
        for bit in range(8 * len(data)):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            try:
                document = wire.loads(bytes(flipped))
            except FxArchiveError:
                continue
            assert type(document) is dict
            wire.dumps(document)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [bytes([code]) for code in sorted(ALLOWED - {0x80, 0x95})] + [b"K\x01", b"\x8c\x01a"]
        ),
        max_size=30,
    )
)
def test_any_order_of_opcodes_is_an_error_or_a_document(parts: list[bytes]) -> None:
    try:
        document = wire.loads(payload(b"".join(parts) + b"."))
    except FxArchiveError:
        return
    assert same(wire.loads(wire.dumps(document)), document)


@pytest.mark.parametrize("unit", [b"]", b"}", b"N", b"]Na", b"}\x8c\x00Ns", b"](", b"K\x00"])
def test_memory_is_bounded_by_the_payload(unit: bytes) -> None:
    size = 200_000
    body = b"](" + unit * (size // len(unit)) + b"e"
    tracemalloc.start()
    try:
        with pytest.raises(FxArchiveError) if unit == b"](" else pytest.MonkeyPatch.context():
            wire.loads(document_with(body))
        assert tracemalloc.get_traced_memory()[1] < 200 * size
    finally:
        tracemalloc.stop()


def test_scanners_find_nothing(tmp_path: Path) -> None:
    import fickling.analysis
    import fickling.fickle
    import picklescan.scanner

    path = tmp_path / "payload.pkl"
    path.write_bytes(wire.dumps(SAMPLE))
    found = picklescan.scanner.scan_file_path(str(path))
    assert (found.scanned_files, found.issues_count, found.infected_files, found.globals) == (1, 0, 0, [])
    pickled = fickling.fickle.Pickled.load(path.read_bytes())
    assert fickling.analysis.check_safety(pickled).severity == fickling.analysis.Severity.LIKELY_SAFE


# the specification


def described(value: Any) -> Any:
    """The value that the JSON of a vector describes: one-entry maps stand for what JSON lacks."""
    if isinstance(value, list):
        return [described(item) for item in value]
    if isinstance(value, dict):
        if "$float" in value:
            return struct.unpack(">d", bytes.fromhex(value["$float"]))[0]
        if "$bytes" in value:
            return bytes.fromhex(value["$bytes"])
        if "$int" in value:
            return int(value["$int"], 16)
        return {key: described(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.json")), ids=lambda path: path.stem)
def test_vectors_decode_and_encode_byte_for_byte(path: Path) -> None:
    vector = json.loads(path.read_text(encoding="ascii"))
    data = bytes.fromhex(vector["hex"])
    document = described(vector["document"])
    assert same(wire.loads(data), document)
    assert wire.dumps(document) == data


def test_vectors_use_every_opcode_that_small_payloads_can() -> None:
    paths = list(VECTORS.glob("*.json"))
    used = {
        opcode.code.encode("latin-1")[0]
        for path in paths
        for opcode, _, _ in pickletools.genops(bytes.fromhex(json.loads(path.read_text("ascii"))["hex"]))
    }
    assert used == ALLOWED - {0x8D, 0x8E}


def test_the_page_lists_the_opcodes_and_the_limits() -> None:
    page = (VECTORS.parent.parent / "wire.md").read_text(encoding="utf-8")
    listed = {int(line.split("`")[1], 16) for line in page.splitlines() if line.startswith("| `0x")}
    assert listed == ALLOWED
    assert str(wire.MAX_DEPTH) in page
    assert str(wire.MAX_INT_BYTES) in page
