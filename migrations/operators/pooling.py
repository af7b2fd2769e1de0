"""Inductor's max pooling with small offsets in place of indices, renamed and generalised by torch 2.8."""

from __future__ import annotations

from typing import Any

from fxarchive.migrations.operators.calls import Call, Unportable, Upgrader

_WHY = "torch 2.8 renamed it and takes any number of dimensions"


def _with_offsets(call: Call) -> list[Call]:
    if _numbers(call.argument(4, "dilation")) != [1, 1]:
        raise Unportable("torch 2.7 counts its offsets otherwise where it is dilated; load with torch 2.7")
    return [Call("operator", "prims::_low_memory_max_pool_with_offsets", call.args, call.kwargs)]


def _older_with_offsets(call: Call) -> list[Call]:
    if (
        _numbers(call.argument(4, "dilation")) != [1, 1]
        or len(_numbers(call.argument(1, "kernel_size"))) != 2
    ):
        raise Unportable(
            "torch 2.7 has it for two dimensions without dilation only; load with torch 2.8 or later"
        )
    return [Call("operator", "prims::_low_memory_max_pool2d_with_offsets", call.args, call.kwargs)]


def _numbers(value: Any) -> list[Any]:
    return list(value[1]) if type(value) is list and value[0] in ("list", "ilist", "tuple") else []


def _offsets_to_indices(call: Call) -> list[Call]:
    width, input_width = call.argument(1, "kernel_w"), call.argument(2, "input_w")
    # heights do not count: an index is row * width + column
    args = (
        call.argument(0, "self"),
        ["ilist", [1, width]],
        ["ilist", [1, input_width]],
        call.argument(3, "stride"),
        call.argument(4, "padding"),
        ["ilist", [1, 1]],
    )
    return [Call("operator", "prims::_low_memory_max_pool_offsets_to_indices", args)]


UPGRADERS = (
    Upgrader(
        "operator",
        "prims::_low_memory_max_pool_with_offsets",
        "before torch 2.8 it has another name and two dimensions",
        _older_with_offsets,
    ),
    Upgrader("operator", "prims::_low_memory_max_pool2d_with_offsets", _WHY, _with_offsets),
    Upgrader("operator", "prims::_low_memory_max_pool2d_offsets_to_indices", _WHY, _offsets_to_indices),
)
