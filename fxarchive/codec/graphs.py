"""fx graphs and nodes, as columns; the arguments of nodes are patterns, see `patterns`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.fx.graph import CodeGen, _PyTreeCodeGen, _PyTreeInfo

from fxarchive.codec import columns, facts
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.fast.nodes import Rows, build_nodes
from fxarchive.codec.operators import decode_target, encode_target, name_of, resolve_name
from fxarchive.codec.patterns import compile_pattern, encode_arguments, refuse_unprintable
from fxarchive.document import OPS, Value
from fxarchive.errors import InvalidDocument, Problem
from fxarchive.qualname import QualifiedName
from fxarchive.source_names import TYPE_TAGS

_UNLOADED_TRACER = "_unloaded_tracer"
"""Attribute of a loaded graph that keeps the name of a tracer class which was not loaded, so that it is
saved again."""

_INPUT_SOURCE = "_dynamo_source"
"""Attribute of a placeholder in which dynamo keeps its source."""

_WHY_NOT = {
    "_DynamoBytecodeCodeGen": "holds bytecode that dynamo compiled, and code is never stored",
    "_ExportCodeGen": "runs graphs that dynamo made around this one",
}
"""Class of a codegen that cannot be kept -> why."""

_OP_NUMBERS = {op: number for number, op in enumerate(OPS)}


# encoding


def encode_graph(enc: Encoder, graph: Graph, path: str) -> int:
    """Return the row of ``graph`` in `graphs`; its nodes are encoded later, below ``path`` in error
    messages."""
    row = enc.row("graphs", id(graph))
    if row is None:
        record: dict[str, Any] = {}
        row = enc.add("graphs", id(graph), record)
        enc.keep_alive(graph)
        nodes = list(graph.nodes)
        enc.numbers[id(graph)] = {node: number for number, node in enumerate(nodes)}
        filled = row
        enc.later(path, lambda: _fill(enc, graph, nodes, record, filled))
    return row


def encode_graph_value(enc: Encoder, graph: Graph) -> Value:
    return ["graph", encode_graph(enc, graph, enc.here())]


def encode_node_value(enc: Encoder, node: Node) -> Value:
    """A node as an argument is the next operand of a pattern; elsewhere it is named by graph and number."""
    if enc.operands is not None:
        number = enc.operands.numbers.get(node)
        if number is None or number >= enc.operands.at:
            raise Refused.because(
                f"the node {node.name} is not an earlier node of the same graph; put the graph in order (graph.lint())"
            )
        enc.operands.distances.append(enc.operands.at - number)
        return ["hole"]
    if enc.filters.nodes == "none":
        return None
    if enc.filters.nodes == "refuse":
        raise Refused.because(
            f"the node {node.name} stands outside of the arguments of nodes; pass Options(ignore_raw_node=True) to "
            "keep None in place of it, or use fxarchive.save, which keeps it"
        )
    row = encode_graph(enc, node.graph, enc.here())
    number = enc.numbers[id(node.graph)].get(node)
    if number is None:
        raise Refused.because(
            f"the node {node.name} was erased from its graph; take away what refers to it, or leave metadata that "
            'cannot be kept out with on_unsupported="drop"'
        )
    return ["node", row, number]


def _fill(enc: Encoder, graph: Graph, nodes: list[Node], record: dict[str, Any], row: int) -> None:
    record["names"] = "\n".join([node.name for node in nodes])
    record["ops"] = bytes([_OP_NUMBERS[node.op] for node in nodes])
    problems: list[Any] = []
    _fill_targets(enc, nodes, record, problems)
    encode_arguments(enc, enc.numbers[id(graph)], nodes, record, problems)
    _fill_types(enc, nodes, record, problems)
    _fill_input_sources(enc, nodes, record, problems)
    try:
        columns.encode_metadata(enc, nodes, record, row)
    except Refused as refused:
        problems += refused.problems
    for key, encode in (("codegen", _encode_codegen), ("tracer", _encode_tracer)):
        try:
            record[key] = encode(enc, graph)
        except Refused as refused:
            problems += refused.below(f".{key}")
    if problems:
        raise Refused(problems)


def _fill_targets(enc: Encoder, nodes: list[Node], record: dict[str, Any], problems: list[Any]) -> None:
    rows: dict[int, int] = {}
    targets = record["targets"] = []
    for node in nodes:
        target: Any = node.target
        if node.op != "call_function":
            targets.append(enc.text(target))
            continue
        if target is getattr and not (len(node.args) > 1 and type(node.args[1]) is str):
            why = "getattr of a name that the graph computes cannot be kept; write the name into the graph"
            problems.append(Problem(f".{node.name}", why))
        row = rows.get(id(target))
        if row is None:
            try:
                row = encode_target(enc, target)
            except Refused as refused:
                problems += refused.below(f".{node.name}.target")
                row = -1
            rows[id(target)] = row
        targets.append(row)


def _fill_types(enc: Encoder, nodes: list[Node], record: dict[str, Any], problems: list[Any]) -> None:
    numbers: list[int] = []
    values: list[Value] = []
    for number, node in enumerate(nodes):
        if node.type is not None:
            try:
                held = enc.value(node.type)
            except Refused as refused:
                problems += refused.below(f".{node.name}.type")
                continue
            refuse_unprintable(enc, [held], TYPE_TAGS, node, "a type", problems)
            values.append(held)
            numbers.append(number)
    record["types"] = [numbers, values]


def _fill_input_sources(enc: Encoder, nodes: list[Node], record: dict[str, Any], problems: list[Any]) -> None:
    """Dynamo notes on placeholders where its inputs come from; AOTAutograd reads it."""
    numbers: list[int] = []
    values: list[Value] = []
    for number, node in enumerate(nodes):
        if node.op == "placeholder" and hasattr(node, _INPUT_SOURCE):
            try:
                values.append(enc.value(getattr(node, _INPUT_SOURCE)))
                numbers.append(number)
            except Refused as refused:
                problems += refused.below(f".{node.name}.{_INPUT_SOURCE}")
    if numbers:
        facts.tables(enc)  # the column needs its feature flag even if it holds nothing else
        record["input_sources"] = [numbers, values]


def _encode_codegen(enc: Encoder, graph: Graph) -> Value:
    codegen: Any = graph._codegen
    if codegen._body_transformer is not None:
        raise Refused.because(
            "it transforms the generated code with a function (on_generate_code); remove it first"
        )
    function = getattr(codegen, "_func_name", "forward")
    if type(codegen) is CodeGen:
        return ["plain", function]
    if type(codegen) is _PyTreeCodeGen:
        for node in graph.find_nodes(op="placeholder"):
            if node.args:
                raise Refused.because(
                    f"the input {node.name} has a default value, from which torch generates no code beside an input "
                    "spec; set node.args = ()"
                )
        info = codegen.pytree_info
        return ["pytree", function, list(info.orig_args), enc.value(info.in_spec), enc.value(info.out_spec)]
    raise Refused.because(
        f"a codegen of class {type(codegen).__qualname__} {_WHY_NOT.get(type(codegen).__name__, 'holds live code')}; "
        "save the ExportedProgram of torch.export.export, or set graph.set_codegen(CodeGen())"
    )


def _encode_tracer(enc: Encoder, graph: Graph) -> Value:
    unloaded = getattr(graph, _UNLOADED_TRACER, None)
    if graph._tracer_cls is None and unloaded is not None:
        with enc.metadata():
            return [str(unloaded), enc.value(graph._tracer_extras)]
    return encode_tracer(enc, graph._tracer_cls, graph._tracer_extras)


def encode_tracer(enc: Encoder, cls: Any, extras: Any) -> Value:
    """Encode the tracer's class as a name, and its extras."""
    with enc.metadata():
        return [None if cls is None else name_of(cls), enc.value(extras)]


# decoding


def decode_graph(dec: Decoder, row: int) -> Graph:
    """Return the graph of ``row``, its nodes in place; their metadata follows later."""
    found: Graph = dec.row("graphs", row, lambda record: _build(dec, row, record))
    return found


def decode_graph_value(dec: Decoder, tagged: Value) -> Graph:
    return decode_graph(dec, tagged[1])


def decode_node_value(dec: Decoder, tagged: Value) -> Node:
    _, row, number = tagged
    decode_graph(dec, row)
    nodes = dec.nodes[row]
    if not 0 <= number < len(nodes):
        raise InvalidDocument(f"graph {row}", f"there is no node {number}")
    found: Node = nodes[number]
    return found


def _build(dec: Decoder, row: int, record: dict[str, Any]) -> Graph:
    tracer, extras = decode_tracer(dec, record["tracer"])
    graph = Graph(tracer_cls=tracer, tracer_extras=extras)
    if tracer is None and record["tracer"][0] is not None:
        setattr(graph, _UNLOADED_TRACER, QualifiedName(record["tracer"][0]))
    graph._codegen = _decode_codegen(dec, record["codegen"])
    nodes = dec.nodes[row] = _build_nodes(dec, record, graph)
    dec.later(lambda: columns.decode_metadata(dec, record, nodes))
    return graph


def _build_nodes(dec: Decoder, record: dict[str, Any], graph: Graph) -> list[Node]:
    names = record["names"].split("\n") if record["ops"] else []
    # fx takes equal texts for one type only if they are one object (torch 2.7)
    held = [sys.intern(kind) if type(kind) is str else kind for kind in dec.items(record["types"][1])]
    types = dict(zip(record["types"][0], held, strict=True))
    patterns = [compile_pattern(dec, args, kwargs) for args, kwargs in record["patterns"]]
    operands = iter(record["operands"])

    def arguments(nodes: list[Node]) -> Iterator[tuple[tuple[Any, ...], Any]]:
        for pattern in record["pattern"]:
            yield patterns[pattern](nodes, operands)

    rows = Rows(
        [OPS[op] for op in record["ops"]],
        names,
        _targets(dec, record),
        map(types.get, range(len(names))) if types else repeat(None, len(names)),
        arguments,
    )
    nodes = build_nodes(graph, rows)
    for number, source in zip(*record.get("input_sources", ((), ())), strict=True):
        setattr(nodes[number], _INPUT_SOURCE, dec.value(source))
    return nodes


def _targets(dec: Decoder, record: dict[str, Any]) -> list[Any]:
    texts, functions, call_function = dec.document["texts"], _Functions(dec), _OP_NUMBERS["call_function"]
    return [
        functions[row] if op == call_function else texts[row]
        for op, row in zip(record["ops"], record["targets"], strict=True)
    ]


class _Functions(dict[int, Any]):
    """Row of `targets` -> what it is, looked up once."""

    def __init__(self, dec: Decoder) -> None:
        self._dec = dec

    def __missing__(self, row: int) -> Any:
        found = self[row] = decode_target(self._dec, row)
        return found


def decode_tracer(dec: Decoder, record: Value) -> tuple[Any, Any]:
    """Return the tracer's class, where it is listed or trusted, and its extras."""
    name, extras = record
    cls = None if name is None else resolve_name(dec, name)
    return (cls if isinstance(cls, type) and issubclass(cls, torch.fx.Tracer) else None), dec.value(extras)


def _decode_codegen(dec: Decoder, record: Value) -> CodeGen:
    codegen: Any
    if record[0] == "plain":
        codegen = CodeGen()
    elif record[0] == "pytree":
        names, in_spec, out_spec = record[2], dec.value(record[3]), dec.value(record[4])
        codegen = _PyTreeCodeGen(_PyTreeInfo(list(names), in_spec, out_spec))
    else:
        raise InvalidDocument("a codegen", f"{record[0]!r} is not a known kind")
    if hasattr(codegen, "_func_name"):
        codegen._func_name = record[1]
    return codegen  # type: ignore[no-any-return]


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {Node: encode_node_value, Graph: encode_graph_value}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = []
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {
    "graph": decode_graph_value,
    "node": decode_node_value,
}
