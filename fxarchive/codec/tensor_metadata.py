"""What torch.export notes of the tensor that a node gives: a named tuple, most of which equal an earlier one.

It is encoded as any named tuple is, but what equal ones hold is encoded once.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable
from typing import Any

import torch
from torch.fx.passes.shape_prop import TensorMetadata

from fxarchive.codec.containers import encode_dict, encode_named
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.document import Value

_NUMBERS = frozenset({int, bool, torch.SymInt})


def encode_tensor_metadata(enc: Encoder, value: TensorMetadata) -> Value:
    key = _key(enc, value)
    if key is None:
        return encode_named(enc, value)
    known: dict[Any, Value] = enc.state.setdefault("tensor metadata", {})
    found = known.get(key)
    if found is None:
        found = known[key] = encode_named(enc, value)
        return found
    tag, row, (*held, _) = found
    # the dict is a container of its own, which others may refer to
    return [tag, row, [*held, encode_dict(enc, value.qparams)]]


def _key(enc: Encoder, value: TensorMetadata) -> Any:
    """Return what only those have that are encoded alike, but for an empty dict; None for one out of the ordinary."""
    shape, dtype, requires_grad, stride, memory_format, is_quantized, qparams = value
    if type(shape) is not torch.Size or type(stride) is not tuple or type(dtype) is not torch.dtype:
        return None
    if qparams or type(qparams) is not dict or enc.is_inside():
        return None
    if memory_format is not None and type(memory_format) is not torch.memory_format:
        return None
    numbers = [len(shape), *shape, *stride, requires_grad, is_quantized]
    kinds = set(map(type, numbers))
    if not kinds <= _NUMBERS:
        return None
    if torch.SymInt in kinds:
        try:
            numbers = [enc.value(number) if type(number) is torch.SymInt else number for number in numbers]
        except Refused:
            return None  # where it is refused with its path
    return marshal.dumps(numbers, 2), dtype, memory_format  # equal bytes for equal values of equal types only


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {TensorMetadata: encode_tensor_metadata}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = []
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {}
