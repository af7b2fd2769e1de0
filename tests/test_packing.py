"""Packing: what goes in comes out, down to types and bits, and what no writer makes is refused."""

from __future__ import annotations

import copy
import math
import tracemalloc
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fxarchive import codec, packing, wire
from fxarchive.errors import InvalidDocument
from fxarchive.packing.names import pack_names, stems, unpack_names
from fxarchive.packing.numbers import MAX_NUMBER, pack_numbers, unpack_numbers
from fxarchive.packing.rows import ENTRIES_A_HOLE, MAX_FORM_DEPTH, pack_rows, unpack_rows
from fxarchive.packing.strings import LONGEST, joined_counted, pack_strings, unpack_strings

from .documents import small
from .material import models

atoms = (
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.integers()
    | st.floats()
    | st.sampled_from([0.0, -0.0, 1.0, math.nan, "tuple", "list", "add", "add_1", "add_02", "a\nb"])
    | st.text(max_size=6)
    | st.binary(max_size=4)
)
plain = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "c", ""]), inner, max_size=3)
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Whether two plain values are equal in types and bits: 1, True and 1.0 differ, and so do 0.0 and -0.0."""
    return wire.dumps({"": one}) == wire.dumps({"": other})


@pytest.fixture(scope="module")
def document() -> Any:
    torch.manual_seed(0)
    return codec.encode(models.fake_propagated()[0]).document


def test_a_document_comes_back(document: Any) -> None:
    packed = packing.pack(document)
    unpacked: Any = packing.unpack(wire.loads(wire.dumps(packed)))
    assert same(unpacked, document)
    assert type(packed["graphs"][0]["operands"]) is bytes
    assert type(packed["fakes"]["description"]) is bytes
    assert same(packing.unpack(wire.loads(wire.dumps(packing.pack(small())))), small())


def test_packing_leaves_the_document_as_it_is(document: Any) -> None:
    before = copy.deepcopy(document)
    packing.pack(document)
    assert document == before


@pytest.mark.parametrize("junk", [b"abc", [1], "text", None, 5])
@pytest.mark.parametrize("column", packing.GRAPH_COLUMNS)
def test_what_is_no_column_is_refused(document: Any, column: str, junk: Any) -> None:
    packed = copy.deepcopy(packing.pack(document))
    packed["graphs"][0][column] = junk
    with pytest.raises(InvalidDocument):
        packing.unpack(packed)


@pytest.mark.parametrize("junk", [b"abc", [1], "text", None, 5, {}, [[], b"", [1]], [["a", "b"], b"\1\0"]])
@pytest.mark.parametrize("table", ["texts", *packing.TABLES])
def test_what_is_no_table_is_refused(document: Any, table: str, junk: Any) -> None:
    with pytest.raises(InvalidDocument):
        packing.unpack({**packing.pack(document), table: junk})


@pytest.mark.parametrize(
    "document",
    [{}, {"graphs": 3}, {"graphs": [3], "fakes": {}}, {"graphs": [], "fakes": 3}, {"graphs": [{}]}],
)
def test_documents_without_their_tables_are_refused(document: Any) -> None:
    with pytest.raises(InvalidDocument):
        packing.unpack(document)
    with pytest.raises(InvalidDocument):
        packing.unpack({**packing.pack(small()), **document, "texts": None})


# numbers


@given(st.lists(st.integers(0, MAX_NUMBER) | st.integers(0, 300)))
@example([0, MAX_NUMBER])
@example([127, 0, 127])
@example([129, 0])
@example(list(range(100_000, 101_000)))
def test_numbers_come_back(numbers: list[int]) -> None:
    packed = pack_numbers(numbers)
    assert unpack_numbers(packed) == numbers
    assert len(packed) <= 1 + 4 * len(numbers)


@pytest.mark.parametrize(
    ("numbers", "first"),
    [([0, 255], 1), ([0, 256], 2), ([0, 65536], 4), ([9, 10, 11], 17), ([0, 300, 600], 18), ([5, 5, 5], 1)],
)
def test_numbers_are_as_narrow_as_they_can_be(numbers: list[int], first: int) -> None:
    assert pack_numbers(numbers)[0] == first


@pytest.mark.parametrize("numbers", [[-1], [MAX_NUMBER + 1], [True], [1.0], ["1"], [None], [1, -1]])
def test_only_numbers_in_range_are_packed(numbers: list[Any]) -> None:
    with pytest.raises(ValueError, match="not from 0"):
        pack_numbers(numbers)


@pytest.mark.parametrize(
    "packed",
    [
        "", [], None, b"\1", b"\0abc", b"\3abc", b"\x08" + bytes(8), b"\x21\1", b"\2a", b"\4abc",
        b"\x11\xff", b"\x11\1\xfe\1", b"\x14" + b"\xff\xff\xff\x7f" * 3,
    ],
)  # fmt: skip
def test_what_are_no_numbers_is_refused(packed: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        unpack_numbers(packed)


# strings and names


@given(st.lists(st.text(max_size=8) | st.sampled_from(["h.0.a", "h.0.b", "h.1", "", "a\nb", "x" * 300])))
def test_strings_come_back(strings: list[str]) -> None:
    assert unpack_strings(pack_strings(strings)) == strings


@pytest.mark.parametrize(
    "packed",
    [
        [b"\1\0", 5], [b"\1\0", "a\nb"], [b"\1\0\0", "a"], [b"\1\1", "a"], [b"\1\0\2", "a\nb"], [b"", ["a"]],
        [pack_numbers([0, LONGEST + 1]), ["a" * 1000, "b"]], 3, [b""], [b"\1\0", [3]],
    ],
)  # fmt: skip
def test_what_are_no_strings_is_refused(packed: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        unpack_strings(packed)


def test_counted_strings_have_numbers_from_0_and_short_bases() -> None:
    assert joined_counted(["a", "a", "b", "a"], [6, 3, 4, 2]) == ["a_2", "a", "b_1", "a_1"]
    with pytest.raises(ValueError, match="below 0"):
        joined_counted(["a", "a"], [2, 1])
    with pytest.raises(ValueError, match="characters"):
        joined_counted(["a" * (LONGEST + 1)], [4])
    assert joined_counted(["a" * (LONGEST + 1)], [2]) == ["a" * (LONGEST + 1)]


names = st.sampled_from(["add", "add_1", "add_2", "add_0", "add_01", "add_1_1", "x" * 300, "x" * 300 + "_2"])


@given(st.lists(st.tuples(names | st.text(max_size=5), names)))
def test_names_come_back(pairs: list[tuple[str, str]]) -> None:
    given_names, suggested = [name for name, _ in pairs], [stem for _, stem in pairs]
    assert unpack_names(pack_names(given_names, suggested), suggested) == given_names


def test_names_that_targets_suggest_cost_nothing() -> None:
    functions = [["operator", "aten::add.Tensor", "", None], ["function", "torch.nn.functional.relu"]]
    suggested = stems(
        bytes([0, 1, 2, 2, 3, 5]), [0, 1, 0, 1, 2, 3], ["*x", "h.0", "view", "output"], functions
    )
    assert suggested == ["x", "h_0", "add", "relu", "view", "output"]
    assert pack_names(suggested, suggested) == [[b"", ""], b"\1" + bytes(6), b"\1" + b"\2" * 6]
    for packed in ([[b"", ""], b"\1\1", b"\1\2"], [[b"", ""], b"\1\0\0", b"\1\2"], [[b"", ""], b"\1\0", b""]):
        with pytest.raises((ValueError, LookupError)):
            unpack_names(packed, ["a"])


# rows


@given(
    st.lists(plain, max_size=8).flatmap(lambda rows: st.lists(st.sampled_from(rows or [None]), max_size=9))
)
@settings(max_examples=300)
@example([["tuple", ["add", 1]], ["tuple", ["add_1", 2]], ["tuple", ["add_2", 2]], None])
@example([[1], [True], [1.0], [0.0], [-0.0], [math.nan], ["1"], [b"1"]])
@example([{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 5, "b": 2}])
def test_rows_come_back(rows: list[Any]) -> None:
    packed = wire.loads(wire.dumps({"": pack_rows(rows)}))[""]
    assert same(unpack_rows(packed), rows)


def test_rows_of_one_form_are_columns() -> None:
    rows = [["tuple", [f"add_{n}", n, "same"]] for n in range(1, 40)]
    forms, picks, columns = pack_rows(rows)
    assert forms == [[0, "tuple", [0, [2], [2], "same"]]]
    assert picks == b"\1" + bytes(39)
    assert columns == [[[[b"\1\0", "add"], b"\1" + bytes(39), b"\1\4" + b"\2" * 38], b"\x11" + b"\1" * 39]]


def test_deep_and_wide_rows_come_back() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    wide = [[n, *["x"] * (ENTRIES_A_HOLE + 1)] for n in range(3)]
    rows = [deep, *wide, copy.deepcopy(deep)]
    packed = pack_rows(rows)
    assert unpack_rows(packed) == rows
    assert packed[2][1] == [[wide, None]]


def nested(depth: int) -> Any:
    form: Any = [2]
    for _ in range(depth):
        form = [0, form]
    return form


@pytest.mark.parametrize(
    "packed",
    [
        5, None, [], [[], b""], [[None], b"\1\0", []], [[None], b"\1\1", [[]]],
        [[[2]], b"\1\0", [[]]], [[None], b"\1\0", [[b"\1\0"]]], [[[2]], b"\1\0\0", [[b"\1\0"]]],
        [[[2]], b"\1\0", [[b"\1\0\0"]]], [[[0]], b"\1\0", [[]]], [[[9, [2]]], b"\1\0", [[b"\1\0"]]],
        [[[]], b"\1\0", [[]]], [[[True]], b"\1\0", [[]]], [[[3]], b"\1\0", [[]]], [[[0, 5, 6]], b"\1\0", [[]]],
        [[[1, "a", [2], "a", [2]]], b"\1\0", [[b"\1\0", b"\1\0"]]], [[[1, 5, [2]]], b"\1\0", [[b"\1\0"]]],
        [[[1, "a", [2], "b"]], b"\1\0", [[b"\1\0"]]], [[nested(MAX_FORM_DEPTH + 1)], b"\1\0", [[b"\1\0"]]],
        [[[0, [2], *[None] * ENTRIES_A_HOLE]], b"\1\0", [[b"\1\0"]]],
        [[[2]], b"\1\0", [[[[b"\1\0", "a"], b"\1\1"]]]], [[[2]], b"\1\0", [[[[b"\1\0", "a"], b"\1\1", b"\1\2"]]]],
        [[[2]], b"\1\0", [["ab"]]], [[[2]], b"\1\0", [[["a", "b", "c", "d"]]]], [[[2]], b"\1\0", [[[5, None]]]],
    ],
)  # fmt: skip
def test_what_are_no_rows_is_refused(packed: Any) -> None:
    with pytest.raises((ValueError, TypeError, LookupError, StopIteration)):
        unpack_rows(packed)


def test_a_form_as_deep_as_it_may_be_comes_back() -> None:
    assert unpack_rows([[nested(MAX_FORM_DEPTH)], b"\1\0", [[b"\1\7"]]]) == [[[[[[[[[7]]]]]]]]]


def test_what_bytes_unfold_to_is_bounded() -> None:
    """A form without holes cannot be repeated, and one string cannot be taken from another for nothing."""
    count = 20_000
    picks = b"\1" + bytes(count)
    for packed in (
        [[[0, *[None] * 10_000]], picks, [[]]],
        [[[0, [2], *[None] * 10_000]], picks, [[picks]]],
        [[[0, [0, [0, [0]]], *[[0]] * 100]], picks, [[]]],
    ):
        tracemalloc.start()
        with pytest.raises((ValueError, StopIteration)):
            unpack_rows(packed)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * 2**20
