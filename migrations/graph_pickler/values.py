"""Atoms and containers of Python, and the small values of torch (dtype, device, layout, ...)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fxarchive import wire
from fxarchive.migrations.graph_pickler.translation import (
    TEXT_LENGTH,
    Table,
    Translation,
    Untranslatable,
    merged,
    pairs_of,
    sequence_of,
    shown,
)
from fxarchive.streams import Call, FrozenSet, Name, Pairs, PersistentId, Set

ITEM_BYTES = {
    "bool": 1, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "uint32": 4, "int32": 4, "uint64": 8, "int64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex32": 4, "complex64": 8, "complex128": 16,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1,
    "float4_e2m1fn_x2": 1, "qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1, "bits1x8": 1,
    "bits2x4": 1, "bits4x2": 1, "bits8": 1, "bits16": 2, "bcomplex32": 4,
    **{f"{kind}{bits}": 1 for kind in ("int", "uint") for bits in range(1, 8)},
}  # fmt: skip
"""dtype -> bytes of an element."""

MEMORY_FORMATS = frozenset({"contiguous_format", "channels_last", "channels_last_3d", "preserve_format"})
QSCHEMES = frozenset(
    {
        "per_tensor_affine",
        "per_channel_affine",
        "per_tensor_symmetric",
        "per_channel_symmetric",
        "per_channel_affine_float_qparams",
    }
)
LAYOUTS = frozenset(
    {"strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "_mkldnn", "jagged"}
)
FACTORIES = frozenset(
    {"list", "dict", "set", "tuple", "frozenset", "deque", "OrderedDict", "int", "float", "complex", "bool", "str",
     "bytes"}
)  # fmt: skip
"""Default factories that a defaultdict of schema 2 may have."""


def constant(record: Any) -> list[Any] | None:
    """Return ``[tag, name]`` of a constant of torch or Python that a pickle names, or None.

    torch pickles memory formats and the like by the name ``torch.channels_last``, which pickle then looks for in
    every module: whichever imports torch first is named, such as ``torch._utils`` or one of the user's own.
    """
    name = record.qualname.removeprefix("torch.")
    if record.module in ("torch", "torch._C") or name != record.qualname:
        if name in ITEM_BYTES:
            return ["dtype", name]
        if name in MEMORY_FORMATS:
            return ["memory_format", name]
        if name in QSCHEMES:
            return ["qscheme", name]
        if name in LAYOUTS:
            return ["layout", name]
    if record.module == "builtins" and record.qualname in ("Ellipsis", "NotImplemented"):
        return [record.qualname.lower()]
    return None


def dtype_of(record: Any) -> str:
    """Return the name of a dtype, without ``torch.``."""
    found = constant(record) if type(record) is Name else None
    if found is None or found[0] != "dtype":
        raise Untranslatable.because(f"a dtype is expected here and there is {shown(record)}")
    return str(found[1])


def device_of(record: Any) -> list[Any]:
    """Return ``[tag, type, index]`` of a device."""
    if type(record) is Call and record.name == "torch.device" and type(record.args) is tuple:
        kind, index = (*record.args, None, None)[:2]
        if type(kind) is str and ":" in kind and index is None:
            kind, _, digits = kind.partition(":")
            index = int(digits) if digits.isdecimal() and len(digits) < 5 else -1
        if type(kind) is str and (index is None or (type(index) is int and index >= 0)):
            return ["device", kind, index]
    raise Untranslatable.because(f"a device is expected here and there is {shown(record)}")


def device_name(record: Any) -> str:
    """Return how torch prints a device."""
    _, kind, index = device_of(record)
    return str(kind) if index is None else f"{kind}:{index}"


def integers(record: Any) -> list[int]:
    """Return the items of a tuple, list or torch.Size of integers."""
    items = sequence_of(size_items(record) if type(record) is Call else record)
    if not all([type(item) is int for item in items]):
        raise Untranslatable.because("it is not a list of integers")
    return list(items)


def size_items(call: Any) -> Any:
    """Return the items of a ``torch.Size``."""
    if type(call) is not Call or call.name != "torch.Size":
        raise Untranslatable.because(f"a torch.Size is expected here and there is {shown(call)}")
    return sequence_of(sequence_of(call.args, 1)[0])


# atoms


def _atom(tr: Translation, value: Any) -> Any:
    return value


def _text(tr: Translation, value: str) -> Any:
    return value if len(value) < TEXT_LENGTH else ["text", tr.text(value)]


def _tuple(tr: Translation, value: tuple[Any, ...]) -> Any:
    return ["tuple", tr.items(value)]


def _list(tr: Translation, value: list[Any]) -> Any:
    if tr.operands is not None:
        return ["ilist", tr.items(value)]  # as fx makes of every list in the arguments of a node
    return tr.container(value, "list", lambda body: body.append(tr.items(value)))


def _flat(tr: Translation, pairs: list[tuple[Any, Any]]) -> list[Any]:
    keys = [key for key, _ in pairs]
    return tr.items(
        [part for pair in pairs for part in pair],
        lambda i: f"[{_shown_key(keys[i // 2])}]" + ("" if i % 2 else " (the key)"),
    )


def _shown_key(key: Any) -> str:
    return repr(key)[:80] if type(key) in (str, int, bool, float, bytes, type(None)) else shown(key)


def _dict(tr: Translation, value: Pairs) -> Any:
    pairs = list(merged(value.items))
    if tr.operands is not None:
        return ["idict", _flat(tr, pairs)]
    return tr.container(value, "dict", lambda body: body.append(_flat(tr, pairs)))


def _sorted(tr: Translation, items: list[Any]) -> list[Any]:
    distinct: dict[bytes, Any] = {}
    for item in tr.items(tuple(items), lambda i: "{...}"):
        distinct[wire.dumps({"": item})] = item
    return [distinct[key] for key in sorted(distinct)]


def _set(tr: Translation, value: Set) -> Any:
    return tr.container(value, "set", lambda body: body.append(_sorted(tr, value.items)))


def _frozenset(tr: Translation, value: FrozenSet) -> Any:
    return ["frozenset", _sorted(tr, value.items)]


def _bytearray(tr: Translation, value: bytearray) -> Any:
    return tr.container(value, "bytearray", lambda body: body.append(bytes(value)))


def _persistent(tr: Translation, value: PersistentId) -> Any:
    raise Untranslatable.because("the state of the reader itself cannot stand here")


# calls


def _slice(tr: Translation, call: Call) -> Any:
    return ["slice", tr.items(sequence_of(call.args, 3), (".start", ".stop", ".step").__getitem__)]


def _range(tr: Translation, call: Call) -> Any:
    return ["range", *integers(sequence_of(call.args, 3))]


def _complex(tr: Translation, call: Call) -> Any:
    real, imaginary = sequence_of(call.args, 2)
    if not type(real) is type(imaginary) is float:
        raise Untranslatable.because("a complex number is not made of two floats")
    return ["complex", real, imaginary]


def _size(tr: Translation, call: Call) -> Any:
    return ["size", tr.items(size_items(call))]


def _mapping(tag: str) -> Callable[[Translation, Call], Any]:
    def translate(tr: Translation, call: Call) -> Any:
        pairs = pairs_of(call)
        return tr.container(call, tag, lambda body: body.append(_flat(tr, pairs)))

    return translate


def _default(tr: Translation, call: Call) -> Any:
    factory = sequence_of(call.args)[0] if call.args else None
    name = None
    if factory is not None:
        name = (
            factory.qualname
            if type(factory) is Name and factory.module in ("builtins", "collections")
            else ""
        )
        if name not in FACTORIES:
            raise Untranslatable.because(
                "a defaultdict is kept only with a factory that is a builtin container or number"
            )
    pairs = list(merged(call.entries))
    return tr.container(call, "default", lambda body: body.extend([_flat(tr, pairs), name]))


def _deque(tr: Translation, call: Call) -> Any:
    given = sequence_of(call.args) if call.args else ()
    first = sequence_of(given[0]) if given else ()
    longest = given[1] if len(given) > 1 else None
    if not (longest is None or (type(longest) is int and longest >= 0)):
        raise Untranslatable.because("the length of a deque is not a number")
    items = [*first, *call.items]
    return tr.container(call, "deque", lambda body: body.extend([tr.items(items), longest]))


def _immutable_list(tr: Translation, call: Call) -> Any:
    items = sequence_of(sequence_of(call.args, 1)[0]) if call.args else ()
    return ["ilist", tr.items([*items, *call.items])]


def _immutable_dict(tr: Translation, call: Call) -> Any:
    return ["idict", _flat(tr, pairs_of(call))]


def _called_set(tag: str) -> Callable[[Translation, Call], Any]:
    def translate(tr: Translation, call: Call) -> Any:
        items = list(sequence_of(sequence_of(call.args, 1)[0])) if call.args else []
        if tag == "frozenset":
            return ["frozenset", _sorted(tr, items)]
        return tr.container(call, "set", lambda body: body.append(_sorted(tr, items)))

    return translate


def _called_bytearray(tr: Translation, call: Call) -> Any:
    data = sequence_of(call.args)[0] if call.args else b""
    if type(data) is not bytes:
        raise Untranslatable.because("a bytearray is not made of bytes")
    return tr.container(call, "bytearray", lambda body: body.append(data))


def _device(tr: Translation, call: Call) -> Any:
    return device_of(call)


def _layout(tr: Translation, call: Call) -> Any:
    return ["layout", layout_of(call)]


def layout_of(record: Any) -> str:
    """Return the name of a layout, without ``torch.``."""
    if type(record) is Call and record.name == "torch.serialization._get_layout":
        (name,) = sequence_of(record.args, 1)
        if type(name) is str and name.removeprefix("torch.") in LAYOUTS:
            return name.removeprefix("torch.")
    raise Untranslatable.because(f"a layout is expected here and there is {shown(record)}")


def _weakref(tr: Translation, call: Call) -> Any:
    tagged = tr.items(sequence_of(call.args, 1), lambda i: "()")[0]
    if type(tagged) is not list or tagged[0] not in ("tensor", "fake", "module", "graph", "node"):
        raise Untranslatable.because("a weak reference is kept only to a tensor, a module, a graph or a node")
    return ["weakref", tagged]


def _dead_weakref(tr: Translation, call: Call) -> Any:
    return ["weakref", None]


def _left_out(tr: Translation, call: Call) -> Any:
    tr.note("The writer left an object out and put None in its place", tr.here().lstrip("."))
    return None


_PICKLER = "torch.fx._graph_pickler."

CALLS: Table = {
    "builtins.slice": _slice,
    "builtins.range": _range,
    "builtins.complex": _complex,
    "builtins.set": _called_set("set"),
    "builtins.frozenset": _called_set("frozenset"),
    "builtins.bytearray": _called_bytearray,
    "collections.OrderedDict": _mapping("ordered"),
    "collections.Counter": _mapping("counter"),
    "collections.defaultdict": _default,
    "collections.deque": _deque,
    "torch.Size": _size,
    "torch.device": _device,
    "torch.serialization._get_layout": _layout,
    "torch.fx.immutable_collections.immutable_list": _immutable_list,
    "torch.fx.immutable_collections.immutable_dict": _immutable_dict,
    f"{_PICKLER}_unpickle_as_weakref": _weakref,
    f"{_PICKLER}_unpickle_as_dead_weakref": _dead_weakref,
    f"{_PICKLER}_unpickle_as_none": _left_out,
}

KINDS: dict[type, Callable[[Translation, Any], Any]] = {
    type(None): _atom,
    bool: _atom,
    int: _atom,
    float: _atom,
    bytes: _atom,
    str: _text,
    tuple: _tuple,
    list: _list,
    Pairs: _dict,
    Set: _set,
    FrozenSet: _frozenset,
    bytearray: _bytearray,
    PersistentId: _persistent,
}
