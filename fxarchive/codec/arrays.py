"""Arrays of numpy. `spec/schema-2-arrays.md` gives every field of a row of `arrays`.

numpy is imported only where an archive has arrays: nobody holds one where it is not installed. The bytes are storages,
as those of tensors are. The family needs the feature flag "numpy-arrays".
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch

from fxarchive.array_layout import DTYPE, MAX_DIMENSIONS, contiguous_strides, extent
from fxarchive.codec import array_memory
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.geometry import MAX_EXTENT, check_flag, check_integer, reason
from fxarchive.codec.storages import decode_host_storage
from fxarchive.document import NUMPY_ARRAYS, Value
from fxarchive.errors import InvalidDocument, MissingNumpy

FIELDS = frozenset({"dtype", "size", "stride", "offset", "storage", "readonly"})
"""Every field that a row of `arrays` may have."""

_LAST_CHARACTER = 0x10FFFF


def is_array(value: Any) -> bool:
    """Whether ``value`` is an array of numpy, or of a subclass."""
    numpy: Any = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


# encoding


def encode_array(enc: Encoder, value: Any) -> Value:
    """Return ``["array", row]``: the same row for the same array.

    Raises:
        Refused: it is of a subclass or of a dtype that cannot be kept.
    """
    enc.refuse_argument(value)
    row = enc.row("arrays", id(value))
    if row is not None:
        return ["array", row]
    why = _why_not(value)
    if why is not None:
        raise Refused.because(why)
    size, stride, itemsize = list(value.shape), list(value.strides), value.dtype.itemsize
    record: dict[str, Any] = {"dtype": value.dtype.str, "size": size}
    if value.size and stride != contiguous_strides(size, itemsize):
        record["stride"] = stride
    if not value.flags.writeable:
        record["readonly"] = True
    enc.features.add(NUMPY_ARRAYS)
    enc.document.setdefault("arrays", [])  # type: ignore[typeddict-item]
    row = enc.add("arrays", id(value), record)
    enc.keep_alive(value)
    if value.size:
        array_memory.note(enc, value, row, *extent(size, stride, itemsize))
    return ["array", row]


def _why_not(value: Any) -> str | None:
    """Return why an array cannot be kept and what to do, or None if it can."""
    numpy: Any = sys.modules["numpy"]
    kind, dtype = type(value), value.dtype
    if isinstance(value, numpy.ma.MaskedArray):
        return "a masked array cannot be kept; keep its .data and its .mask as arrays"
    if dtype.kind == "V" and dtype.names:
        return f"an array of dtype {dtype} has fields and cannot be kept; keep each as an array of its own"
    if kind is not numpy.ndarray:
        return f"a {kind.__module__}.{kind.__qualname__} cannot be kept; keep numpy.array(value) in its place"
    if dtype.kind == "O":
        return "an array of objects cannot be kept; keep value.tolist() in its place"
    if DTYPE.fullmatch(dtype.str) is None or numpy.dtype(dtype.str) != dtype:
        return f"an array of dtype {dtype} cannot be kept; convert it with .astype() to a number, S, U or datetime"
    if dtype.metadata:
        return "an array whose dtype has metadata cannot be kept; use value.astype(value.dtype.str)"
    if _is_checked(dtype):
        if _overlaps_itself(list(value.shape), list(value.strides), dtype.itemsize):
            return f"an array of dtype {dtype} whose elements overlap cannot be kept; copy it with .copy()"
        return _why_not_its_bytes(value)
    return None


# decoding


def decode_array(dec: Decoder, tagged: Value) -> Any:
    """Return the array of ``["array", row]``: the same one for the same row.

    Raises:
        InvalidDocument: the row breaks a rule of `spec/schema-2-arrays.md`.
        MissingNumpy: numpy is not installed.
    """
    if type(dec.document.get("arrays")) is not list:
        raise InvalidDocument("table arrays", "it is not there")
    row = tagged[1]
    return dec.row("arrays", row, lambda record: _build(dec, record, f"arrays[{row}]"))


def _build(dec: Decoder, record: Any, where: str) -> Any:
    if type(record) is not dict or not {"dtype", "size"} <= record.keys() <= FIELDS:
        raise InvalidDocument(where, "it is not a record of an array")
    numpy = _numpy()
    dtype = _dtype(numpy, record["dtype"], where)
    size = _integers(record["size"], "size", where, 0)
    standard = contiguous_strides(size, dtype.itemsize)
    stride = _integers(record["stride"], "stride", where, -MAX_EXTENT) if "stride" in record else standard
    offset = check_integer(record.get("offset", 0), "offset", where)
    elements = dtype.itemsize
    for length in size:
        elements *= length or 1
    if len(size) != len(stride) or elements > MAX_EXTENT:
        raise InvalidDocument(where, "its strides are not as many as its sizes, or it is too large for numpy")
    try:
        array = _over_storage(dec, numpy, record, dtype, size, stride, offset, where)
    except (ValueError, TypeError, RuntimeError, MemoryError) as error:
        raise InvalidDocument(where, f"numpy cannot build it ({reason(error)})") from None
    if check_flag(record, "readonly", where):
        array.flags.writeable = False
    return array


def _over_storage(
    dec: Decoder,
    numpy: Any,
    record: dict[str, Any],
    dtype: Any,
    size: list[int],
    stride: list[int],
    offset: int,
    where: str,
) -> Any:
    if 0 in size:
        if record.keys() & {"storage", "stride", "offset"}:
            raise InvalidDocument(where, "it has no elements, and says where they are")
        return numpy.empty(size, dtype)
    flat = _bytes(dec, record.get("storage"), where)
    low, high = extent(size, stride, dtype.itemsize)
    if offset + low < 0 or offset + high > flat.nbytes:
        raise InvalidDocument(
            where, f"it needs bytes {offset + low} to {offset + high} and its storage has {flat.nbytes}"
        )
    array = numpy.ndarray(tuple(size), dtype, flat, offset, tuple(stride))
    if _is_checked(dtype):
        if _overlaps_itself(size, stride, dtype.itemsize):
            raise InvalidDocument(where, f"its elements, of {dtype}, overlap")
        why = _why_not_its_bytes(array)
        if why is not None:
            raise InvalidDocument(where, why.partition(";")[0])
    return array


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        raise MissingNumpy() from None
    return numpy


def _dtype(numpy: Any, name: Any, where: str) -> Any:
    if type(name) is str and DTYPE.fullmatch(name) is not None:
        try:
            dtype = numpy.dtype(name)
        except (TypeError, ValueError):
            dtype = None
        if dtype is not None and dtype.str == name:
            return dtype
    raise InvalidDocument(where, f"its dtype is {name!r:.80}")


def _integers(values: Any, what: str, where: str, least: int) -> list[int]:
    if type(values) is not list or len(values) > MAX_DIMENSIONS:
        raise InvalidDocument(where, f"its {what} is not a list of up to {MAX_DIMENSIONS} integers")
    for value in values:
        if type(value) is not int or not least <= value <= MAX_EXTENT:
            raise InvalidDocument(where, f"its {what} has the entry {value!r:.80}")
    return values


def _bytes(dec: Decoder, row: Any, where: str) -> Any:
    """Return the bytes of a storage as an array: a tensor holds them, so that nobody can move them away."""
    storage = decode_host_storage(dec, row, where)
    known = dec.objects.setdefault("bytes of arrays", {})
    flat = known.get(row)
    if flat is None:
        tensor = torch.empty(0, dtype=torch.uint8, device="cpu").set_(storage)
        flat = known[row] = tensor.numpy()
    return flat


# what an array sees


def _is_checked(dtype: Any) -> bool:
    """Whether not all bytes are elements of ``dtype``: numpy goes out of bounds where bools are neither 0 nor 1."""
    return dtype.kind in "bU"


def _overlaps_itself(size: list[int], stride: list[int], itemsize: int) -> bool:
    """Whether there are more elements to check than their memory has room for; repeated ones count once."""
    pairs = [(length, step) for length, step in zip(size, stride, strict=True) if step and length > 1]
    count = itemsize
    for length, _ in pairs:
        count *= length
    low, high = extent([length for length, _ in pairs], [step for _, step in pairs], itemsize)
    return bool(min(size, default=1)) and count > high - low


def _why_not_its_bytes(array: Any) -> str | None:
    """Return what is wrong with the bytes of bools or of strings of characters, or None."""
    once = array[tuple([slice(None) if step else slice(1) for step in array.strides])]
    numpy: Any = sys.modules["numpy"]
    if not once.size:
        return None
    if once.dtype.kind == "b":
        good = bool((once.view(numpy.uint8) <= 1).all())
        return None if good else "its bools have bytes other than 0 and 1; use value.view('u1') != 0"
    order, count = once.dtype.str[0], once.dtype.itemsize // 4
    codes = once.view(numpy.dtype([("codes", f"{order}u4", (count,))]))["codes"]  # whatever the strides
    good = int(codes.max()) <= _LAST_CHARACTER
    return None if good else "its strings have characters beyond Unicode; use value.view('u4')"


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [(is_array, encode_array)]
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"array": decode_array}
