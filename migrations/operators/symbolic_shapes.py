"""Functions of `torch.fx.experimental.symbolic_shapes` that graphs call, which torch 2.8 and 2.12 renamed."""

from __future__ import annotations

from collections.abc import Callable

from fxarchive.migrations.operators.calls import Call, Result, Unportable, Upgrader

MODULE = "torch.fx.experimental.symbolic_shapes"


def _call(name: str, call: Call) -> Call:
    return Call("function", f"{MODULE}.{name}", call.args, call.kwargs)


def _renamed(name: str) -> Callable[[Call], list[Call]]:
    return lambda call: [_call(name, call)]


def _hint(call: Call) -> list[Call]:
    """With a fallback `optimization_hint` gives what `hint_int` gave; without, `guarding_hint_or_throw`."""
    with_fallback = call.argument(1, "fallback") is not None
    return [_call("optimization_hint", call) if with_fallback else _guarding(call)]


def _guarding(call: Call) -> Call:
    return Call("function", f"{MODULE}.guarding_hint_or_throw", (call.argument(0, "a"),))


def _older_hint(call: Call) -> list[Call]:
    if call.argument(1, "fallback") is None:
        raise Unportable("older releases need a fallback; capture the graph again with one")
    return [_call("hint_int", call)]


def _definitely_false(call: Call) -> list[Call]:
    return [
        Call("function", f"{MODULE}.guard_or_true", call.args, call.kwargs),
        Call("function", "operator.not_", (Result(0),)),
    ]


def _function(name: str, why: str, rewrite: Callable[[Call], list[Call]] | None) -> Upgrader:
    return Upgrader("function", f"{MODULE}.{name}", why, rewrite)


UPGRADERS = (
    _function("hint_int", "torch 2.12 replaced it by guarding_hint_or_throw and optimization_hint", _hint),
    _function("has_hint", "torch 2.12 calls it has_guarding_hint", _renamed("has_guarding_hint")),
    _function("guarding_hint_or_throw", "before torch 2.12 it is hint_int", _renamed("hint_int")),
    _function("has_guarding_hint", "before torch 2.12 it is has_hint", _renamed("has_hint")),
    _function("optimization_hint", "before torch 2.12 it is hint_int with a fallback", _older_hint),
    _function("definitely_true", "torch 2.8 replaced it by guard_or_false", _renamed("guard_or_false")),
    _function("definitely_false", "torch 2.8 replaced it by guard_or_true", _definitely_false),
    _function("size_hint", "torch 2.12 removed it; capture the graph again", None),
    _function(
        "_constrain_symbol_range",
        "torch 2.8 removed it; state the range with torch._check and capture again",
        None,
    ),
)
