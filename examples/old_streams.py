"""Graphs that an older torch wrote with its own GraphPickler, opened by the torch of today: by torch, and by fxarchive.

``old_streams.py FOLDER`` takes each archive of an adopted stream in FOLDER (``fxarchive adopt`` made them) with the
inputs and outputs that the old torch recorded beside it, and prints what happened as one line of JSON.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx._graph_pickler import GraphPickler
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_leaves

import fxarchive
from fxarchive.container import open_archive


def main() -> None:
    warnings.simplefilter("ignore")
    found: dict[str, Any] = {"all": 0, "fxarchive": 0, "GraphPickler": 0, "why": None}
    for path in sorted(Path(sys.argv[1]).glob("*.fxa")):
        held = torch.load(path.with_suffix(".pt"), weights_only=True)
        found["all"] += 1
        found["fxarchive"] += is_as_recorded(fxarchive.load(path), held)
        try:
            graph = with_graph_pickler(open_archive(path.read_bytes()).read("stream"))
            found["GraphPickler"] += is_as_recorded(graph, held)
        except Exception as error:  # of many kinds: torch calls what the stream names
            found["why"] = f"{type(error).__name__}: {error}".splitlines()[0]
    print(json.dumps(found))


def with_graph_pickler(stream: bytes) -> Any:
    """Load a stream as torch does; it runs what is in it, so only what this project wrote itself."""
    graph: Any = GraphPickler.loads(bytes(stream), FakeTensorMode(shape_env=ShapeEnv()))
    graph.recompile()
    return graph


def is_as_recorded(graph: Any, held: dict[str, Any]) -> bool:
    """Whether a graph gives what the old torch gave for the same inputs, on whatever machine that was."""
    outputs = tree_leaves(graph(*held["args"]))
    for output, recorded in zip(outputs, tree_leaves(held["out"]), strict=True):
        torch.testing.assert_close(output, recorded)
    return True


if __name__ == "__main__":
    main()
