"""Pytree specs, as records of type, context and children.

The class TreeSpec changed its fields in torch 2.10 and 2.11, and torch's own JSON form reads a tuple that is
a dict key back as a list, so neither is stored.
"""

from __future__ import annotations

from collections import defaultdict, namedtuple
from collections.abc import Callable
from typing import Any

from torch.utils import _pytree as pytree

from fxarchive.codec.containers import FACTORIES
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import MAX_DEPTH, Encoder, Refused
from fxarchive.document import Value
from fxarchive.errors import InvalidDocument

NAMED = "namedtuple"
"""Type of a spec whose context is a class of named tuples; pytree uses the function
`collections.namedtuple` itself."""


def encode_treespec(enc: Encoder, spec: pytree.TreeSpec) -> Value:
    with enc.metadata(inert=False):
        return ["treespec", _encode(enc, spec, 0)]


def _encode(enc: Encoder, spec: Any, depth: int) -> Value:
    if spec.type is None or isinstance(spec, pytree.LeafSpec):
        return None
    if depth > MAX_DEPTH:
        raise Refused.because(f"its tree spec is nested more than {MAX_DEPTH} levels deep")
    context = spec._context if hasattr(spec, "_context") else spec.context
    why = _why_not(spec.type, context)
    if why is not None:
        raise Refused.because(f"its tree spec cannot be kept: {why}")
    children = spec._children if hasattr(spec, "_children") else spec.children_specs
    try:
        kind = NAMED if spec.type is namedtuple else enc.value(spec.type)
        held = enc.value(context)
    except Refused as refused:
        raise Refused(refused.below(" (its tree spec)")) from None
    return [kind, held, [_encode(enc, child, depth + 1) for child in children]]


def decode_treespec(dec: Decoder, tagged: Value) -> pytree.TreeSpec:
    return _decode(dec, tagged[1])


def _decode(dec: Decoder, record: Value) -> pytree.TreeSpec:
    if record is None:
        return pytree.treespec_leaf() if hasattr(pytree, "treespec_leaf") else pytree.LeafSpec()
    kind, context, children = record
    made, held = namedtuple if kind == NAMED else dec.value(kind), dec.value(context)
    why = _why_not(made, held)
    if why is not None:
        raise InvalidDocument("a tree spec", why)
    return pytree.TreeSpec(made, held, [_decode(dec, child) for child in children])


def _why_not(made: Any, context: Any) -> str | None:
    """Say why no spec has this type and context: pytree calls some contexts, so they must be classes of containers."""
    if made is namedtuple:
        if isinstance(context, type) and issubclass(context, tuple) and hasattr(context, "_fields"):
            return None
        return f"{context!r:.80} is not a class of named tuples"
    if made is defaultdict:
        if isinstance(context, list) and len(context) == 2 and _makes_nothing_else(context[0]):
            return None
        return "a defaultdict is kept only with a factory that is a builtin container or number"
    return None if isinstance(made, type) else f"{made!r:.80} is not a class"


def _makes_nothing_else(factory: Any) -> bool:
    return factory is None or factory in FACTORIES.values()


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {
    pytree.TreeSpec: encode_treespec,
    pytree.LeafSpec: encode_treespec,
}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = []
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"treespec": decode_treespec}
