"""Node metadata as columns: one for each key, and for each node the sequence of its keys.

Values of one column mostly have one form. A column whose values are all ``[tag, payload]`` with one tag
stores the tag once;
containers that are equal byte for byte (a module stack, a "custom" dict) are stored once and copied for each node.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterator
from typing import Any

from fxarchive.codec.copies import maker
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.fakes import decode_fakes
from fxarchive.document import Column, Value
from fxarchive.errors import Problem

REFERENCES = frozenset(
    {
        "text",
        "fake",
        "tensor",
        "shared",
        "target",
        "name",
        "module",
        "graph",
        "node_source",
        "subclass",
        "script_object",
    }
)
"""Tags with one payload that refers to a row or is short; such values are not interned again."""


def encode_metadata(enc: Encoder, nodes: list[Any], record: dict[str, Any], row: int) -> None:
    """Put ``keys``, ``layouts``, ``layout`` and ``columns`` into the record of a graph."""
    numbers: dict[Any, int] = {}
    layouts: dict[tuple[Any, ...], int] = {}
    layout: list[int] = []
    raw: list[list[Any]] = []
    owners: list[list[int]] = []
    leave_out = enc.leave_out
    for number, node in enumerate(nodes):
        meta = node.meta
        keys = tuple(meta)
        if leave_out:
            keys = tuple(key for place, key in enumerate(meta) if (row, number, place) not in leave_out)
        found = layouts.get(keys)
        if found is None:
            found = layouts[keys] = len(layouts)
            for key in keys:
                if key not in numbers:
                    numbers[key] = len(numbers)
                    raw.append([])
                    owners.append([])
        layout.append(found)
        for key in keys:
            at = numbers[key]
            raw[at].append(meta[key])
            owners[at].append(number)

    problems: list[Problem] = []
    with enc.metadata():
        record["keys"] = enc.items(list(numbers), ".meta key {}".format)
        record["layouts"] = [[numbers[key] for key in keys] for keys in layouts]
        record["layout"] = layout
        record["columns"] = tables = []
        for key, at in numbers.items():
            values = _encode_column(enc, nodes, row, key, raw[at], owners[at], problems)
            tables.append(values)
    if problems:
        raise Refused(problems)
    # which containers are shared is known only when everything is encoded
    enc.at_end(lambda: _pack_all(enc, tables))


def _encode_column(
    enc: Encoder,
    nodes: list[Any],
    row: int,
    key: Any,
    raw: list[Any],
    owners: list[int],
    problems: list[Problem],
) -> list[Value]:
    value = enc.value
    out: list[Value] = []
    for at, held in enumerate(raw):
        try:
            out.append(value(held))
        except Refused as refused:
            number = owners[at]
            found = refused.below(f".{nodes[number].name}.meta[{key!r}]")
            if enc.drop:
                entry = (row, number, list(nodes[number].meta).index(key))
                enc.dropped[entry] = [Problem(enc.path + path, why) for path, why in found]
            else:
                problems += found
    return out


def _pack_all(enc: Encoder, tables: list[Any]) -> None:
    for at, values in enumerate(tables):
        tables[at] = pack(enc, values)


def pack(enc: Encoder, values: list[Value]) -> Column:
    """Return the shortest column that holds ``values``."""
    if not values:
        return ["plain", []]
    rows = enc.values
    for at, value in enumerate(values):
        if type(value) is list and value[0] not in REFERENCES:
            key = marshal.dumps(value, 2)  # equal bytes for equal values; only a key, see graphs
            row = rows.get(key)
            if row is None:
                rows[key] = row = len(enc.document["values"])
                enc.document["values"].append(value)
            values[at] = ["value", row]
    tag = values[0][0] if type(values[0]) is list and len(values[0]) == 2 else None
    if tag is not None and all([type(v) is list and v[0] == tag and len(v) == 2 for v in values]):
        return [tag, [v[1] for v in values]]
    return ["plain", values]


# decoding


def decode_metadata(dec: Decoder, record: dict[str, Any], nodes: list[Any]) -> None:
    """Give each node its metadata."""
    keys = dec.items(record["keys"])
    columns = [iter(unpack(dec, column)) for column in record["columns"]]
    layouts: list[list[tuple[Any, Callable[[], Any]]]] = [
        [(keys[at], columns[at].__next__) for at in layout] for layout in record["layouts"]
    ]
    for node, layout in zip(nodes, record["layout"], strict=True):
        if layouts[layout]:
            # filled and not replaced: setting any attribute of a node is slow in Python
            node.meta.update([(key, take()) for key, take in layouts[layout]])


def unpack(dec: Decoder, column: Column) -> Iterator[Any] | list[Any]:
    """Return the values of a column."""
    tag, payloads = column
    if tag == "plain":
        # together, since most are made alike; each is then found in its row
        decode_fakes(dec, [value[1] for value in payloads if type(value) is list and value[0] == "fake"])
        fresh = _copies(dec)
        return [
            value if type(value) is not list else fresh(value[1]) if value[0] == "value" else dec.value(value)
            for value in payloads
        ]
    if tag == "fake":
        return decode_fakes(dec, payloads)
    if tag == "value":
        return map(_copies(dec), payloads)
    return dec.items([[tag, payload] for payload in payloads])


def decode_copy(dec: Decoder, tagged: Value) -> Any:
    """Return a fresh copy of the value that ``["value", row]`` stands for."""
    return dec.value(dec.entry("values", tagged[1]))


def _copies(dec: Decoder) -> Callable[[int], Any]:
    """Return a function from a row of `values` to a fresh copy."""
    makers: dict[int, Callable[[], Any]] = {}

    def fresh(row: int) -> Any:
        make = makers.get(row)
        if make is None:
            make = makers[row] = maker(dec, dec.entry("values", row))
        return make()

    return fresh


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = []
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"value": decode_copy}
