"""Graphs: nodes in their order, their arguments, metadata, codegen and tracer."""

from __future__ import annotations

from typing import Any

from fxarchive.migrations.graph_pickler import codegen, columns
from fxarchive.migrations.graph_pickler.provenance import STACKS, numbered
from fxarchive.migrations.graph_pickler.targets import (
    canonical,
    target_of,
    target_row,
    wrapped_function,
)
from fxarchive.migrations.graph_pickler.translation import (
    Table,
    Translation,
    Untranslatable,
    fields_of,
    pairs_of,
    sequence_of,
    shown,
)
from fxarchive.streams import Call, Name, Pairs

GRAPH = "torch.fx._graph_pickler._GraphPickleData"
NODE = "torch.fx._graph_pickler._NodePickleData"

_ATOMS = (str, int, float, bool, bytes, type(None))


class Operands:
    """The nodes met while the arguments of one node are translated."""

    __slots__ = ("at", "distances", "numbers")

    def __init__(self, numbers: dict[int, int]) -> None:
        self.numbers = numbers
        self.at = 0
        self.distances: list[int] = []


def graph_row(tr: Translation, graph: Any, module: dict[str, Any], path: str) -> int:
    """Return the row of a graph in `graphs`; its nodes are translated later.

    Args:
        tr: the translation.
        graph: a `_GraphPickleData`.
        module: the ``__dict__`` of the module that has the graph: what of the codegen releases up to 2.10 stored.
        path: of the graph, for errors.
    """
    row = tr.row("graphs", id(graph))
    if row is None:
        fields = fields_of(graph, GRAPH)
        record: dict[str, Any] = {}
        row = tr.add("graphs", id(graph), record)
        nodes = [fields_of(node, NODE) for node in sequence_of(fields.get("nodes"))]
        numbers = {id(node): number for number, node in enumerate(fields["nodes"])}
        filled = row
        tr.later(path, lambda: _fill(tr, fields, nodes, numbers, record, filled, module))
    return row


def _fill(
    tr: Translation,
    fields: dict[str, Any],
    nodes: list[dict[str, Any]],
    numbers: dict[int, int],
    record: dict[str, Any],
    row: int,
    module: dict[str, Any],
) -> None:
    problems: list[Any] = []
    names, ops = [node.get("name") for node in nodes], [node.get("op") for node in nodes]
    if not all([type(name) is str and "\n" not in name for name in names]):
        raise Untranslatable.because("a node has no name")
    tr.check_size(sum(map(len, names)))  # type: ignore[arg-type]
    if not all([type(op) is str and op in columns.OP_NUMBERS for op in ops]):
        raise Untranslatable.because("a node has an opcode that fx does not know")
    into = columns.NodeColumns(record, names, ops)  # type: ignore[arg-type]
    for node in nodes:
        try:
            into.add_target(_target(tr, node))
        except Untranslatable as refused:
            problems += refused.below(f".{node['name']}.target")
            into.add_target(-1)
    distances = _fill_arguments(tr, nodes, numbers, into, problems)
    into.finish(distances, _types(tr, nodes, problems))
    _fill_metadata(tr, nodes, record, row, problems)
    try:
        record["codegen"] = codegen.codegen(tr, fields, module)
    except Untranslatable as refused:
        problems += refused.below(".codegen")
    try:
        record["tracer"] = tracer(tr, fields.get("tracer_cls"), fields.get("tracer_extras"))
    except Untranslatable as refused:
        problems += refused.below(".tracer")
    if problems:
        raise Untranslatable(problems)


def _target(tr: Translation, node: dict[str, Any]) -> int:
    kind, name = target_of(node.get("target"))
    if (kind == "string") == (node["op"] == "call_function"):
        raise Untranslatable.because(
            f"a {node['op']} node has the target {name!r:.80}, which is of another kind"
        )
    if kind == "string":
        return tr.text(name)
    if kind == "function":
        name = wrapped_function(canonical(name), bool(pairs_of(node.get("kwargs"))))
    return target_row(tr, kind, name)


def _fill_arguments(
    tr: Translation,
    nodes: list[dict[str, Any]],
    numbers: dict[int, int],
    into: columns.NodeColumns,
    problems: list[Any],
) -> list[int]:
    operands = Operands(numbers)
    tr.operands = operands
    try:
        for at, node in enumerate(nodes):
            operands.at = at
            try:
                args = tr.items(sequence_of(node.get("args")), ".args[{}]".format)
                into.add_arguments(args, _keywords(tr, pairs_of(node.get("kwargs"))))
            except Untranslatable as refused:
                problems += refused.below(f".{node['name']}")
    finally:
        tr.operands = None
    return operands.distances


def _keywords(tr: Translation, pairs: list[tuple[Any, Any]]) -> list[Any]:
    names = [name for name, _ in pairs]
    if not all([type(name) is str for name in names]):
        raise Untranslatable.because("a keyword is not a string")
    values = tr.items([value for _, value in pairs], lambda i: f".kwargs[{names[i]!r}]")
    return [part for pair in zip(names, values, strict=True) for part in pair]


def _operand(tr: Translation, call: Call) -> Any:
    """A node among the arguments of another is the next operand of a pattern; elsewhere it cannot stand."""
    if tr.operands is None:
        raise Untranslatable.because("a node outside the arguments of another cannot be translated")
    number = tr.operands.numbers.get(id(call))
    if number is None or number >= tr.operands.at:
        raise Untranslatable.because("it refers to a node that is not an earlier node of the same graph")
    tr.operands.distances.append(tr.operands.at - number)
    return ["hole"]


def _types(tr: Translation, nodes: list[dict[str, Any]], problems: list[Any]) -> list[list[Any]]:
    numbers: list[int] = []
    values: list[Any] = []
    for number, node in enumerate(nodes):
        if node.get("type") is not None:
            try:
                values.append(tr.value(node["type"]))
                numbers.append(number)
            except Untranslatable as refused:
                problems += refused.below(f".{node['name']}.type")
    return [numbers, values]


def _fill_metadata(
    tr: Translation, nodes: list[dict[str, Any]], record: dict[str, Any], row: int, problems: list[Any]
) -> None:
    found = columns.MetadataColumns()
    for number, node in enumerate(nodes):
        entries = []
        for place, (key, value) in enumerate(pairs_of(node.get("meta") or Pairs())):
            if type(key) not in _ATOMS:
                tr.note(
                    "Metadata under a key that is neither a string nor a number was left out", node["name"]
                )
            elif ("node", row, number, place) not in tr.leave_out:
                entries.append((key, (place, numbered(tr, value) if key in STACKS else value)))
        found.add_node(number, entries)
    tables: list[list[Any]] = []
    with tr.metadata():
        keys = tr.items(found.keys, ".meta key {}".format)
        for key, raw, owners in zip(found.keys, found.raw, found.owners, strict=True):
            tables.append(_column(tr, nodes, row, key, raw, owners))
    columns.put_metadata(record, found, keys, tables)
    # which containers are shared is known only when everything is translated
    tr.at_end(lambda: _pack_all(tr, tables))


def _column(
    tr: Translation, nodes: list[dict[str, Any]], row: int, key: Any, raw: list[Any], owners: list[int]
) -> list[Any]:
    out: list[Any] = []
    for (place, value), number in zip(raw, owners, strict=True):
        try:
            out.append(tr.value(value))
        except Untranslatable as refused:
            entry = ("node", row, number, place)
            tr.dropped[entry] = refused.below(f"{tr.path}.{nodes[number]['name']}.meta[{key!r}]")
    return out


def _pack_all(tr: Translation, tables: list[list[Any]]) -> None:
    for at, values in enumerate(tables):
        tables[at] = columns.pack(tr.document, tr.values, values)


def tracer(tr: Translation, cls: Any, extras: Any) -> list[Any]:
    """Translate the tracer's class as a name, and its extras."""
    if cls is not None and type(cls) is not Name:
        raise Untranslatable.because(f"the class of its tracer is {shown(cls)}")
    with tr.metadata():
        return [None if cls is None else str(cls), tr.value(extras)]


CALLS: Table = {NODE: _operand}
