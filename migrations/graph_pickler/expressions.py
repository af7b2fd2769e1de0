"""Sympy expressions: from the calls of a pickle to rows of explicit trees over a closed list of functions."""

from __future__ import annotations

from typing import Any

from fxarchive.document import SYMBOLIC_SHAPES
from fxarchive.migrations.graph_pickler.translation import Translation, Untranslatable, sequence_of, shown
from fxarchive.streams import Call, Pairs

_SYMPY = {
    "sympy.core.add.Add": "Add",
    "sympy.core.mul.Mul": "Mul",
    "sympy.core.power.Pow": "Pow",
    "sympy.functions.elementary.complexes.Abs": "Abs",
    "sympy.functions.elementary.integers.floor": "floor",
    "sympy.functions.elementary.integers.ceiling": "ceiling",
    **{
        f"sympy.core.relational.{name}": name
        for name in (
            "Equality", "Unequality", "GreaterThan", "LessThan", "StrictGreaterThan", "StrictLessThan"
        )
    },
    **{f"sympy.logic.boolalg.{name}": name for name in ("And", "Or", "Xor", "Not")},
    "sympy.functions.elementary.piecewise.ExprCondPair": "ExprCondPair",
    "sympy.functions.elementary.piecewise.Piecewise": "Piecewise",
}  # fmt: skip

_OF_TORCH = (
    "FloorDiv", "PythonMod", "Mod", "CleanDiv", "LShift", "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv",
    "IntTrueDiv", "RoundDecimal", "CeilToInt", "FloorToInt", "RoundToInt", "TruncToFloat", "TruncToInt", "ToFloat",
    "Identity", "Max", "Min", "ModularIndexing", "Where", "IsNonOverlappingAndDenseIndicator",
    *[f"OpaqueUnaryFn_{name}" for name in ("sqrt", "cos", "cosh", "sin", "sinh", "tan", "tanh", "asin", "acos",
                                          "atan", "exp", "log", "asinh", "log2")],
    *[f"BitwiseFn_bitwise_{name}" for name in ("and", "or", "xor")],
)  # fmt: skip

FUNCTIONS = {**_SYMPY, **{f"torch.utils._sympy.functions.{name}": name for name in _OF_TORCH}}
"""Class that a pickle names -> function of schema 2."""

CONSTANTS = {
    "torch.utils._sympy.numbers.IntInfinity": "int_oo",
    "torch.utils._sympy.numbers.NegativeIntInfinity": "-int_oo",
    "sympy.core.numbers.Infinity": "oo",
    "sympy.core.numbers.NegativeInfinity": "-oo",
    "sympy.core.numbers.ComplexInfinity": "zoo",
    "sympy.core.numbers.NaN": "nan",
    "sympy.logic.boolalg.BooleanTrue": "true",
    "sympy.logic.boolalg.BooleanFalse": "false",
    "sympy.core.numbers.Pi": "pi",
    "sympy.core.numbers.Exp1": "E",
}
INTEGERS = {
    "sympy.core.numbers.Zero": 0,
    "sympy.core.numbers.One": 1,
    "sympy.core.numbers.NegativeOne": -1,
}
SYMBOL = "sympy.core.symbol.Symbol"
INTEGER = "sympy.core.numbers.Integer"
RATIONAL = "sympy.core.numbers.Rational"
HALF = "sympy.core.numbers.Half"
FLOAT = "sympy.core.numbers.Float"

NAMES = frozenset({*FUNCTIONS, *CONSTANTS, *INTEGERS, SYMBOL, INTEGER, RATIONAL, HALF, FLOAT})
"""Every class of which an expression is made."""


class Expressions:
    """The tables under ``document["symbolic"]`` while they grow."""

    def __init__(self, tr: Translation) -> None:
        self.symbols: list[Any] = []
        self.expressions: list[Any] = []
        self.environments: list[Any] = []
        self.rows: dict[Any, int] = {}
        """A row as a tuple -> its number: equal expressions are one row."""
        self.known: dict[int, int] = {}
        """Id of a record -> its row."""
        self.numbers: dict[int, list[Any]] = {}
        """Id of the record of a symbolic number -> the value that it became."""
        self.alive: list[Any] = []
        tr.document["symbolic"] = {
            "symbols": self.symbols,
            "expressions": self.expressions,
            "environments": self.environments,
        }
        tr.features.add(SYMBOLIC_SHAPES)

    def row(self, expression: Any) -> int:
        """Return the row of an expression; numbers of Python are those of sympy."""
        pending: list[tuple[Any, bool]] = [(expression, False)]
        opened: set[int] = set()
        while pending:
            part, arguments_done = pending.pop()
            if id(part) in self.known:
                continue
            function = FUNCTIONS.get(part.name) if type(part) is Call else None
            if function is None:
                self._know(part, self._leaf(part))
            elif arguments_done:
                self._know(part, [function, *[self.known[id(arg)] for arg in part.args]])
            else:
                if part.kwargs is not None and len(part.kwargs):
                    raise Untranslatable.because(f"{shown(part)} has arguments with names")
                if id(part) in opened:
                    raise Untranslatable.because("an expression holds itself")
                opened.add(id(part))
                pending.append((part, True))
                pending += [(arg, False) for arg in reversed(sequence_of(part.args))]
        return self.known[id(expression)]

    def _know(self, part: Any, row: list[Any]) -> None:
        key = tuple(row)
        found = self.rows.get(key)
        if found is None:
            found = self.rows[key] = len(self.expressions)
            self.expressions.append(row)
        self.known[id(part)] = found
        self.alive.append(part)  # so that its id stays its own

    def _leaf(self, part: Any) -> list[Any]:
        if type(part) is bool:
            return ["constant", "true" if part else "false"]
        if type(part) is int:
            return ["Integer", part]
        if type(part) is float:
            return _float_of(part, 53)
        if type(part) is Call:
            args = sequence_of(part.args)
            if part.name in CONSTANTS:
                return ["constant", CONSTANTS[part.name]]
            if part.name in INTEGERS:
                return ["Integer", INTEGERS[part.name]]
            if part.name == SYMBOL:
                return ["Symbol", self._symbol(part)]
            if part.name == HALF:
                return ["Rational", 1, 2]
            if part.name == INTEGER and len(args) == 1 and type(args[0]) is int:
                return ["Integer", args[0]]
            if part.name == RATIONAL and len(args) == 2 and type(args[0]) is type(args[1]) is int:
                return ["Rational", *args]
            if part.name == FLOAT:
                return _float(part)
        raise Untranslatable.because(
            f"{shown(part)} is not a function or number that torch puts into symbolic shapes"
        )

    def _symbol(self, call: Call) -> int:
        args = sequence_of(call.args)
        assumptions = call.kwargs
        if len(args) == 2 and type(args[1]) is Pairs:  # an older form of sympy's
            assumptions = args[1]
        if not args or type(args[0]) is not str:
            raise Untranslatable.because("a symbol has no name")
        if not (assumptions is None or type(assumptions) is Pairs):
            raise Untranslatable.because(f"the assumptions of {args[0]!r:.80} are {shown(assumptions)}")
        facts = {} if assumptions is None else dict(assumptions.items)
        if not all([type(name) is str and type(fact) is bool for name, fact in facts.items()]):
            raise Untranslatable.because(f"the assumptions of {args[0]!r:.80} are not facts")
        key = ("a symbol", args[0], tuple(facts.items()))
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = len(self.symbols)
            self.symbols.append([args[0], facts])
        return row


def _float(call: Call) -> list[Any]:
    """``Float((sign, mantissa as hexadecimal text, exponent, bits), precision=...)``."""
    args = sequence_of(call.args)
    named = call.kwargs.named() if type(call.kwargs) is Pairs else {}
    precision = named.get("precision", args[1] if len(args) > 1 else 53)
    parts = args[0] if args else None
    if type(parts) is float:
        return _float_of(parts, precision)
    if type(parts) is tuple and len(parts) == 4 and type(precision) is int:
        sign, mantissa, exponent, _ = parts
        if type(mantissa) is str and len(mantissa) < 4096:
            try:
                mantissa = int(mantissa, 16)
            except ValueError:
                mantissa = None
        if type(sign) is type(mantissa) is type(exponent) is int:
            return ["Float", sign, mantissa, exponent, precision]
    raise Untranslatable.because("a float of sympy is not in a form that is known")


def _float_of(number: float, precision: int) -> list[Any]:
    if number != number or number in (float("inf"), float("-inf")):
        return ["constant", "nan" if number != number else "oo" if number > 0 else "-oo"]
    numerator, denominator = abs(number).as_integer_ratio()
    exponent = -(denominator.bit_length() - 1)
    while numerator and numerator % 2 == 0:
        numerator //= 2
        exponent += 1
    return ["Float", int(number < 0), numerator, exponent if numerator else 0, precision]


def expressions(tr: Translation) -> Expressions:
    """Return the symbolic tables; the first call puts them into the document."""
    found: Expressions | None = tr.state.get("expressions")
    if found is None:
        found = tr.state["expressions"] = Expressions(tr)
    return found


def text(rows: list[Any], symbols: list[Any], row: int) -> str:
    """Return a text of an expression by which sets of them are put in order."""
    held: dict[int, str] = {}
    for at in range(row + 1):
        name, *args = rows[at]
        if name == "Symbol":
            held[at] = str(symbols[args[0]][0])
        elif name in ("Integer", "Rational", "Float", "constant"):
            held[at] = "/".join(map(str, args))[:80]
        else:
            held[at] = f"{name}({', '.join([held[arg] for arg in args])})"[:4096]
    return held[row]
