"""Small records of torch in metadata: descriptors of AOTAutograd, sources of dynamo, annotations of quantizers.

Each is a row of the table `facts`: the name of its class and its fields. `fact_kinds` holds the closed list of classes.
Values (frozen dataclasses) that are equal share a row; objects that can change have a row each.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable
from typing import Any

from fxarchive.codec import extensions
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.fact_fields import Unfit, Wrong
from fxarchive.codec.fact_kinds import KINDS, class_name, kind_of, running_class
from fxarchive.document import FACTS, Value
from fxarchive.errors import InvalidDocument, Problem
from fxarchive.inert import InertRecord

_CHANGEABLE = frozenset(
    {"list", "dict", "ordered", "default", "counter", "set", "deque", "bytearray", "generator"}
)
"""Tags of values that a later reference may turn into a row of `shared`."""


# encoding


class _Table:
    """The rows of `facts` while they grow."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.known: dict[int, int] = {}
        """Id of an object -> its row; the encoder keeps the object alive."""
        self.values: dict[bytes, int] = {}
        """Bytes of a value's row -> its number."""


def tables(enc: Encoder) -> _Table:
    """Return the table of ``enc``; the first call puts it into the document."""
    table: _Table | None = enc.state.get("facts")
    if table is None:
        table = enc.state["facts"] = _Table()
        document: dict[str, Any] = enc.document  # type: ignore[assignment]
        document["facts"] = table.rows
        enc.features.add(FACTS)
    return table


def encode_fact(enc: Encoder, value: Any) -> Value:
    kind = kind_of(value)
    assert kind is not None  # as `is_fact` found
    return _encode(enc, value, class_name(type(value)), kind.fill is not None, kind.read(value))


def encode_inert(enc: Encoder, record: InertRecord) -> Value:
    """A record that a load could not rebuild becomes the row that it was."""
    if record.version is not None:
        return extensions.encode_inert(enc, record)
    return _encode(enc, record, record.kind, record.shared, record.fields)


def _encode(enc: Encoder, value: Any, name: str, is_object: bool, fields: dict[str, Any]) -> Value:
    enc.refuse_argument(value)
    table = tables(enc)
    row = table.known.get(id(value))
    if row is not None:
        return ["fact", row]
    enc.keep_alive(value)
    enc.keep_alive(fields)
    flat: list[Any] = []
    entry = ["object" if is_object else "value", name, flat]
    if is_object:
        row = _add(table, value, entry)
    problems: list[Problem] = []
    for field, held in fields.items():
        try:
            flat += [field, enc.value(held)]
        except Refused as refused:
            problems += refused.below(f".{field}")
    if problems:
        table.known.pop(id(value), None)  # so that each place that holds the object is named
        raise Refused(problems)
    if row is None:
        key = None if _changes(flat) else marshal.dumps(entry, 2)
        row = None if key is None else table.values.get(key)
        if row is None:
            row = _add(table, value, entry)
            if key is not None:
                table.values[key] = row
        table.known[id(value)] = row
    return ["fact", row]


def _add(table: _Table, value: Any, entry: list[Any]) -> int:
    table.rows.append(entry)
    table.known[id(value)] = len(table.rows) - 1
    return len(table.rows) - 1


def _changes(value: Any) -> bool:
    if type(value) is not list:
        return False
    return (bool(value) and type(value[0]) is str and value[0] in _CHANGEABLE) or any(
        [_changes(part) for part in value]
    )


# decoding


def import_classes(document: Any) -> None:
    """Import the modules of torch whose classes the rows name; the closed list says which, never the file."""
    for entry in document.get("facts", ()):
        running_class(entry[1])


def decode_fact(dec: Decoder, tagged: Value) -> Any:
    if "facts" not in dec.document:
        raise InvalidDocument("table facts", "there is none")
    return dec.row("facts", tagged[1], lambda entry: _build(dec, entry))


def _build(dec: Decoder, entry: Any) -> Any:
    form, name, flat = entry
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    kind, cls = KINDS.get(name), running_class(name)
    try:
        if kind is None or cls is None or (kind.fill is None) != (form == "value"):
            raise Unfit
        kind.check(cls, fields)
        if kind.fill is None:
            return _checked(name, kind.make, cls, _decoded(dec, fields))
    except Unfit:
        return _inert(dec, form, name, fields)
    made = kind.make(cls, {})
    fill = kind.fill
    dec.later(lambda: _checked(name, fill, made, _decoded(dec, fields)))
    return made


def _checked(name: str, act: Callable[[Any, dict[str, Any]], Any], thing: Any, fields: dict[str, Any]) -> Any:
    try:
        return act(thing, fields)
    except Wrong as error:
        raise InvalidDocument(f"a {name}", str(error)) from None
    except (TypeError, ValueError, AssertionError) as error:
        raise InvalidDocument(f"a {name}", f"torch does not take its fields ({error!s:.100})") from None


def _inert(dec: Decoder, form: str, name: str, fields: dict[str, Value]) -> InertRecord:
    record = InertRecord(name, {}, shared=form == "object")
    if record.shared:
        dec.later(lambda: record.fields.update(_decoded(dec, fields)))
    else:
        record.fields.update(_decoded(dec, fields))
    return record


def _decoded(dec: Decoder, fields: dict[str, Value]) -> dict[str, Any]:
    return {field: dec.value(value) for field, value in fields.items()}


def is_fact(value: Any) -> bool:
    """Whether ``value`` is of a class of the closed list."""
    return kind_of(value) is not None


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {InertRecord: encode_inert}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [(is_fact, encode_fact)]
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"fact": decode_fact}
