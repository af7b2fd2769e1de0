"""Sizes far beyond the usual: a result or a clear error, in bounded time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx, nn

import fxarchive

ROOT = Path(__file__).parent.parent
MIB = 2**20
DEPTH = 100_000

pytestmark = pytest.mark.slow

MEASURED = """
import gc, io, json, resource, sys, time
import torch, fxarchive
from torch import fx, nn

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))

def growth(work, key="VmRSS"):
    # The peak (or the final value of another key) above what there was before, in bytes.
    gc.collect()
    before = status(key)
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")  # the peak starts again at what is resident now
    result = work()
    return (status("VmHWM") if key == "VmRSS" else status(key)) - before, result

fxarchive.loads(fxarchive.dumps(fx.symbolic_trace(nn.Linear(8, 8))))  # import what there is to import
"""


def measured(program: str, *arguments: Any) -> dict[str, Any]:
    """Run a program in a process of its own and return the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED + program, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


# The document is made by hand: torch itself needs minutes to build such a graph.
MANY_NODES = """
from fxarchive.document import empty_document
from tests.documents import HOLE, archive_of, graph

count = int(sys.argv[1])
document = empty_document()
document["root"] = ["graph", 0]
document["texts"] = ["x", "output"]
document["targets"] = [["function", "torch.relu"]]
names = " ".join(["x", *[f"relu_{i}" for i in range(count)], "output"])
columns = graph(names, [0, *[2] * count, 5], [0, *[0] * count, 1], [[[], []], [[HOLE], []]], [1] * (count + 1))
document["graphs"] = [{**columns, "pattern": [0, *[1] * (count + 1)]}]
data = archive_of(document)
del document, columns, names
seen, info = growth(lambda: fxarchive.inspect(io.BytesIO(data), full=True))
grown, loaded = growth(lambda: fxarchive.loads(data))
saved, again = growth(lambda: fxarchive.dumps(loaded))
last = next(iter(reversed(loaded.nodes)))
print(json.dumps({
    "inspected": info.contents.nodes, "loaded": len(loaded.nodes),
    "same": fxarchive.inspect(io.BytesIO(again), full=True).contents == info.contents,
    "last": str(last.args[0]), "growth": [seen, grown, saved],
}))
sys.stdout.flush()
import os
os._exit(0)  # freeing two million nodes takes longer than all tests of a small file
"""


def test_two_million_nodes() -> None:
    count = 2_000_000
    found = measured(MANY_NODES, count)
    assert found["inspected"] == found["loaded"] == count + 2
    assert found["same"]
    assert found["last"] == f"relu_{count - 1}"
    inspecting, loading, saving = found["growth"]
    assert inspecting < 512 * MIB
    assert loading < 4096 * MIB  # about 1.2 KiB a node, nearly all of it torch's own nodes
    assert saving < 4096 * MIB


def nested(wrap: Callable[[Any], Any]) -> Any:
    value: Any = 0
    for _ in range(DEPTH):
        value = wrap(value)
    return value


# Not defaultdict: Python itself (3.11) crashes when it frees so deep a nest of them.
CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "list": lambda inner: [inner],
    "tuple": lambda inner: (inner,),
    "dict": lambda inner: {"a": inner},
    "ordered": lambda inner: OrderedDict(a=inner),
    "deque": lambda inner: deque([inner]),
    "slice": lambda inner: slice(inner),
    "frozenset": lambda inner: frozenset([inner]),
    "immutable_list": lambda inner: fx.immutable_collections.immutable_list([inner]),
    "immutable_dict": lambda inner: fx.immutable_collections.immutable_dict(a=inner),
    "named": lambda inner: torch.return_types.max((inner, 0)),
}


@pytest.mark.parametrize("wrap", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_containers_nested_without_end_are_refused(wrap: Callable[[Any], Any]) -> None:
    with pytest.raises(fxarchive.UnsupportedValue) as caught:
        fxarchive.dumps(nested(wrap))
    (problem,) = caught.value.problems
    assert "nested more than 128 containers deep" in problem.why
    assert len(problem.path) < 10_000


def test_a_bad_value_in_containers_nested_without_end_is_refused() -> None:
    module = fx.symbolic_trace(nn.ReLU())
    first, *_ = module.graph.nodes
    for place in (module.meta, first.meta, vars(module)):
        place["deep"] = nested(CONTAINERS["list"])
        with pytest.raises(fxarchive.UnsupportedValue, match=r"deep.*nested more than 128 containers deep"):
            fxarchive.dumps(module)
        del place["deep"]
    fxarchive.dumps(module)


def test_modules_nested_without_end_come_back() -> None:
    module: nn.Module = nn.ReLU()
    for _ in range(DEPTH):
        outer = nn.Module()
        outer.add_module("inner", module)
        module = outer
    found = fxarchive.loads(fxarchive.dumps(module))
    for _ in range(DEPTH):
        found = found.inner
    assert type(found) is nn.ReLU


def test_two_hundred_thousand_tensors(tmp_path: Path) -> None:
    count = 200_000
    small = [torch.full((), i, dtype=torch.int32) for i in range(count)]
    fxarchive.save(small, tmp_path / "a.fxa")
    assert fxarchive.inspect(tmp_path / "a.fxa").size < 8 * MIB
    loaded = fxarchive.load(tmp_path / "a.fxa")
    assert torch.equal(torch.stack(loaded), torch.arange(count, dtype=torch.int32))


def test_twenty_thousand_sections(tmp_path: Path) -> None:
    count = 20_000
    fxarchive.save([torch.full((100,), i) for i in range(count)], tmp_path / "a.fxa")
    assert len(fxarchive.inspect(tmp_path / "a.fxa").sections) == count + 1
    loaded = fxarchive.load(tmp_path / "a.fxa")
    assert [int(tensor[99]) for tensor in loaded] == list(range(count))
    assert fxarchive.verify(tmp_path / "a.fxa").ok


WEIGHTS = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2500, 2500) for _ in range(20))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x
"""

SAVE_WEIGHTS = (
    WEIGHTS
    + """
module = fx.symbolic_trace(Net())
size = sum(tensor.nbytes for tensor in module.state_dict().values())
grown, _ = growth(lambda: fxarchive.save(module, sys.argv[1], weights=sys.argv[2]))
print(json.dumps({"size": size, "growth": grown}))
"""
)

LOAD_WEIGHTS = """
size = int(sys.argv[2])
grown, module = growth(lambda: fxarchive.load(sys.argv[1]))
anonymous, other = growth(lambda: fxarchive.load(sys.argv[1]), "RssAnon")
called, _ = growth(lambda: other(torch.ones(1, 2500)), "RssAnon")
checked, _ = growth(lambda: fxarchive.verify(sys.argv[1]))
del other, module
copied, _ = growth(lambda: fxarchive.load(sys.argv[1], mmap=False))
print(json.dumps({"load": grown, "anonymous": anonymous, "call": called, "verify": checked, "copy": copied}))
"""


def test_memory_does_not_grow_with_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.fxa"
    found = measured(SAVE_WEIGHTS, path, "raw")
    size = found["size"]
    assert size > 475 * MIB
    assert found["growth"] < size // 10
    found = measured(LOAD_WEIGHTS, path, size)
    bounds = {"load": 16 * MIB, "anonymous": 8 * MIB, "call": 16 * MIB, "verify": 48 * MIB}
    assert {name: found[name] for name, bound in bounds.items() if found[name] > bound} == {}
    assert size * 0.9 < found["copy"] < size * 1.1


def test_compressing_weights_takes_bounded_memory(tmp_path: Path) -> None:
    found = measured(SAVE_WEIGHTS, tmp_path / "a.fxa", "zstd")
    assert found["growth"] < found["size"] // 10


ONE_WEIGHT = """
grown, _ = growth(lambda: fxarchive.load(sys.argv[1], mmap=False))
print(json.dumps({"growth": grown}))
"""


def test_a_weight_that_is_not_mapped_is_in_memory_once(tmp_path: Path) -> None:
    size = 256 * MIB
    fxarchive.save(torch.zeros(size, dtype=torch.uint8), tmp_path / "a.fxa")
    assert size * 0.9 < measured(ONE_WEIGHT, tmp_path / "a.fxa")["growth"] < size * 1.2
