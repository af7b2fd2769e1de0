"""What a document holds, in numbers and names: the facts that `inspect` shows, read without torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fxarchive.errors import InvalidDocument, escaped
from fxarchive.expressions import Range, ranges
from fxarchive.nodes import Calls, count_calls, count_nodes
from fxarchive.notation import clipped
from fxarchive.ports import Port, ports
from fxarchive.tables import MAX_EXTENT, class_name, reading
from fxarchive.trust import is_listed
from fxarchive.weights import Weight, bytes_of_weights, count_elements, weights_of

MOST_CALLS = 16
MOST_PORTS = 8
"""How much of what is called, and of what goes in and out, the header repeats (see `summarise`)."""

MOST_ARTEFACTS = 64
"""How many artefacts the header repeats."""

MOST_TEXT = 120
"""Characters of one input or output that the header repeats."""


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
        opcodes, calls, weights = count_nodes(document), count_calls(document), weights_of(document)
        inputs, outputs = ports(document)
        trust = names_to_trust(document)
        return Contents(
            **_counts(
                document, opcodes, calls, sum([weight.size for weight in weights if not weight.example])
            ),
            opcodes=opcodes,
            classes=count_modules(document),
            calls=calls,
            inputs=inputs,
            outputs=outputs,
            weights=weights,
            trust=trust,
            namespaces=namespaces(document),
            imports=imports(document, trust),
            symbols=ranges(document),
            artefacts=artefacts_of(document),
            examples=document["examples"] is not None,
        )


def _counts(
    document: Any, opcodes: Mapping[str, int], calls: tuple[Calls, ...], weight_bytes: int
) -> dict[str, int]:
    """Return the fields of `Contents` that are numbers; three follow from what was counted already."""
    return {
        "nodes": sum(opcodes.values()),
        "graphs": len(document["graphs"]),
        "modules": len(document["modules"]),
        "parameters": count_elements(document, "parameters", 2),
        "buffers": count_elements(document, "buffers", 3),
        "tensors": len(document["tensors"]),
        "storages": len(document["storages"]),
        "weight_bytes": weight_bytes,
        "fake_tensors": len(document["fakes"].get("description", ())),
        "operators": len(calls),
    }


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
            **_counts(document, count_nodes(document), calls, bytes_of_weights(document)),
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


def count_modules(document: Any) -> dict[str, int]:
    """Return how many modules of each class there are, the most frequent first."""
    counts = Counter([escaped(class_name(document, row)) for row in range(len(document["modules"]))])
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


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
