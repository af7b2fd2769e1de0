"""Contiguous tensors and Parameters with nothing unusual to them, as most in a model are.

What a dtype, a size and a class ask for is checked once, however many tensors have them. A tensor whose bytes were
left out gets its storage together with itself, in one call of torch in place of three.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.geometry import check_dtype, check_extent, check_integers, contiguous_strides
from fxarchive.codec.layouts import PACKED, QUANTIZED
from fxarchive.codec.storages import META, decode_storage, is_omitted, view

FIELDS = frozenset({"storage", "dtype", "size", "class", "requires_grad"})
"""Fields of a row of `tensors` that a plain tensor may have."""

_INTEGERS = frozenset({int})


class _Form(NamedTuple):
    """What tensors of one dtype and size are."""

    dtype: torch.dtype
    size: list[int]
    stride: list[int]
    needed: int
    """Bytes of storage."""


def decode_plain(dec: Decoder, record: dict[str, Any], where: str) -> torch.Tensor | None:
    """Return the tensor of a row of `tensors`, or None if it is not a plain one, or not a sound one.

    Args:
        dec: the decoder.
        record: a row that has no fields but `FIELDS`.
        where: name of the row for errors.

    Raises:
        InvalidDocument, MissingOperator, MissingDevice: its dtype, its size or its storage cannot be.
    """
    name, size, requires_grad = record.get("dtype"), record.get("size"), record.get("requires_grad", False)
    kind = record.get("class")
    if (
        type(name) is not str
        or type(size) is not list
        or not _INTEGERS.issuperset(map(type, size))
        or type(requires_grad) is not bool
        or not (kind is None or kind == "parameter")
        or torch.is_inference_mode_enabled()
    ):
        return None
    forms: dict[Any, _Form] = dec.state.setdefault("forms of tensors", {})
    key = (name, *size)
    form = forms.get(key)
    if form is None:
        dtype, stride = check_dtype(name, where), contiguous_strides(check_integers(size, "size", where))
        if dtype in QUANTIZED or dtype in PACKED or dtype is torch.complex32:
            return None
        needed = check_extent(size, stride, 0, dtype.itemsize, where)
        form = forms[key] = _Form(dtype, size, stride, needed)
    dtype = form.dtype
    if requires_grad and not (dtype.is_floating_point or dtype.is_complex):
        return None
    tensor = _over_storage(dec, record.get("storage"), form)
    if tensor is None:
        return None
    if kind is not None:
        return torch.nn.Parameter(tensor, requires_grad)
    return tensor.requires_grad_() if requires_grad else tensor


def _over_storage(dec: Decoder, row: Any, form: _Form) -> torch.Tensor | None:
    """Return a tensor of ``form`` over the storage of ``row``, or None if torch or the size refuses."""
    dtype, size, stride, needed = form
    known = dec.objects["storages"]
    if type(row) is int and row not in known and is_omitted(dec, row, needed):
        tensor = torch.empty_strided(size, stride, dtype=dtype, device=META)
        known[row] = tensor.untyped_storage()
        return tensor
    storage = decode_storage(dec, row)
    if needed > storage.nbytes():
        return None
    try:
        return view(storage, dtype, size, stride, 0)
    except RuntimeError:
        return None
