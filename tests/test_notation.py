"""Values of a document as text."""

from __future__ import annotations

import time
import unicodedata
from typing import Any

import pytest

from fxarchive.document import empty_document
from fxarchive.errors import InvalidDocument, escaped
from fxarchive.notation import MOST_ITEMS, Notation, clipped
from fxarchive.tables import reading
from tests.documents import HOLE, small


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (3, "3"),
        (-0.0, "-0.0"),
        (float("nan"), "nan"),
        ("it's\n", '"it\'s\\n"'),
        (b"\x00a", "b'\\x00a'"),
        (1 << 2000, "<int of 2001 bits>"),
        (["tuple", []], "()"),
        (["tuple", [1]], "(1,)"),
        (["tuple", [1, ["list", [2]]]], "(1, [2])"),
        (["ilist", [1, 2]], "[1, 2]"),
        (["size", [2, 3]], "torch.Size([2, 3])"),
        (["dict", ["a", 1, ["tuple", [1]], None]], "{'a': 1, (1,): None}"),
        (["idict", ["a", 1]], "{'a': 1}"),
        (["ordered", ["a", 1]], "OrderedDict({'a': 1})"),
        (["default", ["a", 1], "list"], "defaultdict({'a': 1})"),
        (["set", [1, 2]], "{1, 2}"),
        (["frozenset", [1]], "frozenset({1})"),
        (["deque", [1], 4], "deque([1])"),
        (["bytearray", b"a"], "bytearray(b'a')"),
        (["complex", 0.0, -1.5], "-1.5j"),
        (["slice", [None, 3, None]], "slice(None, 3, None)"),
        (["range", 0, 5, 2], "range(0, 5, 2)"),
        (["ellipsis"], "..."),
        (["notimplemented"], "NotImplemented"),
        (["dtype", "float32"], "torch.float32"),
        (["layout", "strided"], "torch.strided"),
        (["memory_format", "channels_last"], "torch.channels_last"),
        (["device", "cuda", 1], "cuda:1"),
        (["device", "cpu", None], "cpu"),
        (["generator", "cpu", None, b""], "<generator on cpu>"),
        (["treespec", None], "<treespec>"),
        (["weakref", None], "weakref(None)"),
        (
            ["annotation", "typing.Optional", [["target", 2]]],
            "typing.Optional[torch.nn.modules.linear.Linear]",
        ),
        (["annotation", "|", [1, None]], "1 | None"),
        (["annotation", "typing.Any", None], "typing.Any"),
        (["enum", 3, "RED"], "mine.Block.RED"),
        (["named", 3, [1, 2]], "Block(1, 2)"),
        (["name", "mine.Thing"], "mine.Thing"),
        (["target", 0], "aten.add.Tensor"),
        (["tensor", 0], "f32[2, 3]"),
        (["tensor", 1], "bf16[2048]@cuda:0"),
        (["fake", 2], "i64[7]@cuda:1"),
        (["text", 0], "'x'"),
        (["module", 1], "<module 1>"),
        (["graph", 0], "<graph 0>"),
        (["node", 0, 4], "<node 4 of graph 0>"),
        (["of-tomorrow", 1], "<of-tomorrow>"),
    ],
)
def test_each_kind_of_value(value: Any, text: str) -> None:
    assert Notation(small()).written(value) == text


def test_long_strings_are_cut() -> None:
    assert Notation(small(), most_text=3).written("abcdef") == "'abc…'"
    assert Notation(small(), most_text=3).written(b"abcdef") == "b'abc…'"
    assert Notation(small(), most_text=3).written("abc") == "'abc'"


def test_operands_stand_in_the_holes_in_order_and_strings_are_no_holes() -> None:
    pattern = [[["tuple", [HOLE, ["tuple", ["hole"]], HOLE]]], ["k", HOLE]]
    assert Notation(small()).arguments(pattern, iter(["%a", "%b", "%c"])) == "(%a, ('hole',), %b), k=%c"


def test_operands_behind_what_is_left_out_are_still_right() -> None:
    long = ["tuple", [["tuple", [HOLE]]] * MOST_ITEMS]
    text = Notation(small()).arguments([[long, HOLE], []], iter([f"%{n}" for n in range(MOST_ITEMS + 1)]))
    assert text.endswith(f"…), %{MOST_ITEMS}")


def test_a_value_that_doubles_at_each_level_is_cut_in_no_time() -> None:
    document = small()
    document["values"] = [["tuple", [0]]] + [["tuple", [["value", row], ["value", row]]] for row in range(60)]
    start = time.perf_counter()
    text = Notation(document).written(["value", 60])
    assert "…" in text
    assert len(text) < 100_000
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    "value", [["tensor", 99], ["text", -1], ["fake", "0"], ["tuple"], [[]], [], ["module", "\x1b"]]
)
def test_what_does_not_fit_the_schema_is_one_error(value: Any) -> None:
    with pytest.raises(InvalidDocument), reading("a value"):
        Notation(small()).written(value)


def test_nothing_that_a_terminal_acts_on_gets_through() -> None:
    hostile = "".join(map(chr, range(0x3000))) + "\u202e\u2066\ud800\ufeff\U000e0001"
    shown = escaped(hostile) + Notation(small()).written(hostile)
    assert not {unicodedata.category(letter) for letter in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert "é" in shown


def test_every_name_of_a_value_is_escaped() -> None:
    red = "\x1b[31m"
    document = small()
    document["targets"][3][1] = red
    document["descriptions"][0] = [red, red, [2], None]
    for value in (
        ["dtype", red], ["device", red, None], ["name", red], [red, 1], ["annotation", red, None],
        ["enum", 3, red], ["generator", red, None, b""],
        ["target", 3], ["named", 3, []], ["fake", 0], red, ["dict", [red, 1]],
    ):  # fmt: skip
        assert "\x1b" not in Notation(document).written(value)
    assert "\x1b" not in Notation(document).arguments([[], [red, 1]], iter(()))


def test_clipped_keeps_what_fits() -> None:
    assert (clipped("abc", 3), clipped("abcd", 3)) == ("abc", "ab…")


def test_a_node_source_is_the_name_of_its_node_and_the_pass() -> None:
    document: Any = empty_document()
    document["texts"] = ["a pass", "relu\x1b"]
    document["sources"] = {"pass": [0, 0], "name": [1, 0], "graph": [1, 0]}
    written = Notation(document).written
    assert (
        written(["list", [["node_source", 0], ["node_source", 1]]])
        == r"[<relu\x1b by a pass>, <nothing by a pass>]"
    )
    assert written(["node_source", 7]) == "<node_source>"


def test_records_and_registered_values_show_what_they_hold() -> None:
    document: Any = empty_document()
    document["facts"] = [
        ["value", "a.b.Id", ["idx", 1]],
        ["object", "a.Outer\x1b", ["of", ["fact", 0], "x", ["list", []]]],
    ]
    document["extensions"] = [["mylib.Thing", 2, True, ["tuple", [1]]]]
    written = Notation(document).written
    assert written(["fact", 1]) == r"Outer\x1b(of=Id(idx=1), x=[])"
    assert written(["extension", 0]) == "<mylib.Thing 2: (1,)>"
    document["facts"][0][2] = ["idx", ["fact", 0]]
    assert "…" in written(["fact", 0])
