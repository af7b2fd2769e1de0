"""The other process of the demo: it has never seen the model, only the files.

``second_process.py fxarchive|GraphPickler FILE EXPECTED`` loads FILE, calls the graph with the inputs in EXPECTED,
compares the outputs bit for bit, and prints what happened as one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx._graph_pickler import GraphPickler
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import fxarchive


def main() -> None:
    warnings.simplefilter("ignore")
    kind, path, expected_path = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    expected = fxarchive.load(expected_path)
    FakeTensorMode(shape_env=ShapeEnv())  # the first one imports a large part of torch: not what is compared
    began = time.perf_counter()
    graph = fxarchive.load(path) if kind == "fxarchive" else load_with_graph_pickler(path)
    loaded = time.perf_counter()
    with torch.no_grad():
        output = graph(*expected["inputs"])
    called = time.perf_counter()
    same = output.dtype == expected["output"].dtype and torch.equal(
        output.contiguous().view(torch.uint8), expected["output"].contiguous().view(torch.uint8)
    )
    print(json.dumps({"load": loaded - began, "call": called - loaded, "same": same}))


def load_with_graph_pickler(path: Path) -> Any:
    """Load what GraphPickler wrote and make it callable, which its own load does not."""
    graph: Any = GraphPickler.loads(path.read_bytes(), FakeTensorMode(shape_env=ShapeEnv()))
    graph.recompile()
    return graph


if __name__ == "__main__":
    main()
