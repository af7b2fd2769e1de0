"""What a document says once and its reader makes for each use, counted before any of it is made.

A value of metadata, the pattern of a call and the description of a FakeTensor stand in a document once, however many
nodes refer to them, and a form holds what its rows have in common. Each node needs containers of its own. So what
comes out grows with entries times uses, of which a small file can state both.
"""

from __future__ import annotations

import marshal
from collections import Counter
from collections.abc import Iterator
from typing import Any

from fxarchive.document import Value
from fxarchive.errors import TooLarge
from fxarchive.packing import FLAGGED_TABLES, ROW_TAGS, TABLES
from fxarchive.packing.numbers import unpack_numbers
from fxarchive.packing.rows import CONSTANT, HOLE
from fxarchive.tables import reading

CONSTANT_TAGS = frozenset(
    {
        # values that cannot change
        "text", "complex", "range", "ellipsis", "notimplemented", "dtype", "device", "layout", "memory_format",
        "qscheme", "name", "target", "enum", "symint", "symfloat", "symbool", "expression", "value_range", "path_key",
        "standard", "member",
        # values that are one object wherever they stand
        "fake", "tensor", "shared", "module", "graph", "node", "shape_env", "node_source",
        "fact", "extension", "record", "artefact", "tracing_context",
        "subclass", "script_object", "nested_int", "dim_range", "array", "distributed",
    }
)  # fmt: skip
_NESTING_TAGS = frozenset({"tuple", "size", "frozenset", "slice", "ilist"})

CHARACTERS_AN_ENTRY = 8
"""Characters or bytes in equal rows that count as an entry: a guard in them is code of its own for each row."""

COPIED_TAGS = frozenset({"list", "dict", "ordered"})
"""Containers of which a copy shares what they hold, if that is constant."""


def is_constant(value: Value) -> bool:
    """Whether one object can stand wherever ``value`` occurs.

    >>> is_constant(["tuple", [1, ["dtype", "int8"]]]), is_constant(["tuple", [["list", []]]])
    (True, False)
    """
    if type(value) is not list or value[0] in CONSTANT_TAGS:
        return True
    if value[0] == "named":
        return are_constant(value[2])
    return value[0] in _NESTING_TAGS and are_constant(value[1])


def are_constant(values: list[Value]) -> bool:
    """Whether all of ``values`` are."""
    return all([is_constant(value) for value in values if type(value) is list])


def are_few(document: Any, packed: Any, most: int) -> bool:
    """Whether a bound of the entries that are copied, which is quick to find, is not over ``most``.

    Args and errors as for `check_copies`.
    """
    with reading("the document"):
        total = sum([len(rows) * _size(forms) for (forms, *_), rows, _ in _packed_rows(document, packed)])
        value, description = _size(packed["values"]), _size(packed["descriptions"])
        total += len(document["fakes"].get("description", ())) * description
        for graph in document["graphs"]:
            total += len(graph["pattern"]) * _size(graph["patterns"])
            total += value * sum([len(rows) for tag, rows in graph["columns"] if tag in ("value", "plain")])
        return total <= most


def _size(plain: Any) -> int:
    """Return a number that the entries of a plain value are not over; each takes a byte or more here."""
    return len(marshal.dumps(plain, 2))


def check_copies(document: Any, packed: Any, most: int) -> None:
    """Check how many entries are made beyond those of the first use of what a document says once.

    Args:
        document: of the current schema; it need not have been audited.
        packed: its wire form.
        most: so many may be made.

    Raises:
        TooLarge: they are more.
        InvalidDocument: the document is not what its schema says.
    """
    with reading("the document"):
        total, largest, where = 0, 0, ""
        for count, place in _copies(document, packed):
            total += count
            if count > largest:
                largest, where = count, place
    if total > most:
        raise TooLarge(
            f"The number of entries that are made again for each use, most of them for {where},", total, most
        )


def _copies(document: Any, packed: Any) -> Iterator[tuple[int, str]]:
    """Yield how many entries are made beyond those of the first use, and of what."""
    for table, rows, where in _packed_rows(document, packed):
        if rows:
            yield _constant_entries(table), f"equal rows of {where}"
    values = document["values"]
    uses: Counter[Any] = Counter()
    for graph in document["graphs"]:
        for tag, payloads in graph["columns"]:
            if tag == "value":
                uses.update(payloads)
            elif tag == "plain":
                uses.update([held[1] for held in payloads if type(held) is list and held[0] == "value"])
    yield from _each(uses, values, copied_entries, "row {} of values")
    described = Counter(document["fakes"].get("description", ()))
    yield from _each(described, document["descriptions"], entries, "row {} of descriptions")
    for number, graph in enumerate(document["graphs"]):
        where = f"call pattern {{}} of graph {number}"
        yield from _each(Counter(graph["pattern"]), graph["patterns"], entries, where)


def _each(uses: Counter[Any], rows: list[Any], size: Any, where: str) -> Iterator[tuple[int, str]]:
    for row, count in uses.items():
        if count > 1 and row < len(rows):  # the audit refuses other numbers
            yield (count - 1) * size(rows[row]), where.format(row)


def copied_entries(value: Value) -> int:
    """Return how many entries the containers have that a further copy of ``value`` does not share with the first.

    >>> copied_entries(["dict", ["a", ["tuple", [1, 2]]]]), copied_entries(["list", [["list", []]]])
    (4, 5)
    """
    if is_constant(value):
        return 0
    if value[0] in COPIED_TAGS and are_constant(value[1]):
        return 2 + len(value[1])
    return entries(value)


def entries(value: Any) -> int:
    """Return how many entries all lists and dicts have in a plain value, however deep.

    >>> entries([1, ["tuple", [2, 3]], {"a": []}])
    8
    """
    return sum(map(len, _containers(value)))


def _containers(value: Any) -> Iterator[list[Any]]:
    """Yield what each list and each dict in a plain value holds."""
    stack = [value]
    while stack:
        item = stack.pop()
        held = list(item.values()) if type(item) is dict else item
        if type(held) is list:
            yield held
            stack.extend([part for part in held if type(part) in (list, dict)])


def _characters(value: Any) -> int:
    """Return how many characters and bytes the strings have that stand in the containers of a plain value."""
    return sum([len(part) for held in _containers(value) for part in held if type(part) in (str, bytes)])


def _packed_rows(document: Any, packed: Any) -> Iterator[tuple[Any, list[Any], str]]:
    """Yield everything that is packed as rows, the rows, and what they are."""
    for table in (*TABLES, *[table for table in FLAGGED_TABLES if table in packed]):
        yield packed[table], document[table], table
    for number, graph in enumerate(document["graphs"]):
        columns = packed["graphs"][number]["columns"]
        for at, ((tag, rows), (_, payloads)) in enumerate(zip(graph["columns"], columns, strict=True)):
            if tag not in ROW_TAGS:
                yield payloads, rows, f"metadata column {at} of graph {number}"


def _constant_entries(packed: Any) -> int:
    """Return how many entries rows have beyond the first in what those of one form have in common."""
    forms, picks, columns = packed
    sizes = [_constant_entries_of(form, held) for form, held in zip(forms, columns, strict=True)]
    if not any(sizes):
        return 0
    return sum([(count - 1) * sizes[form] for form, count in Counter(unpack_numbers(picks)).items()])


def _constant_entries_of(form: Any, columns: list[Any]) -> int:
    if type(form) is not list or form[0] == HOLE:
        return 0
    if form[0] == CONSTANT or not columns:
        return entries(form[1]) + _characters(form[1]) // CHARACTERS_AN_ENTRY
    return sum([_constant_entries_of(part, columns) for part in form[1 + form[0] :: 1 + form[0]]])
