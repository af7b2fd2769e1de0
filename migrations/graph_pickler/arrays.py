"""Arrays of numpy: a stream holds the shape, the dtype and the bytes of each, in C or in Fortran order.

Each array has bytes of its own in a pickle; which of them shared memory is not in the stream.
"""

from __future__ import annotations

from math import prod
from typing import Any

from fxarchive.array_layout import DTYPE, MAX_DIMENSIONS, contiguous_strides, itemsize
from fxarchive.document import NUMPY_ARRAYS
from fxarchive.migrations.graph_pickler.storages import add_bytes, count_bytes
from fxarchive.migrations.graph_pickler.translation import (
    Table,
    Translation,
    Untranslatable,
    is_name,
    sequence_of,
    shown,
)
from fxarchive.streams import Call, Pairs

_UNITS = frozenset({"Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"})


def _array(tr: Translation, call: Call) -> Any:
    """An array by its state: ``(version, shape, dtype, is in Fortran order, bytes)``."""
    cls, *_ = sequence_of(call.args, 3)
    if not is_name(cls, "numpy.ndarray"):
        raise Untranslatable.because(f"an array of class {shown(cls)} cannot be kept")
    _, shape, dtype, fortran, data = sequence_of(call.state, 5)
    if type(fortran) is not bool:
        raise Untranslatable.because("the order of an array is not known")
    return _row(tr, call, shape, dtype, fortran, data, readonly=False)


def _buffer(tr: Translation, call: Call) -> Any:
    """An array by its buffer, as protocol 5 has it: bytes are those of a read-only one."""
    data, dtype, shape, order, *rest = (*sequence_of(call.args), None, None, None, None)[:6]
    if order not in ("C", "F") or rest != [None, None]:
        raise Untranslatable.because("the order of an array is not known")
    return _row(tr, call, shape, dtype, order == "F", data, readonly=type(data) is bytes)


def _row(
    tr: Translation, call: Call, shape: Any, dtype: Any, fortran: bool, data: Any, readonly: bool
) -> list[Any]:
    if tr.operands is not None:
        raise Untranslatable.because("an array cannot be an argument of a node")
    row = tr.row("arrays", id(call))
    if row is not None:
        return ["array", row]
    name, size = _dtype(dtype), list(sequence_of(shape))
    if len(size) > MAX_DIMENSIONS or not all(
        [type(length) is int and 0 <= length < 1 << 63 for length in size]
    ):
        raise Untranslatable.because("the shape of an array is not made of numbers")
    if type(data) not in (bytes, bytearray) or len(data) != prod(size) * itemsize(name):
        raise Untranslatable.because(f"the bytes of an array are not those of its shape, of dtype {name}")
    record: dict[str, Any] = {"dtype": name, "size": size}
    standard = contiguous_strides(size, itemsize(name))
    stride = contiguous_strides(size[::-1], itemsize(name))[::-1] if fortran else standard
    if data and stride != standard:
        record["stride"] = stride
    if readonly:
        record["readonly"] = True
    tr.document.setdefault("arrays", [])
    tr.features.add(NUMPY_ARRAYS)
    row = tr.add("arrays", id(call), record)
    if data:
        count_bytes(tr, len(data))
        content = bytes(data)
        tr.at_end(lambda: record.update(storage=add_bytes(tr, call, "cpu", content)))
    return ["array", row]


def _dtype(call: Any) -> str:
    """Return what numpy calls the dtype of a stream: ``dtype("f4", False, True)`` with its byte order as state."""
    if type(call) is not Call or call.name != "numpy.dtype":
        raise Untranslatable.because(f"the dtype of an array is {shown(call)}")
    code, state = sequence_of(call.args, 3)[0], sequence_of(call.state)
    if len(state) not in (8, 9) or type(code) is not str or type(state[1]) is not str:
        raise Untranslatable.because("the dtype of an array is not described as numpy does")
    name = f"{state[1]}{code}" + (_unit(state[8]) if len(state) == 9 else "")
    if DTYPE.fullmatch(name) is None or any([part is not None for part in state[2:5]]):
        raise Untranslatable.because(f"an array of dtype {name[:80]} cannot be kept")
    return name


def _unit(metadata: Any) -> str:
    """Return the unit of a dtype of times from its metadata: ``({}, (b"s", 25, 1, 1))`` is ``[25s]``."""
    if metadata is None:
        return ""
    held, unit = sequence_of(metadata, 2)
    name, count, *rest = sequence_of(unit, 4)
    word = name.decode("ascii", "replace") if type(name) is bytes else name
    empty = held is None or (type(held) is Pairs and not len(held))
    if not empty or type(word) is not str or type(count) is not int or rest != [1, 1]:
        raise Untranslatable.because("an array whose dtype has metadata cannot be kept")
    if word == "generic":
        return ""
    return f"[{count if count != 1 else ''}{word}]" if word in _UNITS else "[?]"


CALLS: Table = {
    **dict.fromkeys(("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"), _array),
    **dict.fromkeys(("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"), _buffer),
}
