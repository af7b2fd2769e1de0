"""What a document must be before anything is built from it: its tables, its names, and what it asks trust
for.

This is the middle one of the three steps of a load (parse, audit, construct). It needs no torch. What it lets pass
can still be wrong in ways that only torch knows (a stride beyond its storage); the codec checks that where it builds.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from fxarchive.document import (
    EXPORTED_PROGRAMS,
    NODE_SOURCES,
    OPS,
    SCRIPT_OBJECTS,
    SOURCE_COLUMNS,
    SYMBOLIC_SHAPES,
    TENSOR_SUBCLASSES,
    Document,
    empty_document,
)
from fxarchive.errors import CorruptArchive, ForbiddenName, InvalidDocument, UntrustedNames
from fxarchive.trust import check_identifier, check_path_atom, is_listed

_TABLES = {key: type(value) for key, value in empty_document().items() if type(value) in (list, dict)}
_KEYS = set(empty_document())
FEATURE_KEYS = {
    SYMBOLIC_SHAPES: "symbolic",
    NODE_SOURCES: "sources",
    EXPORTED_PROGRAMS: "programs",
    TENSOR_SUBCLASSES: "subclasses",
    SCRIPT_OBJECTS: "script_objects",
}
"""Feature flag -> the table that a document has only with it."""

_GRAPH_KEYS = {
    "names": str, "ops": bytes, "targets": list, "patterns": list, "pattern": list, "operands": list,
    "types": list,
    "keys": list, "layouts": list, "layout": list, "columns": list, "codegen": list, "tracer": list,
}  # fmt: skip
_TARGET_LENGTHS = {"operator": 4, "packet": 3, "higher_order": 3, "function": 2, "class": 2}
_OP = {op: number for number, op in enumerate(OPS)}
_FORBIDDEN = frozenset(keyword.kwlist)
_PLAIN_PATH = re.compile(r"\w+(?:\.\w+)*", re.ASCII)


def audit(document: Document, *, trust: Collection[str] | None, features: Iterable[str] = ()) -> None:
    """Check that ``document`` is safe to build from.

    Args:
        document: of the current schema.
        trust: names outside the shipped list that the caller trusts; None, when a document is being
        written, asks nobody.
        features: feature flags of the archive.

    Raises:
        InvalidDocument: a table has another form than its schema says.
        ForbiddenName: a name that would reach generated source is not safe to write there.
        UntrustedNames: it asks for functions or classes that are neither listed nor trusted; all are named.

    >>> audit(empty_document(), trust=())
    """
    _check_tables(document, features)
    _check_targets(document["targets"], trust)
    if "sources" in document:
        _check_sources(document)
    for row, graph in enumerate(document["graphs"]):
        _check_graph(document, f"graph {row}", graph)
    for row, module in enumerate(document["modules"]):
        _check_module(f"module {row}", module)


def audit_sections(document: Any, sizes: Mapping[str, int], content: str) -> None:
    """Check that each section of an archive holds what one storage says, and that none is left over.

    Args:
        document: of the current schema; whoever calls this turns what does not fit it into one error.
        sizes: bytes of each section.
        content: name of the section that holds the content itself.

    Raises:
        CorruptArchive: a storage names a section that is not there.
        InvalidDocument: a section belongs to no storage, to two, or has another size.

    >>> document = {"storages": [{"section": "storages/0", "size": 8}]}
    >>> audit_sections(document, {"document": 900, "storages/0": 8}, "document")
    """
    used = {content}
    for row, record in enumerate(document["storages"]):
        name = record.get("section")
        if name is None:
            continue
        if name not in sizes:
            raise CorruptArchive("the index", f"there is no section {name!r:.80}")
        if name in used or sizes[name] != record["size"]:
            raise InvalidDocument(
                f"storages[{row}]",
                f"section {name!r:.80} is not its own, or has another size than {record['size']}",
            )
        used.add(name)
    unused = sizes.keys() - used
    if unused:
        raise InvalidDocument("the index", f"no storage refers to the section {min(unused)!r:.80}")


def _check_tables(document: Any, features: Iterable[str]) -> None:
    expected = _KEYS | {FEATURE_KEYS[flag] for flag in features if flag in FEATURE_KEYS}
    if type(document) is not dict or not _KEYS <= set(document) <= expected:
        raise InvalidDocument("the document", "its tables are not those of its schema")
    for key, kind in _TABLES.items():
        if type(document[key]) is not kind:
            raise InvalidDocument(f"table {key}", f"it is not a {kind.__name__}")
    if not all([type(text) is str for text in document["texts"]]):
        raise InvalidDocument("table texts", "a row is not a string")


def _check_targets(targets: list[Any], trust: Collection[str] | None) -> None:
    untrusted = []
    for row, record in enumerate(targets):
        if type(record) is not list or not record or _TARGET_LENGTHS.get(str(record[0])) != len(record):
            raise InvalidDocument(f"row {row} of targets", "it is not a record of a known kind")
        if not all(
            [
                type(part) is str or (at == len(record) - 1 > 1 and part is None)
                for at, part in enumerate(record)
            ]
        ):
            raise InvalidDocument(f"row {row} of targets", "a part of it is not a string")
        kind, name = record[:2]
        if (
            trust is not None
            and kind in ("function", "class")
            and not is_listed(kind, name)
            and name not in trust
        ):
            untrusted.append(name)
    if untrusted:
        raise UntrustedNames(sorted(set(untrusted)))


def _check_sources(document: Any) -> None:
    columns, where = document["sources"], "table sources"
    if type(columns) is not dict or set(columns) != set(SOURCE_COLUMNS):
        raise InvalidDocument(where, "its columns are not those of its schema")
    if not all([type(column) is list for column in columns.values()]):
        raise InvalidDocument(where, "a column is not a list")
    count, texts = len(columns["pass"]), len(document["texts"])
    if {len(columns[key]) for key in SOURCE_COLUMNS[:-1]} != {count}:
        raise InvalidDocument(where, "its columns differ in length")
    ends = {"graph": count + 1, "count": count + 1, "origins": count}
    for key, column in columns.items():
        _check_rows(where, key, column, ends.get(key, texts))
    if sum(columns["count"]) != len(columns["origins"]):
        raise InvalidDocument(where, "its columns differ in length")


def _check_graph(document: Document, where: str, graph: Any) -> None:
    if type(graph) is not dict or set(graph) != set(_GRAPH_KEYS):
        raise InvalidDocument(where, "its columns are not those of its schema")
    for key, kind in _GRAPH_KEYS.items():
        if type(graph[key]) is not kind:
            raise InvalidDocument(where, f"{key} is not a {kind.__name__}")
    count = len(graph["ops"])
    names = graph["names"].split("\n") if count else []
    if not len(names) == len(graph["targets"]) == len(graph["pattern"]) == len(graph["layout"]) == count:
        raise InvalidDocument(where, "its columns differ in length")
    if count and max(graph["ops"]) >= _OP["root"]:
        raise InvalidDocument(where, "an opcode is not known")
    _check_rows(where, "pattern", graph["pattern"], len(graph["patterns"]))
    _check_rows(where, "layout", graph["layout"], len(graph["layouts"]))
    _check_rows(where, "operands", graph["operands"], count, start=1)
    _check_names(where, names)
    _check_node_targets(document, where, graph)
    for pattern in graph["patterns"]:
        _check_pattern(where, pattern)
    _check_attribute_reads(document, where, graph)
    _check_codegen(where, graph["codegen"])


def _check_rows(where: str, column: str, rows: list[Any], end: int, start: int = 0) -> None:
    if rows and (set(map(type, rows)) != {int} or min(rows) < start or max(rows) >= end):
        raise InvalidDocument(where, f"{column} holds a number that is not from {start} to {end - 1}")


def _check_names(where: str, names: list[str]) -> None:
    if all(map(str.isidentifier, names)) and _FORBIDDEN.isdisjoint(names):
        return
    for name in names:
        check_identifier(f"{where}, a node,", name)


def _check_node_targets(document: Document, where: str, graph: Any) -> None:
    functions, texts = len(document["targets"]), document["texts"]
    call_function = _OP["call_function"]
    _check_rows(where, "targets", graph["targets"], max(functions, len(texts)))
    seen = set(zip(graph["ops"], graph["targets"], strict=True))
    for op, row in seen:
        _check_rows(where, "targets", [row], functions if op == call_function else len(texts))
        if op != call_function:
            _check_text_target(where, OPS[op], texts[row])


def _check_text_target(where: str, op: str, target: str) -> None:
    if op == "placeholder":
        check_identifier(f"{where}, a placeholder,", target.removeprefix("*").removeprefix("*"))
    elif op == "call_method":
        check_identifier(f"{where}, a method call,", target)
    else:
        check_path(f"{where}, a {op} node,", target)


def check_path(where: str, path: str) -> None:
    """Check an attribute path such as ``layers.0.weight``; raise `ForbiddenName` if an atom of it is
    unsafe."""
    atoms = path.split(".")
    if _PLAIN_PATH.fullmatch(path) and "__" not in path and _FORBIDDEN.isdisjoint(atoms):
        return
    for atom in atoms:
        check_path_atom(where, atom)


def _check_pattern(where: str, pattern: Any) -> None:
    if type(pattern) is not list or len(pattern) != 2 or not type(pattern[0]) is type(pattern[1]) is list:
        raise InvalidDocument(where, "a call pattern is not a pair of lists")
    if len(pattern[1]) % 2:
        raise InvalidDocument(where, "a call pattern has a keyword without a value")
    for name in pattern[1][::2]:
        if type(name) is not str:
            raise InvalidDocument(where, "a keyword of a call pattern is not a string")
        check_identifier(f"{where}, a keyword argument,", name)


def _check_attribute_reads(document: Document, where: str, graph: Any) -> None:
    """Check the attribute names of ``getattr`` calls: a graph reads ``shape``, never ``__class__``."""
    readers = {row for row, record in enumerate(document["targets"]) if record[1] == "builtins.getattr"}
    if not readers:
        return
    call_function = _OP["call_function"]
    calls = zip(graph["ops"], graph["targets"], graph["pattern"], strict=True)
    for pattern in {pattern for op, target, pattern in calls if op == call_function and target in readers}:
        args = graph["patterns"][pattern][0]
        name = args[1] if len(args) > 1 else None
        if type(name) is not str:
            raise InvalidDocument(where, "a getattr call does not state its attribute")
        for atom in name.split("."):
            check_path_atom(f"{where}, a getattr call,", atom)


def _check_codegen(where: str, codegen: list[Any]) -> None:
    kind = codegen[0] if codegen else None
    if {"plain": 2, "pytree": 5}.get(str(kind)) != len(codegen):
        raise InvalidDocument(where, "its codegen is not of a known kind")
    names = [codegen[1], *(codegen[2] if kind == "pytree" else [])]
    if not all(type(name) is str for name in names):
        raise InvalidDocument(where, "a name in its codegen is not a string")
    for name in names:
        check_identifier(f"{where}, its codegen,", name.removeprefix("*").removeprefix("*"))
    if kind == "pytree":
        for key in _keyword_names(codegen[3]):
            check_identifier(f"{where}, its input spec,", key)


def _keyword_names(spec: Any) -> list[str]:
    """Return the keys that fx writes into source: those of the dict in an input spec ``(args, kwargs)``."""
    try:
        children = spec[1][2]
        context = children[1][1] if len(children) == 2 else None
    except (TypeError, IndexError, KeyError):
        return []
    if type(context) is not list or len(context) != 2 or type(context[1]) is not list:
        return []
    return [key if type(key) is str else repr(key) for key in context[1]]


def _check_module(where: str, module: Any) -> None:
    if type(module) is not dict or (
        type(module.get("graph", module.get("klass"))) is not int and "guards" not in module
    ):
        raise InvalidDocument(where, "it is not a record with a class or a graph")
    for key, step in (("parameters", 2), ("buffers", 3), ("modules", 2), ("attributes", 2)):
        names = module.get(key, [])
        if (
            type(names) is not list
            or len(names) % step
            or not all([type(name) is str for name in names[::step]])
        ):
            raise InvalidDocument(where, f"{key} is not a list of names and what they stand for")
        if key != "attributes":
            for name in names[::step]:
                if "." in name:
                    raise ForbiddenName(where, name)
                check_path_atom(where, name)
