"""Columns of a graph: the only module of this step that knows how schema 2 lays out nodes and their metadata.

Arguments repeat the same pattern with other nodes in it, so a node stores the number of its pattern and, for each hole
of it, the distance back to the node that stands there. Metadata is one column for each key.
"""

from __future__ import annotations

import marshal
from collections.abc import Sequence
from typing import Any

OP_NUMBERS = {
    op: number
    for number, op in enumerate(
        ("placeholder", "get_attr", "call_function", "call_method", "call_module", "output")
    )
}

REFERENCES = frozenset(
    {
        "text", "fake", "tensor", "shared", "target", "name", "module", "graph", "node_source", "fact", "record",
        "subclass", "script_object", "array",
    }
)  # fmt: skip
"""Tags with one payload that refers to a row or is short; such values are not interned again."""


class NodeColumns:
    """The columns of nodes while they grow; `record` is the row of `graphs`."""

    def __init__(self, record: dict[str, Any], names: Sequence[str], ops: Sequence[str]) -> None:
        self.record = record
        self._patterns: dict[Any, int] = {}
        record["names"] = "\n".join(names)
        record["ops"] = bytes([OP_NUMBERS[op] for op in ops])
        record["targets"] = []
        record["patterns"] = []
        record["pattern"] = []

    def add_target(self, row: int) -> None:
        """Add the row of the next node's target."""
        self.record["targets"].append(row)

    def add_arguments(self, args: list[Any], kwargs: list[Any]) -> None:
        """Add the arguments of the next node: values with holes, and names with such values, flat."""
        entry = [args, kwargs]
        # marshal 2 writes equal values as equal bytes and 1, 1.0 and True as different ones; only a key here
        key = marshal.dumps(entry, 2)
        row = self._patterns.get(key)
        if row is None:
            row = self._patterns[key] = len(self.record["patterns"])
            self.record["patterns"].append(entry)
        self.record["pattern"].append(row)

    def finish(self, distances: list[int], types: list[list[Any]]) -> None:
        """Add what belongs to all nodes: the distances that fill the holes, and type annotations."""
        self.record["operands"] = distances
        self.record["types"] = types


class MetadataColumns:
    """Metadata as it is gathered, node by node."""

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.raw: list[list[Any]] = []
        """For each key the values of the nodes that have it."""
        self.owners: list[list[int]] = []
        """For each key the numbers of these nodes."""
        self.layout: list[int] = []
        self._numbers: dict[Any, int] = {}
        self._layouts: dict[tuple[int, ...], int] = {}

    def add_node(self, number: int, entries: list[tuple[Any, Any]]) -> None:
        """Add the entries of the next node; keys are atoms."""
        layout = []
        for key, value in entries:
            known = (type(key), key)
            at = self._numbers.get(known)
            if at is None:
                at = self._numbers[known] = len(self.keys)
                self.keys.append(key)
                self.raw.append([])
                self.owners.append([])
            self.raw[at].append(value)
            self.owners[at].append(number)
            layout.append(at)
        found = self._layouts.setdefault(tuple(layout), len(self._layouts))
        self.layout.append(found)

    @property
    def layouts(self) -> list[list[int]]:
        return [list(layout) for layout in self._layouts]


def put_metadata(
    record: dict[str, Any], found: MetadataColumns, keys: list[Any], columns: list[list[Any]]
) -> None:
    """Put metadata into the row of a graph; ``columns`` are values, which `pack` turns into columns at the end."""
    record["keys"] = keys
    record["layouts"] = found.layouts
    record["layout"] = found.layout
    record["columns"] = columns


def pack(document: dict[str, Any], interned: dict[bytes, int], values: list[Any]) -> list[Any]:
    """Return the shortest column that holds ``values``; what repeats becomes a row of `values`."""
    if not values:
        return ["plain", []]
    for at, value in enumerate(values):
        if type(value) is list and value[0] not in REFERENCES:
            key = marshal.dumps(value, 2)
            row = interned.get(key)
            if row is None:
                interned[key] = row = len(document["values"])
                document["values"].append(value)
            values[at] = ["value", row]
    tag = values[0][0] if type(values[0]) is list and len(values[0]) == 2 else None
    if tag is not None and all([type(v) is list and v[0] == tag and len(v) == 2 for v in values]):
        return [tag, [v[1] for v in values]]
    return ["plain", values]
