"""Sympy expressions as rows: explicit trees over a closed list of functions, never text to evaluate.

A row is ``[function, row, row, ...]`` and refers to earlier rows only, so that decoding is one pass without
recursion, and an expression that occurs twice is stored once. Leaves are ``["Symbol", row of symbols]``,
``["Integer", n]``, ``["Rational", p, q]``, ``["Float", sign, mantissa, exponent, precision]`` and
``["constant", name]``. Nothing is evaluated when an expression is rebuilt, and `bounds` keeps small
whatever evaluates it later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import sympy
import torch
from sympy.logic.boolalg import Boolean

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.symbolic import bounds
from fxarchive.codec.symbolic.bounds import OutOfBounds
from fxarchive.codec.symbolic.functions import CONSTANTS, FUNCTIONS, Signature, build, name_of_function
from fxarchive.document import SYMBOLIC_SHAPES, Value
from fxarchive.errors import InvalidDocument, MissingOperator, Problem

ASSUMPTIONS = frozenset(
    {
        "algebraic", "antihermitian", "commutative", "complex", "composite", "even", "extended_negative",
        "extended_nonnegative", "extended_nonpositive", "extended_nonzero", "extended_positive",
        "extended_real", "finite", "hermitian", "imaginary", "infinite", "integer", "irrational", "negative",
        "noninteger", "nonnegative", "nonpositive", "nonzero", "odd", "polar", "positive", "prime",
        "rational", "real", "transcendental", "zero",
    }
)  # fmt: skip
"""Assumptions that a symbol may be created with: sympy's own."""

_CONSTANT_NAMES = {id(constant): name for name, constant in CONSTANTS.items()}
"""Sympy has one object of each."""


# encoding


@dataclass
class Tables:
    """The tables under ``document["symbolic"]`` while they grow."""

    symbols: list[Any] = field(default_factory=list)
    expressions: list[Any] = field(default_factory=list)
    environments: list[Any] = field(default_factory=list)
    rows: dict[Any, int] = field(default_factory=dict)
    """(type, expression) -> its row; sympy counts some numbers of different types as equal."""
    costs: list[bounds.Cost] = field(default_factory=list)
    """Of each row of `expressions`."""


_TABLES: WeakKeyDictionary[Encoder, Tables] = WeakKeyDictionary()


def tables(enc: Encoder) -> Tables:
    """Return the symbolic tables of ``enc``; the first call puts them into its document."""
    found = _TABLES.get(enc)
    if found is None:
        found = _TABLES[enc] = Tables()
        document: dict[str, Any] = enc.document  # type: ignore[assignment]
        document["symbolic"] = {
            "symbols": found.symbols,
            "expressions": found.expressions,
            "environments": found.environments,
        }
        enc.features.add(SYMBOLIC_SHAPES)
    return found


def encode_expression(enc: Encoder, expression: sympy.Basic) -> int:
    """Return the row of ``expression``; raise `Refused` if a part of it cannot be kept."""
    held = tables(enc)
    found = held.rows.get(_key(expression))
    if found is not None:
        return found
    pending: list[tuple[Any, bool]] = [(expression, False)]
    while pending:
        part, arguments_done = pending.pop()
        if _key(part) in held.rows:
            continue
        name = name_of_function(part)
        if name is None:
            _add(held, part, _leaf(held, part), part)
        elif arguments_done:
            wrong = _wrong_kind(FUNCTIONS[name], part.args)
            if wrong is not None:
                raise Refused.because(
                    f"the expression {_shown(expression)} cannot be kept: {name} takes {wrong}"
                )
            _add(held, part, [name, *[held.rows[_key(arg)] for arg in part.args]], expression)
        else:
            pending.append((part, True))
            pending += [(arg, False) for arg in reversed(part.args)]
    return held.rows[_key(expression)]


def _key(expression: Any) -> Any:
    if type(expression) is sympy.Float:
        return "Float", expression._mpf_, expression._prec
    return type(expression), expression


def _add(held: Tables, part: sympy.Basic, row: list[Any], whole: sympy.Basic) -> None:
    try:
        cost = bounds.cost(row, held.costs)
    except OutOfBounds as error:
        raise Refused.because(f"the expression {_shown(whole)} {error}") from None
    held.rows[_key(part)] = len(held.expressions)
    held.expressions.append(row)
    held.costs.append(cost)


def _leaf(held: Tables, part: Any) -> list[Any]:
    constant = _CONSTANT_NAMES.get(id(part))
    if constant is not None:
        return ["constant", constant]
    if type(part) is sympy.Symbol:
        return ["Symbol", _symbol(held, part)]
    if isinstance(part, sympy.Integer):
        return ["Integer", int(part)]
    if isinstance(part, sympy.Rational):
        return ["Rational", int(part.p), int(part.q)]
    if type(part) is sympy.Float:
        sign, mantissa, exponent, _ = part._mpf_
        if mantissa or not exponent:
            return ["Float", int(sign), int(mantissa), int(exponent), int(part._prec)]
    raise Refused.because(
        f"the expression {_shown(part)} is a {type(part).__module__}.{type(part).__qualname__}, "
        "which is not a function or number that torch puts into symbolic shapes"
    )


def _symbol(held: Tables, symbol: Any) -> int:
    if not is_symbol_name(symbol.name):
        raise Refused.because(f"the symbol {_shown(symbol)} has a name that is not an identifier; rename it")
    # in their own order, which `sympy.srepr` shows
    assumptions = {name: bool(value) for name, value in symbol._assumptions_orig.items()}
    if not assumptions.keys() <= ASSUMPTIONS:
        raise Refused.because(f"the symbol {_shown(symbol)} has an assumption that is not one of sympy's own")
    held.symbols.append([symbol.name, assumptions])
    return len(held.symbols) - 1


def _shown(expression: Any) -> str:
    try:
        text = str(expression)
    except RecursionError:
        text = f"({type(expression).__name__})"
    return text if len(text) <= 80 else f"{text[:77]}..."


def is_symbol_name(name: Any) -> bool:
    """Whether ``name`` may stand in generated text: a short ASCII identifier, no keyword, no dunder."""
    return (
        type(name) is str
        and len(name) <= bounds.NAME_LENGTH
        and name.isascii()
        and name.isidentifier()
        and not name.startswith("__")
        and name not in bounds.KEYWORDS
    )


def _wrong_kind(signature: Signature, args: Sequence[Any]) -> str | None:
    """Return which argument is not of its kind, in words that follow "takes"; None if all are."""
    for kind, arg in zip(signature.kinds(len(args)), args, strict=True):
        fits = (
            isinstance(arg, sympy.Expr)
            if kind == "number"
            else isinstance(arg, Boolean)
            if kind == "boolean"
            else isinstance(arg, sympy.functions.elementary.piecewise.ExprCondPair)
            if kind == "pair"
            else isinstance(arg, sympy.Expr | Boolean)
        )
        if not fits:
            return f"a {kind} and not {_shown(arg)}"
    return None


# decoding


@dataclass
class Built:
    """The symbolic tables of a document, and what they became."""

    rows: list[Any]
    """The expressions as they are in the document."""
    expressions: list[Any]
    """The expressions as sympy objects."""
    costs: list[bounds.Cost]
    environments: list[Any]
    """The records of the environments."""
    exponents: frozenset[int]
    """Rows of the symbols that stand in an exponent."""

    def expression(self, row: Any, where: str) -> Any:
        """Return the expression of ``row``, or raise `InvalidDocument` if there is no such row."""
        if type(row) is not int or not 0 <= row < len(self.expressions):
            raise InvalidDocument(where, f"there is no expression {row!r:.40}")
        return self.expressions[row]

    def symbol(self, row: Any, where: str) -> Any:
        """Return the symbol of ``row``, or raise `InvalidDocument` if another kind of expression is there."""
        found = self.expression(row, where)
        if type(found) is not sympy.Symbol:
            raise InvalidDocument(where, f"expression {row} is not a symbol")
        return found


_BUILT: WeakKeyDictionary[Decoder, Built] = WeakKeyDictionary()


def built(dec: Decoder) -> Built:
    """Return the symbolic tables of the document, built on the first call.

    Raises:
        InvalidDocument: a row is not what the schema says, or its cost is over a limit.
        MissingOperator: the running torch lacks a function of an expression.
    """
    found = _BUILT.get(dec)
    if found is None:
        document: dict[str, Any] = dec.document  # type: ignore[assignment]
        found = _BUILT[dec] = rebuild(document.get("symbolic"))
    return found


def rebuild(table: Any) -> Built:
    """Return the symbolic tables in the form of a document as sympy objects; it raises what `built` does."""
    names = ("symbols", "expressions", "environments")
    if (
        type(table) is not dict
        or set(table) != set(names)
        or any(type(table[name]) is not list for name in names)
    ):
        raise InvalidDocument(
            "table symbolic", "it does not hold the lists symbols, expressions and environments"
        )
    symbols = [_decode_symbol(number, record) for number, record in enumerate(table["symbols"])]
    if len(set(symbols)) != len(symbols):
        raise InvalidDocument("table symbolic", "two of its symbols are the same")
    expressions: list[Any] = []
    costs: list[bounds.Cost] = []
    exponents: set[int] = set()
    for number, row in enumerate(table["expressions"]):
        where = f"row {number} of symbolic expressions"
        if type(row) is not list or not row or type(row[0]) is not str:
            raise InvalidDocument(where, "it is not a function with its arguments")
        expression = _decode_leaf(where, row, symbols)
        if expression is None:
            expression = _decode_call(where, row, expressions)
            exponents.update(bounds.exponent_rows(row))
        try:
            costs.append(bounds.cost(row, costs))
        except OutOfBounds as error:
            raise InvalidDocument(where, f"it {error}") from None
        expressions.append(expression)
    return Built(table["expressions"], expressions, costs, table["environments"], frozenset(exponents))


def _decode_symbol(number: int, record: Any) -> sympy.Symbol:
    where = f"row {number} of symbols"
    if type(record) is not list or len(record) != 2 or type(record[1]) is not dict:
        raise InvalidDocument(where, "it is not a name with assumptions")
    name, assumptions = record
    if not is_symbol_name(name):
        raise InvalidDocument(where, f"{name!r:.80} is not a name for a symbol")
    if not assumptions.keys() <= ASSUMPTIONS or any(
        type(value) is not bool for value in assumptions.values()
    ):
        raise InvalidDocument(
            where, f"the assumptions of {name} are not true or false facts that sympy knows"
        )
    try:
        return sympy.Symbol(name, **assumptions)
    except ValueError:
        raise InvalidDocument(where, f"the assumptions of {name} contradict each other") from None


def _decode_leaf(where: str, row: list[Any], symbols: list[Any]) -> Any:
    """Return the symbol or number of ``row``, or None if it calls a function."""
    kind, payload = row[0], row[1:]
    if kind not in ("Symbol", "Integer", "Rational", "Float", "constant"):
        return None
    if kind == "constant":
        if len(payload) != 1 or type(payload[0]) is not str or payload[0] not in CONSTANTS:
            raise InvalidDocument(where, f"{payload!r:.80} is not a known constant")
        return CONSTANTS[payload[0]]
    if any(type(item) is not int for item in payload) or len(payload) != bounds.LEAF_ITEMS[kind]:
        raise InvalidDocument(where, f"{payload!r:.80} is not what a {kind} holds")
    if kind == "Symbol":
        if not 0 <= payload[0] < len(symbols):
            raise InvalidDocument(where, f"there is no symbol {payload[0]!r:.40}")
        return symbols[payload[0]]
    try:
        bounds.number(row)
    except OutOfBounds as error:
        raise InvalidDocument(where, f"it {error}") from None
    if kind == "Integer":
        return sympy.Integer(payload[0])
    if kind == "Rational":
        return sympy.Rational(payload[0], payload[1])
    sign, mantissa, exponent, precision = payload
    # without zero=False a Float of 0.0 becomes the Integer 0
    return sympy.Float._new((sign, mantissa, exponent, mantissa.bit_length()), precision, zero=False)


def _decode_call(where: str, row: list[Any], earlier: list[Any]) -> Any:
    name, rows = row[0], row[1:]
    signature = FUNCTIONS.get(name)
    if signature is None:
        raise InvalidDocument(where, f"{name!r:.80} is not a known function")
    if not signature.least <= len(rows) <= signature.most:
        raise InvalidDocument(where, f"{name} does not take {len(rows)} arguments")
    args: list[Any] = []
    for number in rows:
        if type(number) is not int or not 0 <= number < len(earlier):
            raise InvalidDocument(
                where, f"{name} refers to expression {number!r:.40}, which is not an earlier one"
            )
        args.append(earlier[number])
    _check_kinds(where, name, signature, args)
    if signature.function is None:
        remedy = (
            f"torch {torch.__version__} has no such function for symbolic shapes; "
            "load with the release that wrote it"
        )
        raise MissingOperator([Problem(name, remedy)])
    try:
        return build(name, signature, args)
    except (TypeError, ValueError, AttributeError, ArithmeticError, AssertionError, RecursionError) as error:
        raise InvalidDocument(where, f"{name} does not take these arguments ({error!r:.120})") from None


def _check_kinds(where: str, name: str, signature: Signature, args: list[Any]) -> None:
    wrong = _wrong_kind(signature, args)
    if wrong is not None:
        raise InvalidDocument(where, f"{name} takes {wrong}")


def decode_expression(dec: Decoder, tagged: Value) -> Any:
    return built(dec).expression(tagged[1], "an expression")
