"""Symbolic shapes as a family: who encodes and decodes what, without importing sympy before a value needs it.

`fxarchive.codec.symbolic` does the work. It imports sympy and torch's symbolic shapes, which takes longer than
loading a graph of static shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder
from fxarchive.document import Value

TAGS = ("symint", "symfloat", "symbool", "expression", "value_range", "shape_env", "path_key")
"""Tags of this family; `spec/schema-2-symbols.md` says what each holds."""

_MODULES = ("sympy", "torch.utils._sympy", "torch.fx.experimental.symbolic_shapes")


def is_symbolic(value: Any) -> bool:
    """Whether the class of ``value`` is one of sympy or of torch's symbolic shapes."""
    module = type(value).__module__
    return module.startswith(_MODULES) and module.partition(".")[0] in ("sympy", "torch")


def encode_symbolic(enc: Encoder, value: Any) -> Value:
    from fxarchive.codec.symbolic import values as symbolic_values

    return symbolic_values.encode(enc, value)


def decode_symbolic(dec: Decoder, tagged: Value) -> Any:
    from fxarchive.codec.symbolic import values as symbolic_values

    return symbolic_values.DECODE[tagged[0]](dec, tagged)


def environment_rows(enc: Encoder) -> dict[int, int]:
    """Return id of a ShapeEnv -> its row, for those that have one."""
    if "symbolic" not in enc.document:
        return {}
    from fxarchive.codec.symbolic import shape_envs

    return shape_envs.environment_rows(enc)


def has_symbols(dec: Decoder) -> bool:
    """Whether the document has symbolic tables."""
    return "symbolic" in dec.document


def have_one_mode(dec: Decoder) -> bool:
    """Whether every FakeTensor of the document joins one mode: each environment of symbols has one of its own."""
    symbolic: Any = dec.document.get("symbolic")
    return symbolic is None or len(symbolic["environments"]) == 1


def fake_mode(dec: Decoder, environment: int | None = None) -> Any:
    """Return the FakeTensorMode that FakeTensors join; see `fxarchive.codec.symbolic.restore.fake_mode`."""
    if has_symbols(dec):
        from fxarchive.codec.symbolic import restore

        return restore.fake_mode(dec, environment)
    if dec.fake_mode is None:
        dec.fake_mode = FakeTensorMode(shape_env=_empty_environment(dec), allow_non_fake_inputs=True)
    return dec.fake_mode


def _empty_environment(dec: Decoder) -> Any:
    """Return a ShapeEnv where the mode needs one though nothing in the document has a symbol, else None.

    Programs and higher-order operators make symbols when they are traced again (`run_decompositions`).
    """
    if "programs" in dec.document or any([row[0] == "higher_order" for row in dec.document["targets"]]):
        from torch.fx.experimental.symbolic_shapes import ShapeEnv

        return ShapeEnv()
    return None


def restoring(dec: Decoder) -> AbstractContextManager[None]:
    """Return a context in which FakeTensors with symbolic sizes can be built without adding guards."""
    if not has_symbols(dec):
        return nullcontext()
    from fxarchive.codec.symbolic import restore

    return restore.restoring(dec)


def copier(
    wrap: Any, dtype: torch.dtype, size: list[Any], stride: list[Any], offset: Any, nbytes: Any
) -> Callable[[], Any] | None:
    """Return a function that makes FakeTensors of symbolic numbers; see `fxarchive.codec.fast.symbolic_fakes`."""
    from fxarchive.codec.fast import symbolic_fakes

    return symbolic_fakes.copier(wrap, dtype, size, stride, offset, nbytes)


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = dict.fromkeys(
    (
        torch.SymInt,
        torch.SymFloat,
        torch.SymBool,
        pytree.SequenceKey,
        pytree.MappingKey,
        pytree.GetAttrKey,
    ),
    encode_symbolic,
)
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [
    (is_symbolic, encode_symbolic),
]
DECODE: dict[str, Callable[[Decoder, Any], Any]] = dict.fromkeys(TAGS, decode_symbolic)
