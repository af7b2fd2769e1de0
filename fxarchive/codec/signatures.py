"""Signatures of exported programs: the small records of `torch.export` that say what goes in and out.

They are dataclasses that passes change in place, so each keeps its identity. A record is
``["export", class, [fields]]`` with the fields in the order of `FIELDS`; `spec/schema-2-programs.md` is the reference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch.utils import _pytree as pytree

from fxarchive.codec.containers import MUTABLE, encode_dict
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.values import newer_torch
from fxarchive.document import EXPORTED_PROGRAMS, Value
from fxarchive.errors import InvalidDocument, MissingOperator, Problem

FIELDS: dict[str, tuple[str, ...]] = {
    "TensorArgument": ("name",),
    "TokenArgument": ("name",),
    "SymIntArgument": ("name",),
    "SymFloatArgument": ("name",),
    "SymBoolArgument": ("name",),
    "ConstantArgument": ("name", "value"),
    "CustomObjArgument": ("name", "class_fqn", "fake_val"),
    "InputSpec": ("kind", "arg", "target", "persistent"),
    "OutputSpec": ("kind", "arg", "target"),
    "ExportGraphSignature": ("input_specs", "output_specs"),
    "ModuleCallSignature": ("inputs", "outputs", "in_spec", "out_spec", "forward_arg_names"),
    "ModuleCallEntry": ("fqn", "signature"),
}
"""Class -> its fields, the same in every torch from 2.7 on."""

_ARGUMENTS = tuple(name for name in FIELDS if name.endswith("Argument"))
KINDS = {"InputSpec": "InputKind", "OutputSpec": "OutputKind"}
"""Record -> the enum of its kinds."""

_SPECS = "_ExportModuleSpecTrackerDict"
_HOMES = ("torch.export.graph_signature", "torch.export.exported_program")


def class_of(name: str) -> Any:
    """Return the class of the running torch for a name in `FIELDS`, or for an enum of kinds."""
    from torch.export import exported_program, graph_signature

    return getattr(graph_signature, name, None) or getattr(exported_program, name)


def is_record(value: Any) -> bool:
    """Whether ``value`` is one of the records of `torch.export`."""
    cls = type(value)
    return cls.__module__ in _HOMES and cls.__qualname__ in FIELDS


# encoding


def encode_record(enc: Encoder, value: Any) -> Value:
    """Return ``["export", class, [fields]]``.

    Raises:
        Refused: a field holds what cannot be kept, or the running torch has a field that no archive has.
    """
    name = type(value).__qualname__
    unknown = {field.name for field in dataclasses.fields(value)} ^ set(FIELDS[name])
    unknown |= vars(value).keys() - set(FIELDS[name])
    if unknown:
        raise Refused.because(
            f"a {name} with {', '.join(sorted(unknown))}, which archives do not know, cannot be kept; "
            "save with a torch that fxarchive supports"
        )
    enc.features.add(EXPORTED_PROGRAMS)
    return enc.container(value, "export", lambda enc, value: [name, _encode_fields(enc, name, value)])


def _encode_fields(enc: Encoder, name: str, value: Any) -> list[Value]:
    fields = FIELDS[name]
    held = [getattr(value, field) for field in fields]
    if name in KINDS:
        held[0] = held[0].name
    return enc.items(held, lambda i: f".{fields[i]}")


# decoding


def _make(tagged: Value) -> Any:
    name = tagged[1] if len(tagged) == 3 else None
    if type(name) is not str or name not in FIELDS:
        raise InvalidDocument("a record of torch.export", f"{name!r:.40} is not one of its classes")
    return object.__new__(class_of(name))


def _fill(dec: Decoder, made: Any, tagged: Value) -> None:
    _, name, values = tagged
    fields = FIELDS[name]
    if type(values) is not list or len(values) != len(fields):
        raise InvalidDocument(f"a {name}", f"it does not hold {len(fields)} fields")
    for field, value in zip(fields, dec.items(values), strict=True):
        if field == "kind":
            value = _kind(name, value)
        if not _CHECKS[field](value):
            raise InvalidDocument(f"a {name}", f"its {field} is {value!r:.80}")
        setattr(made, field, value)


def _kind(name: str, value: Any) -> Any:
    kinds = class_of(KINDS[name])
    if type(value) is not str or value not in kinds.__members__:
        raise MissingOperator([Problem(f"{KINDS[name]}.{value!r:.40}", newer_torch())])
    return kinds[value]


def _is_one_of(*names: str) -> Callable[[Any], bool]:
    return lambda value: type(value).__qualname__ in names and is_record(value)


def _lists(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    # items of a shared list may still be missing, so what stands in it is checked when the program is complete
    return lambda value: isinstance(value, list | tuple) and all([check(item) for item in value])


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_text_or_none(value: Any) -> bool:
    return value is None or type(value) is str


def _is_spec(value: Any) -> bool:
    return value is None or isinstance(value, pytree.TreeSpec)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "name": _is_text,
    "value": lambda value: True,
    "class_fqn": _is_text,
    "fake_val": lambda value: True,
    "kind": lambda value: True,
    "arg": _is_one_of(*_ARGUMENTS),
    "target": _is_text_or_none,
    "persistent": lambda value: value is None or type(value) is bool,
    "input_specs": _lists(_is_one_of("InputSpec")),
    "output_specs": _lists(_is_one_of("OutputSpec")),
    "inputs": _lists(_is_one_of(*_ARGUMENTS)),
    "outputs": _lists(_is_one_of(*_ARGUMENTS)),
    "in_spec": _is_spec,
    "out_spec": _is_spec,
    "forward_arg_names": lambda value: value is None or _lists(_is_text)(value),
    "fqn": _is_text,
    "signature": lambda value: value is None or _is_one_of("ModuleCallSignature")(value),
}

MUTABLE["export"] = (_make, _fill)


def decode_record(dec: Decoder, tagged: Value) -> Any:
    made = _make(tagged)
    _fill(dec, made, tagged)
    return made


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [
    (is_record, encode_record),
    # a dict by another name, by which torch finds it in closures; strict exports of torch 2.9 leave it in metadata
    (
        lambda value: type(value).__qualname__ == _SPECS and type(value).__module__.startswith("torch."),
        encode_dict,
    ),
]
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"export": decode_record}
