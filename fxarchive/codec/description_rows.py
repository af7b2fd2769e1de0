"""FakeTensors as rows of `descriptions`; `descriptions` leads the way back.

Equal ones have one row.
"""

from __future__ import annotations

import marshal
from typing import Any

import torch

from fxarchive.codec.descriptions import FLAGS
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.geometry import contiguous_strides, name_of_dtype, needed_elements
from fxarchive.codec.layouts import COMPRESSED, LAYOUTS
from fxarchive.codec.symbolic import fakes as symbolic_fakes
from fxarchive.codec.values import CONSTANTS
from fxarchive.document import FLAG_OF_FACT


def encode_strided(
    enc: Encoder,
    fake: Any,
    device: torch.device,
    requires_grad: bool,
    computed: bool,
    nbytes: int | None,
    described: dict[Any, int],
) -> int:
    """Return the row that describes a strided ``fake``.

    Args:
        enc: the encoder.
        fake: the FakeTensor.
        device: where it says that it is.
        requires_grad, computed: whether it requires a gradient, and whether it does as no leaf.
        nbytes: bytes of its storage, or None if an earlier FakeTensor has the storage.
        described: facts -> row, of what was described before.
    """
    state, dtype = fake.__dict__, fake.dtype
    facts: Any = (
        fake.shape, fake.stride(), dtype, fake.storage_offset(), device, requires_grad, computed,
        dtype.is_complex and fake.is_conj(), fake.is_neg(), fake.is_inference(), fake._is_zerotensor(),
        nbytes, state.get("_is_param"), state.get("pytype"), state.get("dispatch_keys"),
    )  # fmt: skip
    try:
        found = described.get(facts)
    except TypeError:
        # a symbol has no hash; a set of dispatch keys is a new object each time
        return _intern(enc, _entry(enc, fake, nbytes), described)
    if found is None:
        found = described[facts] = _intern(enc, _entry(enc, fake, nbytes), described)
    return found


def _intern(enc: Encoder, entry: list[Any], described: dict[Any, int]) -> int:
    key = marshal.dumps(entry, 2)  # equal bytes for equal values; only a key, see graphs
    row = described.get(key)
    if row is None:
        rows = enc.document["descriptions"]
        row = described[key] = len(rows)
        rows.append(entry)
    return row


def _entry(enc: Encoder, fake: Any, nbytes: int | None) -> list[Any]:
    if fake.layout is not torch.strided or fake.is_quantized:
        raise Refused.because(f"a FakeTensor of layout {fake.layout} and {fake.dtype} cannot be kept")
    if symbolic_fakes.has_symbols(fake, nbytes):
        return _finish(enc, fake, *symbolic_fakes.encode_numbers(enc, fake, nbytes))
    size, stride, offset = list(fake.shape), list(fake.stride()), fake.storage_offset()
    others: dict[str, Any] = {}
    if offset:
        others["offset"] = offset
    entry = _finish(enc, fake, size, None if stride == contiguous_strides(size) else stride, others)
    needed = needed_bytes(entry)
    if nbytes is not None and nbytes != needed:
        if nbytes < needed:
            raise Refused.because(
                f"its storage has {nbytes} bytes of the {needed} that it needs; resize it back"
            )
        others["nbytes"] = nbytes
    return entry if len(entry) == 5 or not others else [*entry, others]


def needed_bytes(entry: list[Any]) -> int:
    """Return the bytes of storage that a row of `descriptions`, strided, needs; 0 if they are symbolic."""
    size, stride = entry[2], entry[3]
    offset = entry[4].get("offset", 0) if len(entry) == 5 else 0
    if list in map(type, (*size, *(stride or ()), offset)):
        return 0
    if stride is None:
        stride = contiguous_strides(size)
    itemsize: int = CONSTANTS["dtype"][entry[0]].itemsize
    return needed_elements(size, stride, offset) * itemsize


def encode_sparse(enc: Encoder, fake: Any, described: dict[Any, int]) -> int:
    """Return the row that describes a sparse ``fake``; its parts have no elements that could be kept."""
    if fake.is_nested or fake.layout not in LAYOUTS or fake.layout is torch.strided:
        raise Refused.because(f"a FakeTensor of layout {fake.layout} without a storage cannot be kept")
    if not all(type(n) is int for n in (*fake.shape, fake._nnz())):
        raise Refused.because(
            "a sparse FakeTensor with symbolic sizes cannot be kept; trace it with static ones"
        )
    others: dict[str, Any] = {"layout": LAYOUTS[fake.layout], "nnz": fake._nnz(), "dense": fake.dense_dim()}
    if fake.layout is torch.sparse_coo:
        if fake.is_coalesced():
            others["coalesced"] = True
    else:
        with torch.no_grad():
            index, values = getattr(fake, COMPRESSED[fake.layout][0])(), fake.values()
        others["index"] = name_of_dtype(index.dtype)
        if fake.layout in (torch.sparse_bsr, torch.sparse_bsc):
            batch = index.ndim - 1
            others["block"] = list(values.shape[batch + 1 : batch + 3])
    return _intern(enc, _finish(enc, fake, list(fake.shape), None, others), described)


def _finish(
    enc: Encoder, fake: Any, size: list[Any], stride: list[Any] | None, others: dict[str, Any]
) -> list[Any]:
    state = vars(fake)
    flags = (
        fake.requires_grad, fake.requires_grad and not fake.is_leaf, fake.is_conj(), fake.is_neg(),
        fake.is_inference(), state.get("_is_param", False), fake._is_zerotensor(),
    )  # fmt: skip
    others.update({name: True for name, flag in zip(FLAGS, flags, strict=True) if flag})
    enc.features.update([flag for fact, flag in FLAG_OF_FACT.items() if fact in others])
    if state.get("pytype") is not None:
        others["pytype"] = enc.value(state["pytype"])
    if state.get("dispatch_keys") is not None:
        others["keys"] = names_of_keys(state["dispatch_keys"])
    entry = [name_of_dtype(fake.dtype), str(fake.fake_device), size, stride]
    return [*entry, others] if others else entry


def names_of_keys(keys: Any) -> list[str]:
    """Return the names in a set of dispatch keys; the numbers behind them differ between releases."""
    inside = str(keys).partition("(")[2].rpartition(")")[0]
    return [name.strip() for name in inside.split(",") if name.strip()]
