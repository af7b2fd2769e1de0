"""A graph as text, a line a node, read from a document without torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fxarchive.document import OPS
from fxarchive.errors import escaped
from fxarchive.notation import Notation, target_name, tensor_text
from fxarchive.shapes import tensor_facts
from fxarchive.tables import (
    class_name,
    column_values,
    entry,
    held_by_root,
    members,
    module_paths,
    node_names,
    operand_starts,
    operands_of,
    reading,
    value_columns,
)

MOST_TEXT = 2000
"""Characters of one string in the arguments of a node that are written."""

MOST_METADATA = 400
"""Characters of one string in a metadata entry that are written."""


@dataclass(frozen=True)
class NodeLine:
    """One node of a graph, as text that is safe to print."""

    name: str
    op: str
    target: str
    arguments: str
    """What stands between the brackets of the call."""
    value: str
    """What its value is: ``f32[2, 3]``, ``(f32[2], i64[2])``, or "" where the archive does not say."""
    metadata: tuple[tuple[str, str], ...] = ()
    """Keys and values, only where they were asked for."""

    def __str__(self) -> str:
        """Return the node in one line.

        >>> str(NodeLine("add", "call_function", "aten.add.Tensor", "%x, 1", "f32[2]"))
        '%add : f32[2] = call_function aten.add.Tensor(%x, 1)'
        """
        kind = f" : {self.value}" if self.value else ""
        if self.op == "output":
            return f"output({self.arguments})"
        if self.op in ("placeholder", "get_attr"):
            brackets = f"({self.arguments})" if self.arguments else ""
            return f"%{self.name}{kind} = {self.op} {self.target}{brackets}"
        return f"%{self.name}{kind} = {self.op} {self.target}({self.arguments})"


@dataclass(frozen=True)
class GraphInfo:
    """One graph of a document."""

    number: int
    """Its row in `graphs`."""
    nodes: int
    modules: tuple[str, ...]
    """What holds it: the paths of modules below the root; "" is the root itself."""


def list_graphs(document: Any) -> tuple[GraphInfo, ...]:
    """Return every graph of ``document``, nested ones included, and where it belongs.

    Raises:
        InvalidDocument: the document does not hold what its schema says.
    """
    with reading("the document"):
        paths = module_paths(document)
        held: dict[int, list[str]] = {}
        for row, module in enumerate(document["modules"]):
            if "graph" in module:
                path = paths.get(row)
                name = class_name(document, row).rpartition(".")[2] if path is None else path
                held.setdefault(module["graph"], []).append(escaped(name))
        for path, value in held_by_root(document):
            if value[0] == "graph":
                held.setdefault(value[1], []).append(escaped(path))
        return tuple(
            [
                GraphInfo(row, len(graph["ops"]), tuple(held.get(row, ())))
                for row, graph in enumerate(document["graphs"])
            ]
        )


def list_nodes(document: Any, graph: int, *, metadata: bool = False) -> Iterator[NodeLine]:
    """Yield the nodes of one graph in order.

    Args:
        document: of the current schema.
        graph: its row in `graphs`.
        metadata: with what each node has in its ``meta``.

    Raises:
        InvalidDocument: there is no such graph, or the document does not hold what its schema says.
    """
    with reading(f"graph {graph}"):
        record = entry(document, "graphs", graph)
        names = [escaped(name) for name in node_names(record)]
        starts = operand_starts(record)
        notation = Notation(document, MOST_TEXT)
        values = _values(document, record, notation)
        entries = _metadata(document, record) if metadata else None
        types = _attribute_types(document, graph)
        for number, (name, op, target) in enumerate(
            zip(names, record["ops"], record["targets"], strict=True)
        ):
            opcode = OPS[op]
            operands = operands_of(record, number, starts[number], starts[number + 1])
            shown = (
                target_name(document, target)
                if opcode == "call_function"
                else escaped(entry(document, "texts", target))
            )
            yield NodeLine(
                name,
                opcode,
                shown,
                notation.arguments(
                    record["patterns"][record["pattern"][number]], iter([f"%{names[n]}" for n in operands])
                ),
                next(values) or types.get(shown, "") * (opcode == "get_attr"),
                () if entries is None else next(entries),
            )


def _values(document: Any, record: Any, notation: Notation) -> Iterator[str]:
    """Yield what each node's value is, as text, from the best column that says it."""
    columns = [column.each() for column in value_columns(document, record)]
    known: dict[Any, str] = {}
    for _ in record["ops"]:
        found = [next(column) for column in columns]
        value = next((value for value in found if value is not None), None)
        if value is None:
            yield ""
        elif type(value) is list and len(value) == 2 and type(value[1]) is int:
            key = value[0], value[1]
            if key not in known:
                known[key] = notation.written(value)
            yield known[key]
        else:
            yield notation.written(value)


def _attribute_types(document: Any, graph: int) -> dict[str, str]:
    """Return what the tensors below the module of a graph are, by path: get_attr nodes name them so."""
    owner = next(
        (row for row, module in enumerate(document["modules"]) if module.get("graph") == graph), None
    )
    if owner is None:
        return {}
    paths = module_paths(document, owner)
    found = {}
    for key, step in (("parameters", 2), ("buffers", 3), ("attributes", 2)):
        for row, name, value in members(document, key, step):
            facts = tensor_facts(document, value) if row in paths else None
            if facts is not None:
                prefix = f"{paths[row]}." if paths[row] else ""
                found[escaped(prefix + name)] = tensor_text(facts)
    return found


def _metadata(document: Any, record: Any) -> Iterator[tuple[tuple[str, str], ...]]:
    notation = Notation(document, MOST_METADATA)
    keys = [notation.written(key) if type(key) is not str else escaped(key) for key in record["keys"]]
    columns = [iter(column_values(column)) for column in record["columns"]]
    for layout in record["layout"]:
        yield tuple(
            [(keys[at], notation.written(next(columns[at]))) for at in entry(record, "layouts", layout)]
        )
