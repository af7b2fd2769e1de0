"""Graphs of model families, exported with dynamic shapes: the same graph, outputs, bytes, compiled code."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import fx
from torch._dynamo.utils import counters

import fxarchive

from ..material import families
from .round_trip import problems_of_round_trip

pytest.importorskip("transformers")

QUICK = ("vision (vit)", "mixture of experts (mixtral)", "decoder with a cache (llama)")
"""Those that are looked at in every run; the others are slow."""

COMPILED = (
    "vision (vit)", "vision (resnet)", "encoder (bert)", "decoder (gpt2)", "encoder and decoder (t5)",
    "state space (mamba)",
)  # fmt: skip
"""Those that inductor compiles in the time that a test may take; the others take minutes."""

NAMES = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in families.FAMILIES]


exported = functools.cache(families.exported)


@pytest.mark.parametrize("name", NAMES)
def test_a_family_comes_back_exact(name: str) -> None:
    module, weights, (_, inputs) = exported(name)
    sizes = [size for node in module.graph.nodes for size in getattr(node.meta.get("val"), "shape", ())]
    assert any(isinstance(size, torch.SymInt) for size in sizes)
    assert problems_of_round_trip(name, module, (*weights, *inputs)) == []


@pytest.mark.filterwarnings("ignore")  # of torch's own modules, when inductor imports them
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in COMPILED])
def test_inductor_compiles_a_loaded_family_to_the_same_outputs(name: str) -> None:
    """The loaded graph is compiled from nothing; that the original then hits the cache says that they are the same."""
    from torch._inductor.utils import fresh_cache

    module, weights, (_, inputs) = exported(name)
    loaded = fxarchive.loads(fxarchive.dumps(module))
    with torch.no_grad(), fresh_cache():
        actual = _compiled(loaded, (*weights, *inputs))
        assert counters["inductor"]["fxgraph_cache_miss"] > 0
        expected = _compiled(module, (*weights, *inputs))
        assert counters["inductor"]["fxgraph_cache_hit"] > 0
    assert len(expected) == len(actual) > 0
    for one, other, plain in zip(expected, actual, module(*weights, *inputs), strict=True):
        assert torch.equal(one, other)
        assert torch.allclose(other, plain, rtol=1e-3, atol=1e-4)


def _compiled(module: fx.GraphModule, inputs: Any) -> Any:
    torch._dynamo.reset()
    counters.clear()
    compiled: Any = torch.compile(module, backend="inductor", dynamic=True)
    return compiled(*inputs)
