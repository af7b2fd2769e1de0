"""Columns of small numbers as bytes: half a million numbers become five strings, which costs the wire nothing.

A document in memory has lists of ints. In its wire form the columns that grow with the number of nodes are bytes:
little-endian unsigned integers of 32 bits. `spec/schema-2.md` names them.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from typing import Any

from fxarchive.document import SOURCE_COLUMNS, Document
from fxarchive.errors import InvalidDocument

GRAPH_COLUMNS = ("targets", "pattern", "operands", "layout")
"""Columns of every graph that are packed."""

ROW_TAGS = frozenset({"text", "fake", "tensor", "shared", "value", "target", "module", "graph"})
"""Tags of metadata columns whose payloads are row numbers, and are packed."""

_CODE = next(code for code in "IL" if array(code).itemsize == 4)


def pack(document: Document) -> dict[str, Any]:
    """Return the document in its wire form; the document itself is left as it is."""
    return _each_column(document, _packed)


def unpack(document: Any) -> Document:
    """Return the document of a wire form.

    Raises:
        InvalidDocument: a column is not bytes of whole numbers.
    """
    try:
        return _each_column(document, _unpacked)  # type: ignore[return-value]
    except (TypeError, ValueError, KeyError, AttributeError):
        raise InvalidDocument("the document", "its columns are not those of its schema") from None


def _each_column(document: Any, convert: Callable[[Any], Any]) -> dict[str, Any]:
    result = dict(document)
    result["graphs"] = [_graph(graph, convert) for graph in document["graphs"]]
    fakes = document["fakes"]
    if "description" in fakes:
        result["fakes"] = {**fakes, "description": convert(fakes["description"])}
    if "sources" in document:
        sources = document["sources"]
        result["sources"] = {**sources, **{key: convert(sources[key]) for key in SOURCE_COLUMNS}}
    return result


def _graph(graph: Any, convert: Callable[[Any], Any]) -> Any:
    columns = [[tag, convert(payload) if tag in ROW_TAGS else payload] for tag, payload in graph["columns"]]
    return {**graph, **{key: convert(graph[key]) for key in GRAPH_COLUMNS}, "columns": columns}


def _packed(numbers: list[int]) -> bytes:
    column = array(_CODE, numbers)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def _unpacked(data: bytes) -> list[int]:
    if type(data) is not bytes:
        raise TypeError
    column = array(_CODE)
    column.frombytes(data)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tolist()
