"""What a document holds, in numbers and names: the facts that `inspect` shows, read without torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

from fxarchive.document import Value
from fxarchive.errors import InvalidDocument, escaped
from fxarchive.expressions import Range, ranges
from fxarchive.notation import clipped, printed_name
from fxarchive.ports import Port, ports
from fxarchive.programs import held_tensors
from fxarchive.shapes import tensor_facts
from fxarchive.tables import (
    MAX_EXTENT,
    OP_NUMBERS,
    class_name,
    entry,
    held_by_root,
    members,
    module_paths,
    parts,
    reading,
)
from fxarchive.trust import is_listed

MOST_CALLS = 16
MOST_PORTS = 8
"""How much of what is called, and of what goes in and out, the header repeats (see `summarise`)."""

MOST_ARTEFACTS = 64
"""How many artefacts the header repeats."""

MOST_TEXT = 120
"""Characters of one input or output that the header repeats."""


@dataclass(frozen=True)
class Calls:
    """How often nodes call one thing."""

    kind: str
    """"operator", "packet", "higher_order", "function", "method" or "module"."""
    name: str
    """As torch prints it in a graph; for a module, its class."""
    calls: int


@dataclass(frozen=True)
class Weight:
    """A storage, and the names of the parameters, buffers and attributes over it."""

    section: str | None
    """The archive's section with its bytes; None if they stand in the document or were left out."""
    size: int
    """Bytes."""
    device: str
    names: tuple[str, ...]
    example: bool
    """Whether only the example inputs and outputs hold it."""


@dataclass(frozen=True)
class ArtefactInfo:
    """A compiled artefact: bytes that `load` gives out only if its kind is in ``trust=``."""

    kind: str
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Contents:
    """What a document holds. Counts of elements and bytes take each tensor and each storage once."""

    nodes: int = 0
    """Of all graphs."""
    opcodes: Mapping[str, int] = field(default_factory=dict)
    """Opcode -> nodes."""
    graphs: int = 0
    modules: int = 0
    classes: Mapping[str, int] = field(default_factory=dict)
    """Class -> modules of it, the most frequent first."""
    parameters: int = 0
    """Elements of all parameters."""
    buffers: int = 0
    """Elements of all buffers."""
    tensors: int = 0
    storages: int = 0
    weight_bytes: int = 0
    """Of all storages but those of the examples."""
    fake_tensors: int = 0
    operators: int = 0
    """Distinct operators, functions, methods and module classes that are called."""
    calls: tuple[Calls, ...] = ()
    """The most frequent first."""
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    weights: tuple[Weight, ...] = ()
    """Every storage, the largest first."""
    trust: tuple[str, ...] = ()
    """Names of functions and classes that `load` accepts only in ``trust=``."""
    namespaces: tuple[str, ...] = ()
    """Namespaces of the operators that are called: ``aten``, ``prims``, ..."""
    imports: tuple[str, ...] = ()
    """Modules to import before loading: they register operators or define what trust names."""
    symbols: tuple[Range, ...] = ()
    """Symbols of symbolic shapes: in which range they are, and their values when the graph was captured."""
    artefacts: tuple[ArtefactInfo, ...] = ()
    """Every compiled artefact, in the order of the document."""
    examples: bool = False
    """Whether example inputs and their outputs are stored."""


OPERATORS = ("operator", "named_operator", "packet")
"""Kinds of rows of `targets` that name an operator and the module that registers it."""

COUNTS = (
    "nodes", "graphs", "modules", "parameters", "buffers", "tensors", "storages", "weight_bytes",
    "fake_tensors", "operators",
)  # fmt: skip
"""Fields of `Contents` that are numbers."""


def describe(document: Any) -> Contents:
    """Return what ``document``, of the current schema, holds.

    Raises:
        InvalidDocument: it does not hold what its schema says.

    >>> from fxarchive.document import empty_document
    >>> describe(empty_document()).graphs
    0
    """
    with reading("the document"):
        _check_facts(document)
        calls = count_calls(document)
        inputs, outputs = ports(document)
        trust = names_to_trust(document)
        return Contents(
            **_counts(document, calls),
            opcodes=count_nodes(document),
            classes=count_modules(document),
            calls=calls,
            inputs=inputs,
            outputs=outputs,
            weights=weights_of(document),
            trust=trust,
            namespaces=namespaces(document),
            imports=imports(document, trust),
            symbols=ranges(document),
            artefacts=artefacts_of(document),
            examples=document["examples"] is not None,
        )


def _counts(document: Any, calls: tuple[Calls, ...]) -> dict[str, int]:
    """Return the fields of `Contents` that are numbers."""
    return {
        "nodes": sum(count_nodes(document).values()),
        "graphs": len(document["graphs"]),
        "modules": len(document["modules"]),
        "parameters": count_elements(document, "parameters", 2),
        "buffers": count_elements(document, "buffers", 3),
        "tensors": len(document["tensors"]),
        "storages": len(document["storages"]),
        "weight_bytes": _weight_bytes(document),
        "fake_tensors": len(document["fakes"].get("description", ())),
        "operators": len(calls),
    }


def _weight_bytes(document: Any) -> int:
    if example_storages(document):
        return sum([weight.size for weight in weights_of(document) if not weight.example])
    return sum([record["size"] for record in document["storages"]])  # whatever their names


def _check_facts(document: Any) -> None:
    """Check that what is shown as it stands has its type."""
    for record in document["targets"]:
        if not all([type(part) is str or part is None for part in record]):
            raise InvalidDocument("table targets", "a part of a row is not a string")
    for table, texts in (("storages", ("device", "section")), ("artefacts", ("kind",))):
        for record in document.get(table, ()):
            size = record["size"]
            if type(size) is not int or not 0 <= size <= MAX_EXTENT:
                raise InvalidDocument(f"table {table}", "the size of a row is no number of bytes")
            if not all([type(record.get(text, "")) is str for text in texts]):
                raise InvalidDocument(f"table {table}", "a part of a row is not a string")


def summarise(document: Any) -> dict[str, Any]:
    """Return the facts that go into an archive's header: plain values, a few KB however large the graph is.

    ``calls``, ``inputs`` and ``outputs`` hold the first few of each; ``trust`` holds every name.

    Raises:
        InvalidDocument: the document does not hold what its schema says.

    >>> from fxarchive.document import empty_document
    >>> summarise(empty_document())["nodes"]
    0
    """
    with reading("the document"):
        _check_facts(document)
        calls = count_calls(document)
        inputs, outputs = ports(document)
        trust = names_to_trust(document)
        return {
            **_counts(document, calls),
            "calls": [[call.kind, clipped(call.name, MOST_TEXT), call.calls] for call in calls[:MOST_CALLS]],
            "inputs": _briefly(inputs),
            "outputs": _briefly(outputs),
            "trust": list(trust),
            "imports": list(imports(document, trust)),
            "artefacts": [
                [artefact.kind, artefact.size] for artefact in artefacts_of(document)[:MOST_ARTEFACTS]
            ],
            "examples": document["examples"] is not None,
        }


def _briefly(found: tuple[Port, ...]) -> list[Any]:
    return [[clipped(port.name, MOST_TEXT), clipped(port.text, MOST_TEXT)] for port in found[:MOST_PORTS]]


# nodes and what they call


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


# modules, tensors, storages

_KINDS = {"parameters": "PARAMETER", "buffers": "BUFFER"}


def count_modules(document: Any) -> dict[str, int]:
    """Return how many modules of each class there are, the most frequent first."""
    counts = Counter([escaped(class_name(document, row)) for row in range(len(document["modules"]))])
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def count_elements(document: Any, key: str, step: int) -> int:
    """Return how many elements the distinct tensors have that are parameters, or buffers."""
    distinct = {(value[0], value[1]) for _, _, value in members(document, key, step)}
    distinct |= {
        (value[0], value[1])
        for kind, _, value in held_tensors(document)
        if kind == _KINDS[key] and type(value) is list and value[0] in ("tensor", "fake")
    }
    return sum([_elements(tensor_facts(document, list(value))) for value in distinct])


def _elements(facts: Any) -> int:
    count = 1
    for size in () if facts is None else facts.shape:
        count *= size if type(size) is int else 1
        if count > MAX_EXTENT:
            raise InvalidDocument("a tensor", "it has more elements than torch can count")
    return count if facts is not None else 0


def weights_of(document: Any) -> tuple[Weight, ...]:
    """Return every storage with the names of what lies in it, the largest first."""
    names: dict[int, list[str]] = {}
    paths = module_paths(document)
    for key, step in (("parameters", 2), ("buffers", 3), ("attributes", 2)):
        for row, name, value in members(document, key, step):
            path = paths.get(row)
            for storage in storages_of(document, value):
                names.setdefault(storage, []).append(escaped(f"{path}.{name}" if path else name))
    for _, name, value in held_tensors(document):
        for storage in storages_of(document, value):
            names.setdefault(storage, []).append(escaped(name))
    for path, value in held_by_root(document):
        for storage in storages_of(document, value):
            names.setdefault(storage, []).append(escaped(path or "the tensor"))
    examples = example_storages(document)
    found = [
        Weight(
            record.get("section"), record["size"], record["device"], tuple(names.get(row, ())),
            row in examples and row not in names,
        )
        for row, record in enumerate(document["storages"])
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda weight: -weight.size))


def storages_of(document: Any, value: Value) -> list[int]:
    """Return the storages under a tensor: several if it is sparse, none if ``value`` is no tensor."""
    if type(value) is not list or value[0] != "tensor":
        return []
    record = entry(document, "tensors", value[1])
    rows = [record[part] for part in ("indices", "compressed", "plain", "values") if part in record]
    held = [record, *[entry(document, "tensors", row) for row in rows]]
    return [part["storage"] for part in held if "storage" in part]


def example_storages(document: Any) -> set[int]:
    """Return the storages of the tensors among the example inputs and outputs, those of programs too."""
    found: set[int] = set()
    seen: set[Any] = set()
    stack = [document["examples"]]
    for program in document.get("programs", ()):
        stack += [program["examples"], program.get("leaves")]
    while stack:
        value = stack.pop()
        if type(value) is not list:
            continue
        if value[0] == "shared":
            if value[1] not in seen:
                seen.add(value[1])
                stack.append(entry(document, "shared", value[1]))
        elif value[0] == "tensor":
            found.update(storages_of(document, value))
        elif value[0] == "record":
            if ("record", value[1]) not in seen:
                seen.add(("record", value[1]))
                stack.extend(entry(document, "records", value[1])[1][1::2])
        else:
            stack.extend(parts(value))
    return found


# what loading asks for


def names_to_trust(document: Any) -> tuple[str, ...]:
    """Return the functions and classes of `targets` that are not in the shipped list, sorted."""
    named = {(record[0], record[1]) for record in document["targets"] if record[0] in ("function", "class")}
    return tuple(sorted({name for kind, name in named if not is_listed(kind, name)}))


def artefacts_of(document: Any) -> tuple[ArtefactInfo, ...]:
    """Return the compiled artefacts of the document."""
    return tuple(
        [ArtefactInfo(escaped(record["kind"]), record["size"]) for record in document.get("artefacts", ())]
    )


def namespaces(document: Any) -> tuple[str, ...]:
    """Return the namespaces of the operators in `targets`, sorted."""
    found = {record[1].partition("::")[0] for record in document["targets"] if record[0] in OPERATORS}
    return tuple(sorted(map(escaped, found)))


def imports(document: Any, trust: tuple[str, ...]) -> tuple[str, ...]:
    """Return the modules that register operators, and those that the names in ``trust`` are in, sorted."""
    found = {record[-1] for record in document["targets"] if record[0] in OPERATORS and record[-1]}
    found |= {name.rpartition(".")[0] for name in trust if "." in name}
    return tuple(sorted(found))
