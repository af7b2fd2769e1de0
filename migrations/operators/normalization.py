"""Normalization operators."""

from __future__ import annotations

from fxarchive.migrations.operators.calls import Call, Result, Upgrader

NAME = "aten::_fused_rms_norm"
OLD = f"{NAME}(Tensor input, int normalized_shape_ndim, Tensor weight, float eps) -> Tensor"


def _rms_norm(call: Call) -> list[Call]:
    """`aten::rms_norm` gives the one result that torch 2.8 gave; the normalized shape is that of the weight."""
    weight = call.argument(2, "weight")
    shape = Call("function", "builtins.getattr", (weight, "shape"))
    args = (call.argument(0, "input"), Result(0), weight, call.argument(3, "eps"))
    return [shape, Call("operator", "aten::rms_norm", args)]


UPGRADERS = (
    Upgrader(
        "operator", NAME, "torch 2.9 gave it other arguments and a second result", _rms_norm, schemas=(OLD,)
    ),
)
