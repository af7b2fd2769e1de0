"""Normalization operators."""

from __future__ import annotations

from typing import Any

from fxarchive.migrations.operators.calls import Call, Result, Unportable, Upgrader

NAME = "aten::_fused_rms_norm"
OLD = f"{NAME}(Tensor input, int normalized_shape_ndim, Tensor weight, float eps) -> Tensor"
NEW = f"{NAME}(Tensor input, int[] normalized_shape, Tensor? weight, float? eps) -> (Tensor, Tensor)"


def _rms_norm(call: Call) -> list[Call]:
    """`aten::rms_norm` gives the one result that torch 2.8 gave; the normalized shape is that of the weight."""
    weight = call.argument(2, "weight")
    shape = Call("function", "builtins.getattr", (weight, "shape"))
    args = (call.argument(0, "input"), Result(0), weight, call.argument(3, "eps"))
    return [shape, Call("operator", "aten::rms_norm", args)]


def _by_parts(call: Call) -> list[Call]:
    """What it gives, the values and the reciprocals of their root mean squares, by operators that all releases have."""
    values, shape = call.argument(0, "input"), call.argument(1, "normalized_shape")
    weight, eps = call.argument(2, "weight"), call.argument(3, "eps")
    if type(shape) is not list or type(eps) is not float:
        raise Unportable("its shape is computed or it has no eps; load with torch 2.9 or later")
    dims: Any = ["ilist", list(range(-len(shape[1]), 0))]
    return [
        Call("operator", "aten::rms_norm", (values, shape, weight, eps)),
        Call("operator", "aten::pow.Tensor_Scalar", (values, 2)),
        Call("operator", "aten::mean.dim", (Result(1), dims, True)),
        Call("operator", "aten::add.Scalar", (Result(2), eps)),
        Call("operator", "aten::rsqrt", (Result(3),)),
        Call("function", "operator.getitem", (["tuple", [["tuple", [Result(0), Result(4)]]]], 0)),
    ]


UPGRADERS = (
    Upgrader(
        "operator", NAME, "torch 2.9 gave it other arguments and a second result", _rms_norm, schemas=(OLD,)
    ),
    Upgrader("operator", NAME, "before torch 2.9 it is several operators", _by_parts, schemas=(NEW,)),
)
