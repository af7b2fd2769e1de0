"""What torch writes into generated source as it stands: attribute paths, keyword names of input specs, and what
``repr`` says of the arguments and the types of nodes."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable
from typing import Any

from fxarchive.document import Value
from fxarchive.errors import InvalidDocument
from fxarchive.tables import CONTAINERS, parts, resolved
from fxarchive.trust import check_path_atom

_FORBIDDEN = frozenset(keyword.kwlist)
_PLAIN_PATH = re.compile(r"\w+(?:\.\w+)*", re.ASCII)
_LOCAL = re.compile(r"(?P<opened>(?:getattr\()*)L\['\w+'\]", re.ASCII)
_STEP = re.compile(r"\.\w+|\['\w+'\]|\[\d+\]|(?P<closed>, '\w+'\))", re.ASCII)
_MOST_STEPS = 8
"""References that may lead from one to the next before a value stands."""

_SEQUENCES = frozenset({"tuple", "list"})
ARGUMENT_TAGS = frozenset(
    {
        *(CONTAINERS - {"export"}),
        "complex", "range", "ellipsis", "notimplemented", "bytearray", "enum", "text", "target",
        "dtype", "device", "layout", "memory_format", "qscheme", "generator", "treespec", "partial",
        "tensor", "fake", "subclass", "script_object", "nested_int", "symint", "symfloat", "symbool", "expression",
        "distributed", "hole",
    }
)  # fmt: skip
"""Tags of values that may be arguments of nodes: ``repr`` of them is code of Python and torch over checked names. That
of a module prints attributes as they are, and that of an instance is code of its class. A writer gives containers
among arguments no identity, so they need no reference."""

PLACEMENTS = frozenset({"shard", "replicate", "partial", "strided_shard"})
"""Kinds of `distributed` values that may be arguments of nodes: they print as numbers and names of a closed list."""

TYPE_TAGS = frozenset({"target", "text", "annotation", "ellipsis", *_SEQUENCES})
"""Tags of values that may be types of nodes: torch writes the names of whatever has a module of torch."""


def check_path(where: str, path: str) -> None:
    """Check an attribute path such as ``layers.0.weight``; raise `ForbiddenName` if an atom of it is
    unsafe."""
    atoms = path.split(".")
    if _PLAIN_PATH.fullmatch(path) and "__" not in path and _FORBIDDEN.isdisjoint(atoms):
        return
    for atom in atoms:
        check_path_atom(where, atom)


def check_module_path(where: str, path: str) -> None:
    """Check the path of a module in metadata: an attribute path, or how dynamo reaches the module from a local,
    such as ``getattr(L['fn'].layers, '0')``; strict exports of torch 2.7 and 2.8 have those.

    Raises:
        ForbiddenName: it is neither.
    """
    if not _is_reached(path):
        check_path(where, path)


def _is_reached(path: str) -> bool:
    """Whether a path reads an attribute or item by name and does nothing else; no name has a quote in it."""
    first = _LOCAL.match(path)
    if first is None:
        return False
    pending, at = first["opened"].count("("), first.end()
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return False
        pending -= step["closed"] is not None
        if pending < 0:
            return False
        at = step.end()
    return pending == 0


def standing(document: Any, value: Value) -> Value:
    """Return the value that ``value`` stands for, however many references lead there.

    Raises:
        InvalidDocument: they lead in a circle, or too far.
    """
    for _ in range(_MOST_STEPS):
        found = resolved(document, value)
        if found is value:
            return value
        value = found
    raise InvalidDocument("a reference", "it leads to no value")


def keyword_names(document: Any, where: str, spec: Value) -> list[str]:
    """Return the keys that fx writes into source: those of the dict in an input spec ``(args, kwargs)``.

    Args:
        document: of the current schema.
        where: what holds the spec, for the message.
        spec: the value of a tree spec.

    Raises:
        InvalidDocument: it is not a spec, or holds its keys in a way that no writer uses.
    """
    spec = standing(document, spec)
    if type(spec) is not list or len(spec) != 2 or spec[0] != "treespec":
        raise InvalidDocument(where, "its input spec is not a tree spec")
    node = spec[1]
    if node is None:
        return []
    children = node[2] if type(node) is list and len(node) == 3 else None
    if type(children) is not list:
        raise InvalidDocument(where, "its input spec is not a tree spec")
    if len(children) != 2 or children[1] is None:
        return []
    if type(children[1]) is not list or len(children[1]) != 3:
        raise InvalidDocument(where, "its input spec is not a tree spec")
    return list(_texts(document, children[1][1]))


def _texts(document: Any, context: Value) -> list[str]:
    """Return what a context prints as names: its keys, or whatever else stands in it."""
    context = standing(document, context)
    if context is None:
        return []
    if type(context) is not list or len(context) < 2 or type(context[1]) is not list:
        return [repr(context)]
    keys = [standing(document, key) for key in context[1]]
    return [key if type(key) is str else repr(key) for key in keys]


def unprintable(values: list[Value], allowed: frozenset[str], row: Callable[[Any], bool]) -> str | None:
    """Return the tag of a value, among ``values`` or in one of them, that must not reach generated source.

    Args:
        values: arguments or types of nodes.
        allowed: `ARGUMENT_TAGS` or `TYPE_TAGS`.
        row: whether the row of `targets` may be a value there.

    Raises:
        LookupError, TypeError, ValueError: a value does not hold what its tag says.
    """
    stack = list(values)
    while stack:
        value = stack.pop()
        if type(value) is not list:
            continue
        tag = value[0]
        if type(tag) is not str or tag not in allowed:
            return str(tag)
        if tag == "target" and not row(value[1]):
            return tag
        if tag == "distributed" and value[1][0] not in PLACEMENTS:
            return tag
        if tag in CONTAINERS:
            stack += parts(value)
        elif tag == "partial":
            _, function, args, pairs = value
            stack += [function, *args, *pairs]
        elif tag == "treespec":
            nodes = [value[1]]
            while nodes:
                node = nodes.pop()
                if node is not None:
                    kind, context, children = node
                    stack += [kind, context]
                    nodes += children
    return None
