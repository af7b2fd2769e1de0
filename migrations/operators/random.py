"""Random numbers of primitive operators."""

from __future__ import annotations

from typing import Any

from fxarchive.migrations.operators.calls import Call, Unportable, Upgrader

NAME = "prims::uniform"
_HEAD = f"{NAME}(SymInt[] shape, *, Scalar low, Scalar high, ScalarType dtype, Device device,"
OLD = f"{_HEAD} Generator? generator=None) -> Tensor"
NEW = f"{_HEAD} SymInt[] stride, Generator? generator=None) -> Tensor"


def contiguous(shape: list[int]) -> list[int]:
    """Return the strides, in elements, of a contiguous tensor.

    >>> contiguous([2, 0, 3])
    [3, 3, 1]
    """
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return strides[::-1]


def _numbers(value: Any) -> list[int]:
    if type(value) is not list or not all(type(size) is int for size in value[1]):
        raise Unportable("its shape is computed; load with torch 2.10 or earlier")
    return list(value[1])


def _give_stride(call: Call) -> list[Call]:
    shape = call.argument(0, "shape")
    kwargs = {**call.kwargs, "stride": ["ilist", contiguous(_numbers(shape))]}
    return [Call("operator", NAME, call.args, kwargs)]


def _take_stride(call: Call) -> list[Call]:
    shape, stride = _numbers(call.argument(0, "shape")), call.kwargs["stride"]
    if _numbers(stride) != contiguous(shape):
        raise Unportable("its stride is not contiguous; load with torch 2.11 or later")
    kwargs = {name: value for name, value in call.kwargs.items() if name != "stride"}
    return [Call("operator", NAME, call.args, kwargs)]


UPGRADERS = (
    Upgrader("operator", NAME, "torch 2.11 asks for the stride; it was contiguous", _give_stride, (OLD,)),
    Upgrader("operator", NAME, "before torch 2.11 it has no stride", _take_stride, (NEW,)),
)
