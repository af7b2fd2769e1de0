"""Values with symbols in them: symbolic numbers, sympy expressions, ranges, elements of key paths.

This module imports sympy and torch's symbolic shapes; `symbols` imports it when a value needs it.

Everything here needs the feature flag "symbolic-shapes". `expressions` holds the trees, `shape_envs` and
`restore` the environments; `spec/schema-2-symbols.md` is the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy
import torch
from sympy.logic.boolalg import Boolean
from torch.fx.experimental.sym_node import SymNode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._sympy.value_ranges import ValueRanges

from fxarchive.codec import nested_numbers
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.fast.shape_env_names import key_path_classes, sym_node_of
from fxarchive.codec.symbolic import nested
from fxarchive.codec.symbolic.bounds import INTEGER_BITS
from fxarchive.codec.symbolic.expressions import (
    built,
    decode_expression,
    encode_expression,
    rebuild,
    tables,
)
from fxarchive.codec.symbolic.records import read_record, value_range
from fxarchive.codec.symbolic.restore import decode_shape_env, decode_shape_env_value, id_of_nested
from fxarchive.codec.symbolic.shape_envs import encode_shape_env, encode_shape_env_value
from fxarchive.document import NESTED_INT_SYMBOLS, Value
from fxarchive.errors import InvalidDocument, Problem, UnsupportedValue

KINDS: dict[str, tuple[Any, type]] = {
    "symint": (torch.SymInt, int),
    "symfloat": (torch.SymFloat, float),
    "symbool": (torch.SymBool, bool),
}
"""Tag -> the class of torch, and of its hints."""


_TAGS = {cls: tag for tag, (cls, _) in KINDS.items()}

KEYS = key_path_classes()
"""Name -> class and field of the elements of pytree key paths that the running torch has."""

_KEY_NAMES = {cls: name for name, (cls, _) in KEYS.items()}


# encoding


def encode_symbolic(enc: Encoder, value: Any) -> Value:
    """Return ``[tag, environment, expression, hint]``, with the constant after it where the node has one."""
    node = value.node
    tables(enc)
    found = enc.symbolic.get(id(node))
    if found is None:
        found = _encode_node(enc, _TAGS[type(value)], node)
        if type(node) is SymNode:
            enc.keep_alive(node)
            enc.symbolic[id(node)] = found
    return list(found)


def _encode_node(enc: Encoder, tag: str, node: Any) -> list[Any]:
    cls, kind = KINDS[tag]
    if type(node) is kind:
        return [tag, None, None, node]
    if type(node) is not SymNode or node.pytype is not kind or node.shape_env is None:
        raise Refused.because(
            f"a {cls.__name__} over a {type(node).__name__} cannot be kept (a jagged dimension?)"
        )
    hint = node._hint
    if type(hint) is torch.SymInt:
        hint = nested.encode_hint(enc, hint)
    elif not (hint is None or type(hint) is kind):
        raise Refused.because(f"a {cls.__name__} whose hint is a {type(hint).__name__} cannot be kept")
    # not node.expr, which has the replacements made already
    row = encode_expression(enc, sympy.sympify(node._expr) if type(node._expr) is kind else node._expr)
    tagged = [tag, encode_shape_env(enc, node.shape_env), row, hint]
    return tagged if node.constant is None else [*tagged, node.constant]


def encode_bare_expression(enc: Encoder, value: Any) -> Value:
    return ["expression", encode_expression(enc, value)]


def encode_value_range(enc: Encoder, value: Any) -> Value:
    return ["value_range", encode_expression(enc, value.lower), encode_expression(enc, value.upper)]


def encode_key(enc: Encoder, value: Any) -> Value:
    tables(enc)
    name = _KEY_NAMES[type(value)]
    field = KEYS[name][1]
    if field is None:
        return ["path_key", name]
    try:
        return ["path_key", name, enc.value(getattr(value, field))]
    except Refused as refused:
        raise Refused(refused.below(f".{field}")) from None


# decoding


def decode_symbolic(dec: Decoder, tagged: Value) -> Any:
    """Return one object for all equal values: symbolic numbers never change."""
    known = dec.objects.setdefault("symbolic", {})
    key: Any = (*map(_exact, tagged),)
    try:
        found = known.get(key)
    except TypeError:
        raise InvalidDocument(f"a {tagged[0]}", "it holds a list in place of a number") from None
    if found is None:
        found = known[key] = _symbolic(dec, tagged)
    return found


def _exact(item: Any) -> Any:
    """``item`` as part of a key, where True is not 1, 1 not 1.0, and 0.0 not -0.0."""
    if type(item) is list and len(item) == 3 and list not in map(type, item):
        return (list, *map(_exact, item))  # a nested integer
    return (type(item), repr(item)) if type(item) in (bool, float) else item


def _symbolic(dec: Decoder, tagged: Value) -> Any:
    tag = tagged[0]
    cls, kind = KINDS[tag]
    where = f"a {tag}"
    if len(tagged) not in (4, 5):
        raise InvalidDocument(where, "it is not an environment, an expression and a hint")
    _, environment, row, hint = tagged[:4]
    constant = tagged[4] if len(tagged) == 5 else None
    if type(hint) is list and kind is int and environment is not None:
        return _symbol_of_nested(dec, environment, row, hint, constant)
    for number in (hint, constant):
        _check_number(number, kind, where)
    if environment is None:
        if row is not None or hint is None:
            raise InvalidDocument(where, "a constant is a number alone")
        return cls(hint)
    expression = built(dec).expression(row, where)
    if not isinstance(expression, Boolean if kind is bool else sympy.Expr):
        raise InvalidDocument(where, f"expression {row} is not of its kind")
    return cls(sym_node_of(expression, decode_shape_env(dec, environment), kind, hint, constant))


def _symbol_of_nested(dec: Decoder, environment: Any, row: Any, hint: list[Any], constant: Any) -> Any:
    """Return the SymInt whose hint is the nested integer ``hint``."""
    where = "a symint"
    dec.require(NESTED_INT_SYMBOLS, f"{where}, its hint")
    if len(hint) != 3 or hint[0] != "nested_int" or constant is not None:
        raise InvalidDocument(where, "its hint is no nested integer")
    nested_numbers.check_numbers(hint[1], hint[2], where)
    expression = built(dec).expression(row, where)
    if not isinstance(expression, sympy.Expr):
        raise InvalidDocument(where, f"expression {row} is not of its kind")
    env = decode_shape_env(dec, environment)
    number = nested_numbers.nested_int(id_of_nested(dec, hint[1]), hint[2])
    made: Any = torch.SymInt
    return made(sym_node_of(expression, env, int, number, None))


def _check_number(number: Any, kind: type, where: str) -> None:
    if number is not None and type(number) is not kind:
        raise InvalidDocument(where, f"{number!r:.40} is not a number of its kind")
    if type(number) is int and number.bit_length() > INTEGER_BITS:
        raise InvalidDocument(where, f"it holds an integer of more than {INTEGER_BITS} bits")


def decode_value_range(dec: Decoder, tagged: Value) -> Any:
    _, low, high = tagged
    return value_range(built(dec), low, high, "a value range")


def decode_key(dec: Decoder, tagged: Value) -> Any:
    name = tagged[1] if len(tagged) > 1 else None
    if type(name) is not str or name not in KEYS:
        raise InvalidDocument(
            "a key path", f"{name!r:.40} is not an element that torch {torch.__version__} has"
        )
    cls, field = KEYS[name]
    if len(tagged) != (2 if field is None else 3):
        raise InvalidDocument("a key path", f"{name} does not hold {len(tagged) - 2} values")
    if field is None:
        return cls()
    value = dec.value(tagged[2])
    expected: Any = {"key": object, "idx": int, "divisor": (int, torch.SymInt)}.get(field, str)
    if not isinstance(value, expected):
        raise InvalidDocument("a key path", f"{name} does not hold {value!r:.40}")
    return cls(value)


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {
    **dict.fromkeys(_TAGS, encode_symbolic),
    ShapeEnv: encode_shape_env_value,
    ValueRanges: encode_value_range,
    **dict.fromkeys(_KEY_NAMES, encode_key),
}

DECODE: dict[str, Callable[[Decoder, Any], Any]] = {
    **dict.fromkeys(KINDS, decode_symbolic),
    "expression": decode_expression,
    "value_range": decode_value_range,
    "shape_env": decode_shape_env_value,
    "path_key": decode_key,
}


def encode(enc: Encoder, value: Any) -> Value:
    """Encode a value of one of the types above, or a sympy expression; refuse any other."""
    if "symbolic" not in enc.state:
        enc.state["symbolic"] = True
        enc.at_end(lambda: _check_that_it_loads(enc))
    found = ENCODE.get(type(value))
    if found is not None:
        return found(enc, value)
    if isinstance(value, sympy.Basic):
        return encode_bare_expression(enc, value)
    kind = type(value)
    raise Refused.because(f"a {kind.__module__}.{kind.__qualname__} cannot be kept")


def _check_that_it_loads(enc: Encoder) -> None:
    """Refuse what a reader would refuse: some rules need every expression, so they are asked at the end."""
    document: dict[str, Any] = enc.document  # type: ignore[assignment]
    if "symbolic" not in document:
        return
    try:
        rows = rebuild(document["symbolic"])
        for row in range(len(rows.environments)):
            read_record(rows, row)
    except InvalidDocument as error:
        reason = f"{error.where}: {error.reason}"
        why = f"its symbolic shapes cannot be kept ({reason}); trace with static sizes"
        raise UnsupportedValue([Problem("shape_env", why)]) from None
