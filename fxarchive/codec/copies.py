"""Making the same value again and again: decode once, then copy what can change and reuse what cannot.

Metadata repeats (a module stack, the shape of a tensor) and so do the arguments of calls. Each use needs
containers of its own, and nothing else about it has to be decoded again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.operators import decode_class
from fxarchive.document import Value

Make = Callable[[], Any]

_CONSTANT_TAGS = frozenset(
    {
        # values that cannot change
        "text", "complex", "range", "ellipsis", "notimplemented", "dtype", "device", "layout", "memory_format",
        "qscheme", "name", "target", "enum", "symint", "symfloat", "symbool", "expression", "value_range", "path_key",
        # values that are one object wherever they stand
        "fake", "tensor", "shared", "module", "graph", "node", "shape_env", "node_source",
        "subclass", "script_object", "nested_int", "dim_range",
    }
)  # fmt: skip
_NESTING_TAGS = frozenset({"tuple", "size", "frozenset", "slice", "ilist"})


def is_constant(value: Value) -> bool:
    """Whether one decoded object can stand wherever ``value`` occurs."""
    if type(value) is not list or value[0] in _CONSTANT_TAGS:
        return True
    if value[0] == "named":
        return all([is_constant(item) for item in value[2]])
    return value[0] in _NESTING_TAGS and all([is_constant(item) for item in value[1]])


def maker(dec: Decoder, value: Value) -> Make:
    """Return a function that makes the object of ``value``, a fresh one at each call where it can change."""
    if is_constant(value):
        constant = dec.value(value)
        return lambda: constant
    tag = value[0]
    if tag in ("list", "dict", "ordered") and all([is_constant(item) for item in value[1]]):
        copy: Make = dec.value(value).copy
        return copy
    if tag == "tuple":
        return _filled(dec, value[1], tuple)
    if tag == "list":
        return _filled(dec, value[1], lambda parts: parts)
    if tag == "named":
        cls = decode_class(dec, value[1])
        dec.value(value)  # checks that the class takes these items
        if not hasattr(cls, "n_fields"):
            return _filled(dec, value[2], lambda parts: tuple.__new__(cls, parts))
    return lambda: dec.value(value)


def _filled(dec: Decoder, items: list[Value], finish: Callable[[list[Any]], Any]) -> Make:
    """Make a sequence whose constant items are decoded now and the others at each call."""
    parts = [dec.value(item) if is_constant(item) else None for item in items]
    changing = [(at, maker(dec, item)) for at, item in enumerate(items) if not is_constant(item)]

    def make() -> Any:
        fresh = parts.copy()
        for at, each in changing:
            fresh[at] = each()
        return finish(fresh)

    return make
