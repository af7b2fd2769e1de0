"""Programs over jagged tensors, compiled with a backend that saves and loads every graph and runs what came back.

Dynamo stands for a ragged size by a symbol whose hint is a nested integer. The programs compute what they compute with
torch's own "eager" and "aot_eager" backends, gradients included.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nested import nested_tensor_from_jagged
from torch.utils import _pytree as pytree

from fxarchive.codec.running_torch import RunningTorch

from .compare import differences
from .test_compile_backend import Reloading

pytestmark = pytest.mark.usefixtures("fresh_dynamo")


def jagged(*lengths: int, requires_grad: bool = False) -> Tensor:
    parts = [torch.arange(4.0 * length).reshape(length, 4) / 7 for length in lengths]
    return torch.nested.nested_tensor(parts, layout=torch.jagged, requires_grad=requires_grad)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu(self.norm(self.first(x))))


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    first, second = x.chunk(2, -1)
    return torch.softmax(first * second, -1), (second @ torch.ones(2, 3)).unsqueeze(-1)


def of_parts(values: Tensor, offsets: Tensor, more: Tensor) -> Tensor:
    first, second = (nested_tensor_from_jagged(values, each) for each in (offsets, more))
    return (first * 2).values() + second.sin().values()


def same_offsets(x: Tensor) -> Tensor:
    other = nested_tensor_from_jagged(x.values() * 2, x.offsets())
    return x + other


def breaks(x: Tensor) -> Tensor:
    y = x.sin()
    torch._dynamo.graph_break()
    return y * y.size(0) + x


def with_lengths(values: Tensor, offsets: Tensor, lengths: Tensor) -> Tensor:
    return nested_tensor_from_jagged(values, offsets, lengths=lengths).cos().values()


Program = tuple[Callable[[], Callable[..., Any]], list[Callable[[], tuple[Any, ...]]]]


def function(call: Callable[..., Any], *inputs: Callable[[], tuple[Any, ...]]) -> Program:
    return lambda: call, list(inputs)


def two_of_one() -> tuple[Any, ...]:
    x = jagged(2, 3)
    return x, x * 3


PROGRAMS: dict[str, Program] = {
    "pointwise": function(lambda x: (x * 2).sin(), lambda: (jagged(2, 3),), lambda: (jagged(4, 1, 2),)),
    "trained": function(lambda x: (x * x).cos(), lambda: (jagged(2, 3, requires_grad=True),)),
    "same offsets": function(lambda x, y: x + y * 2, two_of_one),
    "two sizes": function(lambda x, y: (x * 2, y.sin()), lambda: (jagged(2, 3), jagged(1, 4))),
    "transposed": function(lambda x: x.transpose(1, 2) * x.size(0), lambda: (jagged(2, 3),)),
    "sums": function(lambda x: (x.sum(1), x.mean(-1)), lambda: (jagged(2, 3),)),
    "padded": function(lambda x: x.to_padded_tensor(0.0) + 1, lambda: (jagged(2, 3),)),
    "parts of an input": function(same_offsets, lambda: (jagged(2, 3),)),
    "breaks": function(breaks, lambda: (jagged(2, 3),)),
    "of parts": function(
        of_parts,
        lambda: (torch.ones(5, 4).requires_grad_(), torch.tensor([0, 2, 5]), torch.tensor([0, 1, 5])),
    ),
    "with lengths": function(
        with_lengths, lambda: (torch.ones(8, 4), torch.tensor([0, 2, 5, 8]), torch.tensor([1, 2, 3]))
    ),
    "block": (Block, [lambda: (jagged(2, 3, requires_grad=True),), lambda: (jagged(5, 1),)]),
    "halves": function(halves, lambda: (jagged(2, 3),)),
}


def results(name: str, backend: Any) -> list[Any]:
    """Run a program, and return outputs and gradients."""
    torch._dynamo.reset()
    torch.manual_seed(7)
    make, calls = PROGRAMS[name]
    made = make()
    compiled = torch.compile(made, backend=backend)
    found: list[Any] = []
    for inputs in calls:
        own = inputs()
        outputs = [_parts(each) for each in pytree.tree_leaves(compiled(*own))]
        wanting = [values for values, _ in outputs if values.requires_grad]
        if wanting:
            sum([values.sum() for values in wanting]).backward()  # type: ignore[union-attr]
        gradients = [each.grad if each.grad is None else _parts(each.grad) for each in own]
        found.append(pytree.tree_map_only(Tensor, lambda each: each.detach().clone(), [outputs, gradients]))
    if isinstance(made, nn.Module):
        found.append([each.grad for each in made.parameters()])
    return found


def _parts(tensor: Tensor) -> tuple[Tensor, Tensor | None]:
    return (tensor.values(), tensor.offsets()) if tensor.is_nested else (tensor, None)


@functools.cache
def expected(name: str, backend: str) -> Any:
    """What torch's own backend gives, or the error that it raises."""
    try:
        return results(name, backend)
    except Exception as error:
        return error


def _expected(name: str, backend: str) -> list[Any]:
    found: Any = expected(name, backend)
    if isinstance(found, Exception):
        pytest.skip(f"torch {RunningTorch.release} cannot compile it: {str(found).splitlines()[0]:.80}")
    wanted: list[Any] = found
    return wanted


@pytest.mark.parametrize("live", [False, True], ids=["own mode", "mode of the compilation"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_graphs_of_dynamo(name: str, live: bool) -> None:
    wanted, reloading = _expected(name, "eager"), Reloading(live=live, strict=True)
    assert differences(wanted, results(name, reloading.dynamo)) == []
    assert reloading.graphs


@pytest.mark.slow
@pytest.mark.parametrize("live", [False, True], ids=["own mode", "mode of the compilation"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_graphs_of_dynamo_and_both_graphs_of_autograd(name: str, live: bool) -> None:
    wanted, reloading = _expected(name, "aot_eager"), Reloading(live=live)
    assert differences(wanted, results(name, reloading.autograd)) == []
    assert len(reloading.graphs) > 1
