"""Node metadata as columns: one for each key, and for each node the sequence of its keys.

Values of one column mostly have one form. A column whose values are all ``[tag, payload]`` with one tag
stores the tag once;
containers that are equal byte for byte (a module stack, a "custom" dict) are stored once and copied for each node.
"""

from __future__ import annotations

import marshal
from collections import Counter
from collections.abc import Callable
from typing import Any

from fxarchive.codec.copies import CONSTANT_TAGS, copies
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.fakes import decode_fakes
from fxarchive.codec.stacks import STACKS, encode_stack
from fxarchive.document import Column, Value
from fxarchive.errors import InvalidDocument, Problem

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
        "fact",
        "extension",
        "record",
        "artefact",
        "subclass",
        "script_object",
        "array",
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
    keeps = enc.filters.metadata_keys
    for number, node in enumerate(nodes):
        meta = node.meta
        keys = tuple(meta) if keeps is None else tuple([key for key in meta if keeps(key)])
        if leave_out:
            keys = tuple(
                [
                    key
                    for place, key in enumerate(meta)
                    if (row, number, place) not in leave_out and (keeps is None or keeps(key))
                ]
            )
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
    is_stack = type(key) is str and key in STACKS
    encode = encode_stack if is_stack else Encoder.value
    out: list[Value] = []
    for at, held in enumerate(raw):
        try:
            out.append(encode(enc, held))
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
    rows: list[int | None] = []
    known, table = enc.values, enc.document["values"]
    for value in values:
        row = None
        if type(value) is list and value[0] not in REFERENCES:
            key = marshal.dumps(value, 2)  # equal bytes for equal values; only a key, see graphs
            row = known.get(key)
            if row is None:
                row = known[key] = len(table)
                table.append(value)
        rows.append(row)
    if None not in rows:
        return ["value", rows]
    packed = [value if row is None else ["value", row] for value, row in zip(values, rows, strict=True)]
    forms = {(value[0], len(value)) if type(value) is list else None for value in packed}
    tag, length = forms.pop() or (None, 0)
    if not forms and length == 2:
        return [tag, [value[1] for value in packed]]
    return ["plain", packed]


# decoding


def decode_metadata(dec: Decoder, record: dict[str, Any], nodes: list[Any]) -> None:
    """Give each node its metadata."""
    keys = dec.items(record["keys"])
    columns = [unpack(dec, column) for column in record["columns"]]
    uses = Counter(record["layout"])
    expected = [0] * len(columns)
    for number, layout in enumerate(record["layouts"]):
        for at in layout:
            expected[at] += uses[number]
    if list(map(len, columns)) != expected:
        raise InvalidDocument(
            "a graph", "its metadata columns have not one value for each node that has the key"
        )
    if not columns:
        return
    values = list(map(iter, columns))
    layouts = [([keys[at] for at in layout], [values[at] for at in layout]) for layout in record["layouts"]]
    for node, layout in zip(nodes, record["layout"], strict=True):
        names, held = layouts[layout]
        if names:
            # filled and not replaced: setting any attribute of a node is slow in Python
            node.meta.update(zip(names, map(next, held)))  # noqa: B905  # the lengths are checked above


def unpack(dec: Decoder, column: Column) -> list[Any]:
    """Return the values of a column."""
    tag, payloads = column
    if tag == "plain":
        return _mixed(dec, payloads)
    if tag == "fake":
        return decode_fakes(dec, payloads)
    if tag == "value":
        return _copies(dec, payloads)
    if tag in CONSTANT_TAGS and set(map(type, payloads)) in ({int}, {str}):
        found = {payload: dec.value([tag, payload]) for payload in dict.fromkeys(payloads)}
        return list(map(found.__getitem__, payloads))
    return dec.items([[tag, payload] for payload in payloads])


def _mixed(dec: Decoder, values: list[Value]) -> list[Any]:
    """Return the values of a column of several forms; those of a frequent form are made together."""
    tagged = [value for value in values if type(value) is list]
    rows = [value[1] for value in tagged if value[0] == "fake"]
    # without one, torch 2.7 could not import here what the first one needs
    fakes = iter(decode_fakes(dec, rows) if rows else ())
    copied = iter(_copies(dec, [value[1] for value in tagged if value[0] == "value"]))
    return [
        value
        if type(value) is not list
        else next(fakes)
        if value[0] == "fake"
        else next(copied)
        if value[0] == "value"
        else dec.value(value)
        for value in values
    ]


def decode_copy(dec: Decoder, tagged: Value) -> Any:
    """Refuse ``["value", row]``: it stands in a column, which `unpack` reads, and never in another value.

    Rows that hold copies of rows would stand for values without bound.
    """
    raise InvalidDocument(
        "a value", f"row {tagged[1]!r:.40} of values is copied outside a column of metadata"
    )


def _copies(dec: Decoder, rows: list[Any]) -> list[Any]:
    """Return a fresh copy of the value in each of ``rows`` of `values`."""
    values = dec.document["values"]
    if not rows:
        return []
    if set(map(type, rows)) != {int} or not 0 <= min(rows) <= max(rows) < len(values):
        raise InvalidDocument("a column of metadata", f"it names rows that are not below {len(values)}")
    return copies(dec, values, rows)


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = []
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"value": decode_copy}
