"""Real tensors and Parameters. `spec/schema-2-tensors.md` gives every field of a row of `tensors`.

A tensor is the same row wherever it is met, and tensors over one storage share it after loading as before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from fxarchive.codec import plain_tensors
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.geometry import (
    check_dtype,
    check_extent,
    check_flag,
    check_integer,
    check_integers,
    contiguous_strides,
    name_of_dtype,
    reason,
    silence,
)
from fxarchive.codec.layouts import (
    LAYOUTS,
    LAYOUTS_BY_NAME,
    PACKED,
    QUANTIZED,
    decode_quantized,
    decode_sparse,
    encode_quantizer,
    encode_sparse,
)
from fxarchive.codec.storages import META, decode_storage, device_named, encode_storage, view
from fxarchive.document import Value
from fxarchive.errors import InvalidDocument

UNINITIALIZED: dict[str, type] = {
    "uninitialized_parameter": UninitializedParameter,
    "uninitialized_buffer": UninitializedBuffer,
}

FIELDS = frozenset(
    {"storage", "dtype", "size", "stride", "offset", "class", "requires_grad", "conj", "neg", "inference",
     "grad", "attributes", "layout", "indices", "values", "coalesced", "compressed", "plain", "quantizer",
     "device"}
)  # fmt: skip
"""Every field that a row of `tensors` may have."""

_NOTED = "_dynamo_static_input_type"
"""Attribute in which torch.compile notes "unguarded" on each tensor of a module that it meets, whenever it meets one.
A module is the same before and after it was compiled, so the note is left out; marks of the user are kept."""

# encoding


def encode_tensor(enc: Encoder, tensor: torch.Tensor) -> Value:
    """Return ``["tensor", row]``.

    Raises:
        Refused: the tensor is of a kind that cannot be kept, or something on it is.
    """
    keep = enc.keep and not isinstance(tensor, torch.nn.Parameter)
    return ["tensor", row_of_tensor(enc, tensor, keep=keep)]


def row_of_tensor(enc: Encoder, tensor: torch.Tensor, *, keep: bool = False) -> int:
    """Return the row of ``tensor`` in `tensors`.

    Args:
        tensor: a `torch.Tensor` or a Parameter, exactly.
        keep: store its bytes even where the encoder leaves weights out.
    """
    rows = _rows(enc)
    row = rows.get(id(tensor))
    if row is not None:
        if keep and enc.omit_weights and "storage" in enc.document["tensors"][row]:
            encode_storage(
                enc, tensor.untyped_storage(), keep=True
            )  # a state dict was met first, without bytes
        return row
    why = why_not(tensor)
    if why is not None:
        raise Refused.because(why)
    record = (
        _encode_uninitialized(tensor)
        if type(tensor) in UNINITIALIZED.values()
        else _encode(enc, tensor, keep)
    )
    table = enc.document["tensors"]
    row = rows[id(tensor)] = len(table)
    table.append(record)
    enc.keep_alive(tensor)
    try:
        _encode_extras(enc, tensor, record)
    except Refused:
        del rows[id(tensor)]  # so that each place that holds the tensor is named
        raise
    return row


def _rows(enc: Encoder) -> dict[int, int]:
    rows: dict[int, int] = enc.state.setdefault("rows of tensors", {})
    return rows


def why_not(tensor: torch.Tensor) -> str | None:
    """Return why ``tensor`` cannot be kept and what to do, or None if it can."""
    functorch = torch._C._functorch
    if functorch.is_functorch_wrapped_tensor(tensor) or torch._is_functional_tensor(tensor):
        return "a tensor of a torch.func transform or of functionalization cannot be kept; save outside of it"
    if tensor.is_nested:
        return "a nested tensor cannot be kept; convert it with .to_padded_tensor() or .unbind()"
    if getattr(tensor, "is_mkldnn", False):
        return "an mkldnn tensor has no bytes of its own; convert it with .to_dense()"
    if not tensor.is_leaf:
        return "a tensor with autograd history cannot be kept; use .detach()"
    if tensor._backward_hooks or getattr(tensor, "_post_accumulate_grad_hooks", None):
        return "a tensor with hooks cannot be kept, since hooks are code; remove them with their handles"
    if type(tensor) in UNINITIALIZED.values():
        return None
    if hasattr(tensor, "has_names") and tensor.has_names():
        return "a tensor with named dimensions cannot be kept; use .rename(None)"
    if tensor.layout not in LAYOUTS:
        return f"a tensor of layout {tensor.layout} cannot be kept; convert it with .to_dense()"
    if tensor._is_zerotensor():
        return "a tensor of zeros without storage (torch._efficientzerotensor) cannot be kept; use .clone()"
    if tensor.layout is torch.strided and not torch._C._has_storage(tensor):
        return f"a tensor without a storage on {tensor.device} cannot be kept; move it with .cpu()"
    if getattr(tensor, "grad_dtype", tensor.dtype) != tensor.dtype:
        return "a tensor whose grad_dtype differs from its dtype cannot be kept; reset tensor.grad_dtype"
    return None


def _encode(enc: Encoder, tensor: torch.Tensor, keep: bool) -> dict[str, Any]:
    if tensor.layout is not torch.strided:
        record = encode_sparse(tensor, lambda part: row_of_tensor(enc, part, keep=keep))
    else:
        record = _encode_strided(enc, tensor, keep)
    if type(tensor) is torch.nn.Parameter:
        record["class"] = "parameter"
    for name, flag in (
        ("requires_grad", tensor.requires_grad),
        ("conj", tensor.is_conj()),
        ("neg", tensor.is_neg()),
        ("inference", tensor.is_inference()),
    ):
        if flag:
            record[name] = True
    return record


def _encode_strided(enc: Encoder, tensor: torch.Tensor, keep: bool) -> dict[str, Any]:
    storage = tensor.untyped_storage()
    size, stride, offset = list(tensor.shape), list(tensor.stride()), int(tensor.storage_offset())
    needed = check_extent(size, stride, offset, tensor.dtype.itemsize, "a tensor")
    if storage.nbytes() * PACKED.get(tensor.dtype, 1) < needed:
        raise Refused.because(
            f"its storage has {storage.nbytes()} bytes of the {needed} that it needs; resize the storage back"
        )
    if tensor.dtype in PACKED and tensor.device.type != "cpu":
        raise Refused.because(f"a {tensor.dtype} tensor is kept only from the CPU; move it with .cpu()")
    if tensor.is_quantized and enc.omit_weights and not keep:
        raise Refused.because("a quantized tensor has no form without its bytes; save with its weights")
    record: dict[str, Any] = {
        "storage": encode_storage(enc, storage, keep=keep),
        "dtype": name_of_dtype(tensor.dtype),
        "size": size,
    }
    if stride != contiguous_strides(size):
        record["stride"] = stride
    if offset:
        record["offset"] = offset
    if tensor.is_quantized:
        record["quantizer"] = encode_quantizer(tensor)
    return record


def _encode_uninitialized(tensor: torch.Tensor) -> dict[str, Any]:
    (kind,) = [name for name, cls in UNINITIALIZED.items() if cls is type(tensor)]
    record: dict[str, Any] = {
        "class": kind,
        "dtype": name_of_dtype(tensor.data.dtype),
        "device": str(tensor.data.device),
    }
    if tensor.requires_grad:
        record["requires_grad"] = True
    return record


def _encode_extras(enc: Encoder, tensor: torch.Tensor, record: dict[str, Any]) -> None:
    attributes = vars(tensor)
    held = enc.in_module or type(tensor) is torch.nn.Parameter
    if held and attributes.get(_NOTED) == "unguarded":
        attributes = {name: value for name, value in attributes.items() if name != _NOTED}
    if attributes:
        record["attributes"] = encode_attributes(enc, attributes)
    grad = tensor._grad
    if grad is not None:
        (record["grad"],) = enc.items([grad], lambda i: ".grad")


def encode_attributes(enc: Encoder, attributes: dict[str, Any]) -> list[Value]:
    """Return ``[name, value, name, value, ...]`` for what users set on a tensor."""
    names = list(attributes)
    values = enc.items(list(attributes.values()), lambda i: f".{names[i]}")
    return [part for pair in zip(names, values, strict=True) for part in pair]


# decoding


def decode_tensor(dec: Decoder, tagged: Value) -> torch.Tensor:
    """Return the tensor of ``["tensor", row]``: the same object for the same row.

    Raises:
        InvalidDocument: the row breaks a rule of `spec/schema-2-tensors.md`.
        MissingDevice: the tensor was on a device that this machine lacks, and the caller named no other.
    """
    return tensor_of_row(dec, tagged[1])


def tensor_of_row(dec: Decoder, row: Any) -> torch.Tensor:
    """Return the tensor of ``row`` in `tensors`."""
    known = dec.objects["tensors"]
    tensor: torch.Tensor | None = known.get(row) if type(row) is int else None
    if tensor is None:
        tensor = known[row] = _decode(dec, dec.entry("tensors", row), f"tensors[{row}]")
    return tensor


def _decode(dec: Decoder, record: Any, where: str) -> torch.Tensor:
    if type(record) is dict and plain_tensors.FIELDS.issuperset(record):
        plain = plain_tensors.decode_plain(dec, record, where)
        if plain is not None:
            return plain
    if type(record) is not dict or not record.keys() <= FIELDS:
        raise InvalidDocument(where, "it is not a record of a tensor")
    inference = "inference" in record and check_flag(record, "inference", where)
    if inference == torch.is_inference_mode_enabled():
        tensor = _build(dec, record, where)
    else:
        with torch.inference_mode(inference):
            tensor = _build(dec, record, where)
    if "attributes" in record or "grad" in record:
        dec.later(lambda: fill(dec, tensor, record, where))
    return tensor


def _build(dec: Decoder, record: dict[str, Any], where: str) -> torch.Tensor:
    requires_grad = "requires_grad" in record and check_flag(record, "requires_grad", where)
    kind = record.get("class")
    if type(kind) is str and kind in UNINITIALIZED:
        return _decode_uninitialized(dec, record, UNINITIALIZED[kind], requires_grad, where)
    tensor = _decode_values(dec, record, where)
    if requires_grad and not (tensor.dtype.is_floating_point or tensor.dtype.is_complex):
        raise InvalidDocument(where, f"it requires a gradient and is of {tensor.dtype}")
    if kind == "parameter":
        return torch.nn.Parameter(tensor, requires_grad)
    if kind is not None:
        raise InvalidDocument(where, f"its class is {kind!r}")
    return tensor.requires_grad_() if requires_grad else tensor


def _decode_values(dec: Decoder, record: dict[str, Any], where: str) -> torch.Tensor:
    layout = record.get("layout")
    if layout is not None:
        if type(layout) is not str or layout not in LAYOUTS_BY_NAME or layout == "strided":
            raise InvalidDocument(where, f"its layout is {layout!r}")
        with silence(None):
            return decode_sparse(record, lambda row: _strided_part(dec, row, where), where)
    dtype = check_dtype(record.get("dtype"), where)
    size = check_integers(record.get("size"), "size", where)
    stride = (
        check_integers(record["stride"], "stride", where) if "stride" in record else contiguous_strides(size)
    )
    offset = check_integer(record["offset"], "offset", where) if "offset" in record else 0
    storage = decode_storage(dec, record.get("storage"))
    needed = check_extent(size, stride, offset, dtype.itemsize, where)
    if needed > storage.nbytes() * PACKED.get(dtype, 1):
        raise InvalidDocument(where, f"it needs {needed} bytes and its storage has {storage.nbytes()}")
    if "quantizer" in record or dtype in QUANTIZED:
        if dtype not in QUANTIZED or storage.device == META:
            raise InvalidDocument(where, f"a {dtype} tensor on {storage.device} cannot be quantized")
        with silence(None):
            return decode_quantized(dtype, storage, offset, size, stride, record.get("quantizer"), where)
    try:
        if dtype is torch.complex32:
            with silence(dtype):
                tensor = view(storage, dtype, size, stride, offset)
        else:
            tensor = view(storage, dtype, size, stride, offset)
    except RuntimeError as error:
        raise InvalidDocument(where, f"torch cannot build it ({reason(error)})") from None
    if "conj" in record and check_flag(record, "conj", where):
        if not dtype.is_complex:
            raise InvalidDocument(where, f"it is conjugated and of {dtype}")
        torch._C._set_conj(tensor, True)
    if "neg" in record and check_flag(record, "neg", where):
        torch._C._set_neg(tensor, True)
    return tensor


def _strided_part(dec: Decoder, row: Any, where: str) -> torch.Tensor:
    table = dec.document["tensors"]
    record = table[row] if type(row) is int and 0 <= row < len(table) else None
    if type(record) is not dict or {"layout", "class", "quantizer"} & record.keys():
        raise InvalidDocument(where, f"its part, row {row!r} of tensors, is not a plain strided tensor")
    return tensor_of_row(dec, row)


def _decode_uninitialized(
    dec: Decoder, record: dict[str, Any], cls: type, requires_grad: bool, where: str
) -> torch.Tensor:
    dtype = check_dtype(record.get("dtype"), where)
    device = device_named(record.get("device"), where) if dec.device is None else dec.device
    try:
        tensor: torch.Tensor = cls(requires_grad, device=device, dtype=dtype)
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        raise InvalidDocument(where, f"torch cannot build it ({reason(error)})") from None
    return tensor


def fill(
    dec: Decoder, tensor: Any, record: dict[str, Any], where: str, reserved: frozenset[str] = frozenset()
) -> None:
    """Give a tensor its attributes, none of them of a reserved name, and its gradient."""
    if "attributes" in record:
        vars(tensor).update(decode_attributes(dec, record["attributes"], reserved, where))
    if "grad" in record:
        grad = dec.value(record["grad"])
        try:
            tensor.grad = grad
        except (RuntimeError, TypeError) as error:
            raise InvalidDocument(where, f"its grad does not fit ({reason(error)})") from None


def decode_attributes(dec: Decoder, flat: Any, reserved: frozenset[str], where: str) -> dict[str, Any]:
    """Return the attributes of ``[name, value, ...]``; none may be special to Python or in ``reserved``."""
    if type(flat) is not list or len(flat) % 2:
        raise InvalidDocument(where, "its attributes are not pairs of name and value")
    names = flat[::2]
    for name in names:
        if type(name) is not str or name.startswith("__") or name in reserved:
            raise InvalidDocument(where, f"it has an attribute {name!r}")
    return dict(zip(names, dec.items(flat[1::2]), strict=True))


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {
    torch.Tensor: encode_tensor,
    torch.nn.Parameter: encode_tensor,
    UninitializedParameter: encode_tensor,
    UninitializedBuffer: encode_tensor,
}

ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = []

DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"tensor": decode_tensor}
