"""Symbolic numbers of a document as text, as torch and Python write them: ``2*s0 + 1``, ``s0//8``.

The document may come from a hostile file. Nothing is evaluated; what is written is bounded, and holds no other
letters than those of identifiers and numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from fxarchive.document import Value
from fxarchive.errors import InvalidDocument

MOST_PARTS = 200
"""Rows that are written for one number before an ellipsis stands for the rest."""

SYMBOLIC = frozenset({"symint", "symfloat", "symbool"})

_LOGIC, _COMPARE, _ADD, _TIMES, _POWER, _ATOM = range(6)
"""How tightly parts of a text are bound."""

_INFIX = {
    "FloorDiv": ("//", _TIMES), "CleanDiv": ("//", _TIMES), "FloatTrueDiv": ("/", _TIMES),
    "IntTrueDiv": ("/", _TIMES), "Pow": ("**", _POWER), "PowByNatural": ("**", _POWER), "FloatPow": ("**", _POWER),
    "GreaterThan": (" >= ", _COMPARE), "LessThan": (" <= ", _COMPARE), "StrictGreaterThan": (" > ", _COMPARE),
    "StrictLessThan": (" < ", _COMPARE),
}  # fmt: skip
_CHAINS = {"Or": (" | ", _LOGIC), "And": (" & ", _LOGIC), "Add": (" + ", _ADD), "Mul": ("*", _TIMES)}
_NAMES = {"Equality": "Eq", "Unequality": "Ne"}
_ENDLESS = ("int_oo", "-int_oo", "oo", "-oo")
_NUMBERS = ("Integer", "Rational", "Float")
_NAME = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)


class Range(NamedTuple):
    """What an environment of symbols says about one of them."""

    name: str
    least: str
    """The least value as text; "" where there is none."""
    most: str
    """The greatest value as text; "" where there is none."""
    hint: str
    """The value that it had when the graph was captured; "" where there was none."""


def number_text(document: Any, value: Value) -> str:
    """Return a number as text; "?" for what is none.

    >>> number_text({}, 3), number_text({}, ["symint", None, None, 7])
    ('3', '7')
    """
    if type(value) is list and len(value) >= 4 and value[0] in SYMBOLIC:
        return _short(value[3]) if value[2] is None else expression_text(document, value[2])
    return _short(value)


def expression_text(document: Any, row: Any) -> str:
    """Return the expression in a row of the symbolic table as text.

    Raises:
        InvalidDocument: there is no such row, or it refers to itself or to a later one.

    >>> rows = [["Symbol", 0], ["Integer", 8], ["FloorDiv", 0, 1], ["Integer", -1], ["Add", 3, 2]]
    >>> expression_text({"symbolic": {"symbols": [["s0", {}]], "expressions": rows}}, 4)
    's0//8 - 1'
    """
    return _Writer(document["symbolic"]).written(row)[0]


def ranges(document: Any) -> tuple[Range, ...]:
    """Return the symbols of a document with their ranges, in the order of its environments."""
    found: dict[str, Range] = {}
    for environment in document.get("symbolic", {}).get("environments", ()):
        flat = [expression_text(document, row) for row in environment["hints"]]
        hints = dict(zip(flat[::2], flat[1::2], strict=True))
        flat = [expression_text(document, row) for row in environment["ranges"]]
        for name, *bounds in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
            least, most = ["" if bound in _ENDLESS else bound for bound in bounds]
            found.setdefault(name, Range(name, least, most, hints.get(name, "")))
    return tuple(found.values())


class _Writer:
    """Writes one expression; each part with how tightly it is bound."""

    def __init__(self, symbolic: Any) -> None:
        self._symbols = symbolic["symbols"]
        self._rows = symbolic["expressions"]
        self._left = MOST_PARTS

    def written(self, row: Any, below: int | None = None) -> tuple[str, int]:
        if type(row) is not int or not 0 <= row < (len(self._rows) if below is None else below):
            raise InvalidDocument("symbolic.expressions", f"there is no earlier row {row!r:.80}")
        self._left -= 1
        if self._left < 0:
            return "…", _ATOM
        function, *held = self._rows[row]
        leaf = _LEAVES.get(function)
        if leaf is not None:
            text = leaf(self._symbols, held)
            return text, _ADD if text.startswith("-") else _TIMES if "/" in text else _ATOM
        return self._call(function, held, row)

    def _call(self, function: Any, held: list[Any], row: int) -> tuple[str, int]:
        if function == "Add":
            held = sorted(
                held, key=lambda part: self._rows[part][0] in _NUMBERS
            )  # as torch writes it: s0 + 1
        parts = [self.written(part, row) for part in held[:MOST_PARTS]]
        if len(held) > MOST_PARTS:
            parts.append(("…", _ATOM))
        if function in _CHAINS and parts:
            sign, level = _CHAINS[function]
            # Python reads & before <=, and x*y//z from the left
            first, others = (_ATOM, _ATOM) if level < _COMPARE else (level, level + (level == _TIMES))
            texts = [_bound(part, others if at else first) for at, part in enumerate(parts)]
            if function == "Mul" and texts[0].startswith("(-") and self._rows[held[0]][0] in _NUMBERS:
                before = "-" if parts[0][0] == "-1" else f"{parts[0][0]}*"
                return before + sign.join(texts[1:]), _ADD
            return sign.join(texts).replace("+ -", "- "), level
        if function in _INFIX and len(parts) == 2:
            sign, level = _INFIX[function]
            return f"{_bound(parts[0], level + (level == _POWER))}{sign}{_bound(parts[1], level + 1)}", level
        if function == "Not" and len(parts) == 1:
            return f"~{_bound(parts[0], _ATOM)}", _ATOM
        return f"{_function(function)}({', '.join([text for text, _ in parts])})", _ATOM


def _bound(part: tuple[str, int], level: int) -> str:
    """Return the text of a part, in brackets if it is bound less tightly than ``level``."""
    text, own = part
    if text.startswith("-") and level == _ADD:
        return text
    return text if own >= level else f"({text})"


def _function(name: Any) -> str:
    if type(name) is not str or not _NAME.fullmatch(name):
        return "?"
    return _NAMES.get(name, name.removeprefix("OpaqueUnaryFn_").removeprefix("BitwiseFn_"))


def _symbol(symbols: Any, held: list[Any]) -> str:
    row = held[0]
    if type(row) is not int or not 0 <= row < len(symbols):
        raise InvalidDocument("symbolic.symbols", f"there is no row {row!r:.80}")
    name = symbols[row][0]
    return name if type(name) is str and _NAME.fullmatch(name) else "?"


def _float(symbols: Any, held: list[Any]) -> str:
    sign, mantissa, exponent = held[:3]
    try:
        return repr(math.ldexp(-mantissa if sign else mantissa, exponent))
    except OverflowError:
        return "…"


def _constant(symbols: Any, held: list[Any]) -> str:
    name = held[0]
    return name if type(name) is str and _NAME.fullmatch(name.removeprefix("-")) else "?"


def _short(number: Any) -> str:
    if type(number) is int and number.bit_length() > 1024:
        return "…"  # Python refuses to write very long ones
    return repr(number) if isinstance(number, int | float) else "?"


_LEAVES: dict[Any, Callable[[Any, list[Any]], str]] = {
    "Symbol": _symbol,
    "Integer": lambda symbols, held: _short(held[0]),
    "Rational": lambda symbols, held: f"{_short(held[0])}/{_short(held[1])}",
    "Float": _float,
    "constant": _constant,
}
