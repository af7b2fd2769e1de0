"""What a graph must be before it is built: its columns, and every name and value that fx writes into source."""

from __future__ import annotations

import keyword
import re
from typing import Any

from fxarchive.document import OPS, Document
from fxarchive.errors import InvalidDocument
from fxarchive.source_names import ARGUMENT_TAGS, TYPE_TAGS, check_path, keyword_names, unprintable
from fxarchive.tables import OP_NUMBERS, check_rows, reading
from fxarchive.trust import (
    ATTRIBUTE_READERS,
    check_identifier,
    check_method,
    check_path_atom,
    is_plain_value,
)

_GRAPH_KEYS = {
    "names": str, "ops": bytes, "targets": list, "patterns": list, "pattern": list, "operands": list,
    "types": list,
    "keys": list, "layouts": list, "layout": list, "columns": list, "codegen": list, "tracer": list,
}  # fmt: skip
_ALL_GRAPH_KEYS = {*_GRAPH_KEYS, "input_sources"}
_PLAIN_PATHS = re.compile(r"\w+(?:[.\n]\w+)*", re.ASCII)
_PATHS = frozenset({"get_attr", "call_module", "output"})
"""Opcodes whose target is a path."""
_FORBIDDEN = frozenset(keyword.kwlist)


def check_graph(document: Document, where: str, graph: Any) -> None:
    """Check one row of `graphs`, but for the values in its metadata.

    Args:
        document: the one that it stands in, its tables and targets checked.
        where: name of the row for errors.
        graph: the row.

    Raises:
        InvalidDocument: it breaks a rule of its schema.
        ForbiddenName: a name that would reach generated source is not safe to write there.
    """
    if type(graph) is not dict or not set(_GRAPH_KEYS) <= set(graph) <= _ALL_GRAPH_KEYS:
        raise InvalidDocument(where, "its columns are not those of its schema")
    for key, kind in _GRAPH_KEYS.items():
        if type(graph[key]) is not kind:
            raise InvalidDocument(where, f"{key} is not a {kind.__name__}")
    count = len(graph["ops"])
    names = graph["names"].split("\n") if count else []
    if not len(names) == len(graph["targets"]) == len(graph["pattern"]) == len(graph["layout"]) == count:
        raise InvalidDocument(where, "its columns differ in length")
    if count and max(graph["ops"]) >= OP_NUMBERS["root"]:
        raise InvalidDocument(where, "an opcode is not known")
    check_rows(where, "pattern", graph["pattern"], len(graph["patterns"]))
    check_rows(where, "layout", graph["layout"], len(graph["layouts"]))
    check_rows(where, "operands", graph["operands"], count, start=1)
    _check_names(where, names, graph["names"])
    _check_node_targets(document, where, graph)
    for pattern in graph["patterns"]:
        _check_pattern(document, where, pattern)
    if [type(part) for part in graph["types"]] != [list, list]:
        raise InvalidDocument(where, "types is not a pair of lists")
    _check_printed(document, where, graph["types"][1], TYPE_TAGS)
    _check_calls(document, where, graph)
    _check_codegen(document, where, graph)
    if "input_sources" in graph:
        _check_input_sources(document, where, graph["input_sources"], count)


def _check_input_sources(document: Any, where: str, column: Any, count: int) -> None:
    if type(column) is not list or [type(part) for part in column] != [list, list] or "facts" not in document:
        raise InvalidDocument(where, "input_sources is not a column of records")
    numbers, values = column
    check_rows(where, "input_sources", numbers, count)
    if len(numbers) != len(values) or sorted(set(numbers)) != numbers:
        raise InvalidDocument(where, "input_sources is not a column of records")


def _check_names(where: str, names: list[str], joined: str) -> None:
    if (
        joined.isascii()
        and "\n__" not in joined
        and not joined.startswith("__")
        and all(map(str.isidentifier, names))
        and _FORBIDDEN.isdisjoint(names)
    ):
        return
    for name in names:
        check_identifier(f"{where}, a node,", name)


def _check_node_targets(document: Document, where: str, graph: Any) -> None:
    functions, texts = len(document["targets"]), document["texts"]
    call_function = OP_NUMBERS["call_function"]
    check_rows(where, "targets", graph["targets"], max(functions, len(texts)))
    rows: dict[int, set[int]] = {}
    for op, row in set(zip(graph["ops"], graph["targets"], strict=True)):
        rows.setdefault(op, set()).add(row)
    for op, named in rows.items():
        check_rows(where, "targets", list(named), functions if op == call_function else len(texts))
        if op != call_function:
            targets = [texts[row] for row in named]
            if not (OPS[op] in _PATHS and _are_plain_paths(targets)):
                for target in targets:
                    _check_text_target(where, OPS[op], target)


def _are_plain_paths(paths: list[str]) -> bool:
    """Whether `check_path` would let all of them pass, for a reason that is quick to see."""
    joined = "\n".join(paths)
    return (
        _PLAIN_PATHS.fullmatch(joined) is not None
        and joined.count("\n") == len(paths) - 1
        and "__" not in joined
        and _FORBIDDEN.isdisjoint(joined.replace("\n", ".").split("."))
    )


def _check_text_target(where: str, op: str, target: str) -> None:
    if op == "placeholder":
        check_identifier(f"{where}, a placeholder,", target.removeprefix("*").removeprefix("*"))
    elif op == "call_method":
        check_method(f"{where}, a method call,", target)
    else:
        check_path(f"{where}, a {op} node,", target)


def _check_pattern(document: Document, where: str, pattern: Any) -> None:
    if type(pattern) is not list or len(pattern) != 2 or not type(pattern[0]) is type(pattern[1]) is list:
        raise InvalidDocument(where, "a call pattern is not a pair of lists")
    if len(pattern[1]) % 2:
        raise InvalidDocument(where, "a call pattern has a keyword without a value")
    for name in pattern[1][::2]:
        if type(name) is not str:
            raise InvalidDocument(where, "a keyword of a call pattern is not a string")
        check_identifier(f"{where}, a keyword argument,", name)
    _check_printed(document, where, [*pattern[0], *pattern[1][1::2]], ARGUMENT_TAGS)


def _check_printed(document: Document, where: str, values: list[Any], allowed: frozenset[str]) -> None:
    """Check that nothing among arguments or types of nodes is of a kind that must not be printed."""
    targets: list[Any] = document["targets"]

    def may_be_value(row: Any) -> bool:
        return type(row) is int and 0 <= row < len(targets) and is_plain_value(*targets[row][:2])

    with reading(where):
        tag = unprintable(values, allowed, may_be_value)
    if tag is not None:
        raise InvalidDocument(where, f"a {tag:.40} cannot be an argument or a type of a node")


def _check_calls(document: Document, where: str, graph: Any) -> None:
    """Check what calls a function that reads attributes or a class: a graph reads ``shape``, never ``__class__``."""
    call_function = OP_NUMBERS["call_function"]
    targets = document["targets"]
    called = {row for op, row in zip(graph["ops"], graph["targets"], strict=True) if op == call_function}
    readers: set[int] = set()
    for row in called:
        kind, name = targets[row][:2]
        if name in ATTRIBUTE_READERS:
            readers.add(row)
        elif not is_plain_value(kind, name):
            raise InvalidDocument(where, f"a graph does not call the class {name}")
    if not readers:
        return
    calls = zip(graph["ops"], graph["targets"], graph["pattern"], strict=True)
    for pattern in {pattern for op, target, pattern in calls if op == call_function and target in readers}:
        args = graph["patterns"][pattern][0]
        name = args[1] if len(args) > 1 else None
        if type(name) is not str:
            raise InvalidDocument(where, "a getattr call does not state its attribute")
        for atom in name.split("."):
            check_path_atom(f"{where}, a getattr call,", atom)


def _check_codegen(document: Document, where: str, graph: Any) -> None:
    codegen: list[Any] = graph["codegen"]
    kind = codegen[0] if codegen else None
    if {"plain": 2, "pytree": 5}.get(str(kind)) != len(codegen):
        raise InvalidDocument(where, "its codegen is not of a known kind")
    names = [codegen[1], *(codegen[2] if kind == "pytree" else [])]
    if not all(type(name) is str for name in names):
        raise InvalidDocument(where, "a name in its codegen is not a string")
    for name in names:
        check_identifier(f"{where}, its codegen,", name.removeprefix("*").removeprefix("*"))
    if kind == "pytree":
        for key in keyword_names(document, where, codegen[3]):
            check_identifier(f"{where}, its input spec,", key)
        _check_defaults(where, graph)


def _check_defaults(where: str, graph: Any) -> None:
    """Check that no input has a default value: torch cuts the text of each input of such a code generator apart."""
    placeholder = OP_NUMBERS["placeholder"]
    inputs = {
        pattern for op, pattern in zip(graph["ops"], graph["pattern"], strict=True) if op == placeholder
    }
    if any([graph["patterns"][pattern] != [[], []] for pattern in inputs]):
        raise InvalidDocument(where, "an input has a default value beside an input spec")
