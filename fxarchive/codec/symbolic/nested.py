"""Nested integers behind symbols: the ragged sizes of jagged tensors under tracing.

The hint of such a symbol is a nested integer and no number: `SingletonInt` among the hints of a ShapeEnv, a SymInt over
a `NestedIntNode` as the hint of a `SymNode` and among the sizes that inputs share a symbol for. An archive has its
number, as `nested_numbers` counts them, and its coefficient, behind the feature flag "nested-int-symbols";
`spec/schema-2-symbols.md` gives every rule.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._sympy.singleton_int import SingletonInt

from fxarchive.codec import nested_numbers
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.fast import shape_env_names as names
from fxarchive.document import NESTED_INT_SYMBOLS, Value


def is_nested(hint: Any) -> bool:
    """Whether a hint of a ShapeEnv is a nested integer."""
    return isinstance(hint, SingletonInt)


def stands_for_nested(number: Any) -> bool:
    """Whether a symbolic integer has a nested integer as its hint."""
    return isinstance(number.node._hint, torch.SymInt)


def has_nested(number: Any) -> bool:
    """Whether a symbol in a symbolic integer stands for a nested integer."""
    node = number.node
    hints = names.hints(node.shape_env)
    return any([is_nested(hints.get(symbol)) for symbol in node._expr.free_symbols])


# encoding


def encode_hint(enc: Encoder, hint: torch.SymInt) -> Value:
    """Return ``["nested_int", number, coefficient]`` for the hint of a symbolic integer."""
    if not nested_numbers.is_nested_int(hint):
        raise Refused.because("a torch.SymInt whose hint is another torch.SymInt cannot be kept")
    enc.features.add(NESTED_INT_SYMBOLS)
    node: Any = hint.node
    return ["nested_int", *nested_numbers.numbers_of(enc, node.t_id, node.coeff)]


def encode_symbols(enc: Encoder, env: Any) -> list[tuple[Any, int, int, bool]]:
    """Return what ``env`` knows of such symbols: each with number, coefficient, and whether inputs share it.

    Raises:
        Refused: what it shares is not what it knows of a symbol.
    """
    shared = {}
    for value, symbol in env.val_to_var.items():
        if type(value) is torch.SymInt and nested_numbers.is_nested_int(value):
            shared[symbol] = (value.node.t_id, value.node.coeff)
    found = []
    for symbol, hint in names.hints(env).items():
        if is_nested(hint):
            enc.features.add(NESTED_INT_SYMBOLS)
            number, coefficient = nested_numbers.numbers_of(enc, hint._val, hint._coeff)
            is_shared = shared.pop(symbol, None) == (hint._val, hint._coeff)
            found.append((symbol, number, coefficient, is_shared))
    if shared:
        raise Refused.because(
            "a ragged size that inputs share belongs to no symbol of its hint; trace the graph again"
        )
    return found


# decoding


def hint_of(id_: int, coefficient: int) -> Any:
    """Return a nested integer as a ShapeEnv has it among its hints."""
    return SingletonInt(id_, coeff=coefficient)
