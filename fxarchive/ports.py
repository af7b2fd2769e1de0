"""What goes into a graph and what comes out of it, as far as a document says it; read without torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from fxarchive.document import Value
from fxarchive.errors import escaped
from fxarchive.notation import Notation, clipped, tensor_text
from fxarchive.programs import USER_INPUT, USER_OUTPUT, kinds, root_program
from fxarchive.shapes import tensor_facts
from fxarchive.tables import (
    OP_NUMBERS,
    Metadata,
    entry,
    holes,
    node_names,
    operands_of,
    parts,
    resolved,
    value_columns,
)

MOST_TEXT = 200
"""Characters that describe one input or output that is no tensor."""


@dataclass(frozen=True)
class Port:
    """One input or output of a graph."""

    name: str
    text: str
    """What it is, for people: ``f32[2, 16]``, ``None``, or "" where the archive does not say."""
    dtype: str | None = None
    """Name without ``torch.`` if it is a tensor."""
    shape: tuple[int | str, ...] | None = None
    """Sizes if it is a tensor; text stands for a symbolic size."""
    device: str | None = None


def root_graph(document: Any) -> int | None:
    """Return the row of the graph that stands at the root, or of the only graph; None if neither is so."""
    root = resolved(document, document["root"])
    if type(root) is list and root[0] == "module":
        found = entry(document, "modules", root[1]).get("graph")
        if found is not None:
            return int(found)
    program = root_program(document)
    if program is not None:
        return int(entry(document, "modules", program["module"])["graph"])
    if type(root) is list and root[0] == "graph":
        return int(root[1])
    return 0 if len(document["graphs"]) == 1 else None


def ports(document: Any) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Return the inputs and the outputs of the root graph, as far as metadata or examples describe them.

    Of an exported program they are those of its caller; its graph also takes parameters and returns new buffers.
    """
    row = root_graph(document)
    if row is None:
        return (), ()
    graph = entry(document, "graphs", row)
    names = node_names(graph)
    reader = _Ports(document, value_columns(document, graph))
    args, kwargs, results = _examples(document)
    inputs: list[Port] = []
    placeholders = [number for number, op in enumerate(graph["ops"]) if op == OP_NUMBERS["placeholder"]]
    returned = list(reader.returned(graph, names))
    program = root_program(document)
    if program is not None:
        taken, given = kinds(document, program)
        placeholders = [n for n, kind in zip(placeholders, taken, strict=True) if kind == USER_INPUT]
        returned = [port for port, kind in zip(returned, given, strict=True) if kind == USER_OUTPUT]
    for at, number in enumerate(placeholders):
        name = names[number]
        example = args[at] if at < len(args) else kwargs.get(name)
        inputs.append(reader.port(name, number, example, reader.default(graph, number)))
    outputs: list[Port] = []
    for at, (name, operand, constant, written) in enumerate(returned):
        example = results[at] if at < len(results) else constant
        outputs.append(reader.port(name, operand, example, written))
    return tuple(inputs), tuple(outputs)


class _Ports:
    """Says what a node's value is from the columns that describe values."""

    def __init__(self, document: Any, columns: list[Metadata]) -> None:
        self._document = document
        self._columns = columns
        self._notation = Notation(document)

    def port(self, name: str, number: int | None, example: Value, written: str) -> Port:
        """Return a port.

        Args:
            name: of the node.
            number: of the node; None for a value that is written out.
            example: what is described where no metadata says what the node's value is; None if there is none.
            written: what is shown where nothing else is known.
        """
        value = None
        if number is not None:
            value = next(
                (found for column in self._columns if (found := column.of(number)) is not None), None
            )
        if value is None:
            value = example
        facts = None if value is None else tensor_facts(self._document, value)
        if facts is not None:
            return Port(escaped(name), tensor_text(facts), facts.dtype, facts.shape, facts.device)
        text = written if value is None else self._notation.written(value)
        return Port(escaped(name), clipped(text, MOST_TEXT))

    def default(self, graph: Any, number: int) -> str:
        """Return the default value of a placeholder as text, or ""."""
        args, _ = graph["patterns"][graph["pattern"][number]]
        return f"{self._notation.written(args[0])} by default" if args else ""

    def returned(self, graph: Any, names: list[str]) -> Iterator[tuple[str, int | None, Value, str]]:
        """Yield (name, node number, None, "") or ("", None, constant, text) of each value that the graph returns.

        A value that holds nodes where they are no outputs of their own (a slice) has a text and no constant.
        """
        number = graph["ops"].rfind(bytes([OP_NUMBERS["output"]]))
        if number < 0:
            return
        counts = [holes(args) + holes(kwargs[1::2]) for args, kwargs in graph["patterns"]]
        after = sum([counts[row] for row in graph["pattern"][number + 1 :]])
        end = len(graph["operands"]) - after
        args, _ = entry(graph, "patterns", graph["pattern"][number])
        operands = iter(operands_of(graph, number, end - counts[graph["pattern"][number]], end))
        for value, is_key in _leaves(args):
            if value == ["hole"] and not is_key:
                operand = next(operands)
                yield names[operand], operand, None, ""
                continue
            inside = [names[operand] for operand in islice(operands, holes([value]))]
            if not is_key:
                yield "", None, None if inside else value, self._notation.written(value, inside)


def _leaves(values: list[Value]) -> Iterator[tuple[Value, bool]]:
    """Yield the values in ``values`` that hold no other, and the keys of mappings, in order; whether it is a key."""
    stack = [(value, False) for value in reversed(values)]
    while stack:
        value, is_key = stack.pop()
        tag = value[0] if type(value) is list and not is_key else None
        if tag in ("tuple", "list", "ilist", "size", "named"):
            stack.extend([(part, False) for part in reversed(parts(value))])
        elif tag in ("dict", "idict", "ordered"):
            flat = parts(value)
            stack.extend([(flat[at], at % 2 == 0) for at in reversed(range(len(flat)))])
        else:
            yield value, is_key


def _examples(document: Any) -> tuple[list[Value], dict[Any, Value], list[Value]]:
    """Return the example arguments by position and by name, and the flat outputs."""
    examples = document["examples"]
    if examples is None:
        return [], {}, []
    args, kwargs, results = [resolved(document, part) for part in examples[1]]
    flat = kwargs[1]
    return (
        args[1],
        dict(zip(flat[::2], flat[1::2], strict=True)),
        [value for value, is_key in _leaves([results]) if not is_key],
    )
