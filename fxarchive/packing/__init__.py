"""The document in its wire form: columns instead of rows, numbers as bytes, names as what they are made of.

A document in memory is lists and dicts that codec, audit and tools read as they are. Its wire form says the same
with a tenth of the objects, which makes it small, quick to check and quick to unpickle. `spec/packing.md` is the
reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fxarchive.collection import collection_paused
from fxarchive.document import SOURCE_COLUMNS, Document
from fxarchive.errors import InvalidDocument
from fxarchive.packing.names import pack_names, stems, unpack_names
from fxarchive.packing.numbers import pack_numbers, unpack_numbers
from fxarchive.packing.room import ENDLESS, Room
from fxarchive.packing.rows import pack_rows, unpack_rows
from fxarchive.packing.strings import pack_strings, unpack_strings

GRAPH_COLUMNS = ("targets", "pattern", "operands", "layout")
"""Columns of every graph that are packed as numbers."""

ROW_TAGS = frozenset({"text", "fake", "tensor", "shared", "value", "target", "module", "graph"})
"""Tags of metadata columns whose payloads are row numbers, and are packed."""

TABLES = ("shared", "values", "targets", "modules", "tensors", "storages", "descriptions")
"""Tables whose rows are packed as forms and columns."""

FLAGGED_TABLES = (
    "arrays", "artefacts", "contexts", "extensions", "facts", "programs", "records", "script_objects", "subclasses",
)  # fmt: skip
"""Tables of feature flags that are packed likewise, in a document that has them."""


def pack(document: Document) -> dict[str, Any]:
    """Return the document in its wire form; the document itself is left as it is."""
    with collection_paused():
        result: dict[str, Any] = dict(document)
        result["graphs"] = [_pack_graph(document, graph) for graph in document["graphs"]]
        result["texts"] = pack_strings(document["texts"])
        for table in _tables(document):
            if type(result[table]) is list:  # what is none reaches the reader, who refuses it
                result[table] = pack_rows(result[table])
        result["fakes"] = _each_of_fakes(document["fakes"], pack_numbers, _are_rows)
        if "sources" in document:
            result["sources"] = _each_of_sources(result["sources"], pack_numbers)
        return result


def measure(document: Document, packed: Any) -> Room:
    """Return what unpacking the wire form of a document will count."""
    room = Room()
    room.strings(packed["texts"])
    for table in _tables(packed):
        room.rows(packed[table])
    for graph, columns in zip(document["graphs"], packed["graphs"], strict=True):
        for key in GRAPH_COLUMNS:
            room.numbers(columns[key])
        room.names(
            columns["names"], stems(graph["ops"], graph["targets"], document["texts"], document["targets"])
        )
        for tag, payloads in columns["columns"]:
            (room.numbers if tag in ROW_TAGS else room.rows)(payloads)
    _each_of_fakes(packed["fakes"], room.numbers, _is_packed)
    if "sources" in packed:
        _each_of_sources(packed["sources"], room.numbers)
    return room


def unpack(document: Any, room: Room | None = None) -> Document:
    """Return the document of a wire form.

    Args:
        document: as `pack` returned it, or from anywhere.
        room: for what it may unfold to; None if nobody counts.

    Raises:
        InvalidDocument: a column is not what `pack` returns.
        TooLarge: there is no room for it.
    """
    room = ENDLESS if room is None else room
    try:
        result = dict(document)
        room.strings(document["texts"])
        result["texts"] = unpack_strings(document["texts"])
        for table in _tables(document):
            room.rows(document[table])
            result[table] = unpack_rows(document[table])
        result["graphs"] = [_unpack_graph(result, graph, room) for graph in document["graphs"]]
        result["fakes"] = _each_of_fakes(document["fakes"], _unpacked_numbers(room), _is_packed)
        if "sources" in document:
            result["sources"] = _each_of_sources(document["sources"], _unpacked_numbers(room))
    except (TypeError, ValueError, LookupError, AttributeError, StopIteration):
        raise InvalidDocument("the document", "its columns are not those of its schema") from None
    return result  # type: ignore[return-value]


def _tables(document: Any) -> list[str]:
    return [*TABLES, *[table for table in FLAGGED_TABLES if table in document]]


def _unpacked_numbers(room: Room) -> Callable[[Any], list[int]]:
    def unpacked(column: Any) -> list[int]:
        room.numbers(column)
        return unpack_numbers(column)

    return unpacked


def _pack_graph(document: Document, graph: Any) -> dict[str, Any]:
    if type(graph["names"]) is not str:
        return dict(graph)  # the reader refuses it
    names = graph["names"].split("\n") if graph["ops"] else []
    suggested = stems(graph["ops"], graph["targets"], document["texts"], document["targets"])
    columns = [
        [tag, pack_numbers(payloads) if tag in ROW_TAGS else pack_rows(payloads)]
        for tag, payloads in graph["columns"]
    ]
    return {
        **graph,
        "names": pack_names(names, suggested),
        **{key: pack_numbers(graph[key]) for key in GRAPH_COLUMNS},
        "columns": columns,
    }


def _unpack_graph(document: Any, graph: Any, room: Room) -> dict[str, Any]:
    numbers = _unpacked_numbers(room)
    found = {**graph, **{key: numbers(graph[key]) for key in GRAPH_COLUMNS}}
    suggested = stems(graph["ops"], found["targets"], document["texts"], document["targets"])
    room.names(graph["names"], suggested)
    found["names"] = "\n".join(unpack_names(graph["names"], suggested))
    found["columns"] = []
    for tag, payloads in graph["columns"]:
        if tag in ROW_TAGS:
            found["columns"].append([tag, numbers(payloads)])
        else:
            room.rows(payloads)
            found["columns"].append([tag, unpack_rows(payloads)])
    return found


def _each_of_fakes(fakes: Any, convert: Callable[[Any], Any], fits: Callable[[Any], bool]) -> dict[str, Any]:
    """Convert the columns of numbers in the table of FakeTensors."""
    found = {}
    for key, column in fakes.items():
        if key == "description":
            found[key] = convert(column)
        else:
            found[key] = [convert(part) if fits(part) else part for part in column]
    return found


def _each_of_sources(sources: Any, convert: Callable[[Any], Any]) -> dict[str, Any]:
    return {**sources, **{key: convert(sources[key]) for key in SOURCE_COLUMNS}}


def _are_rows(part: Any) -> bool:
    return type(part) is list and set(map(type, part)) == {int}


def _is_packed(part: Any) -> bool:
    return type(part) is bytes
