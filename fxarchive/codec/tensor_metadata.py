"""What torch.export notes of the tensor that a node gives: a named tuple, most of which equal an earlier one.

It is encoded as any named tuple is, but what equal ones hold is encoded once.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable
from typing import Any

import torch
from torch.fx.passes.shape_prop import TensorMetadata

from fxarchive.codec.containers import encode_named
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder
from fxarchive.document import Value


def encode_tensor_metadata(enc: Encoder, value: TensorMetadata) -> Value:
    shape, dtype, requires_grad, stride, memory_format, is_quantized, qparams = value
    if type(shape) is not torch.Size or type(dtype) is not torch.dtype or enc.operands is not None:
        return encode_named(enc, value)
    try:
        # equal bytes for equal values of equal types only, see graphs
        numbers = marshal.dumps((tuple(shape), stride, requires_grad, is_quantized), 2)
        key = numbers, dtype, memory_format
    except ValueError:  # a size is a symbol
        return encode_named(enc, value)
    known: dict[Any, Value] = enc.state.setdefault("tensor metadata", {})
    found = known.get(key)
    if found is None:
        found = encode_named(enc, value)
        if type(stride) is tuple and {bool, int}.issuperset(
            map(type, (requires_grad, is_quantized, *stride))
        ):
            known[key] = found
        return found
    tag, row, (*held, _) = found
    # the dict is a container of its own, which others may refer to
    return [tag, row, [*held, *enc.items((qparams,), ".qparams".format)]]


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {TensorMetadata: encode_tensor_metadata}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = []
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {}
