"""ExportedPrograms and the modules that they give: everything comes back, and does what it did."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.export import Dim, ExportedProgram, export

import fxarchive

from ..compare import assert_same


class Model(torch.nn.Module):
    """Parameters, buffers of both kinds, a constant, a mutated buffer, a keyword argument, a dict in and out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(4, 4)
        self.register_buffer("count", torch.zeros(4))
        self.register_buffer("scale", torch.full((4,), 2.0), persistent=False)
        self.shift = torch.arange(4.0)

    def forward(self, x: torch.Tensor, *, more: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.count.add_(1)
        if x.shape[0] > 3:
            x = x + 1
        return {"sum": self.linear(x) * self.scale + self.shift + self.count, "more": more["k"] * 2 + x.sum()}


ROWS = Dim("rows", min=4, max=64)


def plain(module: torch.nn.Module) -> Any:
    """Take from the graphs what other tests are about, so that programs are compared on their own."""
    for held in module.modules():
        if isinstance(held, torch.fx.GraphModule):
            held.meta.pop("dynamo_compile_id", None)
    return module


def program(strict: bool = False) -> ExportedProgram:
    torch.manual_seed(1)
    inputs = (torch.randn(5, 4),), {"more": {"k": torch.randn(5)}}
    shapes = {"x": {0: Dim.AUTO}, "more": {"k": {0: Dim.AUTO}}}
    made = export(Model(), *inputs, dynamic_shapes=shapes, strict=strict)
    plain(made.graph_module)
    return made


def arguments(rows: int) -> tuple[Any, Any]:
    torch.manual_seed(2)
    return (torch.randn(rows, 4),), {"more": {"k": torch.randn(rows)}}


@pytest.mark.parametrize("strict", [False, True])
def test_a_program_comes_back(strict: bool) -> None:
    saved = program(strict)
    data = fxarchive.dumps(saved)
    loaded = fxarchive.loads(data)
    assert_same(saved, loaded)
    assert fxarchive.dumps(loaded) == data
    assert str(loaded) == str(saved)
    assert loaded.graph_signature == saved.graph_signature
    assert_same(
        saved.module()(*arguments(7)[0], **arguments(7)[1]),
        loaded.module()(*arguments(7)[0], **arguments(7)[1]),
    )


def test_a_module_of_a_program_comes_back() -> None:
    saved = plain(program().module())
    data = fxarchive.dumps(saved)
    loaded = fxarchive.loads(data)
    assert_same(saved, loaded)
    assert fxarchive.dumps(loaded) == data
    args, kwargs = arguments(6)
    assert_same(saved(*args, **kwargs), loaded(*args, **kwargs))
    assert_same(saved.count, loaded.count)


@pytest.mark.parametrize(
    "wrong",
    [
        arguments(2),
        ((torch.randn(6, 5),), {"more": {"k": torch.randn(6)}}),
        ((torch.randn(6, 4),), {"more": torch.randn(6)}),
        ((torch.randn(6, 4),), {}),
    ],
    ids=["below the range", "specialized size", "other tree", "missing"],
)
def test_a_loaded_module_refuses_what_the_saved_one_refuses(wrong: tuple[Any, Any]) -> None:
    saved = plain(program().module())
    loaded = fxarchive.loads(fxarchive.dumps(saved))
    texts = []
    for module in (saved, loaded):
        with pytest.raises((AssertionError, ValueError, TypeError, RuntimeError)) as raised:
            module(*wrong[0], **wrong[1])
        texts.append((raised.type, str(raised.value)))
    assert texts[0] == texts[1]
