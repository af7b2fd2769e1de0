"""Exported programs, each with something that others do not have; `programs()` yields them all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram, export

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
Made = tuple[nn.Module, Inputs, Any]
"""A module, example inputs, dynamic shapes."""


@dataclasses.dataclass
class Pair:
    """A container that is registered with pytree; archives name it, so it must be trusted."""

    x: torch.Tensor
    y: torch.Tensor


torch.export.register_dataclass(Pair, serialized_type_name=f"{__name__}.Pair")
TRUST = (f"{__name__}.Pair",)


@torch.library.custom_op("fxarchive_programs::scaled", mutates_args=())
def scaled(x: torch.Tensor, by: float) -> torch.Tensor:
    return x * by


@scaled.register_fake
def _(x: torch.Tensor, by: float) -> torch.Tensor:
    return torch.empty_like(x)


class State(nn.Module):
    """Parameters, buffers of both kinds, a constant, a mutated buffer, a keyword argument, dicts in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("count", torch.zeros(4))
        self.register_buffer("scale", torch.full((4,), 2.0), persistent=False)
        self.shift = torch.arange(4.0)

    def forward(self, x: torch.Tensor, *, more: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.count.add_(1)
        if x.shape[0] > 3:
            x = x + 1
        return {"sum": self.linear(x) * self.scale + self.shift + self.count, "more": more["k"] * 2 + x.sum()}


class Tied(nn.Module):
    """One tensor under several names: of parameters, of buffers, of constants, and a view of one."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("first", torch.ones(4))
        self.second = self.first
        self.constant = torch.arange(3.0)
        self.same = self.constant
        self.part = self.constant[1:]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.head(self.embedding(x) * self.first + self.second)
        return y + self.constant.sum() * self.same.sum() * self.part.sum()


class Branches(nn.Module):
    """A subgraph for each branch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x.sum() > 0, lambda x: self.linear(x).sin(), lambda x: x.cos(), (x,))


class Mutating(nn.Module):
    """Buffers and an input that change."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(4))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.total.add_(x.sum(0))
        self.steps.add_(1)
        y.mul_(2)
        return y + self.total, self.steps + 0


class Registered(nn.Module):
    """A registered dataclass in and out."""

    def forward(self, pair: Pair, scale: float = 2.0) -> tuple[Pair, list[torch.Tensor]]:
        return Pair(pair.x + 1, pair.y * scale), [pair.x - pair.y.sum()]


class Counted(nn.Module):
    """Sizes that only the data knows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.max().item()
        torch._check(size >= 0)
        torch._check(size < 100)
        return torch.zeros(size) + x.nonzero().shape[0]


class Variadic(nn.Module):
    """Arguments by position and by keyword beyond those with a name; constants among inputs and outputs."""

    def forward(self, x: torch.Tensor, *args: torch.Tensor, scale: int = 2, **more: Any) -> dict[str, Any]:
        for other in args:
            x = x + other
        return {"sum": x * scale + more["z"], "none": None, "number": 3, "text": more["name"]}


class Shifted(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y[1:]


class Layers(nn.Module):
    """A module that is called twice, and a transformer layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.again = self.first
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.again(self.first(x)))


class Convolution(nn.Module):
    """Batch statistics that change, dropout, sizes that are multiples."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(torch.relu(self.norm(self.conv(x)))).flatten(1)


class Scaled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.fxarchive_programs.scaled(x, 1.5)


def state() -> Made:
    shapes = {"x": {0: Dim.AUTO}, "more": {"k": {0: Dim.AUTO}}}
    return State(), ((torch.randn(5, 4),), {"more": {"k": torch.randn(5)}}), shapes


def tied() -> Made:
    return Tied(), ((torch.randint(0, 10, (3,)),), {}), None


def branches() -> Made:
    return Branches(), ((torch.randn(3, 4),), {}), None


def mutating() -> Made:
    return Mutating(), ((torch.randn(3, 4), torch.randn(3, 4)), {}), None


def registered() -> Made:
    return Registered(), ((Pair(torch.randn(3), torch.randn(4)),), {}), None


def counted() -> Made:
    return Counted(), ((torch.tensor([1, 5, 0]),), {}), None


def variadic() -> Made:
    args = (torch.randn(3), torch.randn(3), torch.randn(1))
    return Variadic(), (args, {"z": torch.randn(3), "scale": 3, "name": "it"}), None


def shifted() -> Made:
    rows = Dim("rows", min=3, max=50)
    return Shifted(), ((torch.randn(5), torch.randn(6)), {}), {"x": {0: rows}, "y": {0: rows + 1}}


def layers() -> Made:
    return (
        Layers(),
        ((torch.randn(5, 7, 4),), {}),
        {"x": {0: Dim("batch", min=3, max=50), 1: Dim("length", min=2)}},
    )


def convolution() -> Made:
    shapes = {"x": {0: Dim("batch"), 2: 4 * Dim("rows", min=2), 3: Dim.AUTO}}
    return Convolution(), ((torch.randn(2, 3, 8, 8),), {}), shapes


def evaluated() -> Made:
    module, inputs, _ = convolution()
    return module.eval(), inputs, None


def custom() -> Made:
    return Scaled(), ((torch.randn(3),), {}), None


BUILDERS: tuple[Callable[[], Made], ...] = (
    *(
        state,
        tied,
        branches,
        mutating,
        registered,
        counted,
        variadic,
        shifted,
        layers,
        convolution,
        evaluated,
    ),
    custom,
)


def exported(build: Callable[[], Made], *, strict: bool = False) -> tuple[ExportedProgram, Inputs]:
    """Export what ``build`` makes, the same in every process; return the program and inputs to call it with."""
    torch.manual_seed(0)
    module, (args, kwargs), shapes = build()
    program = export(module, args, kwargs, dynamic_shapes=shapes, strict=strict)
    return program, (args, kwargs)


def programs(*, strict: bool = False) -> Iterator[tuple[str, ExportedProgram, Inputs]]:
    """Yield (name, program, inputs) for every builder of this file."""
    for build in BUILDERS:
        yield build.__name__, *exported(build, strict=strict)
