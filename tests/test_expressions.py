"""Symbolic numbers as text: what Python makes of the text is the number that was stored."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import fxarchive
from fxarchive import container
from fxarchive.errors import InvalidDocument
from fxarchive.expressions import MOST_PARTS, Range, expression_text, number_text, ranges
from fxarchive.listing import list_graphs, list_nodes
from fxarchive.reading import read_document
from fxarchive.tables import reading

S0, S1 = ["Symbol", 0], ["Symbol", 1]


def document(*rows: Any, names: Any = ("s0", "s1")) -> Any:
    return {"symbolic": {"symbols": [[name, {}] for name in names], "expressions": list(rows)}}


def text(*rows: Any) -> str:
    """The text of the last of ``rows``; the first two are the symbols."""
    return expression_text(document(S0, S1, *rows), len(rows) + 1)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((["Integer", 1], ["Add", 2, 0]), "s0 + 1"),
        ((["Integer", -1], ["Add", 2, 0]), "s0 - 1"),
        ((["Integer", 2], ["Mul", 2, 0]), "2*s0"),
        ((["Integer", -1], ["Mul", 2, 0]), "-s0"),
        ((["Integer", -2], ["Mul", 2, 0, 1]), "-2*s0*s1"),
        ((["Integer", -1], ["Mul", 2, 1], ["Add", 0, 3]), "s0 - s1"),
        ((["Integer", -1], ["Mul", 2, 1], ["Mul", 0, 3]), "s0*(-s1)"),
        ((["Add", 0, 1], ["Mul", 2, 0]), "(s0 + s1)*s0"),
        ((["Integer", 8], ["Add", 0, 1], ["FloorDiv", 3, 2]), "(s0 + s1)//8"),
        ((["Mul", 0, 1], ["FloorDiv", 0, 2]), "s0//(s0*s1)"),
        ((["FloorDiv", 0, 1], ["FloorDiv", 2, 1]), "s0//s1//s1"),
        ((["FloorDiv", 0, 1], ["FloorDiv", 0, 2]), "s0//(s0//s1)"),
        ((["FloorDiv", 0, 1], ["Mul", 2, 1]), "s0//s1*s1"),
        ((["FloorDiv", 0, 1], ["Mul", 1, 2]), "s1*(s0//s1)"),
        ((["Integer", 2], ["Pow", 0, 2], ["Pow", 3, 2]), "(s0**2)**2"),
        ((["Integer", 2], ["Mul", 2, 0], ["Pow", 3, 2]), "(2*s0)**2"),
        ((["Rational", 1, 2], ["Mul", 2, 0]), "1/2*s0"),
        ((["Rational", 1, 2], ["Pow", 0, 2]), "s0**(1/2)"),
        ((["Float", 1, 3, -1, 53], ["Mul", 2, 0]), "-1.5*s0"),
        ((["Equality", 0, 1], ["Not", 2]), "~Eq(s0, s1)"),
        ((["LessThan", 0, 1], ["StrictGreaterThan", 0, 1], ["And", 2, 3]), "(s0 <= s1) & (s0 > s1)"),
        ((["Min", 0, 1],), "Min(s0, s1)"),
        ((["OpaqueUnaryFn_sqrt", 0],), "sqrt(s0)"),
        ((["constant", "-int_oo"],), "-int_oo"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_the_text_of_an_expression(rows: tuple[Any, ...], said: str) -> None:
    assert text(*rows) == said


FUNCTIONS: dict[str, Any] = {
    "Add": lambda *parts: sum(parts), "Mul": lambda *parts: math.prod(parts), "FloorDiv": lambda a, b: a // b,
    "Pow": lambda a, b: a**b, "Max": max, "Min": min, "IntTrueDiv": lambda a, b: Fraction(a) / b,
}  # fmt: skip


def worth(rows: list[Any], row: int, values: list[int]) -> Any:
    function, *held = rows[row]
    if function == "Symbol":
        return Fraction(values[held[0]])
    if function == "Integer":
        return Fraction(held[0])
    if function == "Rational":
        return Fraction(*held)
    return FUNCTIONS[function](*[worth(rows, part, values) for part in held])


def test_python_makes_the_same_number_of_the_text() -> None:
    leaves = [S0, S1, *[["Integer", n] for n in (-3, -1, 2, 5)], ["Rational", 2, 3]]
    rows = list(leaves)
    binary = ["Add", "Mul", "FloorDiv", "IntTrueDiv", "Max"]
    for first in range(len(leaves)):
        rows += [[function, first, second] for function in binary for second in range(len(leaves))]
    deep = len(rows)
    for at in range(len(leaves), deep, 7):
        rows += [[function, at, at - 3] for function in binary] + [["Add", at - 5, at, 0], ["Pow", at, 4]]
    known = {"Max": max, "s0": Fraction(7), "s1": Fraction(11)}
    compared = 0
    for row in range(len(rows)):
        said = expression_text(document(*rows), row)
        exact = said.replace("2/3", "two_thirds")
        try:
            expected = worth(rows, row, [7, 11])
        except ZeroDivisionError:
            continue
        assert eval(exact, {**known, "two_thirds": Fraction(2, 3)}) == pytest.approx(expected), said
        compared += 1
    assert compared > 300


def test_sizes_and_numbers_of_a_traced_graph() -> None:
    def work(x: Any) -> Any:
        half = x[: x.shape[0] // 2]
        return torch.cat([half, half, x]), x.shape[0] * 3 - 1

    graph = make_fx(work, tracing_mode="symbolic")(torch.randn(6, 4))
    archive = container.open_archive(fxarchive.dumps({"deep": [graph]}))
    held = read_document(archive)
    assert [found.modules for found in list_graphs(held)] == [("['deep'][0]",)]
    lines = {node.name: node.value for node in list_nodes(held, 0)}
    rows, columns = next(iter(graph.graph.nodes)).meta["val"].shape
    assert lines["x_1"] == f"f32[{rows}, {columns}]"
    assert lines["cat"] == f"f32[{rows} + 2*({rows}//2), {columns}]"
    assert lines["sub"] == f"Sym(3*{rows} - 1)"
    assert ranges(held) == (Range(str(rows), "2", "", "6"), Range(str(columns), "2", "", "4"))


@pytest.mark.parametrize(
    ("rows", "row"),
    [
        ([["Add", 0, 0]], 0),
        ([["Add", 1, 1], ["Symbol", 0]], 0),
        ([["Symbol", 9]], 0),
        ([["Symbol", 0]], 1),
        ([["Symbol", 0]], "0"),
    ],
)
def test_a_row_that_leads_nowhere_is_an_error(rows: list[Any], row: Any) -> None:
    with pytest.raises(InvalidDocument), reading("here"):
        expression_text(document(*rows), row)


def test_what_a_file_names_cannot_drive_a_terminal() -> None:
    assert expression_text(document(S0, names=("\x1b[31m",)), 0) == "?"
    assert expression_text(document(S0, ["\x1b[31m", 0]), 1) == "?(s0)"
    assert expression_text(document(["constant", "\x1b"]), 0) == "?"


def test_a_number_that_would_fill_the_memory_is_cut() -> None:
    rows = [S0, *[["Add", row, row] for row in range(100)]]
    assert len(expression_text(document(*rows), 100)) < 20 * MOST_PARTS
    wide = [S0, ["Add", *[0] * 100_000]]
    assert len(expression_text(document(*wide), 1)) < 20 * MOST_PARTS
    assert expression_text(document(["Integer", 1 << 5000]), 0) == "…"
    assert expression_text(document(["Float", 0, 1, 16000, 53]), 0) == "…"


def test_numbers() -> None:
    held = document(S0)
    assert number_text(held, ["symint", 0, 0, 4]) == "s0"
    assert number_text(held, ["symbool", None, None, True]) == "True"
    assert number_text(held, ["nested", 3]) == "?"


def test_ranges_of_symbols() -> None:
    held = document(S0, S1, ["Integer", 2], ["constant", "int_oo"], ["Integer", 4], ["constant", "-int_oo"])
    held["symbolic"]["environments"] = [
        {"hints": [0, 4], "ranges": [0, 2, 3, 1, 5, 4]},
        {"hints": [], "ranges": [0, 4, 4]},
    ]
    assert ranges(held) == (Range("s0", "2", "", "4"), Range("s1", "", "4", ""))
    assert ranges({}) == ()
