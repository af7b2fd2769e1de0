"""One graph to bytes and back, with everything that must hold then."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

import fxarchive

from ..compare import differences


def problems_of_round_trip(
    name: str, module: GraphModule, inputs: Sequence[Any], *, trust: Sequence[str] = (), run: bool = True
) -> list[str]:
    """Save and load a graph and say what is not as it was.

    Args:
        name: put before each problem.
        module, inputs: the graph and what to call it with; the inputs are copied for each call.
        trust: names that the load may resolve.
        run: whether outputs are compared, bit for bit, with the random state set to the same seed.

    Returns:
        One line for each problem: an error of fxarchive, a difference of the graph, of its outputs, or of the
        bytes when the loaded graph is saved again.
    """
    try:
        data = fxarchive.dumps(module)
        loaded = fxarchive.loads(data, trust=trust)
        problems = [f"graph: {line}" for line in differences(module, loaded, limit=5)]
        if run:
            problems += [
                f"outputs: {line}"
                for line in differences(call(module, inputs), call(loaded, inputs), limit=5)
            ]
        again = fxarchive.dumps(fxarchive.loads(data, trust=trust))
        if again != data:
            problems.append("saved again: other bytes")
    except fxarchive.FxArchiveError as error:
        problems = [f"{type(error).__name__}: {error}"]
    return [f"{name}: {problem}" for problem in problems]


def call(module: GraphModule, inputs: Sequence[Any]) -> Any:
    """Call a graph on copies of its inputs, from one fixed random state.

    Returns:
        The outputs, each tensor in a storage of its own: what lies beside a view is nobody's result.
    """
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outputs = module(*pytree.tree_map_only(torch.Tensor, lambda x: x.detach().clone(), tuple(inputs)))
        return pytree.tree_map_only(torch.Tensor, lambda x: x.detach().clone(), outputs)
