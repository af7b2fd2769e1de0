"""The hand-written graphs, saved and loaded: the same graph, the same outputs, the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import fx

from ..material import models, symbolic
from .round_trip import problems_of_round_trip


@pytest.mark.parametrize("build", models.BUILDERS, ids=lambda build: build.__name__)
def test_a_model_comes_back_exact(build: Callable[[], tuple[fx.GraphModule, tuple[Any, ...]]]) -> None:
    torch.manual_seed(0)
    module, inputs = build()
    trust = [f"{models.__name__}.Point", f"{models.__name__}.BufferTracer"]
    assert problems_of_round_trip(build.__name__, module, inputs, trust=trust) == []


@pytest.mark.parametrize("build", symbolic.BUILDERS, ids=lambda build: build.__name__)
def test_a_symbolic_graph_comes_back_exact(
    build: Callable[[], tuple[fx.GraphModule, tuple[Any, ...]]],
) -> None:
    torch.manual_seed(0)
    module, inputs = build()
    assert problems_of_round_trip(build.__name__, module, inputs) == []
