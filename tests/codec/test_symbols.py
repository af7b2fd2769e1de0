"""Symbolic numbers and the environments behind them know and answer what they did; nothing is forgotten."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sympy
import torch
from torch._dynamo.source import ConstantSource, LocalSource
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental import symbolic_shapes
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv
from torch.utils import _pytree as pytree

from fxarchive.codec.fast import shape_env_names as names
from fxarchive.codec.running_torch import RunningTorch
from fxarchive.codec.symbolic import restore
from fxarchive.codec.symbolic import values as symbolic_values
from fxarchive.codec.symbolic.values import KEYS
from fxarchive.errors import FakeModeConflict, InvalidDocument, UnsupportedValue

from ..compare import assert_same
from ..material import op_db
from .symbolic_cases import CASES, IN_ORDER, Case, backed, name_of, observe, traced
from .symbolic_documents import again, decode, encode


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Torch logs each guard that a probe makes fail."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def loaded(case: Case, document: Any = None, fake_mode: Any = None) -> Case:
    """The case as it comes back from `document`, or from its own."""
    env, numbers = decode(encode(case.plain()) if document is None else document, fake_mode)
    return Case(env, numbers, case.inputs)


# what comes back


@pytest.mark.parametrize("name", CASES)
def test_an_environment_answers_as_the_original_does(name: str) -> None:
    """Expressions, hints, ranges, comparisons, new symbols, guards: before and after more is asked."""
    case = CASES[name]()
    back = loaded(case)
    assert_same(case.plain(), back.plain())
    assert observe(back) == observe(case)


@pytest.mark.parametrize("name", CASES)
def test_encoding_asks_nothing_of_the_environment(name: str) -> None:
    case = CASES[name]()
    encode(case.plain())
    assert observe(case) == observe(CASES[name]())


@pytest.mark.parametrize("name", CASES)
def test_the_same_document_again(name: str) -> None:
    case = CASES[name]()
    document = encode(case.plain())
    assert encode(CASES[name]().plain()) == document
    assert encode(loaded(case).plain()) == document


def test_numbers_of_one_environment_stay_in_one() -> None:
    case = CASES["guarded"]()
    back = loaded(case)
    assert {id(number.node.shape_env) for number in back.numbers.values()} == {id(back.env)}


def test_two_environments_stay_two() -> None:
    cases = [CASES["plain"](), CASES["plain"]()]
    first, second = again([case.plain() for case in cases])
    assert first[0] is not second[0]
    assert first[1]["a"].node.shape_env is first[0]
    assert second[1]["a"].node.shape_env is second[0]


@pytest.mark.parametrize("value", [3, 2.5, True])
def test_a_constant_comes_back(value: Any) -> None:
    constant = {int: torch.SymInt, float: torch.SymFloat, bool: torch.SymBool}[type(value)](value)
    back = again(constant)
    assert (type(back), type(back.node), back.node) == (type(constant), type(value), value)


def test_a_literal_that_was_wrapped_keeps_its_constant() -> None:
    node = CASES["plain"]().numbers["a"].node.wrap_int(9)
    back = again(torch.SymInt(node)).node
    assert (str(back._expr), back.hint, back.constant, back.maybe_as_int()) == (
        "9",
        9,
        9,
        node.maybe_as_int(),
    )


def test_a_hint_is_never_computed() -> None:
    case = CASES["plain"]()
    case.numbers["a"].node._hint = None
    assert again(case.numbers["a"]).node._hint is None


def test_an_environment_without_symbols_comes_back_with_its_settings() -> None:
    env = ShapeEnv(specialize_zero_one=False, duck_shape=False, assume_static_by_default=True)
    env.freeze()
    back = again(env)
    assert (back.settings, back.frozen) == (env.settings, True)


def test_unbacked_bindings_come_back() -> None:
    case = CASES["unbacked"]()
    u, v = (case.numbers[name].node._expr for name in "uv")
    keys = {
        u: (
            pytree.SequenceKey(1),
            pytree.MappingKey("k"),
            pytree.GetAttrKey("x"),
            symbolic_shapes.ConvertIntKey(),
        ),
        v: (
            symbolic_shapes.CallMethodKey("size"),
            symbolic_shapes.InnerTensorKey("a"),
            symbolic_shapes.DivideByKey(4),
            symbolic_shapes.DivideByKey(case.numbers["a"]),
        ),
    }
    back = again(keys)
    assert [list(map(type, path)) for path in back.values()] == [
        list(map(type, path)) for path in keys.values()
    ]
    assert (list(back), str(back)) == (list(keys), str(keys))
    assert len(KEYS) == 7


@pytest.mark.parametrize(
    "source",
    [
        "L['x'].size()[0]", "L['self']._modules['a'].weight.stride()[1]", 'G["t"][3].storage_offset()',
        "_dim_s", "__import__('os').abort()", "L['x'].__class__", "L['f'](3)", "L['x']; 1", "'a' + \"b\"",
        "", "é",
    ],
)  # fmt: skip
def test_a_source_comes_back_and_only_a_path_can_be_evaluated(source: str) -> None:
    env = ShapeEnv()
    number = backed(env, "a", 5)
    env.var_to_sources[number.node._expr] = [ConstantSource(source)]
    back = again(env)
    [[restored]] = back.var_to_sources.values()
    path = (
        source[:2] in ("L[", "G[", "_d")
        and not set(source) & set(";é")
        and "(3)" not in source
        and "__" not in source
    )
    assert name_of(restored) == (source if path else repr(source))
    assert encode(back) == encode(env)


def test_messages_of_asserts_do_not_say_where_torch_is_installed() -> None:
    case = CASES["unbacked"]()
    message = next(iter(case.env.deferred_runtime_asserts.values()))[0].msg
    home = os.path.dirname(os.path.abspath(torch.__file__))
    assert message.startswith(home)
    back = loaded(case)
    restored = next(iter(back.env.deferred_runtime_asserts.values()))[0].msg
    assert restored == "torch" + message.removeprefix(home).replace(os.sep, "/")
    assert home not in str(encode(case.plain()))
    assert encode(back.plain()) == encode(case.plain())


# what would be forgotten in silence


FORGOTTEN = {
    "hints": "plain", "ranges": "plain", "shared_sizes": "plain", "sources": "derived",
    "replacements": "replaced",
    "divisible": "guarded", "size_like": "unbacked", "guards": "guarded", "asserts": "unbacked",
}  # fmt: skip


@pytest.mark.parametrize("fact", FORGOTTEN)
def test_a_fact_that_is_left_out_is_noticed(fact: str) -> None:
    """The observation above is worth something: it sees the lack of each fact."""
    case = CASES[FORGOTTEN[fact]]()
    document = encode(case.plain())
    record = document["symbolic"]["environments"][0]
    assert record[fact]
    record[fact] = []
    assert observe(loaded(case, document)) != observe(case)


def test_counters_that_start_again_are_noticed() -> None:
    case = CASES["unbacked"]()
    document = encode(case.plain())
    document["symbolic"]["environments"][0]["counters"] = [0, 0]
    assert _collisions(observe(loaded(case, document))) == ["u0", "zuf0"]
    assert _collisions(observe(case)) == []


def _collisions(seen: dict[str, Any]) -> Any:
    return seen["new"][2]


@IN_ORDER
def test_numbers_that_are_given_again_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["plain"]()
    document = encode(case.plain())
    monkeypatch.setattr(names, "reserve_numbers", lambda env, numbers, taken: None)
    assert _collisions(observe(loaded(case, document)))
    assert not _collisions(observe(case))


@pytest.mark.skipif(
    "_replacements_version_counter" not in vars(ShapeEnv()),
    reason="before torch 2.12 nodes ask for replacements each time",
)
def test_replacements_that_nodes_do_not_see_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["replaced"]()
    document = encode(case.plain())
    monkeypatch.setattr(names, "replacements_changed", lambda env: env._update_version_counter())
    assert observe(loaded(case, document)) != observe(case)


def test_assumptions_that_are_left_out_are_noticed() -> None:
    case = CASES["plain"]()
    document = encode(case.plain())
    for _, assumptions in document["symbolic"]["symbols"]:
        del assumptions["positive"]
    assert observe(loaded(case, document)) != observe(case)


# other releases


@pytest.mark.skipif(RunningTorch.release in ("2.7", "2.8"), reason="this torch is no later release")
def test_a_setting_that_export_used_through_2_8_is_not_carried_to_later_releases() -> None:
    env = ShapeEnv(prefer_deferred_runtime_asserts_over_guards=True)
    document = encode(env)
    assert decode(document).settings.prefer_deferred_runtime_asserts_over_guards is True
    document["symbolic"]["environments"][0]["release"] = [2, 8]
    assert decode(document).settings.prefer_deferred_runtime_asserts_over_guards is False


def test_settings_of_other_releases_are_left_out() -> None:
    document = encode(ShapeEnv())
    # until 2.9, since 2.8, and since a release to come: torch 2.8 has the first two
    names_of_settings = ("allow_complex_guards_as_runtime_asserts", "trace_asserts", "yet_to_come")
    other = next(name for name in names_of_settings if not hasattr(ShapeEnv().settings, name))
    document["symbolic"]["environments"][0]["settings"][other] = True
    assert decode(document).settings == ShapeEnv().settings


def test_a_torch_that_numbers_symbols_by_counting_gets_no_number_twice() -> None:
    """Torch 2.7: the number of a new symbol is the count of hints."""
    env = ShapeEnv()
    hints = names.hints(env)
    vars(env).pop("unique_ids", None)
    names.reserve_numbers(env, {3, 75}, {"_reserved_1"})
    assert len(hints) == 76
    assert sympy.Symbol("_reserved_1", integer=True, positive=True) not in hints


# the caller's mode


def mode() -> FakeTensorMode:
    return FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)


@pytest.mark.parametrize("name", CASES)
def test_into_the_mode_of_the_caller(name: str) -> None:
    case, theirs = CASES[name](), mode()
    document = encode(case.plain())
    document["symbolic"]["environments"][0]["settings"] = names.settings(theirs.shape_env)
    back = loaded(case, document, theirs)
    assert back.env is theirs.shape_env
    assert all(number.node.shape_env is theirs.shape_env for number in back.numbers.values())
    expected, found = observe(loaded(case, document)), observe(back)
    assert found == expected


@IN_ORDER
def test_beside_other_symbols_of_the_caller() -> None:
    theirs = mode()
    other = backed(theirs.shape_env, "other", 9)
    case = CASES["guarded"]()
    back = loaded(case, None, theirs)
    assert str(back.numbers["a"] + other) in (
        "s14 + s71",
        "s71 + s14",
        str(back.numbers["a"].node.expr + other.node.expr),
    )
    assert [str(guard.expr) for guard in theirs.shape_env.guards] == [
        str(guard.expr) for guard in case.env.guards
    ]
    assert _names_of(theirs.shape_env) == _names_of(case.env) | {str(other)}
    assert bool(back.numbers["a"] < other)


def _names_of(env: Any) -> set[str]:
    return {str(symbol) for symbol in env.var_to_range}


def test_the_same_symbols_from_two_archives_are_one() -> None:
    """Parts of one program in archives of their own: a symbol that comes from the same input is the same."""
    case, theirs = CASES["replaced"](), mode()
    first = decode(encode([case.env, case.numbers["a"]]), theirs)
    second = decode(encode([case.env, case.numbers["area"]]), theirs)
    assert first[0] is second[0]
    assert len(theirs.shape_env.guards) == len(case.env.guards)
    assert str(second[1]) == str(case.numbers["area"])
    assert theirs.shape_env.replacements == case.env.replacements


def _other_hint(env: Any) -> None:
    backed(env, "a", 6)


def _other_assumptions(env: Any) -> None:
    symbol = env.create_symbol(5, LocalSource("a"), dynamic_dim=DimDynamic.DYNAMIC, positive=None)
    assert str(symbol) == "s71"


def _other_source(env: Any) -> None:
    for at in range(200):
        if "s71" in _names_of(env):
            return
        backed(env, f"x{at}", 5)


@IN_ORDER
@pytest.mark.parametrize("prepare", [_other_hint, _other_assumptions, _other_source])
def test_a_symbol_that_is_another_in_the_mode_of_the_caller_is_refused(
    prepare: Callable[[Any], None],
) -> None:
    theirs, case = mode(), CASES["plain"]()
    prepare(theirs.shape_env)
    with pytest.raises(FakeModeConflict, match="another symbol s71; load without fake_mode"):
        loaded(case, None, theirs)


def test_unbacked_symbols_never_become_one() -> None:
    theirs = mode()
    theirs.shape_env.create_unbacked_symint()
    with pytest.raises(FakeModeConflict, match="another symbol u0"):
        loaded(CASES["unbacked"](), None, theirs)


def test_a_mode_without_an_environment_is_refused() -> None:
    with pytest.raises(FakeModeConflict, match="no ShapeEnv"):
        loaded(CASES["plain"](), None, FakeTensorMode())


def test_modes_are_made_one_for_each_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    original = restore.decode_shape_env_value

    def spy(dec: Any, tagged: Any) -> Any:
        env = original(dec, tagged)
        made.append((env, restore.fake_mode(dec, tagged[1]), restore.fake_mode(dec), dec.fake_mode))
        return env

    document = encode([ShapeEnv(), ShapeEnv(duck_shape=False)])
    monkeypatch.setitem(symbolic_values.DECODE, "shape_env", spy)
    decode(document)
    (first, mode_0, static_0, shown_0), (second, mode_1, static_1, shown_1) = made
    assert mode_0 is static_0 is static_1 is shown_0 is shown_1
    assert (mode_0.shape_env, mode_1.shape_env) == (first, second)
    assert mode_1 is not mode_0


# graphs


def numbers_of(graph_module: Any) -> list[Any]:
    """The symbolic numbers in a graph's metadata, in the order of the nodes, after its environment."""
    out: list[Any] = [getattr(graph_module, "shape_env", None)]
    for node in graph_module.graph.nodes:
        out.append(node.meta.get("unbacked_bindings"))
        for value in pytree.tree_leaves(node.meta.get("val")):
            if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
                out.append(value)
            elif isinstance(value, torch.Tensor) and value.layout is torch.strided:
                out += [*value.shape, *value.stride(), value.storage_offset()]
            elif isinstance(value, torch.Tensor):
                out += value.shape
    return out


OPERATORS = op_db.operators()[::12]


@pytest.mark.parametrize("op", OPERATORS, ids=op_db.operator_name)
def test_the_numbers_of_an_operators_graph(op: Any) -> None:
    for each in op_db.traced(op, modes=("symbolic", "fake"), samples=2):
        if isinstance(each, op_db.Traced):
            values = numbers_of(each.graph_module)
            document = encode(values)
            back = decode(document)
            assert_same(values, back)
            assert encode(back) == document


def _data_dependent(x: torch.Tensor, y: torch.Tensor) -> Any:
    n = x.sum().item()
    torch._check(n >= 0)
    torch._check(n <= y.shape[0])
    rows = y[:n].nonzero()
    return rows.shape[0] * n, y.narrow(0, 0, n) + 1, torch.zeros(rows.shape[0] // 2)


def _compared(x: torch.Tensor, y: torch.Tensor) -> Any:
    if x.shape[0] * 2 > y.shape[0] and y.shape[0] % 4 == 0:
        return x.sum() * x.shape[0] + max(x.shape[0], y.shape[0])
    return y


def _exported() -> Any:
    class Program(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
            return x.reshape(-1, 4).sum(0) + y[: x.shape[0] // 4].sum() * x.shape[0]

    dim = torch.export.Dim("d", min=2, max=64)
    args = (torch.ones(12), torch.ones(3))
    return torch.export.export(Program(), args, dynamic_shapes=({0: 4 * dim}, {0: dim}))


GRAPHS: dict[str, Callable[[], Any]] = {
    "data dependent": lambda: traced(_data_dependent, torch.ones(4, dtype=torch.int64), torch.ones(9)),
    "compared": lambda: traced(_compared, torch.ones(7), torch.ones(12)),
    "exported": lambda: _exported().graph_module,
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_numbers_of_a_graph(name: str) -> None:
    graph_module = GRAPHS[name]()
    values = numbers_of(graph_module)
    symbolic = [value for value in values if isinstance(value, torch.SymInt)]
    assert len(symbolic) > 2
    values[0] = symbolic[0].node.shape_env
    document = encode(values)
    back = decode(document)
    assert_same(values, back)
    numbers = {f"n{at}": value for at, value in enumerate(values) if isinstance(value, torch.SymInt)}
    found = {name: back[int(name[1:])] for name in numbers}
    case, other = Case(values[0], numbers, ()), Case(back[0], found, ())
    assert observe(other) == observe(case)


def test_range_constraints_of_an_exported_program() -> None:
    constraints = _exported().range_constraints
    assert constraints
    assert again(constraints) == constraints


# what cannot be kept


def test_a_jagged_dimension_is_refused() -> None:
    jagged = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)], layout=torch.jagged)
    with pytest.raises(UnsupportedValue, match="jagged"):
        encode({"size": jagged.shape[1]})


def test_every_symbol_that_cannot_be_kept_is_named() -> None:
    env = ShapeEnv()
    number = backed(env, "a", 5)
    env.replacements[sympy.Symbol("bad name")] = number.node._expr
    env.size_like.add(sympy.Symbol("bad-name"))
    with pytest.raises(UnsupportedValue) as caught:
        encode([env])
    assert [path for path, _ in caught.value.problems] == ["shape_env.replacements", "shape_env.size_like"]


# hostile documents


def _record(document: Any) -> Any:
    return document["symbolic"]["environments"][0]


def _row(document: Any, *row: Any) -> int:
    rows = document["symbolic"]["expressions"]
    rows.append(list(row))
    return len(rows) - 1


def _symbol(document: Any, name: str) -> int:
    document["symbolic"]["symbols"].append([name, {"integer": True}])
    return _row(document, "Symbol", len(document["symbolic"]["symbols"]) - 1)


def _set(field: str, value: Any) -> Callable[[Any], None]:
    return lambda document: _record(document).update({field: value})


def _circle(document: Any) -> None:
    x, y = _symbol(document, "x"), _symbol(document, "y")
    _record(document)["replacements"] = [x, y, y, x]


def _own_replacement(document: Any) -> None:
    x = _symbol(document, "x")
    _record(document)["replacements"] = [x, _row(document, "Add", x, _row(document, "Integer", 1))]


def _tower(document: Any) -> None:
    chain = [_symbol(document, f"x{at}") for at in range(10)]
    thousand = _row(document, "Integer", 1000)
    _record(document)["replacements"] = [
        row
        for one, other in itertools.pairwise(chain)
        for row in (one, _row(document, "Pow", other, thousand))
    ]


def _long_chain(document: Any) -> None:
    chain = [_symbol(document, f"x{at}") for at in range(40)]
    one = _row(document, "Integer", 1)
    _record(document)["replacements"] = [
        row
        for first, other in itertools.pairwise(chain)
        for row in (first, _row(document, "Add", other, one))
    ]


def _large_exponent(document: Any) -> None:
    x = _symbol(document, "x")
    _row(document, "Pow", _row(document, "Integer", 2), x)
    _record(document)["hints"] = [x, _row(document, "Integer", 10**15)]


def _replaced_exponent(document: Any) -> None:
    x = _symbol(document, "x")
    _row(document, "Pow", _row(document, "Integer", 2), x)
    _record(document)["replacements"] = [x, _row(document, "Integer", 10**15)]


def _lacks(document: Any) -> None:
    del _record(document)["guards"]


HOSTILE: dict[str, Callable[[Any], None]] = {
    "not the fields": _lacks,
    "an unknown field": _set("__dict__", {}),
    "a field that is no list": _set("hints", 5),
    "half a pair": _set("hints", [0]),
    "a row that is not there": _set("hints", [0, 999]),
    "a number as a symbol": lambda document: _record(document)["hints"].__setitem__(
        0, _record(document)["hints"][1]
    ),
    "a symbol as a hint": _set("hints", [0, 0]),
    "a symbol twice": lambda document: _record(document)["hints"].extend(_record(document)["hints"][:2]),
    "a range upside down": lambda document: _record(document)["ranges"].__setitem__(
        slice(0, 3), [0, _row(document, "Integer", 9), _row(document, "Integer", 2)]
    ),
    "a range between symbols": _set("ranges", [0, 0, 0]),
    "a guard that is a number": _set("guards", [[0, False]]),
    "a guard that is no pair": _set("guards", [0]),
    "a flag that is a number": _set("frozen", [1, 0]),
    "settings that are numbers": _set("settings", {"duck_shape": 1}),
    "an assert without a message": _set("asserts", [[None, [[0]]]]),
    "an assert that is a number": _set("asserts", [[None, [[0, "m"]]]]),
    "a negative counter": _set("counters", [-1, 0]),
    "an enormous counter": _set("counters", [1 << 80, 0]),
    "one counter": _set("counters", [1]),
    "a release of text": _set("release", ["2", "13"]),
    "a source that is no text": _set("sources", [0, [5]]),
    "a source of enormous length": _set("sources", [0, ["a" * 5000]]),
    "replacements in a circle": _circle,
    "a replacement by itself": _own_replacement,
    "replacements that raise to enormous powers": _tower,
    "a long chain of replacements": _long_chain,
    "a large hint in an exponent": _large_exponent,
    "a large replacement in an exponent": _replaced_exponent,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_environment_is_refused_at_once(what: str) -> None:
    document = encode(CASES["plain"]().plain())
    HOSTILE[what](document)
    began = time.process_time()
    with pytest.raises(InvalidDocument):
        decode(document)
    assert time.process_time() - began < 2


VALUES: dict[str, list[Any]] = {
    "no environment": ["symint", 5, 0, 3],
    "an environment that is text": ["symint", "0", 0, 3],
    "no expression": ["symint", 0, 99, 3],
    "a hint of another kind": ["symint", 0, 0, 3.0],
    "a hint that is True": ["symint", 0, 0, True],
    "an enormous hint": ["symint", 0, 0, 1 << 2000],
    "a condition as an integer": ["symint", 0, -1, 3],
    "an integer as a condition": ["symbool", 0, -2, True],
    "too little": ["symint", 0],
    "too much": ["symint", 0, 0, 3, 3, 3],
    "a constant of another kind": ["symfloat", 0, 0, 3.0, 3],
    "a constant with an expression": ["symint", None, 0, 3],
    "a constant without a number": ["symint", None, None, None],
    "an environment that is not there": ["shape_env", 7],
    "a key of no class": ["path_key", "os.system", "true"],
    "a key with too little": ["path_key", "SequenceKey"],
    "a key with too much": ["path_key", "ConvertIntKey", 1],
    "a key with another kind": ["path_key", "CallMethodKey", 1],
    "a key of nothing": ["path_key"],
}


@pytest.mark.parametrize("what", VALUES)
def test_a_hostile_value_is_refused(what: str) -> None:
    document = encode(CASES["guarded"]().plain())
    rows = document["symbolic"]["expressions"]
    at = {-1: _first(rows, "StrictLessThan"), -2: _first(rows, "Mul")}
    document["root"] = [at.get(item, item) for item in VALUES[what]]
    with pytest.raises(InvalidDocument):
        decode(document)


def _first(rows: list[Any], function: str) -> int:
    return next(at for at, row in enumerate(rows) if row[0] == function)


def test_an_unhashable_value_is_refused_by_the_codec() -> None:
    document = encode(CASES["plain"]().plain())
    document["root"] = ["symint", 0, [0], 5]
    with pytest.raises(InvalidDocument):
        decode(document)


def test_graphs_of_static_shapes_do_without_sympy() -> None:
    """Importing sympy and torch's symbolic shapes takes longer than loading such a graph."""
    script = """
import sys, torch, fxarchive
graph = torch.fx.symbolic_trace(torch.nn.Linear(2, 3))
fxarchive.loads(fxarchive.dumps(graph))
print([name for name in ("sympy", "torch.fx.experimental.symbolic_shapes") if name in sys.modules])
"""
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
