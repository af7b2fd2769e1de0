"""Nested integers: the sizes of ragged dimensions, which are known by whose they are and not by a number.

torch numbers them as they are made in a process, so an archive numbers them anew, in the order in which they are met.
They need the feature flag "tensor-subclasses", and so do the ranges of dimensions (``torch._dynamo.mark_dynamic``) that
torch itself puts on the parts of jagged tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fxarchive.codec import symbols
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.document import TENSOR_SUBCLASSES, Value
from fxarchive.errors import InvalidDocument

SymInt: Any = torch.SymInt  # torch leaves its constructor untyped

_MODULE = "torch.nested._internal.nested_int"


def is_nested_int(value: Any) -> bool:
    """Whether a SymInt is the size of a ragged dimension."""
    cls = type(value.node)
    return cls.__module__ == _MODULE and cls.__name__ == "NestedIntNode"


def encode_symint(enc: Encoder, value: torch.SymInt) -> Value:
    """Encode a SymInt; a nested integer is ``["nested_int", number, coefficient]``."""
    found = enc.symbolic.get(id(value.node))
    if found is not None:
        return found.copy()
    if not is_nested_int(value):
        return symbols.encode_symbolic(enc, value)
    node: Any = value.node
    if type(node.t_id) is not int or type(node.coeff) is not int:
        raise Refused.because("a nested integer without a number cannot be kept")
    enc.features.add(TENSOR_SUBCLASSES)
    numbers: dict[int, int] = enc.state.setdefault("nested integers", {})
    return ["nested_int", numbers.setdefault(node.t_id, len(numbers)), node.coeff]


def decode_nested_int(dec: Decoder, tagged: Value) -> torch.SymInt:
    """Return the nested integer; equal ones of a document are one object."""
    from torch.nested._internal import nested_tensor
    from torch.nested._internal.nested_int import NestedIntNode

    _, number, coefficient = tagged
    if type(number) is not int or type(coefficient) is not int or not 1 <= coefficient < 2**31 or number < 0:
        raise InvalidDocument(
            "a nested integer", f"{number!r:.40}, {coefficient!r:.40} are not its two numbers"
        )
    known = dec.objects.setdefault("nested integers", {})
    ids: dict[int, int] = dec.state.setdefault("ids of nested integers", {})
    if number not in ids:
        ids[number] = nested_tensor._tensor_id_counter
        nested_tensor._tensor_id_counter += 1
    key: Any = (number, coefficient)
    if key not in known:
        known[key] = SymInt(NestedIntNode(ids[number], coefficient))
    found: torch.SymInt = known[key]
    return found


def expect(parts: dict[str, Any], size: list[Any]) -> None:
    """Tell torch which nested integer belongs to the offsets of a jagged tensor, before the tensor is built."""
    ragged = [number for number in size if type(number) is torch.SymInt and is_nested_int(number)]
    source = parts.get("_lengths", parts.get("_offsets"))
    if ragged and type(source) is torch.Tensor:
        from torch.nested._internal import nested_tensor

        nested_tensor._tensor_symint_registry[source] = ragged[0]


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
