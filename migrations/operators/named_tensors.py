"""Named tensors, which torch 2.13 removed: what carried no name goes on without."""

from __future__ import annotations

import re

from fxarchive.migrations.operators.calls import Call, Kind, Unportable, Upgrader

REMEDY = (
    "torch 2.13 removed named tensors; capture the graph again with dimensions by number, "
    "or load with torch 2.12 or earlier"
)

OVERLOADS = re.compile(
    r"aten::(?:align_to\.\w+|\w+\.(?:\w*[dD]imname\w*|DimnameList|named_out_dim|using_names|\w*names\w*))"
)
"""Overloads that take names of dimensions."""

_FACTORIES = {
    "aten::empty.names": "aten::empty.memory_format",
    "aten::full.names": "aten::full",
    "aten::ones.names": "aten::ones",
    "aten::zeros.names": "aten::zeros",
    "aten::rand.names": "aten::rand",
    "aten::rand.generator_with_names": "aten::rand.generator",
    "aten::randn.names": "aten::randn",
    "aten::randn.generator_with_names": "aten::randn.generator",
}


def _without_names(call: Call) -> list[Call]:
    if call.kwargs.get("names") is not None:
        raise Unportable(REMEDY)
    kwargs = {name: value for name, value in call.kwargs.items() if name != "names"}
    return [Call("operator", _FACTORIES[call.name], call.args, kwargs)]


def _alias(call: Call) -> list[Call]:
    """``x.rename(None)`` is a view of x without names: x again."""
    return [Call("operator", "aten::alias", (_unnamed(call),))]


def _itself(call: Call) -> list[Call]:
    return [Call("function", "operator.getitem", (["tuple", [_unnamed(call)]], 0))]


def _unnamed(call: Call) -> object:
    if (
        len(call.args) > 2
        or call.argument(1, "names") is not None
        or set(call.kwargs) - {"self", "input", "names"}
    ):
        raise Unportable(REMEDY)
    return call.args[0] if call.args else call.kwargs.get("self", call.kwargs.get("input"))


_WHY = "torch 2.13 removed named tensors; without names the tensor stays as it is"

_RENAMES: tuple[tuple[Kind, str], ...] = (
    ("method", "{}"),
    ("function", "torch.Tensor.{}"),
    ("function", "torch.{}"),
    ("operator", "aten::{}"),
    ("packet", "aten::{}"),
)

UPGRADERS = (
    *[Upgrader("operator", name, _WHY, _without_names) for name in _FACTORIES],
    *[Upgrader(kind, form.format("rename"), _WHY, _alias) for kind, form in _RENAMES],
    *[Upgrader(kind, form.format("rename_"), _WHY, _itself) for kind, form in _RENAMES],
    *[
        Upgrader(kind, form.format(name), REMEDY, None)
        for name in ("align_as", "align_tensors", "align_to", "has_names", "refine_names")
        for kind, form in _RENAMES
    ],
    Upgrader("function", "torch.functional.align_tensors", REMEDY, None),
)
