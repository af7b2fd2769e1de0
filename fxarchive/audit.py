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
    ARTEFACTS,
    EXPORTED_PROGRAMS,
    EXTENSIONS,
    FACTS,
    NODE_SOURCES,
    OPS,
    RECORDS,
    SCRIPT_OBJECTS,
    SOURCE_COLUMNS,
    SYMBOLIC_SHAPES,
    TENSOR_SUBCLASSES,
    TRACING_CONTEXTS,
    Document,
    empty_document,
)
from fxarchive.errors import CorruptArchive, ForbiddenName, InvalidDocument, UntrustedNames
from fxarchive.extensions import is_tag
from fxarchive.program_audit import check_guards, check_programs
from fxarchive.source_names import ARGUMENT_TAGS, TYPE_TAGS, check_path, keyword_names, unprintable
from fxarchive.tables import reading
from fxarchive.trust import (
    ATTRIBUTE_READERS,
    check_identifier,
    check_method,
    check_path_atom,
    is_listed,
    is_plain_value,
)

_TABLES = {key: type(value) for key, value in empty_document().items() if type(value) in (list, dict)}
_KEYS = set(empty_document())
FEATURE_KEYS = {
    SYMBOLIC_SHAPES: "symbolic",
    NODE_SOURCES: "sources",
    EXPORTED_PROGRAMS: "programs",
    FACTS: "facts",
    EXTENSIONS: "extensions",
    RECORDS: "records",
    ARTEFACTS: "artefacts",
    TRACING_CONTEXTS: "contexts",
    TENSOR_SUBCLASSES: "subclasses",
    SCRIPT_OBJECTS: "script_objects",
}
"""Feature flag -> the table that a document has only with it."""

_GRAPH_KEYS = {
    "names": str, "ops": bytes, "targets": list, "patterns": list, "pattern": list, "operands": list,
    "types": list,
    "keys": list, "layouts": list, "layout": list, "columns": list, "codegen": list, "tracer": list,
}  # fmt: skip
_ALL_GRAPH_KEYS = {*_GRAPH_KEYS, "input_sources"}
_PLAIN_PATHS = re.compile(r"\w+(?:[.\n]\w+)*", re.ASCII)
_PATHS = frozenset({"get_attr", "call_module", "output"})
"""Opcodes whose target is a path."""
_TARGET_LENGTHS = {
    "operator": 4,
    "packet": 3,
    "higher_order": 3,
    "function": 2,
    "class": 2,
    "artefact": 2,
    "named_operator": 3,
}
_OP = {op: number for number, op in enumerate(OPS)}
_FORBIDDEN = frozenset(keyword.kwlist)


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
    for row, entry in enumerate(_rows(document, "facts")):
        _check_fact(f"row {row} of facts", entry)
    for row, entry in enumerate(_rows(document, "extensions")):
        _check_extension(f"row {row} of extensions", entry)
    for row, graph in enumerate(document["graphs"]):
        _check_graph(document, f"graph {row}", graph)
    checked: set[Any] = set()
    for row, module in enumerate(document["modules"]):
        _check_module(f"module {row}", module, checked)
    if "programs" in document:
        check_programs(document)


def audit_sections(document: Any, sizes: Mapping[str, int], content: str) -> None:
    """Check that each section of an archive holds what one storage or artefact says, and that none is left over.

    Args:
        document: of the current schema; whoever calls this turns what does not fit it into one error.
        sizes: bytes of each section.
        content: name of the section that holds the content itself.

    Raises:
        CorruptArchive: a storage names a section that is not there.
        InvalidDocument: a section belongs to nothing, to two, or has another size.

    >>> document = {"storages": [{"section": "storages/0", "size": 8}]}
    >>> audit_sections(document, {"document": 900, "storages/0": 8}, "document")
    """
    used = {content}
    stored = [(f"storages[{row}]", record) for row, record in enumerate(document["storages"])]
    stored += [(f"artefacts[{row}]", record) for row, record in enumerate(document.get("artefacts", ()))]
    for where, record in stored:
        name = record.get("section")
        if name is None:
            continue
        if name not in sizes:
            raise CorruptArchive("the index", f"there is no section {name!r:.80}")
        if name in used or sizes[name] != record["size"]:
            raise InvalidDocument(
                where,
                f"section {name!r:.80} is not its own, or has another size than {record['size']}",
            )
        used.add(name)
    unused = sizes.keys() - used
    if unused:
        raise InvalidDocument("the index", f"nothing refers to the section {min(unused)!r:.80}")


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


def _rows(document: Any, table: str) -> list[Any]:
    rows = document.get(table, [])
    if type(rows) is not list:
        raise InvalidDocument(f"table {table}", "it is not a list")
    return rows


def _check_fact(where: str, entry: Any) -> None:
    if (
        type(entry) is not list
        or len(entry) != 3
        or entry[0] not in ("value", "object")
        or type(entry[1]) is not str
    ):
        raise InvalidDocument(where, "it is not a record of a class")
    names = entry[2][::2] if type(entry[2]) is list and len(entry[2]) % 2 == 0 else [None]
    if not all([type(name) is str for name in names]) or len(set(names)) != len(names):
        raise InvalidDocument(where, "its fields are not names and values")


def _check_extension(where: str, entry: Any) -> None:
    if type(entry) is not list or len(entry) != 4 or not is_tag(entry[0]) or type(entry[2]) is not bool:
        raise InvalidDocument(where, "it is not a tag, a version and a value")
    if type(entry[1]) is not int or not 1 <= entry[1] < 2**53:
        raise InvalidDocument(where, "its version is not a number from 1 up")


def _check_graph(document: Document, where: str, graph: Any) -> None:
    if type(graph) is not dict or not set(_GRAPH_KEYS) <= set(graph) <= _ALL_GRAPH_KEYS:
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
    _check_rows(where, "input_sources", numbers, count)
    if len(numbers) != len(values) or sorted(set(numbers)) != numbers:
        raise InvalidDocument(where, "input_sources is not a column of records")


def _check_rows(where: str, column: str, rows: list[Any], end: int, start: int = 0) -> None:
    if rows and (set(map(type, rows)) != {int} or min(rows) < start or max(rows) >= end):
        raise InvalidDocument(where, f"{column} holds a number that is not from {start} to {end - 1}")


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
    call_function = _OP["call_function"]
    _check_rows(where, "targets", graph["targets"], max(functions, len(texts)))
    rows: dict[int, set[int]] = {}
    for op, row in set(zip(graph["ops"], graph["targets"], strict=True)):
        rows.setdefault(op, set()).add(row)
    for op, named in rows.items():
        _check_rows(where, "targets", list(named), functions if op == call_function else len(texts))
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
    call_function = _OP["call_function"]
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
    placeholder = _OP["placeholder"]
    inputs = {
        pattern for op, pattern in zip(graph["ops"], graph["pattern"], strict=True) if op == placeholder
    }
    if any([graph["patterns"][pattern] != [[], []] for pattern in inputs]):
        raise InvalidDocument(where, "an input has a default value beside an input spec")


_MEMBERS = (("parameters", 2), ("buffers", 3), ("modules", 2), ("attributes", 2))


def _check_module(where: str, module: Any, checked: set[Any]) -> None:
    """Check one record; ``checked`` has the names that are good, since most modules have the same ones."""
    if type(module) is not dict or (
        type(module.get("graph", module.get("klass"))) is not int and "guards" not in module
    ):
        raise InvalidDocument(where, "it is not a record with a class or a graph")
    if "guards" in module:
        check_guards(where, module["guards"])
    for key, step in _MEMBERS:
        if key not in module:
            continue
        members = module[key]
        names: list[Any] = members[::step] if type(members) is list else [None]
        if not all([type(name) is str for name in names]) or len(members) % step:
            raise InvalidDocument(where, f"{key} is not a list of names and what they stand for")
        if key != "attributes" and not checked.issuperset(names):
            for name in names:
                if "." in name:
                    raise ForbiddenName(where, name)
                check_path_atom(where, name)
            checked.update(names)
