"""Graphs with symbolic shapes, each with other kinds of symbol or fact in its environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim
from torch.fx.experimental.proxy_tensor import make_fx

Example = tuple[fx.GraphModule, tuple[Any, ...]]


def _traced(function: Callable[..., Any], *inputs: Any) -> Example:
    return make_fx(function, tracing_mode="symbolic")(*inputs), inputs


def _exported(module: nn.Module, inputs: tuple[Any, ...], dims: Any) -> Example:
    program = torch.export.export(module, inputs, dynamic_shapes=dims, strict=False)
    return program.graph_module, (*program.state_dict.values(), *inputs)


def symbolic_views() -> Example:
    """Views that share a storage, of another dtype, with symbolic offsets, expanded, transposed."""

    def function(x: torch.Tensor) -> Any:
        flat = x.reshape(-1)
        half = flat[flat.shape[0] // 2 :]
        return x.t().view(torch.int32)[1:], x.expand(3, -1, -1) + 1, half * 2, x.diagonal().sum(), x.numel()

    return _traced(function, torch.arange(20.0).reshape(5, 4))


def symbolic_guards() -> Example:
    """Inequalities, divisibility, Max and a choice among the guards."""

    def function(x: torch.Tensor, y: torch.Tensor) -> Any:
        if x.shape[0] * 2 > y.shape[0] and y.shape[0] % 4 == 0:
            return x.sum() * x.shape[0] + max(x.shape[0], y.shape[0]), y.view(-1, 4).sum(1)
        return y.sum(), x

    return _traced(function, torch.arange(7.0), torch.arange(12.0))


def symbolic_decoder_step() -> Example:
    """An attention step of a batch and a length, exported."""

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.key, self.query, self.value = (nn.Linear(8, 8) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = (
                layer(x).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (self.query, self.key, self.value)
            )
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
            scores = (q @ k.mT).masked_fill(~mask, float("-inf")).softmax(-1)
            return (scores @ v).transpose(1, 2).flatten(-2) + x.shape[1]

    dims = ({0: Dim("batch", max=64), 1: Dim("length", min=2, max=128)},)
    return _exported(Step().eval(), (torch.randn(3, 5, 8),), dims)


def symbolic_derived_dims() -> Example:
    """A dimension that is four times another, by name."""

    class Program(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
            return x.reshape(-1, 4).sum(0) + y[: x.shape[0] // 4].sum() * x.shape[0]

    dim = Dim("d", min=2, max=64)
    return _exported(Program(), (torch.ones(12), torch.ones(3)), ({0: 4 * dim}, {0: dim}))


def symbolic_data_dependent() -> Example:
    """Sizes that depend on data, with asserts about them."""

    def function(x: torch.Tensor, y: torch.Tensor) -> Any:
        n = x.sum().item()
        torch._check(n >= 2)
        torch._check(n <= y.shape[0])
        rows = y[:n].nonzero()
        return rows.shape[0] * n, y.narrow(0, 0, n) + 1

    return _traced(function, torch.ones(4, dtype=torch.int64), torch.arange(9.0))


def symbolic_numbers() -> Example:
    """Floats and booleans among the symbols: scale factors, divisions, means."""

    def function(x: torch.Tensor) -> Any:
        y = torch.nn.functional.max_pool2d(x[None], 2, 1)
        return torch.nn.functional.interpolate(y, scale_factor=2.0), y.mean() * x.shape[1] / 2

    return _traced(function, torch.arange(216.0).reshape(3, 8, 9))


BUILDERS: tuple[Callable[[], Example], ...] = (
    symbolic_views,
    symbolic_guards,
    symbolic_decoder_step,
    symbolic_derived_dims,
    symbolic_data_dependent,
    symbolic_numbers,
)
