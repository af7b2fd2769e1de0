"""What dynamo puts into graphs besides torch's own: torch-numpy, einops, weak references, local functions."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx, nn

import fxarchive
from fxarchive.codec.running_torch import RunningTorch
from fxarchive.errors import UnsupportedValue

from ..compare import assert_same
from ..material import capture
from .round_trip import problems_of_round_trip
from .through import through_the_codec

X = torch.arange(12.0).reshape(3, 4) / 7


def arithmetic(x: torch.Tensor) -> Any:
    a = x.numpy()
    b = np.sin(a) + np.cos(a) ** 2 - a // 2
    return torch.from_numpy(np.maximum(b, 0.5) @ b.T)


def shapes(x: torch.Tensor) -> Any:
    a = x.numpy()
    parts = np.split(a, 2, axis=1)
    joined = np.concatenate([parts[1], parts[0]], axis=1).reshape(2, 6)
    return torch.from_numpy(np.stack([joined, joined[::1]]).transpose(1, 0, 2)), a.shape[0]


def reductions(x: torch.Tensor) -> Any:
    a = x.numpy()
    mean = a.mean(axis=0, keepdims=True)
    return torch.from_numpy(np.where(a > mean, a, np.zeros_like(a)).sum(axis=1)), torch.from_numpy(
        np.linalg.norm(a, axis=1)
    )


def made_in_numpy(x: torch.Tensor) -> Any:
    return torch.from_numpy(np.arange(4, dtype=np.float32) * np.ones(4, dtype=np.float32)) + x


NUMPY: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (arithmetic, shapes, reductions, made_in_numpy)
}


def captured(function: Callable[..., Any], *ways: str) -> list[capture.Captured]:
    found = list(capture.captured(getattr(function, "__name__", "graph"), function, (X,), ways))
    assert all(isinstance(each, capture.Captured) for each in found), found
    return found  # type: ignore[return-value]


def targets(module: fx.GraphModule) -> set[str]:
    return {
        f"{type(node.target).__module__} {getattr(node.target, '__module__', '')}"
        for node in module.graph.nodes
        if node.op == "call_function"
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("function", NUMPY.values(), ids=NUMPY)
def test_numpy_through_dynamo(function: Callable[..., Any]) -> None:
    for each in captured(function, "compile", "compile dynamic"):
        assert any("torch._dynamo.utils" in target for target in targets(each.graph_module)), "no torch-numpy"
        assert problems_of_round_trip(each.name, each.graph_module, each.inputs) == []


@pytest.mark.filterwarnings("ignore")
def test_einops_through_dynamo() -> None:
    einops = pytest.importorskip("einops")

    def function(x: torch.Tensor) -> Any:
        apart = einops.rearrange(x, "a (b c) -> b a c", b=2)
        return einops.reduce(apart, "b a c -> a c", "mean"), einops.repeat(x, "a b -> a b n", n=2)

    if RunningTorch.release == "2.7":
        function(
            X
        )  # its dynamo takes functions of einops into a graph once they have been called, and not before
    for each in captured(function, "compile", "aot"):
        assert problems_of_round_trip(each.name, each.graph_module, each.inputs) == []


def test_einops_as_targets() -> None:
    einops = pytest.importorskip("einops")
    graph = fx.Graph()
    placed = graph.call_function(einops.rearrange, (graph.placeholder("x"), "a (b c) -> b a c"), {"b": 2})
    graph.output(graph.call_function(einops.reduce, (placed, "b a c -> a c", "max")))
    module = fx.GraphModule(nn.Module(), graph)
    assert problems_of_round_trip("einops", module, (X,)) == []


# weak references


def test_a_live_reference_leads_to_the_loaded_object() -> None:
    module = fx.symbolic_trace(nn.ReLU())
    tensor = torch.ones(2)
    node = next(iter(module.graph.nodes))
    held = [
        module,
        tensor,
        weakref.ref(module),
        weakref.ref(tensor),
        weakref.ref(node),
        weakref.ref(module.graph),
    ]
    again = through_the_codec(held)
    assert again[2]() is again[0]
    assert again[3]() is again[1]
    assert again[4]() is next(iter(again[0].graph.nodes))
    assert again[5]() is again[0].graph
    assert_same(held, again)


def test_a_reference_to_a_fake_in_metadata_is_alive_after_loading() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    module = fx.symbolic_trace(nn.ReLU())
    for node in module.graph.nodes:
        node.meta["val"] = FakeTensorMode().from_tensor(X)
        node.meta["seen"] = weakref.ref(node.meta["val"])
    again = through_the_codec(module)
    gc.collect()
    assert all(node.meta["seen"]() is node.meta["val"] for node in again.graph.nodes)


def test_a_dead_reference_comes_back_dead() -> None:
    gone = weakref.ref(nn.ReLU())
    gc.collect()
    assert gone() is None
    again = through_the_codec([gone])
    assert again[0]() is None
    assert fxarchive.dumps(again) == fxarchive.dumps([gone])


def test_a_reference_to_what_nothing_else_holds_is_dead_once_it_is_loaded() -> None:
    tensor = torch.ones(2)
    again = through_the_codec([weakref.ref(tensor)])
    gc.collect()
    assert again[0]() is None, "as it is with pickle: a weak reference keeps nothing alive"


def test_a_reference_to_anything_else_is_refused() -> None:
    class Held:
        pass

    held = Held()
    with pytest.raises(UnsupportedValue):
        fxarchive.dumps([weakref.ref(held)])
