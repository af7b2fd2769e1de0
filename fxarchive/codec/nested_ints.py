"""Nested integers: the sizes of ragged dimensions, which are known by whose they are and not by a number.

torch numbers them as they are made in a process, so an archive numbers them anew, in the order in which they are met.
They need the feature flag "tensor-subclasses", and so do the ranges of dimensions (``torch._dynamo.mark_dynamic``) that
torch itself puts on the parts of jagged tensors. Symbols that stand for one under tracing have a flag of their own, and
`symbolic.nested` does the work.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from fxarchive.codec import symbols
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder
from fxarchive.codec.nested_numbers import check_numbers, id_of, is_nested_int, nested_int, numbers_of
from fxarchive.document import TENSOR_SUBCLASSES, Value
from fxarchive.errors import InvalidDocument


def encode_symint(enc: Encoder, value: torch.SymInt) -> Value:
    """Encode a SymInt; a nested integer is ``["nested_int", number, coefficient]``."""
    found = enc.symbolic.get(id(value.node))
    if found is not None:
        return found.copy()
    if not is_nested_int(value):
        return symbols.encode_symbolic(enc, value)
    enc.features.add(TENSOR_SUBCLASSES)
    node: Any = value.node
    return ["nested_int", *numbers_of(enc, node.t_id, node.coeff)]


def decode_nested_int(dec: Decoder, tagged: Value) -> torch.SymInt:
    """Return the nested integer; equal ones of a document are one object."""
    _, number, coefficient = tagged
    check_numbers(number, coefficient, "a nested integer")
    known = dec.objects.setdefault("nested integers", {})
    key: Any = (number, coefficient)
    if key not in known:
        known[key] = nested_int(id_of(dec, number), coefficient)
    found: torch.SymInt = known[key]
    return found


def expect(parts: dict[str, Any], size: list[Any]) -> None:
    """Tell torch which nested integer belongs to the offsets of a jagged tensor, before the tensor is built."""
    ragged = [number for number in size if type(number) is torch.SymInt and is_nested_int(number)]
    source = parts.get("_lengths", parts.get("_offsets"))
    if ragged and type(source) is torch.Tensor:
        from torch.nested._internal import nested_tensor

        nested_tensor._tensor_symint_registry[source] = ragged[0]


@contextmanager
def memos_kept(parts: list[Any]) -> Iterator[None]:
    """Leave to each FakeTensor the ragged size that it is known to belong to.

    A jagged tensor that is built writes its own into its offsets. Several may share the offsets and have equal sizes
    in different symbols; the last one that was traced decided.
    """
    fakes = [part for part in parts if type(part) is FakeTensor]
    held = [part.nested_int_memo for part in fakes]
    try:
        yield
    finally:
        for part, memo in zip(fakes, held, strict=True):
            part.nested_int_memo = memo


def complete_marks(parts: list[Any]) -> None:
    """Give parts that are marked as dynamic the ranges that the running torch looks for when it marks them again.

    torch 2.15 leaves out ranges without bounds; 2.7 to 2.14 put one wherever there are marks, and rely on it.
    """
    for part in parts:
        state = vars(part)
        if _MARKS in state and _RANGES not in state and _has_ranges_with_marks():
            setattr(part, _RANGES, set())


_MARKS, _RANGES = "_dynamo_dynamic_indices", "_dynamo_dynamic_range"


@functools.cache
def _has_ranges_with_marks() -> bool:
    probe = torch.empty(1)
    torch._dynamo.mark_dynamic(probe, 0)
    return _RANGES in vars(probe)


def is_dim_range(value: Any) -> bool:
    """Whether ``value`` is the range in which a dimension was marked as dynamic."""
    cls = type(value)
    return cls.__module__ == "torch._dynamo.decorators" and cls.__name__ == "_DimRange"


def encode_dim_range(enc: Encoder, value: Any) -> Value:
    """Return ``["dim_range", dimension, least or None, most or None]``."""
    enc.features.add(TENSOR_SUBCLASSES)
    return ["dim_range", value.dim, value.min, value.max]


def decode_dim_range(dec: Decoder, tagged: Value) -> Any:
    """Return the range of a dimension."""
    from torch._dynamo.decorators import _DimRange

    _, dim, low, high = tagged
    if type(dim) is not int or not {type(low), type(high)} <= {int, type(None)}:
        raise InvalidDocument("a range of a dimension", "it is not a dimension and two numbers")
    return _DimRange(dim, low, high)


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {torch.SymInt: encode_symint}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [
    (is_dim_range, encode_dim_range),
]
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {
    "nested_int": decode_nested_int,
    "dim_range": decode_dim_range,
}
