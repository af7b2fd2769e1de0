"""Objects of TorchBind classes, and the fakes that stand for them in metadata.

A TorchBind class is C++ that a library registered. An object is kept if its class pickles (``def_pickle``) and its
state is plain values; it is made again by the class of the process that loads, which the caller must trust by name.
Fakes keep the name of their class only. The family needs the feature flag "script-objects".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._library.fake_class_registry import FakeScriptObject

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.geometry import reason
from fxarchive.codec.operators import decode_target
from fxarchive.codec.resolve import SCRIPT_CLASSES
from fxarchive.document import SCRIPT_OBJECTS, Value
from fxarchive.errors import InvalidDocument

KINDS = ("object", "fake")
"""``["object", row of targets, state]`` and ``["fake", name of the class]``: what a row of `script_objects` is."""

LONGEST_NAME = 1000
"""Characters that the name of a TorchBind class may have."""


# encoding


def encode_script_object(enc: Encoder, value: Any) -> Value:
    """Return ``["script_object", row]``.

    Raises:
        Refused: its class does not pickle, or its state holds what cannot be kept.
    """
    row = enc.row("script_objects", id(value))
    if row is None:
        enc.document.setdefault("script_objects", [])  # type: ignore[typeddict-item]
        record = _fake(value) if type(value) is FakeScriptObject else _object(enc, value)
        enc.features.add(SCRIPT_OBJECTS)
        row = enc.add("script_objects", id(value), record)
        enc.keep_alive(value)
    return ["script_object", row]


def _fake(value: Any) -> list[Any]:
    return ["fake", object.__getattribute__(value, "script_class_name")]


def _object(enc: Encoder, value: Any) -> list[Any]:
    try:
        state, name = value.__getstate__()
    except Exception:  # whatever the C++ of the class raises
        raise Refused.because(
            f"a {_name_of(value)} holds C++ state that its class does not pickle; give the class def_pickle, or "
            "make the object after loading"
        ) from None
    row = enc.row("targets", name)
    if row is None:
        row = enc.add("targets", name, ["class", name])
    with enc.metadata(inert=False):
        (held,) = enc.items([state], lambda i: ".__getstate__()")
    return ["object", row, held]


def _name_of(value: Any) -> str:
    return str(value._type().qualified_name()).removeprefix(f"{SCRIPT_CLASSES}.")


# decoding


def decode_script_object(dec: Decoder, tagged: Value) -> Any:
    """Return the object of ``["script_object", row]``: the same one for the same row."""
    if type(dec.document.get("script_objects")) is not list:
        raise InvalidDocument("table script_objects", "it is not there")
    row = tagged[1]
    return dec.row("script_objects", row, lambda record: _build(dec, record, row))


def _build(dec: Decoder, record: Any, row: int) -> Any:
    where = f"script_objects[{row}]"
    if type(record) is not list or not record or {"object": 3, "fake": 2}.get(str(record[0])) != len(record):
        raise InvalidDocument(where, "it is not a record of a known kind")
    if record[0] == "fake":
        name = record[1]
        if type(name) is not str or len(name) > LONGEST_NAME:
            raise InvalidDocument(where, "the name of its class is not a string, or is too long")
        return FakeScriptObject(None, name, None)
    decode_target(dec, record[1])
    name = dec.document["targets"][record[1]][1]
    if not name.startswith(f"{SCRIPT_CLASSES}."):
        raise InvalidDocument(where, f"{name} is not a TorchBind class")
    state = dec.value(record[2])
    made: Any = torch.ScriptObject.__new__(torch.ScriptObject)
    try:
        made.__setstate__((state, name))
    except (RuntimeError, TypeError, ValueError) as error:
        raise InvalidDocument(where, f"its class does not take its state ({reason(error):.200})") from None
    return made


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {
    torch.ScriptObject: encode_script_object,
    FakeScriptObject: encode_script_object,
}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = []
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"script_object": decode_script_object}
