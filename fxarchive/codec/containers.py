"""Containers of Python, and the other values that can change: bytearrays and generators.

Those that can change are made empty, registered where several places share them, and then filled, so that they may hold
themselves.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch.fx.immutable_collections import immutable_dict, immutable_list

from fxarchive import wire
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.operators import decode_class, encode_class
from fxarchive.document import Value
from fxarchive.errors import InvalidDocument

FACTORIES: dict[str, Callable[[], Any]] = {
    "list": list, "dict": dict, "set": set, "tuple": tuple, "frozenset": frozenset, "deque": deque,
    "OrderedDict": OrderedDict, "int": int, "float": float, "complex": complex, "bool": bool, "str": str,
    "bytes": bytes,
}  # fmt: skip
"""Default factories that a defaultdict may have; each makes an empty value and does nothing else."""

_FACTORY_NAMES = {factory: name for name, factory in FACTORIES.items()}


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
    return ["idict", encode_pairs(enc, value)]


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


def encode_pairs(enc: Encoder, value: Mapping[Any, Any]) -> list[Value]:
    """Encode a mapping as ``[key, value, key, value, ...]`` in its own order."""
    if not value:
        return enc.items(())

    def step(at: int) -> str:
        return f"[{_shown(list(value)[at // 2])}]" + ("" if at % 2 else " (the key)")

    return enc.items(list(chain.from_iterable(value.items())), step)


def _shown(key: Any) -> str:
    if type(key) in (str, int, bool, float, bytes, type(None)):
        text = repr(key)
        return text if len(text) <= 80 else f"{text[:77]}..."
    return f"a {type(key).__name__}"


def _pairs(dec: Decoder, flat: list[Value]) -> list[tuple[Any, Any]]:
    parts = iter(dec.items(flat) if list in map(type, flat) else flat)
    return list(zip(parts, parts, strict=True))


def decode_list(dec: Decoder, tagged: Value) -> list[Any]:
    return dec.items(tagged[1])


def decode_dict(dec: Decoder, tagged: Value) -> dict[Any, Any]:
    return dict(_pairs(dec, tagged[1]))


def encode_list(enc: Encoder, value: list[Any]) -> Value:
    return enc.container(value, "list", _items_of)


def _items_of(enc: Encoder, value: Sequence[Any]) -> list[Any]:
    return [enc.items(value)]


def encode_dict(enc: Encoder, value: dict[Any, Any]) -> Value:
    return enc.container(value, "dict", _pairs_of)


def _pairs_of(enc: Encoder, value: Mapping[Any, Any]) -> list[Any]:
    return [encode_pairs(enc, value)]


def encode_ordered(enc: Encoder, value: OrderedDict[Any, Any]) -> Value:
    return enc.container(value, "ordered", _pairs_of)


def encode_counter(enc: Encoder, value: Counter[Any]) -> Value:
    return enc.container(value, "counter", _pairs_of)


def encode_default(enc: Encoder, value: defaultdict[Any, Any]) -> Value:
    factory = value.default_factory
    if factory is not None and (type(factory) is not type or factory not in _FACTORY_NAMES):
        raise Refused.because(
            "a defaultdict is kept only with a factory that is a builtin container or number"
        )
    name = None if factory is None else _FACTORY_NAMES[factory]
    return enc.container(value, "default", lambda enc, value: [encode_pairs(enc, value), name])


def encode_set(enc: Encoder, value: set[Any]) -> Value:
    return enc.container(value, "set", lambda enc, value: [_sorted_items(enc, value)])


def encode_deque(enc: Encoder, value: deque[Any]) -> Value:
    return enc.container(value, "deque", lambda enc, value: [enc.items(list(value)), value.maxlen])


def encode_bytearray(enc: Encoder, value: bytearray) -> Value:
    return enc.container(value, "bytearray", lambda enc, value: [bytes(value)])


def encode_generator(enc: Encoder, value: torch.Generator) -> Value:
    return enc.container(value, "generator", _state_of_generator)


def _state_of_generator(enc: Encoder, value: torch.Generator) -> list[Any]:
    return [value.device.type, value.device.index, bytes(value.get_state().tolist())]


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
    # not by its own update, which counts
    "counter": (
        lambda tagged: Counter(),
        lambda dec, made, tagged: dict.update(made, _pairs(dec, tagged[1])),
    ),
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


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {
    tuple: encode_tuple,
    list: encode_list,
    dict: encode_dict,
    set: encode_set,
    frozenset: encode_frozenset,
    OrderedDict: encode_ordered,
    Counter: encode_counter,
    defaultdict: encode_default,
    deque: encode_deque,
    bytearray: encode_bytearray,
    torch.Size: encode_size,
    immutable_list: encode_ilist,
    immutable_dict: encode_idict,
    torch.Generator: encode_generator,
}

ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [
    (is_named_tuple, encode_named),
]

DECODE: dict[str, Callable[[Decoder, Any], Any]] = {
    "tuple": decode_tuple,
    "size": decode_size,
    "frozenset": decode_frozenset,
    "ilist": decode_ilist,
    "idict": decode_idict,
    "named": decode_named,
    "shared": decode_shared,
    **dict.fromkeys(MUTABLE, decode_mutable),
    "list": decode_list,  # made whole, as nothing inside of them refers to them: that would be a row of `shared`
    "dict": decode_dict,
}
