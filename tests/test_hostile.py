"""Documents that no writer made: valid bytes and digests, wrong content. Each loads or is refused, and
nothing runs."""

from __future__ import annotations

import contextlib
import copy
import random
import sys
import warnings
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from fxarchive import codec
from fxarchive.audit import audit
from fxarchive.errors import FxArchiveError

from .corpus import values
from .material import configs, models

TRUST = (*configs.TRUST, "mylib.kernel")
"""Instances are built only of trusted classes, and only trusted artefacts are read."""


class Bytes:
    """Sections of the right size for honest documents; asks beyond them are refused as the container
    would."""

    def __init__(self, storages: Any, extras: Any) -> None:
        self.storages = storages
        self.extras = extras

    def read(self, name: str) -> bytes:
        if not isinstance(name, str) or name not in self.extras:
            raise fxarchive_corrupt(name)
        return bytes(self.extras[name])

    def writable(self, name: str) -> memoryview:
        if not isinstance(name, str) or name not in self.storages:
            raise fxarchive_corrupt(name)
        return memoryview(bytearray(self.storages[name].nbytes()))


def fxarchive_corrupt(name: Any) -> FxArchiveError:
    from fxarchive.errors import CorruptArchive

    return CorruptArchive("the index", f"there is no section {name!r:.40}")


def materials() -> list[Any]:
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", category=UserWarning, module="torch|tests")
    warnings.filterwarnings("ignore", message="Sparse|torch.quantize")
    mixed, _ = models.mixed_calls()
    propagated, _ = models.fake_propagated()
    pytree, _ = models.pytree_inputs()
    nested, _ = models.nested_graph_modules()
    with FakeTensorMode():
        fake = torch.empty(4, 5)
        fakes = [fake, fake.t(), fake[1:], torch.nn.Parameter(torch.empty(3))]
    tensors = [
        torch.arange(100.0).view(10, 10).t(), torch.eye(4).to_sparse(), torch.eye(4).to_sparse_csr(),
        torch.quantize_per_tensor(torch.ones(3), 0.1, 3, torch.quint8),
        torch.ones(2, dtype=torch.complex64).conj(),
    ]  # fmt: skip
    return [
        mixed,
        propagated,
        pytree,
        nested,
        {"fakes": fakes, "tensors": tensors, "lstm": torch.nn.LSTM(2, 3)},
        [configs.instances(), configs.STANDARD, values.artefacts(), values.contexts()],
        [values.node_sources(), values.torch_facts(), values.registered_values()],
    ]


JUNK: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, -(2**63), 10**40, 0.5, float("nan"), "", "x", "torch",
    "builtins.eval", "__class__", "forward",
    b"", b"\x00" * 9, [], {}, ["tuple", []], ["list"], ["hole"], ["node", 0, 0], ["graph", 0],
    ["module", 0], ["tensor", 0], ["fake", 0], ["fact", 0], ["node_source", 0], ["extension", 0],
    ["shared", 0], ["value", 0], ["text", 0], ["target", 0], ["name", "os.system"], ["weakref", None],
    ["nonsense", 1], [[]], ["dtype", "float32"],
    ["size", [-1]], ["size", [2**62, 2**62]], ["generator", "cpu", None, b"x"], ["set", [["list", []]]],
    ["enum", 0, "x"], ["named", 0, []], ["record", 0],
    ["standard", "path", ["x"]], ["artefact", 0], ["tracing_context", 0],
]  # fmt: skip


def places(value: Any, found: list[Any]) -> list[Any]:
    if isinstance(value, list | dict):
        for key in range(len(value)) if isinstance(value, list) else list(value):
            found.append((value, key))
            places(value[key], found)
    return found


def mutate(document: Any, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        spots = places(document, [])
        holder, key = rng.choice(spots)
        choice = rng.random()
        if choice < 0.45:
            holder[key] = copy.deepcopy(rng.choice(JUNK))
        elif choice < 0.65:
            other, other_key = rng.choice(spots)
            holder[key] = copy.deepcopy(other[other_key])
        elif choice < 0.8 and type(holder[key]) is int:
            holder[key] += rng.choice([-1, 1, 7, 2**33])
        elif choice < 0.9:
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(rng.choice(JUNK)))


FORBIDDEN_EVENTS = frozenset(
    {
        "os.system",
        "subprocess.Popen",
        "socket.connect",
        "ctypes.dlopen",
        "os.exec",
        "os.remove",
        "shutil.rmtree",
    }
)
_events: list[str] = []
_armed = False


def _watch(event: str, args: Any) -> None:
    if _armed and (event in FORBIDDEN_EVENTS or (event == "import" and args and args[0] == "os.system")):
        _events.append(event)


sys.addaudithook(_watch)


@pytest.mark.parametrize("number", range(7))
@pytest.mark.parametrize("seed", range(3))
def test_mutated_documents_are_refused_or_load(number: int, seed: int) -> None:
    global _armed
    honest = codec.encode(materials()[number])
    rng = random.Random(1000 * number + seed)
    refused = 0
    _armed = True
    try:
        for _ in range(150):
            document = copy.deepcopy(honest.document)
            mutate(document, rng)
            try:
                audit(document, trust=TRUST, features=honest.features)
                sections = Bytes(honest.storages, honest.extras)
                loaded = codec.decode(document, sections, trust=frozenset(TRUST))
                if isinstance(loaded, torch.fx.GraphModule):
                    # a call with too few operands cannot be written as source; that is a graph's own fault
                    with contextlib.suppress(IndexError):
                        loaded.graph.python_code("self")
            except FxArchiveError as error:
                refused += len(str(error)) > 0
    finally:
        _armed = False
    assert refused > 30
    assert _events == []
