"""Shape environments of every kind of fact, and what can be observed of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import fx
from torch._dynamo.source import ConstantSource, LocalSource
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, GuardOnDataDependentSymNode, ShapeEnv

from fxarchive.codec.running_torch import RunningTorch
from fxarchive.releases import number_of

from ..compare_torch import structure_of

IN_ORDER = pytest.mark.skipif(
    RunningTorch.release == "2.7", reason="torch 2.7 numbers symbols in the order in which they are made"
)


def traced(function: Callable[..., Any], *args: Any) -> fx.GraphModule:
    """Trace a function with symbolic sizes, or skip the test where torch 2.7 cannot."""
    try:
        module: fx.GraphModule = make_fx(function, tracing_mode="symbolic")(*args)
    except GuardOnDataDependentSymNode as error:
        if RunningTorch.release == "2.7":
            pytest.skip(f"torch 2.7 cannot trace it: {str(error).splitlines()[0]}")
        raise
    return module


@dataclass
class Case:
    """An environment and numbers in it; the inputs are those of `numbers` that guards can be written for."""

    env: Any
    numbers: dict[str, Any]
    inputs: tuple[str, ...]

    def plain(self) -> list[Any]:
        """The case as a value that an archive can hold."""
        return [self.env, self.numbers]


def backed(env: Any, name: str, value: int | float, dynamic: DimDynamic = DimDynamic.DYNAMIC) -> Any:
    """A number that is an input, as dynamo makes it for a dynamic int or float."""
    source = LocalSource(name)
    symbol = env.create_symbol(value, source, dynamic_dim=dynamic)
    if isinstance(value, float):
        return env.create_symfloatnode(symbol, hint=value, source=source)
    return env.create_symintnode(symbol, hint=value, source=source)


def name_of(source: Any) -> str:
    """What a source prints; before torch 2.10 its name is a method."""
    return str(source.name() if callable(source.name) else source.name)


def plain() -> Case:
    env = ShapeEnv()
    a, b = (backed(env, name, value, DimDynamic.DUCK) for name, value in (("a", 5), ("b", 7)))
    return Case(env, {"a": a, "b": b, "sum": a + b, "area": a * b, "half": (a + 3) // 2}, ("a", "b"))


def guarded() -> Case:
    env = ShapeEnv()
    a, b, c = (backed(env, name, value) for name, value in (("a", 5), ("b", 7), ("c", 12)))
    assert a < b
    assert a * b > c
    assert torch.sym_max(a, b) != 9
    assert (c % 4) == 0
    less = a + b < 2 * c
    choice = torch.sym_ite(less, a, b)
    numbers = {"a": a, "b": b, "c": c, "less": less, "max": torch.sym_max(a, c), "choice": choice}
    return Case(env, numbers, ("a", "b", "c"))


def replaced() -> Case:
    env = ShapeEnv(duck_shape=False)
    a, b, c, d = (backed(env, name, value) for name, value in (("a", 6), ("b", 6), ("c", 12), ("d", 9)))
    area = a * c
    assert a == b
    assert c == 2 * a
    assert d == 9
    return Case(env, {"a": a, "b": b, "c": c, "d": d, "area": area}, ("a", "b", "c", "d"))


def unbacked() -> Case:
    env = ShapeEnv()
    a = backed(env, "a", 8)
    u, v, w = (env.create_unbacked_symint() for _ in range(3))
    x, y = env.create_unbacked_symfloat(), env.create_unbacked_symbool()
    # first of all: torch 2.15 remembers what operations on a number gave before its range was known
    env._constrain_range_for_size(u.node.expr)
    torch._check(u % 4 == 0)
    torch._check(v <= a)
    torch._check(v >= 3)
    torch._check(w == 2 * v)
    torch._check(x > 0.5)
    numbers = {
        "a": a,
        "u": u,
        "v": v,
        "w": w,
        "x": x,
        "y": y,
        "quarter": u // 4,
        "sum": u + v + a,
        "is": u > v,
    }
    return Case(env, numbers, ("a",))


def floating() -> Case:
    env = ShapeEnv()
    a, f = backed(env, "a", 4), backed(env, "f", 2.5)
    assert f > 1.5
    root = torch.sym_sqrt(torch.sym_float(a))
    numbers = {"a": a, "f": f, "product": f * a, "ratio": a / 3, "whole": torch.sym_int(f * 2), "root": root}
    return Case(env, numbers, ("a", "f"))


def derived() -> Case:
    """A symbol that is no input; only an expression of it is: ``t = 4 * s``. Guards need its source."""
    settings = {"trace_asserts": True} if number_of(torch.__version__) >= (2, 8) else {}
    env = ShapeEnv(assume_static_by_default=True, **settings)
    root = env.create_symbol(3, ConstantSource("_dim_s"), dynamic_dim=DimDynamic.DYNAMIC)
    four = env.create_symintnode(4 * root, hint=12, source=LocalSource("t"))
    assert four > 4
    return Case(env, {"t": four, "s": env.create_symintnode(root, hint=3)}, ("t",))


CASES: dict[str, Callable[[], Case]] = {
    "plain": plain,
    "guarded": guarded,
    "replaced": replaced,
    "unbacked": unbacked,
    "floating": floating,
    "derived": derived,
}


def observe(case: Case) -> dict[str, Any]:
    """What a user of the environment can see and what it answers to new questions, which change it."""
    seen: dict[str, Any] = {"duck": str(case.env.create_symbol(5, ConstantSource("duck")))}
    for name, number in case.numbers.items():
        node = number.node
        seen[name] = (
            type(number).__name__,
            str(node._expr),
            str(node.expr),
            structure_of(node.expr),
            node.hint,
        )
        seen[f"{name} range"] = _tried(_range, node)
    seen.update(_facts(case.env))
    seen["guards before"] = _guards(case)
    for name, number in case.numbers.items():
        for what, question in _QUESTIONS.items():
            seen[f"{name} {what}"] = _tried(question, number)
    for name, number in case.numbers.items():
        for other_name, other in case.numbers.items():
            if isinstance(number, torch.SymInt) and isinstance(other, torch.SymInt):
                seen[f"{name} < {other_name}"] = _tried(_is_less, number, other)
                seen[f"{name} == 2 * {other_name}"] = _tried(_is_twice, number, other)
    seen["new"], more = _new_symbols(case)
    seen.update({f"{name} after": value for name, value in _facts(case.env).items()})
    seen["guards after"] = _guards(case, more)
    return seen


def _range(node: Any) -> str:
    return str(node.shape_env.bound_sympy(node.expr))


def _is_less(number: Any, other: Any) -> bool:
    return bool(number < other)


def _is_twice(number: Any, other: Any) -> bool:
    return bool(number == 2 * other)


_QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "> 2": lambda number: bool(number > 2),
    "% 4": lambda number: bool(number % 4 == 0),
    "// 2": lambda number: str(number // 2),
    "strides": lambda number: str(torch.sym_max(1, number)),
}


def _facts(env: Any) -> dict[str, Any]:
    return {
        "replacements": {str(key): str(value) for key, value in env.replacements.items()},
        "guards": [str(guard.expr) for guard in env.guards],
        "asserts": [str(held.expr) for asserts in env.deferred_runtime_asserts.values() for held in asserts],
        "count of asserts": env.num_deferred_runtime_asserts,
        "divisible": sorted(map(str, env.divisible)),
        "size_like": sorted(map(str, env.size_like)),
        "settings": str(env.settings),
        "sources": {
            str(symbol): [name_of(source) for source in sources]
            for symbol, sources in env.var_to_sources.items()
        },
    }


def _guards(case: Case, more: Sequence[Any] = ()) -> Any:
    numbers = [*(case.numbers[name] for name in case.inputs), *more]
    sources = [LocalSource(name) for name in (*case.inputs, *(f"new{i}" for i in range(len(more))))]
    return (
        _tried(lambda: case.env.produce_guards(numbers, sources, ignore_static=False)),
        _tried(lambda: case.env.produce_guards_expression(numbers)),
    )


def _new_symbols(case: Case) -> Any:
    env = case.env
    new = [backed(env, f"new{i}", 20 + i) for i in range(60)]
    names = [str(number) for number in new]
    assert len(set(names)) == len(names)
    loose = [env.create_unbacked_symint(), env.create_unbacked_symfloat()]
    torch._check(loose[0] == 17)
    taken = {str(symbol) for number in case.numbers.values() for symbol in number.node._expr.free_symbols}
    collisions = sorted(taken & {*names, str(loose[0].node._expr), str(loose[1].node._expr)})
    known = [_tried(_is_less, number, new[0]) for number in case.numbers.values()]
    return (names, [str(number.node._expr) for number in loose], collisions, known), new


def _tried(act: Callable[..., Any], *args: Any) -> Any:
    try:
        return act(*args)
    except Exception as error:  # torch's own refusals count as answers
        return type(error).__name__, str(error).partition("\n")[0]
