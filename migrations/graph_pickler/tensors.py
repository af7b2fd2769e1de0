"""Real tensors: the calls by which torch rebuilds them from a pickle."""

from __future__ import annotations

import struct
from typing import Any

from fxarchive.document import TENSOR_SUBCLASSES
from fxarchive.migrations.graph_pickler.geometry import contiguous_strides, needed_bytes
from fxarchive.migrations.graph_pickler.storages import bytes_of, meta_storage, storage_row
from fxarchive.migrations.graph_pickler.targets import class_row
from fxarchive.migrations.graph_pickler.translation import (
    Table,
    Translation,
    Untranslatable,
    is_name,
    pairs_of,
    sequence_of,
    shown,
)
from fxarchive.migrations.graph_pickler.values import (
    ITEM_BYTES,
    constant,
    device_of,
    dtype_of,
    integers,
    layout_of,
)
from fxarchive.streams import Call, Name, read_blob
from fxarchive.streams.records import NOTHING

_DTYPE_OF_STORAGE = {
    "ByteStorage": "uint8", "CharStorage": "int8", "BoolStorage": "bool", "ShortStorage": "int16",
    "HalfStorage": "float16", "BFloat16Storage": "bfloat16", "IntStorage": "int32", "FloatStorage": "float32",
    "LongStorage": "int64", "DoubleStorage": "float64", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "QInt8Storage": "qint8", "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32", "QUInt4x2Storage": "quint4x2", "QUInt2x4Storage": "quint2x4",
}  # fmt: skip

_PACKED = {"quint4x2": 2, "quint2x4": 4}
"""Elements in a byte, of dtypes that have several."""


def _tensor(tr: Translation, call: Call) -> Any:
    if call.name == _FROM_TYPE and type(call.args) is tuple and len(call.args) == 4:
        cls = call.args[1]
        if type(cls) is Name and str(cls) not in _PLAIN_CLASSES:
            return ["subclass", _subclass_row(tr, call)]
    return ["tensor", tensor_row(tr, call)]


_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
_PLAIN_CLASSES = ("torch.Tensor", "torch.nn.parameter.Parameter")


def _subclass_row(tr: Translation, call: Call) -> int:
    """Return the row in `subclasses` of a tensor whose class adds methods only."""
    row = tr.row("subclasses", id(call))
    if row is None:
        function, cls, args, state = call.args
        plain = Call(function, args)
        if plain.name not in _BUILD or plain.name == _FROM_TYPE:
            raise Untranslatable.because(
                f"a tensor of class {shown(cls)} is made of others in a way that only its class knows; convert it to "
                "plain tensors and save again"
            )
        tr.document.setdefault("subclasses", [])
        record: dict[str, Any] = {"kind": "plain", "class": class_row(tr, cls)}
        built, attributes = _BUILD[plain.name](tr, plain)
        flags = {name: built.pop(name) for name in ("requires_grad",) if name in built}
        tr.keep_alive(plain)
        record["inner"] = [["tensor", tr.add("tensors", id(plain), built)]]
        held = dict([*attributes, *_attributes(state)])
        if held.pop("_is_param", None) is True:
            record["parameter"] = True
        record.update(flags)
        tr.features.add(TENSOR_SUBCLASSES)
        row = tr.add("subclasses", id(call), record)
        if held:
            names = list(held)
            values = tr.items(list(held.values()), lambda i: f".{names[i]}")
            record["attributes"] = [part for pair in zip(names, values, strict=True) for part in pair]
    return row


def tensor_row(tr: Translation, call: Any) -> int:
    """Return the row of a tensor in `tensors`."""
    row = tr.row("tensors", id(call))
    if row is None:
        build = _BUILD.get(call.name) if type(call) is Call else None
        if build is None:
            raise Untranslatable.because(f"a tensor is expected here and there is {shown(call)}")
        record, attributes = build(tr, call)
        row = tr.add("tensors", id(call), record)
        state = [*attributes, *(_state(call) if call.state is not NOTHING else ())]
        if state:
            names = [name for name, _ in state]
            values = tr.items([value for _, value in state], lambda i: f".{names[i]}")
            record["attributes"] = [part for pair in zip(names, values, strict=True) for part in pair]
    return row


def _state(call: Call) -> list[tuple[str, Any]]:
    fields = call.fields()
    return [(name, value) for name, value in fields.items() if not name.startswith("__")]


Built = tuple[dict[str, Any], list[tuple[str, Any]]]


def _strided(tr: Translation, call: Call) -> Built:
    """``_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, metadata)``; v3 has a dtype too."""
    args = sequence_of(call.args)
    third = call.name.endswith("_v3")
    if not (7 if third else 6) <= len(args) <= (8 if third else 7):
        raise Untranslatable.because("its arguments are not those of a tensor")
    storage, offset, size, stride, requires_grad, hooks = args[:6]
    _check_hooks(hooks)
    dtype = dtype_of(args[6]) if third else _dtype_of(storage)
    metadata = args[8 - 1] if third and len(args) > 7 else args[6] if not third and len(args) > 6 else None
    record = _view(tr, storage, dtype, integers(size), integers(stride), offset)
    if requires_grad is True:
        record["requires_grad"] = True
    for name, value in pairs_of(metadata) if metadata is not None else ():
        if name not in ("conj", "neg"):
            raise Untranslatable.because(f"its metadata {name!r:.40} is not known")
        if value is True:
            record[name] = True
    return record, []


def _dtype_of(storage: Any) -> str:
    """Return the dtype of a tensor of which only the class of its storage says it."""
    if (
        type(storage) is Call
        and type(storage.args) is tuple
        and storage.args
        and type(storage.args[0]) is bytes
    ):
        value = getattr(read_blob(storage.args[0]).root, "value", None)
        if type(value) is tuple and len(value) > 1 and type(value[1]) is Name:
            dtype = _DTYPE_OF_STORAGE.get(value[1].qualname)
            if dtype is not None:
                return dtype
    raise Untranslatable.because("its storage does not say its dtype")


def _view(
    tr: Translation, storage: Any, dtype: str, size: list[int], stride: list[int], offset: Any
) -> dict[str, Any]:
    if type(offset) is not int:
        raise Untranslatable.because("its offset is not an integer")
    row, nbytes = storage_row(tr, storage)
    needed = needed_bytes(size, stride, offset, ITEM_BYTES[dtype])
    if needed > nbytes * _PACKED.get(dtype, 1):
        raise Untranslatable.because(f"it needs {needed} bytes and its storage has {nbytes}")
    return _shape(row, dtype, size, stride, offset)


def _shape(row: int, dtype: str, size: list[int], stride: list[int], offset: int) -> dict[str, Any]:
    record: dict[str, Any] = {"storage": row, "dtype": dtype, "size": size}
    if stride != contiguous_strides(size):
        record["stride"] = stride
    if offset:
        record["offset"] = offset
    return record


def _check_hooks(hooks: Any) -> None:
    if hooks is not None and pairs_of(hooks):
        raise Untranslatable.because("hooks are code and code is never stored; save again without them")


def _parameter(tr: Translation, call: Call) -> Built:
    """``_rebuild_parameter(data, requires_grad, hooks)``; the other form has the attributes of the object too."""
    args = sequence_of(call.args)
    if len(args) not in (3, 4) or type(args[0]) is not Call or args[0].name not in _BUILD:
        raise Untranslatable.because("its arguments are not those of a parameter")
    _check_hooks(args[2])
    record, attributes = _BUILD[args[0].name](tr, args[0])
    record.pop("requires_grad", None)
    flags = {name: record.pop(name) for name in ("conj", "neg", "inference") if name in record}
    record["class"] = "parameter"
    if args[1] is True:
        record["requires_grad"] = True
    record.update(flags)
    if len(args) == 4:
        attributes = [*attributes, *_attributes(args[3])]
    return record, attributes


def _attributes(state: Any) -> list[tuple[str, Any]]:
    """Return what users set on a tensor: a dict, or a dict and the slots of a class."""
    if type(state) is tuple and len(state) == 2 and (state[1] is None or not pairs_of(state[1])):
        state = state[0]
    return [] if state is None else [(str(name), value) for name, value in pairs_of(state)]


def _from_type(tr: Translation, call: Call) -> Built:
    """``_rebuild_from_type_v2(function, class, args, state)``: a tensor with attributes of its own."""
    function, cls, args, state = sequence_of(call.args, 4)
    inner = Call(function, args)
    if inner.name not in _BUILD or inner.name == _FROM_TYPE or str(cls) not in _PLAIN_CLASSES:
        raise Untranslatable.because(
            f"a plain tensor is expected here and there is one of class {shown(cls)}"
        )
    record, attributes = _BUILD[inner.name](tr, inner)
    if is_name(cls, "torch.nn.parameter.Parameter"):
        record["class"] = "parameter"
    return record, [*attributes, *_attributes(state)]


def _quantized(tr: Translation, call: Call) -> Built:
    """``_rebuild_qtensor(storage, offset, size, stride, quantizer, requires_grad, hooks)``."""
    storage, offset, size, stride, quantizer, _, hooks = sequence_of(call.args, 7)
    _check_hooks(hooks)
    record = _view(tr, storage, _dtype_of(storage), integers(size), integers(stride), offset)
    facts = sequence_of(quantizer)
    scheme = constant(facts[0]) if facts and type(facts[0]) is Name else None
    if scheme == ["qscheme", "per_tensor_affine"] and len(facts) == 3:
        record["quantizer"] = [scheme[1], *facts[1:]]
        return record, []
    if scheme is not None and scheme[1].startswith("per_channel_affine") and len(facts) == 4:
        scales, zero_points, axis = _numbers(tr, facts[1]), _numbers(tr, facts[2]), facts[3]
        name = "per_channel_affine"
        if any([type(point) is float for point in zero_points]):
            name += "_float_qparams"  # torch's pickles call both schemes by one name
        record["quantizer"] = [name, axis, scales, zero_points]
        return record, []
    raise Untranslatable.because("its quantizer is not one that schema 2 keeps")


_FORMATS = {"float64": "d", "float32": "f", "int64": "q", "int32": "i"}


def _numbers(tr: Translation, record: Any) -> list[Any]:
    """Return the elements of a contiguous tensor in one dimension."""
    if type(record) in (list, tuple):
        return list(record)
    built, _ = _strided(tr, record) if type(record) is Call else ({}, [])
    if "stride" in built or len(built.get("size", ())) != 1 or built.get("dtype") not in _FORMATS:
        raise Untranslatable.because("the numbers of its quantizer are not a plain tensor")
    code = _FORMATS[built["dtype"]]
    start = built.get("offset", 0) * struct.calcsize(f"<{code}")
    numbers = struct.unpack_from(f"<{built['size'][0]}{code}", bytes_of(tr, built["storage"]), start)
    _forget(tr, built["storage"])
    return list(numbers)


def _sparse(tr: Translation, call: Call) -> Built:
    """``_rebuild_sparse_tensor(layout, data)``."""
    args = sequence_of(call.args, 2)
    layout, data = layout_of(args[0]), sequence_of(args[1])
    if layout == "sparse_coo" and len(data) in (3, 4):
        indices, values = (_part(tr, part) for part in data[:2])
        record = {"layout": layout, "size": integers(data[2]), "indices": indices, "values": values}
        if len(data) == 4 and data[3] is True:
            record["coalesced"] = True
        return record, []
    if layout.startswith("sparse_") and len(data) == 4:
        compressed, plain, values = (_part(tr, part) for part in data[:3])
        return {
            "layout": layout, "size": integers(data[3]), "compressed": compressed, "plain": plain, "values": values
        }, []  # fmt: skip
    raise Untranslatable.because(f"a tensor of layout {layout} cannot be kept; convert it with .to_dense()")


def _part(tr: Translation, record: Any) -> int:
    return tensor_row(tr, record)


def _without_bytes(tr: Translation, call: Call) -> Built:
    """``_rebuild_meta_tensor_no_storage(dtype, size, stride, requires_grad)``."""
    dtype, size, stride, requires_grad = sequence_of(call.args, 4)
    name, sizes, strides = dtype_of(dtype), integers(size), integers(stride)
    row = meta_storage(tr, call, needed_bytes(sizes, strides, 0, ITEM_BYTES[name]))
    record = _shape(row, name, sizes, strides, 0)
    if requires_grad is True:
        record["requires_grad"] = True
    return record, []


def _generator(tr: Translation, call: Call) -> Any:
    """A generator: its device, and the state that holds seed, offset and the bytes of a tensor."""
    args = sequence_of(call.args)
    _, kind, index = device_of(args[0]) if args else ["device", "cpu", None]
    state = sequence_of(call.state, 3) if call.state is not NOTHING else ()
    if not state:
        raise Untranslatable.because("a generator without its state cannot be kept")

    def fill(body: list[Any]) -> None:
        record, _ = _strided(tr, state[2])
        data = bytes_of(tr, record["storage"])
        body.extend([kind, index, data])
        _forget(tr, record["storage"])

    return tr.container(call, "generator", fill)


def _forget(tr: Translation, row: int) -> None:
    """Take the last row of `storages` back: its bytes stand elsewhere."""
    if row == len(tr.document["storages"]) - 1:
        entry = tr.take_back("storages", row)
        tr.sections.pop(entry.get("section", ""), None)


def _uninitialized(tr: Translation, call: Call) -> Built:
    """``UninitializedParameter(requires_grad)``: a pickle keeps neither the dtype nor the device."""
    (requires_grad,) = sequence_of(call.args, 1)
    kind = "uninitialized_parameter" if call.name.endswith("Parameter") else "uninitialized_buffer"
    record: dict[str, Any] = {"class": kind, "dtype": "float32", "device": "cpu"}
    if requires_grad is True:
        record["requires_grad"] = True
    tr.note(
        "The stream does not hold dtype and device of a tensor without a shape; float32 on the CPU is taken"
    )
    return record, []


_BUILD: dict[str, Any] = {
    "torch.nn.parameter.UninitializedParameter": _uninitialized,
    "torch.nn.parameter.UninitializedBuffer": _uninitialized,
    "torch._utils._rebuild_tensor_v2": _strided,
    "torch._utils._rebuild_tensor_v3": _strided,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_meta_tensor_no_storage": _without_bytes,
}

CALLS: Table = {**dict.fromkeys(_BUILD, _tensor), "torch._C.Generator": _generator}
