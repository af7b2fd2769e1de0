"""What a document must be before anything is built from it: its tables, its names, and what it asks trust
for.

This is the middle one of the three steps of a load (parse, audit, construct). It needs no torch. What it lets pass
can still be wrong in ways that only torch knows (a stride beyond its storage); the codec checks that where it builds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from fxarchive.document import (
    ARTEFACTS,
    EXPORTED_PROGRAMS,
    EXTENSIONS,
    FACTS,
    NODE_SOURCES,
    NUMPY_ARRAYS,
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
from fxarchive.graph_audit import check_graph
from fxarchive.program_audit import check_guards, check_programs
from fxarchive.tables import check_rows
from fxarchive.trust import check_path_atom, is_listed

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
    NUMPY_ARRAYS: "arrays",
}
"""Feature flag -> the table that a document has only with it."""

_TARGET_LENGTHS = {
    "operator": 4,
    "packet": 3,
    "higher_order": 3,
    "function": 2,
    "class": 2,
    "artefact": 2,
    "named_operator": 3,
}


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
        check_graph(document, f"graph {row}", graph)
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
        check_rows(where, key, column, ends.get(key, texts))
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
