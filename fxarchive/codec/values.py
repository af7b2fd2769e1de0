"""Atoms of Python, and the small values of torch (dtype, device, layout, ...)."""

from __future__ import annotations

import enum
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import TEXT_LENGTH, Encoder, Refused
from fxarchive.codec.operators import decode_class, encode_class
from fxarchive.document import Value
from fxarchive.errors import InvalidDocument, MissingOperator, Problem


def _torch_constants(kind: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for constant in vars(torch).values():
        if type(constant) is kind:
            found[str(constant).removeprefix("torch.")] = constant
    return found


CONSTANTS = {
    "dtype": _torch_constants(torch.dtype),
    "layout": _torch_constants(torch.layout),
    "memory_format": _torch_constants(torch.memory_format),
    "qscheme": _torch_constants(torch.qscheme),
}
"""Tag -> name -> the constant of the running torch; names are without ``torch.``."""


# atoms


def encode_atom(enc: Encoder, value: Any) -> Value:
    return value


def encode_str(enc: Encoder, value: str) -> Value:
    return value if len(value) < TEXT_LENGTH else ["text", enc.text(value)]


def decode_text(dec: Decoder, tagged: Value) -> str:
    text: str = dec.entry("texts", tagged[1])
    return text


def encode_complex(enc: Encoder, value: complex) -> Value:
    return ["complex", value.real, value.imag]


def decode_complex(dec: Decoder, tagged: Value) -> complex:
    return complex(tagged[1], tagged[2])


def encode_slice(enc: Encoder, value: slice) -> Value:
    return [
        "slice",
        enc.items((value.start, value.stop, value.step), (".start", ".stop", ".step").__getitem__),
    ]


def decode_slice(dec: Decoder, tagged: Value) -> slice:
    start, stop, step = dec.items(tagged[1])
    return slice(start, stop, step)


def encode_range(enc: Encoder, value: range) -> Value:
    return ["range", value.start, value.stop, value.step]


def decode_range(dec: Decoder, tagged: Value) -> range:
    return range(*tagged[1:])


# values of torch and of the standard library


def newer_torch() -> str:
    """Return the remedy for a value that the running torch does not know."""
    return f"torch {torch.__version__} has no such value; load with the release that wrote it, or a newer one"


def encode_constant(tag: str) -> Callable[[Encoder, Any], Value]:
    names = {constant: name for name, constant in CONSTANTS[tag].items()}
    return lambda enc, value: [tag, names.get(value) or str(value).removeprefix("torch.")]


def decode_constant(dec: Decoder, tagged: Value) -> Any:
    tag, name = tagged
    constant = CONSTANTS[tag].get(name)
    if constant is None:
        raise MissingOperator([Problem(f"torch.{name}", newer_torch())])
    return constant


def encode_device(enc: Encoder, value: torch.device) -> Value:
    return ["device", value.type, value.index]


def decode_device(dec: Decoder, tagged: Value) -> torch.device:
    _, kind, index = tagged
    try:
        return torch.device(kind) if index is None else torch.device(kind, index)
    except RuntimeError:
        raise MissingOperator([Problem(f"device {kind!r}", newer_torch())]) from None


def is_enum(value: Any) -> bool:
    """Whether ``value`` is a member of a Python enum or of one that torch defines in C++."""
    return isinstance(value, enum.Enum) or isinstance(getattr(type(value), "__members__", None), Mapping)


def encode_enum(enc: Encoder, value: Any) -> Value:
    name = value.name
    if type(value).__members__.get(name) != value:
        raise Refused.because("a combination of flags has no name of its own; store its members")
    return ["enum", encode_class(enc, type(value)), name]


def decode_enum(dec: Decoder, tagged: Value) -> Any:
    cls = decode_class(dec, tagged[1])
    members = getattr(cls, "__members__", None)
    if not isinstance(members, Mapping) or tagged[2] not in members:
        raise InvalidDocument("an enum", f"{cls!r} has no member {tagged[2]!r}")
    return members[tagged[2]]


class _Gone:
    """What a dead weak reference once referred to."""


def encode_weakref(enc: Encoder, value: weakref.ref[Any]) -> Value:
    referent = value()
    if referent is None:
        return ["weakref", None]
    tagged = enc.value(referent)
    if type(tagged) is not list or tagged[0] not in (
        "tensor",
        "fake",
        "module",
        "graph",
        "node",
        "record",
        "array",
    ):
        raise Refused.because(
            "a weak reference is kept only to a tensor, a module, a graph, a node, an array or an instance of a class"
        )
    return ["weakref", tagged]


def decode_weakref(dec: Decoder, tagged: Value) -> weakref.ref[Any]:
    referent = _Gone() if tagged[1] is None else dec.value(tagged[1])
    return weakref.ref(referent)


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {
    type(None): encode_atom,
    bool: encode_atom,
    int: encode_atom,
    float: encode_atom,
    bytes: encode_atom,
    str: encode_str,
    complex: encode_complex,
    slice: encode_slice,
    range: encode_range,
    type(...): lambda enc, value: ["ellipsis"],
    type(NotImplemented): lambda enc, value: ["notimplemented"],
    torch.dtype: encode_constant("dtype"),
    torch.layout: encode_constant("layout"),
    torch.memory_format: encode_constant("memory_format"),
    torch.qscheme: encode_constant("qscheme"),
    torch.device: encode_device,
    weakref.ref: encode_weakref,
}

ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [
    (is_enum, encode_enum),
]

DECODE: dict[str, Callable[[Decoder, Any], Any]] = {
    "text": decode_text,
    "complex": decode_complex,
    "slice": decode_slice,
    "range": decode_range,
    "ellipsis": lambda dec, tagged: ...,
    "notimplemented": lambda dec, tagged: NotImplemented,
    "enum": decode_enum,
    "device": decode_device,
    "weakref": decode_weakref,
    **dict.fromkeys(CONSTANTS, decode_constant),
}
