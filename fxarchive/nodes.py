"""The nodes of a document, counted: how many there are of each opcode, and what they call."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import compress
from typing import Any

from fxarchive.errors import escaped
from fxarchive.notation import printed_name
from fxarchive.tables import OP_NUMBERS, class_name, entry


@dataclass(frozen=True)
class Calls:
    """How often nodes call one thing."""

    kind: str
    """"operator", "packet", "higher_order", "function", "method" or "module"."""
    name: str
    """As torch prints it in a graph; for a module, its class."""
    calls: int


def count_nodes(document: Any) -> dict[str, int]:
    """Return how many nodes of each opcode there are, in the order of the opcodes."""
    counts = {
        op: sum([graph["ops"].count(number) for graph in document["graphs"]])
        for op, number in OP_NUMBERS.items()
    }
    return {op: count for op, count in counts.items() if count}


def count_calls(document: Any) -> tuple[Calls, ...]:
    """Return what the nodes call, the most frequent first."""
    total: Counter[tuple[str, str]] = Counter()
    owners = {module["graph"]: row for row, module in enumerate(document["modules"]) if "graph" in module}
    classes = _ClassesByPath(document)
    for row, graph in enumerate(document["graphs"]):
        for target, calls in _targets(graph, "call_function").items():
            kind, name = entry(document, "targets", target)[:2]
            total[kind, escaped(printed_name(kind, name))] += calls
        for target, calls in _targets(graph, "call_method").items():
            total["method", escaped(entry(document, "texts", target))] += calls
        for target, calls in _targets(graph, "call_module").items():
            total["module", classes.find(owners.get(row), entry(document, "texts", target))] += calls
    found = [Calls(kind, name, calls) for (kind, name), calls in total.items()]
    return tuple(sorted(found, key=lambda call: (-call.calls, call.name, call.kind)))


def _targets(graph: Any, op: str) -> Counter[int]:
    """Return how often each row is the target of a node with opcode ``op``."""
    number = OP_NUMBERS[op]
    selected = graph["ops"].translate(bytes([at == number for at in range(256)]))
    return Counter(compress(graph["targets"], selected))


class _ClassesByPath:
    """Finds the class of a module from the path that a graph calls it by."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._children: dict[int, dict[str, int | None]] = {}

    def find(self, row: int | None, path: str) -> str:
        for atom in path.split("."):
            row = None if row is None else self._of(row).get(atom)
        return f"<module {escaped(path)}>" if row is None else escaped(class_name(self._document, row))

    def _of(self, row: int) -> dict[str, int | None]:
        found = self._children.get(row)
        if found is None:
            flat = entry(self._document, "modules", row).get("modules", [])
            found = self._children[row] = dict(zip(flat[::2], flat[1::2], strict=True))
        return found
