"""What a stream holds, in numbers and names, as far as its records say it: what `inspect` shows of schema 1."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from fxarchive.migrations.graph_pickler import recognition
from fxarchive.migrations.graph_pickler.graphs import GRAPH, NODE
from fxarchive.migrations.graph_pickler.modules import MODULE
from fxarchive.migrations.graph_pickler.recognition import Releases
from fxarchive.migrations.graph_pickler.targets import target_of
from fxarchive.migrations.graph_pickler.translation import Untranslatable
from fxarchive.streams import Call, Name

PICKLER = "torch.fx._graph_pickler"
DILL = "dill"

MOST_CALLS = 16
MOST_INPUTS = 8
MOST_TEXT = 120


@dataclass
class Survey:
    """What a stream holds.

    Attributes:
        releases: the torch releases that may have written it.
        root: kind of the object.
        graphs, modules, nodes: how many.
        calls: (kind, name) -> how many nodes call it.
        inputs: names of the placeholders of the first graph.
        of_pickler: whether a record of GraphPickler occurs.
        dill: names of dill's that occur, sorted.
    """

    releases: Releases
    root: str
    graphs: int = 0
    modules: int = 0
    nodes: int = 0
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    inputs: list[str] = field(default_factory=list)
    of_pickler: bool = False
    dill: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return plain values for the header of an archive, in the form of `fxarchive.summary.summarise`."""
        ordered = sorted(self.calls.items(), key=lambda item: (-item[1], item[0][1], item[0][0]))
        return {
            "nodes": self.nodes,
            "graphs": self.graphs,
            "modules": self.modules,
            "operators": len(self.calls),
            "calls": [[kind, _clipped(name), count] for (kind, name), count in ordered[:MOST_CALLS]],
            "inputs": [[_clipped(name), ""] for name in self.inputs[:MOST_INPUTS]],
        }


def survey(root: Any) -> Survey:
    """Return what the records of a stream say."""
    found = Survey(recognition.recognise(root), kind_of(root))
    dill: set[str] = set()
    for record in recognition.records(root):
        if type(record) is Name:
            found.of_pickler |= record.module == PICKLER
            if record.module.partition(".")[0] == DILL:
                dill.add(str(record))
        elif type(record) is Call:
            _count(found, record)
    found.dill = tuple(sorted(dill))
    return found


def kind_of(root: Any) -> str:
    """Return the kind of the object at the root, as the header of an archive names it."""
    if type(root) is Call:
        if root.name.startswith(f"{PICKLER}._GraphModule"):
            return "GraphModule"
        name = root.name.rpartition(".")[2] or "object"
    else:
        name = {"Pairs": "dict", "Set": "set", "FrozenSet": "frozenset"}.get(
            type(root).__name__, type(root).__name__
        )
    return name[:100].encode("ascii", "replace").decode() if name.isprintable() else "object"


def _count(found: Survey, call: Call) -> None:
    if call.name == MODULE:
        found.modules += 1
    elif call.name == GRAPH:
        found.graphs += 1
        nodes = call.fields().get("nodes")
        if found.graphs == 1 and type(nodes) is tuple:
            fields = [node.fields() for node in nodes if type(node) is Call]
            found.inputs = [str(f.get("name"))[:MOST_TEXT] for f in fields if f.get("op") == "placeholder"]
    elif call.name == NODE:
        found.nodes += 1
        fields_ = call.fields()
        op = fields_.get("op")
        if op in ("call_function", "call_method"):
            try:
                kind, name = target_of(fields_.get("target"))
            except Untranslatable:
                return
            found.calls[("method" if kind == "string" else kind), name] += 1


def _clipped(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 3]}..."
