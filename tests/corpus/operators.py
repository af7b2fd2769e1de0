"""Graphs of one operator that some release of torch removed, renamed, changed or registers late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import fx

SQUARE = torch.tensor([[4.0, 2.0, 0.5], [2.0, 5.0, 1.0], [0.5, 1.0, 3.0]])
"""Symmetric and positive definite."""

SHAPES = "torch.fx.experimental.symbolic_shapes"
IN = "fx.experimental.symbolic_shapes"
PRIMS = "torch._inductor.inductor_prims"


@dataclass(frozen=True)
class Changed:
    """A call whose target only some releases have.

    Attributes:
        name: of the entry.
        target: dotted path below torch of a function, or ``Tensor.`` and the name of a method.
        args, kwargs: tensors become placeholders.
        first, last: releases that can write it; None for no end.
        register: module that registers it.
    """

    name: str
    target: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    first: str | None = None
    last: str | None = None
    register: str | None = None

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self) -> tuple[fx.GraphModule, tuple[Any, ...]]:
        """Return the graph and its inputs."""
        if self.register is not None:
            import_module(self.register)
        graph = fx.Graph()
        inputs: list[Any] = []

        def operand(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            inputs.append(value.clone())
            return graph.placeholder(f"x{len(inputs)}")

        args = tuple(operand(value) for value in self.args)
        kwargs = {key: operand(value) for key, value in self.kwargs.items()}
        owner, _, method = self.target.rpartition(".")
        if owner == "Tensor":
            graph.output(graph.call_method(method, args, kwargs))
        else:
            graph.output(graph.call_function(reached(self.target), args, kwargs))
        return fx.GraphModule(torch.nn.Module(), graph), tuple(inputs)


def reached(path: str) -> Callable[..., Any]:
    """Return what a dotted path below torch says."""
    found: Any = torch
    for part in path.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


def accumulated_gradient() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    """Add to the gradient of a tensor and return the gradient, as torch wrote it through 2.12."""
    return _accumulated(lambda graph, variable, gradient: (variable, gradient))


def accumulated_gradient_given() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    """The same as torch writes it from 2.13."""
    return _accumulated(
        lambda graph, variable, gradient: (
            variable,
            graph.call_function(getattr, (variable, "grad")),
            gradient,
        )
    )


def _accumulated(arguments: Callable[..., tuple[Any, ...]]) -> tuple[fx.GraphModule, tuple[Any, ...]]:
    graph = fx.Graph()
    variable, gradient = graph.placeholder("variable"), graph.placeholder("gradient")
    accumulate: Any = torch.ops.inductor.accumulate_grad_.default
    graph.call_function(accumulate, arguments(graph, variable, gradient))
    graph.output(graph.call_function(getattr, (variable, "grad")))
    return fx.GraphModule(torch.nn.Module(), graph), (torch.zeros(3), torch.ones(3))


POINTS = torch.tensor([[0.0, 1.0], [2.0, 3.0], [5.0, 8.0]])
IMAGE = torch.arange(32.0).reshape(1, 2, 4, 4) % 7
OFFSETS = torch.tensor([[[0, 3], [2, 1]]], dtype=torch.int8)

CHANGED = (
    Changed("cholesky_operator", "ops.aten.cholesky.default", (SQUARE,), {}, last="2.13"),
    Changed("cholesky_upper", "ops.aten.cholesky.default", (SQUARE, True), {}, last="2.13"),
    Changed("cholesky_method", "Tensor.cholesky", (SQUARE,), {}, last="2.13"),
    Changed("cholesky_function", "cholesky", (SQUARE,), {"upper": True}, last="2.13"),
    Changed("qr_operator", "ops.aten.qr.default", (SQUARE,), {}, last="2.13"),
    Changed("qr_function", "qr", (SQUARE[:, :2],), {"some": True}, last="2.13"),
    Changed("qr_complete", "ops.aten.qr.default", (SQUARE[:, :2],), {"some": False}, last="2.13"),
    Changed("cdist_keyword", "ops.aten._cdist_backward.default", (), {
        "grad": torch.ones(3, 3), "x1": POINTS, "x2": POINTS + 1, "p": 2.0, "cdist": torch.cdist(POINTS, POINTS + 1),
    }, last="2.13"),
    Changed("cdist_positional", "ops.aten._cdist_backward.default", (
        torch.ones(3, 3), POINTS, POINTS + 1, 2.0, torch.cdist(POINTS, POINTS + 1),
    ), {}),
    Changed("uniform", "ops.prims.uniform.default", ([2, 3],), {
        "low": 0.5, "high": 0.5, "dtype": torch.float32, "device": torch.device("cpu"),
    }, last="2.10"),
    Changed("uniform_strided", "ops.prims.uniform.default", ([2, 3],), {
        "low": 0.5, "high": 0.5, "dtype": torch.float32, "device": torch.device("cpu"), "stride": [3, 1],
    }, first="2.11"),
    Changed("fused_rms_norm", "ops.aten._fused_rms_norm.default", (SQUARE, [3], torch.ones(3), 1e-5), {}, first="2.9"),
    Changed("rename_method", "Tensor.rename", (SQUARE, None), {}, last="2.12"),
    Changed("rename_operator", "ops.aten.rename.default", (SQUARE, None), {}, last="2.12"),
    Changed("rename_in_place", "Tensor.rename_", (SQUARE, None), {}, last="2.12"),
    Changed("zeros_names", "ops.aten.zeros.names", ([2, 3],), {"names": None}, last="2.12"),
    Changed("hint_int", f"{IN}.hint_int", (3,), {}, last="2.11", register=SHAPES),
    Changed("hint_fallback", f"{IN}.hint_int", (3,), {"fallback": 5}, last="2.11", register=SHAPES),
    Changed("has_hint", f"{IN}.has_hint", (3,), {}, last="2.11", register=SHAPES),
    Changed("has_guarding_hint", f"{IN}.has_guarding_hint", (3,), {}, first="2.12", register=SHAPES),
    Changed("guarding_hint", f"{IN}.guarding_hint_or_throw", (3,), {}, first="2.12", register=SHAPES),
    Changed("optimization_hint", f"{IN}.optimization_hint", (3, 5), {}, first="2.12", register=SHAPES),
    Changed("definitely_true", f"{IN}.definitely_true", (True,), {}, last="2.7", register=SHAPES),
    Changed("definitely_false", f"{IN}.definitely_false", (True,), {}, last="2.7", register=SHAPES),
    Changed("low_memory_max_pool2d", "ops.prims._low_memory_max_pool2d_with_offsets.default",
            (IMAGE, [2, 2], [2, 2], [0, 0], [1, 1], False), {}, last="2.7", register=PRIMS),
    Changed("low_memory_indices2d", "ops.prims._low_memory_max_pool2d_offsets_to_indices.default",
            (OFFSETS, 2, 4, [2, 2], [0, 0]), {}, last="2.7", register=PRIMS),
    Changed("low_memory_max_pool", "ops.prims._low_memory_max_pool_with_offsets.default",
            (IMAGE, [2, 2], [2, 2], [0, 0], [1, 1], False), {}, first="2.8", register=PRIMS),
    Changed("fused_multiply_add", "ops.prims.fma.default", (SQUARE, SQUARE, SQUARE), {}, register=PRIMS),
    Changed("quantized_decomposed", "ops.quantized_decomposed.quantize_per_tensor.default",
            (SQUARE, 0.5, 3, 0, 255, torch.uint8), {}, register="torch.ao.quantization.fx._decomposed"),
)  # fmt: skip
