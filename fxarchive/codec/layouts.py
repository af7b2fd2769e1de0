"""Tensors that are more than one strided view of bytes: sparse and quantized.

A sparse tensor is kept as its parts, which are rows of `tensors`, a quantized one as its bytes and its
quantizer.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch

from fxarchive.codec.geometry import (
    check_extent,
    check_flag,
    check_integer,
    check_integers,
    contiguous_strides,
    reason,
)
from fxarchive.codec.storages import new_storage
from fxarchive.errors import InvalidDocument

COMPRESSED: dict[torch.layout, tuple[str, str]] = {
    torch.sparse_csr: ("crow_indices", "col_indices"),
    torch.sparse_bsr: ("crow_indices", "col_indices"),
    torch.sparse_csc: ("ccol_indices", "row_indices"),
    torch.sparse_bsc: ("ccol_indices", "row_indices"),
}
"""Layout -> the methods that give its compressed and its plain indices."""

LAYOUTS = {
    layout: str(layout).removeprefix("torch.") for layout in (torch.strided, torch.sparse_coo, *COMPRESSED)
}
"""Layout -> its name in a document."""

LAYOUTS_BY_NAME = {name: layout for layout, name in LAYOUTS.items()}

PACKED = {torch.quint4x2: 2, torch.quint2x4: 4}
"""Quantized dtypes of which one byte holds several elements."""

QUANTIZED = frozenset({torch.qint8, torch.quint8, torch.qint32, *PACKED})
"""Dtypes that need a quantizer."""

Part = Callable[[torch.Tensor], int]
GetPart = Callable[[Any], torch.Tensor]


def encode_sparse(tensor: torch.Tensor, encode_part: Part) -> dict[str, Any]:
    """Return the fields of a sparse tensor of any layout; ``encode_part`` gives the row of a part."""
    record: dict[str, Any] = {"layout": LAYOUTS[tensor.layout], "size": list(tensor.shape)}
    with torch.no_grad():
        if tensor.layout is torch.sparse_coo:
            record["indices"] = encode_part(tensor._indices())
            record["values"] = encode_part(tensor._values().detach())
            if tensor.is_coalesced():
                record["coalesced"] = True
        else:
            compressed, plain = COMPRESSED[tensor.layout]
            record["compressed"] = encode_part(getattr(tensor, compressed)())
            record["plain"] = encode_part(getattr(tensor, plain)())
            record["values"] = encode_part(tensor.values().detach())
    return record


def decode_sparse(record: dict[str, Any], part: GetPart, where: str) -> torch.Tensor:
    """Build a sparse tensor from its parts; torch checks its invariants wherever there are bytes to check.

    Args:
        record: the row of `tensors`.
        part: the strided tensor of a row of `tensors`.
        where: name of the row for errors.
    """
    size = check_integers(record.get("size"), "size", where)
    check_extent(size, contiguous_strides(size), 0, 1, where)
    layout = LAYOUTS_BY_NAME[record["layout"]]
    values = part(record.get("values"))
    try:
        if layout is torch.sparse_coo:
            return _coo(
                part(record.get("indices")), values, size, check_flag(record, "coalesced", where), where
            )
        compressed, plain = part(record.get("compressed")), part(record.get("plain"))
        return torch.sparse_compressed_tensor(
            compressed, plain, values, size, layout=layout, check_invariants=not values.is_meta
        )
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        raise InvalidDocument(where, f"its parts do not make a {layout} tensor ({reason(error)})") from None


def _coo(
    indices: torch.Tensor, values: torch.Tensor, size: list[int], coalesced: bool, where: str
) -> torch.Tensor:
    dims = indices.shape[0] if indices.ndim == 2 else -1
    expected = None if dims < 0 else [indices.shape[1], *size[dims:]]
    if dims > len(size) or list(values.shape) != expected or indices.dtype is not torch.int64:
        raise InvalidDocument(where, "its indices and values do not fit its size")
    tensor = torch.sparse_coo_tensor(
        indices, values, size, is_coalesced=coalesced, check_invariants=not values.is_meta
    )
    return tensor._coalesced_(coalesced)


def encode_quantizer(tensor: torch.Tensor) -> list[Any]:
    """Return ``[qscheme, scale, zero point]`` or ``[qscheme, axis, scales, zero points]``."""
    scheme = tensor.qscheme()
    name = str(scheme).removeprefix("torch.")
    if scheme == torch.per_tensor_affine:
        return [name, tensor.q_scale(), tensor.q_zero_point()]
    scales, zero_points = tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()
    return [name, tensor.q_per_channel_axis(), scales.tolist(), zero_points.tolist()]


def decode_quantized(
    dtype: torch.dtype,
    storage: torch.UntypedStorage,
    offset: int,
    size: list[int],
    stride: list[int],
    quantizer: Any,
    where: str,
) -> torch.Tensor:
    """Build a quantized tensor over ``storage``; sizes are checked by the caller, the quantizer here."""
    try:
        tensor = _empty_quantized(dtype, storage.device, size, quantizer, where)
        if dtype not in PACKED:
            return tensor.set_(storage, offset, size, stride)
        # torch counts a byte for each element here and would grow the storage, which a mapped one cannot
        room = max(check_extent(size, stride, offset, 1, where), storage.nbytes())
        own = new_storage(room, "cpu")
        ctypes.memmove(own.data_ptr(), storage.data_ptr(), storage.nbytes())
        tensor.set_(own, offset, size, stride)
        own.resize_(storage.nbytes())
        return tensor
    except (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise InvalidDocument(where, f"its quantizer does not fit ({reason(error)})") from None


def _empty_quantized(
    dtype: torch.dtype, device: torch.device, size: list[int], quantizer: Any, where: str
) -> torch.Tensor:
    """Return a quantized tensor without elements (along its channels, with one for each channel)."""
    scheme, *facts = quantizer if type(quantizer) is list and len(quantizer) in (3, 4) else (None,)
    if scheme == "per_tensor_affine" and len(facts) == 2:
        scale, zero_point = facts
        if type(scale) is not float or type(zero_point) is not int or abs(zero_point) > 2**31:
            raise InvalidDocument(where, f"its quantizer is {quantizer!r}")
        return torch._empty_affine_quantized(
            [0], scale=scale, zero_point=zero_point, dtype=dtype, device=device
        )
    if scheme not in ("per_channel_affine", "per_channel_affine_float_qparams") or len(facts) != 3:
        raise InvalidDocument(where, "its quantizer is of no known scheme")
    axis = check_integer(facts[0], "channel axis", where)
    if axis >= len(size):
        raise InvalidDocument(where, f"its channel axis is {axis}")
    floats = scheme == "per_channel_affine_float_qparams"
    scales, zero_points = facts[1:]
    for values, kind in ((scales, float), (zero_points, float if floats else int)):
        if type(values) is not list or len(values) != size[axis] or set(map(type, values)) - {kind}:
            raise InvalidDocument(where, f"its quantizer does not have a {kind.__name__} for each channel")
    return torch._empty_per_channel_affine_quantized(
        [length if i == axis else 0 for i, length in enumerate(size)] if len(size) > 1 else size,
        scales=torch.tensor(scales, dtype=torch.float32 if floats else torch.float64, device=device),
        zero_points=torch.tensor(zero_points, dtype=torch.float32 if floats else torch.int64, device=device),
        axis=axis,
        dtype=dtype,
        device=device,
    )
