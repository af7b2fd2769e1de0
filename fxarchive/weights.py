"""The storages of a document and what lies in them: weights, and tensors of the examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fxarchive.document import Value
from fxarchive.errors import InvalidDocument, escaped
from fxarchive.programs import held_tensors
from fxarchive.shapes import tensor_facts
from fxarchive.tables import MAX_EXTENT, entry, held_by_root, members, module_paths, parts


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


def bytes_of_weights(document: Any) -> int:
    """Return the bytes of all storages but those of the examples."""
    if example_storages(document):
        return sum([weight.size for weight in weights_of(document) if not weight.example])
    return sum([record["size"] for record in document["storages"]])  # whatever their names


_KINDS = {"parameters": "PARAMETER", "buffers": "BUFFER"}


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
            names.setdefault(storage, []).append(escaped(path or f"the {value[0]}"))
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
    """Return the storages under a tensor or an array: several if it is sparse, none if ``value`` is neither."""
    if type(value) is list and value[0] == "array":
        record = entry(document, "arrays", value[1])
        return [record["storage"]] if "storage" in record else []
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
        elif value[0] in ("tensor", "array"):
            found.update(storages_of(document, value))
        elif value[0] == "record":
            if ("record", value[1]) not in seen:
                seen.add(("record", value[1]))
                stack.extend(entry(document, "records", value[1])[1][1::2])
        else:
            stack.extend(parts(value))
    return found
