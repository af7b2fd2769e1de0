"""Arguments of nodes, as patterns with holes.

Most arguments repeat the same pattern with other nodes in it ("two nodes", "a node and the number 1"), so a node stores
the number of its pattern and, for each hole of it, the distance back to the node that stands there.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable
from typing import Any

from torch.fx import Node
from torch.fx.immutable_collections import immutable_dict

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.document import Value
from fxarchive.errors import Problem
from fxarchive.source_names import ARGUMENT_TAGS, unprintable
from fxarchive.trust import is_plain_value

# encoding


class Operands:
    """The nodes met while the arguments of one node are encoded."""

    __slots__ = ("at", "distances", "numbers")

    def __init__(self, numbers: dict[Any, int]) -> None:
        self.numbers = numbers
        self.at = 0
        self.distances: list[int] = []


def encode_arguments(
    enc: Encoder, numbers: dict[Any, int], nodes: list[Node], record: dict[str, Any], problems: list[Any]
) -> None:
    """Fill the columns `patterns`, `pattern` and `operands` of a graph.

    Args:
        enc: the encoder.
        numbers: node -> its number, of all nodes of the graph.
        nodes: these nodes in order.
        record: the graph's, into which the columns go.
        problems: what cannot be kept is added here, with the node's name.
    """
    patterns = record["patterns"] = []
    pattern = record["pattern"] = []
    rows: dict[Any, int] = {}
    operands = Operands(numbers)
    distances = operands.distances
    value = enc.value
    enc.operands = operands
    try:
        for at, node in enumerate(nodes):
            args, kwargs = node.args, node.kwargs
            key: Any
            if not kwargs and all([type(arg) is Node for arg in args]):
                key = len(args)  # only nodes, by far the most frequent pattern
                if key not in rows:
                    rows[key] = len(patterns)
                    patterns.append([[["hole"]] * key, []])
                before = len(distances)
                distances.extend([at - numbers.get(arg, at) for arg in args])
                pattern.append(rows[key])
                if min(distances[before:], default=1) >= 1:
                    continue
                del distances[before:]
                pattern.pop()
            operands.at = at
            try:
                entry = [
                    enc.items(args, ".args[{}]".format),
                    [part for name, arg in kwargs.items() for part in (name, _argument(value, name, arg))],
                ]
            except Refused as refused:
                problems += refused.below(f".{node.name}")
                continue
            refuse_unprintable(
                enc, [*entry[0], *entry[1][1::2]], ARGUMENT_TAGS, node, "an argument", problems
            )
            # marshal 2 writes equal values as equal bytes and 1, 1.0 and True as different ones; it is only
            # a key here
            key = marshal.dumps(entry, 2)
            row = rows.get(key)
            if row is None:
                rows[key] = row = len(patterns)
                patterns.append(entry)
            pattern.append(row)
    finally:
        enc.operands = None
    record["operands"] = distances


def refuse_unprintable(
    enc: Encoder, values: list[Value], allowed: frozenset[str], node: Node, place: str, problems: list[Any]
) -> None:
    """Refuse what fx would write into source with ``repr`` of an object that is no plain value."""
    targets = enc.document["targets"]
    tag = unprintable(values, allowed, lambda row: is_plain_value(*targets[row][:2]))
    if tag is not None:
        why = f"a value of kind {tag} in it cannot be {place} of a node; keep it in the node's metadata"
        problems.append(Problem(f".{node.name}", why))


def _argument(value: Callable[[Any], Value], name: str, arg: Any) -> Value:
    try:
        return value(arg)
    except Refused as refused:
        raise Refused(refused.below(f".kwargs[{name!r}]")) from None


# decoding

_NO_KWARGS: Any = immutable_dict()

Fill = Callable[[list[Node], Any], tuple[tuple[Any, ...], Any]]
"""(nodes so far, distances) -> args and kwargs of the next node."""


def compile_pattern(dec: Decoder, args: list[Value], kwargs: list[Value]) -> Fill:
    """Return a function that fills the holes of a pattern with the nodes at the next distances.

    A distance counts back from the end of the nodes built so far, so one that is too long is an IndexError.
    """
    if not kwargs and all(arg == ["hole"] for arg in args):
        each = range(len(args))
        if len(args) == 1:
            return lambda nodes, distances: ((nodes[-next(distances)],), _NO_KWARGS)
        if len(args) == 2:
            return lambda nodes, distances: ((nodes[-next(distances)], nodes[-next(distances)]), _NO_KWARGS)
        return lambda nodes, distances: (tuple([nodes[-next(distances)] for _ in each]), _NO_KWARGS)

    names, values = kwargs[::2], [*args, *kwargs[1::2]]
    count = len(args)
    holding = [at for at, value in enumerate(values) if _has_hole(value)]
    constants = [None if at in holding else dec.value(value) for at, value in enumerate(values)]
    if not holding:
        arguments = tuple(constants[:count]), dict(zip(names, constants[count:], strict=True))
        return lambda nodes, distances: arguments
    operands = [(at, values[at] == ["hole"], values[at]) for at in holding]

    def fill(nodes: list[Node], distances: Any) -> tuple[tuple[Any, ...], Any]:
        parts = constants.copy()
        for at, is_node, value in operands:
            if is_node:
                parts[at] = nodes[-next(distances)]
            else:
                dec.holes = (nodes, distances)
                parts[at] = dec.value(value)
        return tuple(parts[:count]), dict(zip(names, parts[count:], strict=True)) if names else _NO_KWARGS

    return fill


def _has_hole(value: Value) -> bool:
    return type(value) is list and (value == ["hole"] or any([_has_hole(part) for part in value]))


def decode_hole(dec: Decoder, tagged: Value) -> Node:
    nodes, distances = dec.holes
    node: Node = nodes[-next(distances)]
    return node


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = []
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"hole": decode_hole}
