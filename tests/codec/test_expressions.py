"""Sympy expressions: what torch can produce comes back as the same tree, and hostile trees are refused."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
import sympy
import torch
from sympy.core.cache import clear_cache
from sympy.functions.elementary.piecewise import ExprCondPair
from torch._dynamo.source import ConstantSource
from torch.fx.experimental import sym_node
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv
from torch.utils._sympy import functions as f
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.singleton_int import SingletonInt
from torch.utils._sympy.value_ranges import ValueRanges

from fxarchive.codec.symbolic import bounds
from fxarchive.codec.symbolic.functions import CONSTANTS, FUNCTIONS
from fxarchive.errors import InvalidDocument, MissingOperator, UnsupportedValue

from .symbolic_documents import again, decode, encode, of_rows

s0, s1 = sympy.symbols("s0 s1", integer=True, positive=True)
u0 = sympy.Symbol("u0", integer=True)
zf = sympy.Symbol("zf0", real=True)

WRITTEN_OUT = [
    s0, u0, zf, sympy.Symbol("zuf0"), s0 + s1 * 2 - 3, s0**2 * u0, s0 ** sympy.Rational(1, 2), 2**s0,
    sympy.Pow(s0, -1), sympy.Mul(2, s0 + s1, evaluate=False), sympy.Abs(u0), sympy.floor(zf),
    sympy.ceiling(zf), sympy.Eq(s0, s1), sympy.Ne(u0, 3), sympy.Ge(u0, s0), sympy.Le(u0, s0),
    sympy.Gt(u0, 2), sympy.Lt(u0, 2 * s0), sympy.And(u0 > 2, s0 > 5), sympy.Or(u0 > 2, sympy.Eq(s0, 5)),
    sympy.Not(sympy.Symbol("b", integer=True) > u0), sympy.Piecewise((s0, u0 > 2), (s1, True)),
    f.Max(s0, u0, 7), f.Min(s0, u0 + 1), f.FloorDiv(s0, s1), f.FloorDiv(u0, 4), f.CleanDiv(s0, s1),
    f.Mod(s0, 4), f.PythonMod(u0, 4), f.ModularIndexing(u0, 4, s1), f.Where(u0 > 2, s0, s1),
    f.PowByNatural(s0, s1), f.FloatPow(zf, 2.5), f.FloatTrueDiv(zf, 2.0), f.IntTrueDiv(s0, 3),
    f.ToFloat(s0), f.TruncToInt(zf), f.TruncToFloat(zf), f.RoundToInt(zf), f.RoundDecimal(zf, 2),
    f.CeilToInt(zf), f.FloorToInt(zf), f.LShift(s0, s1), f.RShift(s0, s1), f.LShift(s0, u0,
    evaluate=False), f.RShift(s0, u0, evaluate=False), sympy.Xor(u0 > 2, s0 > 5), f.Identity(s0 + 1),
    f.IsNonOverlappingAndDenseIndicator(s0, s1, u0, 1), f.OpaqueUnaryFn_sqrt(f.ToFloat(s0)),
    f.BitwiseFn_bitwise_and(s0, 6), f.BitwiseFn_bitwise_or(u0, s0), f.OpaqueUnaryFn_log2(zf), sympy.pi *
    zf, sympy.E + zf, sympy.Integer(0), sympy.Integer(1), sympy.Integer(-1), sympy.Integer(2**100),
    sympy.Integer(-7), sympy.Rational(2, 3), sympy.Rational(1, 2), sympy.Float(0.0), sympy.Float(-2.5),
    sympy.Float(1e300), sympy.Float("0.1", 40), int_oo, -int_oo, sympy.oo, -sympy.oo, sympy.zoo,
    sympy.nan, sympy.true, sympy.false,
]  # fmt: skip


@pytest.mark.parametrize("expression", WRITTEN_OUT, ids=str)
def test_an_expression_comes_back_as_the_same_tree(expression: sympy.Basic) -> None:
    back = again(expression)
    assert type(back) is type(expression)
    assert sympy.srepr(back) == sympy.srepr(expression)
    assert back == expression
    assert back.args == expression.args


@pytest.mark.parametrize("name", sorted(name for name, of in FUNCTIONS.items() if of.function is not None))
def test_every_listed_function_comes_back(name: str) -> None:
    signature = FUNCTIONS[name]
    kinds = {
        "number": [s0, zf, u0, s1],
        "boolean": [u0 > 2, s0 > 3, u0 < 9, s0 < 7],
        "either": [s1, u0, s0, zf],
        "pair": [ExprCondPair(s0, u0 > 2), ExprCondPair(s1, sympy.true)],
    }
    count = max(signature.least, 2 if name == "Piecewise" else 0)
    args = [kinds[kind][at] for at, kind in enumerate(signature.kinds(count))]
    expression = ExprCondPair(*args) if name == "ExprCondPair" else signature.function(*args, evaluate=False)
    assert sympy.srepr(again(expression)) == sympy.srepr(expression)
    assert encode(expression)["symbolic"]["expressions"][-1][0] == name


def test_every_function_of_torch_is_listed() -> None:
    built_from_others = {"CeilDiv", "MinMaxBase"}
    classes = {
        name
        for name, cls in vars(f).items()
        if isinstance(cls, type) and issubclass(cls, sympy.Basic) and cls.__module__ == f.__name__
    }
    assert classes - built_from_others <= set(FUNCTIONS)


@pytest.mark.parametrize("name", sorted(CONSTANTS))
def test_a_constant_comes_back_as_itself(name: str) -> None:
    assert again(CONSTANTS[name]) is CONSTANTS[name]


def test_equal_parts_are_stored_once_and_symbols_keep_their_assumptions_in_order() -> None:
    ordered = sympy.Symbol("a", positive=True, integer=True)
    document = encode([ordered + 1, (ordered + 1) * u0, ordered])
    table = document["symbolic"]
    assert table["symbols"] == [["a", {"positive": True, "integer": True}], ["u0", {"integer": True}]]
    assert list(table["symbols"][0][1]) == ["positive", "integer"]
    assert table["expressions"].count(["Symbol", 0]) == 1
    assert [row[0] for row in table["expressions"]].count("Add") == 1
    assert [str(part) for part in decode(document)] == ["a + 1", "u0*(a + 1)", "a"]


def test_numbers_that_sympy_calls_equal_stay_apart() -> None:
    values = [sympy.Integer(2), sympy.Float(2.0), sympy.Float(2.0, 40), sympy.true, sympy.Integer(1)]
    assert [sympy.srepr(value) for value in again(values)] == [sympy.srepr(value) for value in values]


def test_conditions_that_exclude_one_another_are_not_simplified() -> None:
    expression = sympy.Xor(u0 > 2, sympy.Xor(s0 > 5, sympy.Eq(s1, 3)))
    back = again(expression)
    assert (back, hash(back), back.args, back._args) == (
        expression, hash(expression), expression.args, expression._args
    )  # fmt: skip
    assert back.subs(u0, 3) == expression.subs(u0, 3)
    rows: list[list[Any]] = [["Integer", number] for number in range(3000)]
    rows += [["StrictLessThan", number + 1, 0] for number in range(3000)]
    began = time.process_time()
    decode(of_rows(S, *rows, ["Xor", *range(3001, 6001)]))
    assert time.process_time() - began < 5


def test_symbols_of_one_name_and_other_assumptions_stay_apart() -> None:
    both = [sympy.Symbol("x", integer=True), sympy.Symbol("x")]
    back = again(both)
    assert back == both
    assert back[0] != back[1]


def test_rebuilding_evaluates_nothing() -> None:
    expression = sympy.Add(s0, s0, sympy.Mul(2, 3, evaluate=False), evaluate=False)
    assert sympy.srepr(again(expression)) == sympy.srepr(expression)


def test_a_class_that_unpickling_made_anew_is_known_by_its_name() -> None:
    sqrt = f.make_opaque_unary_fn("sqrt")
    assert sqrt is not f.OpaqueUnaryFn_sqrt
    assert type(again(sqrt(zf))) is f.OpaqueUnaryFn_sqrt


def test_a_value_range_comes_back() -> None:
    for value in (
        ValueRanges(2, int_oo),
        ValueRanges(-sympy.oo, sympy.oo),
        ValueRanges(sympy.false, sympy.true),
    ):
        assert again(value) == value


@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_value_range_between_others_than_numbers_is_refused(row: int) -> None:
    document = of_rows(["Symbol", 0], ["Integer", 5], ["Integer", 2])
    document["root"] = ["value_range", 1, (0, 2, 9)[row]]
    with pytest.raises(InvalidDocument):
        decode(document)


# what cannot be kept


REFUSED = {
    "is not a function or number": sympy.sin(zf),
    "SingletonInt": SingletonInt(3),
    "not an identifier": sympy.Symbol("a b") + 1,
    "Dummy": sympy.Dummy("d"),
    "nested more than 96": None,
    "terms when it is multiplied out": (s0 + s1 + u0 + zf) ** 100,
    "a number of more than 1024 bits": sympy.Integer(2**1024),
    "an exponent that is neither": s0 ** (u0 + 1),
    "more than 65536 bits": s0**1000 * s1**100,
    "FloorToInt takes a number and not": f.FloorToInt(u0 > 2),
}


def nested(levels: int) -> sympy.Expr:
    expression: Any = u0
    for _ in range(levels):
        expression = f.FloorDiv(expression, s0, evaluate=False)
    return expression


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_kept_is_refused_with_the_reason(reason: str) -> None:
    expression = nested(bounds.DEPTH) if REFUSED[reason] is None else REFUSED[reason]
    with pytest.raises(UnsupportedValue, match=reason):
        encode([1, expression])


def test_torch_can_handle_the_deepest_expression() -> None:
    deepest = nested(bounds.DEPTH - 1)
    back = again(deepest)

    def at_depth(levels: int) -> str:
        return (
            at_depth(levels - 1) if levels else str(back) + sympy.srepr(back) + str(back.xreplace({u0: s0}))
        )

    assert len(at_depth(150)) > 1000


# hostile documents


S, ONE, TWO = ["Symbol", 0], ["Integer", 1], ["Integer", 2]

HOSTILE: dict[str, tuple[list[Any], ...]] = {
    "not an earlier one": (S, ["Add", 0, 2], ONE),
    "refers to itself": (S, ["Add", 0, 1]),
    "a negative row": (S, ["Add", 0, -1]),
    "a row that is True": (S, ONE, ["Add", 0, True]),
    "an unknown function": (S, ["__import__", 0, 0]),
    "a function of sympy that is not listed": (S, ["sin", 0]),
    "too few arguments": (S, ["Add", 0]),
    "too many arguments": (S, ["Mod", 0, 0, 0]),
    "a condition as a number": (S, ["StrictLessThan", 0, 0], ["Add", 0, 1]),
    "a condition twice in an exclusive one": (S, ["StrictLessThan", 0, 0], ["Xor", 1, 1]),
    "a number as a condition": (S, ["Not", 0], ["Mul", 1, 0]),
    "a number as a case": (S, ["Piecewise", 0]),
    "a case as a number": (S, ["constant", "true"], ["ExprCondPair", 0, 1], ["Add", 0, 2]),
    "no symbol": (["Symbol", 7],),
    "an unknown constant": (["constant", "__class__"],),
    "a constant that is no text": (["constant", 3],),
    "an integer that is a text": (["Integer", "5"],),
    "an integer with too many bits": (["Integer", 1 << 2000],),
    "a fraction by zero": (["Rational", 1, 0],),
    "a fraction with a negative denominator": (["Rational", 1, -2],),
    "a float with an even mantissa": (["Float", 0, 4, 0, 53],),
    "a float with a negative mantissa": (["Float", 0, -3, 0, 53],),
    "a float of an enormous exponent": (["Float", 0, 1, 1 << 900, 53],),
    "a float without precision": (["Float", 0, 1, 0, 0],),
    "not a row": (5,),  # type: ignore[dict-item]
    "an empty row": ([],),
    "a tower of powers": (TWO, ["Integer", 1000], ["Pow", 0, 1], ["Pow", 2, 1], ["Pow", 3, 1]),
    "an enormous power": (TWO, ["Integer", 10**9], ["Pow", 0, 1]),
    "an enormous negative power": (TWO, ["Integer", -(10**9)], ["Pow", 0, 1]),
    "an enormous shift": (TWO, ["Integer", 10**9], ["LShift", 0, 1]),
    "an exponent that is a sum": (S, ONE, ["Add", 0, 1], ["Pow", 0, 2]),
    "an enormous expansion": (S, ONE, ["Add", 0, 1, 0, 1, 0, 1], ["Integer", 900], ["Pow", 2, 3]),
    "a product of sums": (S, ONE, ["Add", *[0, 1] * 8], ["Mul", 2, 2, 2, 2]),
    "a tree that doubles in every row": (S, *[["Max", row, row, 0] for row in range(64)]),
    "nested too deep": (S, ONE, *[["FloorDiv", row + 1, 0] for row in range(200)]),
    "a case distinction as a condition": (
        S, ["StrictLessThan", 0, 0], ["ExprCondPair", 0, 1], ["Piecewise", 2], ["StrictLessThan", 3, 0],
        ["ExprCondPair", 0, 4],
    ),
    "sizes without strides": (S, S, S, ["IsNonOverlappingAndDenseIndicator", 0, 1, 2]),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_tree_is_refused_at_once(what: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidDocument):
        decode(of_rows(*HOSTILE[what]))
    assert time.process_time() - began < 1


NAMES = [
    "a b", "", "1a", "lambda", "__import__", "x;y", "x\n", "é", "a" * 65, "a.b", "f()", 5, None,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_must_not_reach_generated_text_is_refused(name: Any) -> None:
    with pytest.raises(InvalidDocument, match="not a name for a symbol"):
        decode(of_rows(S, symbols=([name, {}],)))


RECORDS: dict[str, Any] = {
    "contradict": ["s0", {"positive": True, "negative": True}],
    "sympy knows": ["s0", {"__class__": True}],
    "not true or false": ["s0", {"positive": 1}],
    "a name with assumptions": ["s0"],
}


@pytest.mark.parametrize("reason", RECORDS)
def test_a_broken_symbol_is_refused(reason: str) -> None:
    with pytest.raises(InvalidDocument, match=reason):
        decode(of_rows(S, symbols=(RECORDS[reason],)))


def test_two_symbols_that_are_the_same_are_refused() -> None:
    symbols = (["s0", {"integer": True}], ["s0", {"integer": True}])
    with pytest.raises(InvalidDocument, match="are the same"):
        decode(of_rows(S, symbols=symbols))


@pytest.mark.parametrize("table", [None, [], {}, {"symbols": [], "expressions": []}, {"symbols": 1}])
def test_tables_of_another_form_are_refused(table: Any) -> None:
    document = of_rows(S)
    document["symbolic"] = table
    with pytest.raises(InvalidDocument):
        decode(document)


def test_a_row_that_is_not_there_is_refused() -> None:
    for row in (1, -1, None, "0", True):
        document = of_rows(S)
        document["root"] = ["expression", row]
        with pytest.raises(InvalidDocument):
            decode(document)


def test_a_function_that_this_torch_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = FUNCTIONS["BitwiseFn_bitwise_xor"].__class__(None, 2, 2)
    monkeypatch.setitem(FUNCTIONS, "BitwiseFn_bitwise_xor", lacking)
    with pytest.raises(MissingOperator, match="BitwiseFn_bitwise_xor"):
        decode(of_rows(S, ["BitwiseFn_bitwise_xor", 0, 0]))


def test_many_rows_take_time_in_proportion() -> None:
    def seconds(count: int) -> float:
        rows = [S, *[["Integer", number] for number in range(count)]]
        rows += [["Add", 0, number + 1] for number in range(count)]
        began = time.process_time()
        decode(of_rows(*rows))
        return time.process_time() - began

    seconds(100)
    assert seconds(8000) < 20 * seconds(1000) + 0.5


@pytest.mark.parametrize("make", [str, sympy.srepr, sympy.expand, hash], ids=lambda make: make.__name__)
def test_what_the_bounds_let_pass_can_be_used(make: Callable[[Any], Any]) -> None:
    rows: list[list[Any]] = [
        S,
        TWO,
        ["Add", 0, 1],
        ["Integer", 30],
        ["Pow", 2, 3],
        ["Mul", 4, 4],
        ["LShift", 5, 0],
    ]
    began = time.process_time()
    make(decode(of_rows(*rows)))
    assert time.process_time() - began < 10


# what symbolic numbers of torch make


def _operands() -> dict[str, Any]:
    env = ShapeEnv()
    numbers: dict[str, Any] = {}
    for name, value in (("a", 5), ("b", 12), ("f", 2.5), ("g", 0.25)):
        source = ConstantSource(name)
        symbol = env.create_symbol(value, source, dynamic_dim=DimDynamic.DYNAMIC)
        make = env.create_symfloatnode if isinstance(value, float) else env.create_symintnode
        numbers[name] = make(symbol, hint=value, source=source)
    u = env.create_unbacked_symint()
    return {**numbers, "u": u, "less": numbers["a"] < u, "more": numbers["b"] > u}


def _results() -> dict[str, Any]:
    """What each operation of torch's symbolic numbers makes of operands, where it takes them."""
    operands = _operands()
    found: dict[str, Any] = {}

    def attempt(name: str, method: str, *args: Any) -> None:
        first, *others = (arg.node if hasattr(arg, "node") else arg for arg in args)
        try:
            made = getattr(first, method)(*others)
        except Exception:
            return  # not for operands of these types
        if type(made) is sym_node.SymNode:
            cls: Any = {int: torch.SymInt, float: torch.SymFloat, bool: torch.SymBool}[made.pytype]
            found[name] = cls(made)

    pairs = [("a", "b"), ("a", "u"), ("u", "a"), ("f", "g"), ("a", "f"), ("less", "more")]
    for method in sym_node.magic_methods:
        name = method if hasattr(sym_node.SymNode, method) else f"{method}_"
        for one, first in operands.items():
            if one not in ("less", "more") or method == "sym_not":
                attempt(f"{method} {one}", name, first)
        for one, other in pairs:
            if one == "less" and method not in ("and", "or", "eq", "ne"):
                continue  # conditions are no numbers, though torch does not mind
            attempt(f"{method} {one} {other}", name, operands[one], operands[other])
    a, b, u = (operands[name] for name in "abu")
    one = a.node.wrap_int(1)
    attempt("sym_ite", "sym_ite", operands["less"], a, b)
    attempt("round 2", "round", operands["f"], 2)
    attempt("dense", "is_non_overlapping_and_dense_indicator", a, [a.node, b.node], [b.node, one])
    attempt("sum", "sym_sum", a, [a.node, b.node, u.node])
    return found


def test_what_every_operation_of_symbolic_numbers_makes_comes_back() -> None:
    clear_cache()  # sympy takes an s0 of an earlier test for torch's, with its assumptions in another order
    logging.disable(logging.WARNING)
    try:
        results = _results()
    finally:
        logging.disable(logging.NOTSET)
    methods = {name.split()[0] for name in results}
    assert len(methods) > 40
    assert methods >= {
        "and",
        "or",
        "bitwise_and",
        "lshift",
        "pow_by_natural",
        "sym_ite",
        "round",
        "dense",
        "sum",
    }
    document = encode(results)
    back = decode(document)
    shown, restored = (
        {name: (type(n).__name__, sympy.srepr(n.node._expr), n.node._hint) for name, n in numbers.items()}
        for numbers in (results, back)
    )
    assert restored == shown
    assert encode(back) == document
    used = {row[0] for row in document["symbolic"]["expressions"]}
    assert used >= {
        "FloorDiv",
        "PythonMod",
        "IntTrueDiv",
        "FloatPow",
        "ToFloat",
        "TruncToInt",
        "RoundDecimal",
    }
    assert used >= {"Piecewise", "And", "Or", "Max", "IsNonOverlappingAndDenseIndicator", "OpaqueUnaryFn_sin"}
