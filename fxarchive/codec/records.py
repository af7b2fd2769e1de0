"""Instances of classes of the user, as inert records: the name of the class, and the fields.

An instance comes back only if the caller lists its class in ``trust=``. It is made by `object.__new__` and its fields
are put into its slots and its ``__dict__`` directly: no ``__new__``, ``__init__``, ``__post_init__``, ``__setattr__``,
``__setstate__`` or property of the class runs. `record_rules` says which classes can be rebuilt so.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Callable, Iterator
from typing import Any

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.operators import decode_class, encode_class
from fxarchive.codec.record_rules import (
    CHANGING,
    REMEDY,
    form_of,
    is_of_python,
    package_of,
    why_not_a_field,
    why_not_a_record,
)
from fxarchive.document import RECORDS, Value
from fxarchive.errors import InvalidDocument, Problem
from fxarchive.trust import is_listed


def is_instance(value: Any) -> bool:
    """Whether the class of ``value`` was made by a program, not by the interpreter, by C or by torch."""
    cls = type(value)
    return is_of_python(cls) and package_of(cls) not in CHANGING


def encode_record(enc: Encoder, value: Any) -> Value:
    """Return ``["record", row]``; the class is named, and every field encoded, in the order of the instance.

    Raises:
        Refused: instances of this class cannot be kept, or a field cannot.
    """
    cls: Any = type(value)
    namespace = cls is types.SimpleNamespace
    why = None if namespace else _why_not(cls)
    if why is not None:
        raise Refused.because(f"a {cls.__module__}.{cls.__qualname__} cannot be kept: {why}")
    if enc.operands is not None:
        raise Refused.because(
            f"a {cls.__qualname__} cannot be an argument of a node; pass its fields, or keep it in an attribute"
        )
    row = enc.row("records", id(value))
    if row is not None:
        return ["record", row]
    enc.features.add(RECORDS)
    enc.document.setdefault("records", [])  # type: ignore[typeddict-item]
    flat: list[Any] = []
    row = enc.add("records", id(value), [None if namespace else encode_class(enc, cls), flat])
    enc.keep_alive(value)
    fields = list(vars(value).items() if namespace else _fields(value))
    problems = [
        Problem(f".{name!s}", f"a field of this name cannot be kept: {why}")
        for name, _ in fields
        if (why := _not_a_name(name) if namespace else why_not_a_field(cls, name)) is not None
    ]
    try:
        held = enc.items([field for _, field in fields], lambda i: f".{fields[i][0]!s}")
    except Refused as refused:
        problems += refused.problems
    if problems:
        enc.forget("records", id(value))  # so that each place that holds the instance is named
        raise Refused(problems)
    flat.extend([part for (name, _), item in zip(fields, held, strict=True) for part in (name, item)])
    return ["record", row]


def _why_not(cls: type) -> str | None:
    """Say why a class is none of the user's; those of the shipped list come back by other ways, or not at all."""
    if is_listed("class", f"{cls.__module__}.{cls.__qualname__}"):
        return f"only classes outside the shipped list are; {REMEDY}"
    return why_not_a_record(cls)


def _fields(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield what the instance holds: slots that are set, then attributes in their order."""
    cls: Any = type(value)
    form = form_of(cls)
    for name, slot in form.slots.items():
        try:
            yield name, slot.__get__(value)
        except AttributeError:
            continue
    if form.attributes is not None:
        yield from form.attributes.__get__(value).items()


def _not_a_name(name: Any) -> str | None:
    return None if type(name) is str else "its name is not a string"


def decode_record(dec: Decoder, tagged: Value) -> Any:
    """Return the instance of a row, its fields in place: it may be about to be hashed."""
    _, row = tagged
    known = dec.objects.setdefault("records", {})
    if row in known:
        return known[row]
    where = f"row {row!r:.40} of records"
    target, flat = dec.entry("records", row)
    names = flat[::2]
    in_order = target is not None and len(names) > 0 and not any([name is not None for name in names])
    if len(flat) % 2 or (len(set(names)) != len(names) and not in_order):
        raise InvalidDocument(where, "its fields are not names and values, each name once")
    if target is None:
        if not all([type(name) is str for name in names]):
            raise InvalidDocument(where, "the name of a field is not a string")
        made: Any = types.SimpleNamespace()
        known[row] = made
        vars(made).update(zip(names, dec.items(flat[1::2]), strict=True))
        return made
    cls = _class_of(dec, where, target)
    if in_order:
        names = _names_in_order(cls, len(names), where)
    for name in names:
        why = why_not_a_field(cls, name)
        if why is not None:
            raise InvalidDocument(where, f"the field {name!r:.80} is not allowed: {why}")
    made = object.__new__(cls)
    known[row] = made  # before its fields, one of which may lead back to it
    form = form_of(cls)
    attributes = None if form.attributes is None else form.attributes.__get__(made)
    for name, item in zip(names, dec.items(flat[1::2]), strict=True):
        if name in form.slots:
            form.slots[name].__set__(made, item)
        elif attributes is not None:
            attributes[name] = item
    return made


def _names_in_order(cls: Any, count: int, where: str) -> list[str]:
    """Return the names of the fields of a dataclass, of which an adopted stream holds the values alone."""
    names = list(getattr(cls, "__dataclass_fields__", ()))
    if len(names) != count:
        raise InvalidDocument(
            where, f"it has {count} fields in order and {cls.__qualname__} has {len(names)}"
        )
    return names


def _class_of(dec: Decoder, where: str, target: Any) -> type:
    """Return the class of a record, which the caller trusts by name: the shipped list does not suffice."""
    cls = decode_class(dec, target)
    name = dec.entry("targets", target)[1]
    why = why_not_a_record(cls)
    if why is not None:
        raise InvalidDocument(where, f"{name} cannot be rebuilt from its fields: {why}")
    if name not in dec.trust or is_listed("class", name):
        raise InvalidDocument(where, f"{name} is not a class of the caller's")
    return cls


def decode_member(dec: Decoder, tagged: Value) -> Any:
    """Return the member of an enum that has a value; nothing of the class is called."""
    _, target, held = tagged
    cls: Any = decode_class(dec, target)
    value = dec.value(held)
    if isinstance(cls, enum.EnumMeta):
        members: Any = cls.__members__
        for found in members.values():
            if type(found._value_) is type(value) and found._value_ == value:
                return found
    raise InvalidDocument("a member of an enum", f"{cls!r:.200} has none with the value {value!r:.80}")


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {types.SimpleNamespace: encode_record}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [
    (is_instance, encode_record),
]
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"record": decode_record, "member": decode_member}
