"""Operators of compiled autograd."""

from __future__ import annotations

from fxarchive.migrations.operators.calls import Call, Result, Unportable, Upgrader

NAME = "inductor::accumulate_grad_"
OLD = f"{NAME}(Tensor variable, Tensor new_grad) -> ()"
NEW = f"{NAME}(Tensor variable, Tensor? variable_grad, Tensor? new_grad) -> Tensor?"


def _give_gradient(call: Call) -> list[Call]:
    variable = call.argument(0, "variable")
    calls = [
        Call("function", "builtins.getattr", (variable, "grad")),
        Call("operator", NAME, (variable, Result(0), call.argument(1, "new_grad"))),
    ]
    # the old form returned nothing, so whoever uses its result gets None
    nothing = Call("function", "operator.getitem", (["tuple", [None]], 0))
    return [*calls, nothing] if call.used else calls


def _take_gradient(call: Call) -> list[Call]:
    if call.used:
        raise Unportable("releases before 2.13 return nothing from it; load with torch 2.13 or later")
    return [Call("operator", NAME, (call.argument(0, "variable"), call.argument(2, "new_grad")))]


UPGRADERS = (
    Upgrader("operator", NAME, "torch 2.13 asks for the gradient so far", _give_gradient, (OLD,)),
    Upgrader(
        "operator", NAME, "before torch 2.13 it finds the gradient so far itself", _take_gradient, (NEW,)
    ),
)
