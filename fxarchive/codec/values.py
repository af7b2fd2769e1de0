"""Atoms and containers of Python, and the small values of torch (dtype, device, layout, ...)."""

from __future__ import annotations

import enum
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.fx.immutable_collections import immutable_dict, immutable_list

from fxarchive import wire
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import TEXT_LENGTH, Encoder, Refused
from fxarchive.codec.operators import decode_class, encode_class
from fxarchive.document import Value
from fxarchive.errors import InvalidDocument, MissingOperator, Problem

FACTORIES: dict[str, Callable[[], Any]] = {
    "list": list, "dict": dict, "set": set, "tuple": tuple, "frozenset": frozenset, "deque": deque,
    "OrderedDict": OrderedDict, "int": int, "float": float, "complex": complex, "bool": bool, "str": str,
    "bytes": bytes,
}  # fmt: skip
"""Default factories that a defaultdict may have; each makes an empty value and does nothing else."""

_FACTORY_NAMES = {factory: name for name, factory in FACTORIES.items()}


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


# containers that cannot change


def encode_tuple(enc: Encoder, value: tuple[Any, ...]) -> Value:
    return ["tuple", enc.items(value)]


def decode_tuple(dec: Decoder, tagged: Value) -> tuple[Any, ...]:
    items = tagged[1]
    return tuple(items) if list not in map(type, items) else tuple(dec.items(items))


def encode_size(enc: Encoder, value: torch.Size) -> Value:
    return ["size", enc.items(value)]


def decode_size(dec: Decoder, tagged: Value) -> torch.Size:
    return torch.Size(dec.items(tagged[1]))


def _sorted_items(enc: Encoder, items: Any) -> list[Value]:
    """Encode the members of a set in the order of their wire bytes, since a set has no order of its own."""
    members = tuple(items)
    if not all([type(item) in _WITHOUT_ROWS for item in members]):
        # rows are numbered in the order in which members are met
        members = tuple(sorted(members, key=lambda item: _order(enc, item)))
    return sorted(enc.items(members, lambda i: "{...}"), key=lambda item: wire.dumps({"": item}))


_WITHOUT_ROWS = frozenset({type(None), bool, int, float, complex, bytes, torch.dtype, torch.device})
"""Types of members whose wire form is the same wherever they stand."""


def _order(enc: Encoder, item: Any) -> bytes:
    if type(item) is str:
        return item.encode("utf-8", "surrogatepass")  # quick, since sets of names are large
    found = enc.orders.get(id(item))
    if found is None:
        try:
            held, document = enc.alone(item)
            found = wire.dumps({"": held, **document})
        except Refused:
            found = b""
        enc.orders[id(item)] = found
    return found


def encode_frozenset(enc: Encoder, value: frozenset[Any]) -> Value:
    return ["frozenset", _sorted_items(enc, value)]


def decode_frozenset(dec: Decoder, tagged: Value) -> frozenset[Any]:
    return frozenset(dec.items(tagged[1]))


def encode_ilist(enc: Encoder, value: list[Any]) -> Value:
    return ["ilist", enc.items(value)]


def decode_ilist(dec: Decoder, tagged: Value) -> Any:
    return immutable_list(dec.items(tagged[1]))


def encode_idict(enc: Encoder, value: dict[Any, Any]) -> Value:
    return ["idict", _flat(enc, value)]


def decode_idict(dec: Decoder, tagged: Value) -> Any:
    return immutable_dict(_pairs(dec, tagged[1]))


def is_named_tuple(value: Any) -> bool:
    """Whether ``value`` is a namedtuple or a structseq such as those of `torch.return_types`."""
    return isinstance(value, tuple) and (hasattr(value, "_fields") or hasattr(value, "n_fields"))


def encode_named(enc: Encoder, value: Any) -> Value:
    fields = getattr(value, "_fields", None)
    steps = "[{}]".format if fields is None else (lambda i: f".{fields[i]}")
    return ["named", encode_class(enc, type(value)), enc.items(tuple(value), steps)]


def decode_named(dec: Decoder, tagged: Value) -> Any:
    cls = decode_class(dec, tagged[1])
    items = dec.items(tagged[2])
    if not (isinstance(cls, type) and issubclass(cls, tuple)):
        raise InvalidDocument("a named tuple", f"{cls!r} is not a class of tuples")
    if hasattr(cls, "n_fields"):
        return cls(items)
    return tuple.__new__(cls, items)


# containers that can change: made empty, registered where they are shared, then filled


def _flat(enc: Encoder, value: Mapping[Any, Any]) -> list[Value]:
    """Encode a mapping as ``[key, value, key, value, ...]`` in its own order."""
    keys = list(value)
    flat = [part for pair in value.items() for part in pair]
    return enc.items(flat, lambda i: f"[{_shown(keys[i // 2])}]" + ("" if i % 2 else " (the key)"))


def _shown(key: Any) -> str:
    if type(key) in (str, int, bool, float, bytes, type(None)):
        text = repr(key)
        return text if len(text) <= 80 else f"{text[:77]}..."
    return f"a {type(key).__name__}"


def _pairs(dec: Decoder, flat: list[Value]) -> list[tuple[Any, Any]]:
    parts = iter(dec.items(flat) if list in map(type, flat) else flat)
    return list(zip(parts, parts, strict=True))


def encode_list(enc: Encoder, value: list[Any]) -> Value:
    return enc.container(value, "list", lambda body: body.append(enc.items(value)))


def encode_dict(enc: Encoder, value: dict[Any, Any]) -> Value:
    return enc.container(value, "dict", lambda body: body.append(_flat(enc, value)))


def encode_ordered(enc: Encoder, value: OrderedDict[Any, Any]) -> Value:
    return enc.container(value, "ordered", lambda body: body.append(_flat(enc, value)))


def encode_default(enc: Encoder, value: defaultdict[Any, Any]) -> Value:
    factory = value.default_factory
    if factory is not None and (type(factory) is not type or factory not in _FACTORY_NAMES):
        raise Refused.because(
            "a defaultdict is kept only with a factory that is a builtin container or number"
        )
    name = None if factory is None else _FACTORY_NAMES[factory]
    return enc.container(value, "default", lambda body: body.extend([_flat(enc, value), name]))


def encode_set(enc: Encoder, value: set[Any]) -> Value:
    return enc.container(value, "set", lambda body: body.append(_sorted_items(enc, value)))


def encode_deque(enc: Encoder, value: deque[Any]) -> Value:
    return enc.container(value, "deque", lambda body: body.extend([enc.items(list(value)), value.maxlen]))


def encode_bytearray(enc: Encoder, value: bytearray) -> Value:
    return enc.container(value, "bytearray", lambda body: body.append(bytes(value)))


def encode_generator(enc: Encoder, value: torch.Generator) -> Value:
    def fill(body: list[Any]) -> None:
        state = bytes(value.get_state().tolist())
        body.extend([value.device.type, value.device.index, state])

    return enc.container(value, "generator", fill)


def _make_default(tagged: Value) -> Any:
    name = tagged[2]
    return defaultdict(None if name is None else FACTORIES[name])


def _make_generator(tagged: Value) -> torch.Generator:
    device = torch.device(tagged[1]) if tagged[2] is None else torch.device(tagged[1], tagged[2])
    try:
        return torch.Generator(device=device)
    except RuntimeError as error:
        raise InvalidDocument(
            "a generator", f"this machine has no {device} to make it on ({error})"
        ) from None


def _fill_generator(dec: Decoder, generator: torch.Generator, tagged: Value) -> None:
    try:
        generator.set_state(torch.frombuffer(bytearray(tagged[3]), dtype=torch.uint8))
    except (RuntimeError, TypeError, ValueError) as error:
        raise InvalidDocument("a generator", f"its state does not fit ({error})") from None


MUTABLE: dict[str, tuple[Callable[[Value], Any], Callable[[Decoder, Any, Value], None]]] = {
    "list": (lambda tagged: [], lambda dec, made, tagged: made.extend(dec.items(tagged[1]))),
    "dict": (lambda tagged: {}, lambda dec, made, tagged: made.update(_pairs(dec, tagged[1]))),
    "ordered": (lambda tagged: OrderedDict(), lambda dec, made, tagged: made.update(_pairs(dec, tagged[1]))),
    "default": (_make_default, lambda dec, made, tagged: made.update(_pairs(dec, tagged[1]))),
    "set": (lambda tagged: set(), lambda dec, made, tagged: made.update(dec.items(tagged[1]))),
    "deque": (
        lambda tagged: deque(maxlen=tagged[2]),
        lambda dec, made, tagged: made.extend(dec.items(tagged[1])),
    ),
    "bytearray": (lambda tagged: bytearray(), lambda dec, made, tagged: made.extend(tagged[1])),
    "generator": (_make_generator, _fill_generator),
}
"""Tag -> how to make it empty, and how to fill it."""


def decode_mutable(dec: Decoder, tagged: Value) -> Any:
    make, fill = MUTABLE[tagged[0]]
    made = make(tagged)
    fill(dec, made, tagged)
    return made


def decode_shared(dec: Decoder, tagged: Value) -> Any:
    def build(entry: Value) -> Any:
        make, fill = MUTABLE[entry[0]]
        made = make(entry)
        dec.later(lambda: fill(dec, made, entry))
        return made

    return dec.row("shared", tagged[1], build)


# values of torch and of the standard library


def newer_torch() -> str:
    """Return the remedy for a value that the running torch does not know."""
    return f"torch {torch.__version__} has no such value; load with the release that wrote it, or a newer one"


def encode_constant(tag: str) -> Callable[[Encoder, Any], Value]:
    return lambda enc, value: [tag, str(value).removeprefix("torch.")]


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
    if type(tagged) is not list or tagged[0] not in ("tensor", "fake", "module", "graph", "node", "record"):
        raise Refused.because(
            "a weak reference is kept only to a tensor, a module, a graph, a node or an instance of a class"
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
    tuple: encode_tuple,
    list: encode_list,
    dict: encode_dict,
    set: encode_set,
    frozenset: encode_frozenset,
    OrderedDict: encode_ordered,
    defaultdict: encode_default,
    deque: encode_deque,
    bytearray: encode_bytearray,
    torch.Size: encode_size,
    immutable_list: encode_ilist,
    immutable_dict: encode_idict,
    torch.dtype: encode_constant("dtype"),
    torch.layout: encode_constant("layout"),
    torch.memory_format: encode_constant("memory_format"),
    torch.qscheme: encode_constant("qscheme"),
    torch.device: encode_device,
    torch.Generator: encode_generator,
    weakref.ref: encode_weakref,
}

ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [
    (is_enum, encode_enum),
    (is_named_tuple, encode_named),
]

DECODE: dict[str, Callable[[Decoder, Any], Any]] = {
    "text": decode_text,
    "complex": decode_complex,
    "slice": decode_slice,
    "range": decode_range,
    "ellipsis": lambda dec, tagged: ...,
    "notimplemented": lambda dec, tagged: NotImplemented,
    "tuple": decode_tuple,
    "size": decode_size,
    "frozenset": decode_frozenset,
    "ilist": decode_ilist,
    "idict": decode_idict,
    "named": decode_named,
    "shared": decode_shared,
    "enum": decode_enum,
    "device": decode_device,
    "weakref": decode_weakref,
    **dict.fromkeys(MUTABLE, decode_mutable),
    **dict.fromkeys(CONSTANTS, decode_constant),
}
