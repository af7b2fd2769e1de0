"""How two archives differ: header, metadata, graphs, modules and weights, read without torch.

Both are brought to the current schema in memory, so that an archive and its upgrade can be compared. Weights are
compared by the digests in the index; they are not read, unless one side is compressed and the other is not.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, BinaryIO

from fxarchive import container, store, wire
from fxarchive.container import Archive
from fxarchive.document import FEATURES, SCHEMA
from fxarchive.errors import escaped
from fxarchive.limits import DEFAULT_LIMITS, Limits
from fxarchive.listing import NodeLine, list_graphs, list_nodes
from fxarchive.migrations.content import Content
from fxarchive.notation import Notation, array_text, tensor_text
from fxarchive.reading import read_current
from fxarchive.shapes import tensor_facts
from fxarchive.tables import class_name, entry, members, module_paths, reading, resolved

PARTS = ("header", "metadata", "graphs", "modules", "weights")
"""What is compared, in this order."""

MOST_TEXT = 2_000
"""Characters of one string that are written."""


@dataclass(frozen=True)
class Difference:
    """One thing in which two archives differ."""

    part: str
    """One of `PARTS`; or "rest" for what no text here can show, such as how containers are shared."""
    where: str
    """The field, the graph and the node, the module or the tensor; safe to print."""
    left: str | None
    """What the first archive has there, safe to print; None if it has nothing."""
    right: str | None
    """What the second has."""


@dataclass(frozen=True)
class Comparison:
    """How two archives differ."""

    left: str
    """Identity of the first."""
    right: str
    """Identity of the second; archives of one identity hold the same bytes."""
    differences: tuple[Difference, ...]
    """In the order of `PARTS`, and within a part in that of the first archive."""

    @property
    def same(self) -> bool:
        """Whether nothing differs in what was compared."""
        return not self.differences


def compare(
    left: str | os.PathLike[str] | BinaryIO,
    right: str | os.PathLike[str] | BinaryIO,
    *,
    ignore: Collection[str] = (),
    limits: Limits = DEFAULT_LIMITS,
) -> Comparison:
    """Return how two archives differ; needs no torch and reads no weights.

    Args:
        left, right: a path, an open binary file that can seek, or an fsspec URL each.
        ignore: parts that may differ, of `PARTS`.
        limits: bounds on what the files may ask for.

    Returns:
        Both identities, and every difference.

    Raises:
        FxArchiveError: one cannot be read; see `inspect`.
        ValueError: ``ignore`` holds something else.
        TypeError: a path is none of these.

    >>> import fxarchive
    >>> one, two = (fxarchive.save([1, number], f"memory://{number}.fxa") for number in (1, 2))
    >>> compare("memory://1.fxa", "memory://2.fxa").differences
    (Difference(part='modules', where='root', left='[1, 1]', right='[1, 2]'),)
    """
    unknown = set(ignore) - set(PARTS)
    if unknown:
        raise ValueError(f"ignore holds {min(unknown)!r}; it takes {', '.join(PARTS)}.")
    with ExitStack() as files:
        sides = [_Side(_opened(path, files, limits), limits) for path in (left, right)]
        first, second = sides
        identities = first.archive.identity, second.archive.identity
        if identities[0] == identities[1]:
            return Comparison(*identities, ())
        for side, other in ((first, second), (second, first)):
            side.also = {section.sha256 for section in other.archive.sections.values()}
        found = [
            difference
            for part in PARTS
            if part not in ignore
            for difference in _differences(part, _TEXTS[part](first), _TEXTS[part](second))
        ]
        if not found and not {"graphs", "modules", "weights"} & set(ignore):
            found = list(_rest(first, second))
        return Comparison(*identities, tuple(found))


def _opened(path: Any, files: ExitStack, limits: Limits) -> Archive:
    file = files.enter_context(store.open_read(path))
    return container.open_archive(file, schema=SCHEMA, features=FEATURES, walk=False, limits=limits)


class _Side:
    """One archive, and what was read of it."""

    def __init__(self, archive: Archive, limits: Limits) -> None:
        self.archive = archive
        self.content: Content = read_current(archive, limits)
        self.document: Any = self.content.document
        self.also: set[bytes] = set()
        """Digests of sections that the other archive has."""
        self._digests: dict[int, str] = {}

    def digest(self, row: Any) -> str:
        """Return the digest of the content of a storage; the same text on both sides if the bytes are the same."""
        record = entry(self.document, "storages", row)
        if row not in self._digests:
            self._digests[row] = self._digest(record)
        return self._digests[row]

    def _digest(self, record: Any) -> str:
        name = record.get("section")
        if name is None:
            return hashlib.sha256(record["data"]).hexdigest() if "data" in record else "omitted"
        if name in self.content.sections:
            return hashlib.sha256(self.content.sections[name]).hexdigest()
        section = self.archive.section(name)
        if section.codec == "raw" or section.sha256 in self.also:
            return section.sha256.hex()
        return hashlib.sha256(self.archive.read(name)).hexdigest()


def _differences(part: str, left: Mapping[str, str], right: Mapping[str, str]) -> Iterator[Difference]:
    """Compare two sides by what stands where, in the order of the first, then of what only the second has."""
    for where in [*left, *[where for where in right if where not in left]]:
        if left.get(where) != right.get(where):
            yield Difference(part, where, left.get(where), right.get(where))


def _header(side: _Side) -> dict[str, str]:
    header = side.archive.header
    history = [f"{change.source} -> {change.target} by {change.by}" for change in header.history]
    return {
        "container version": str(side.archive.container_version),
        "schema": str(header.schema),
        "features": ", ".join(header.features),
        **{f"writer.{name}": escaped(release) for name, release in header.writer._asdict().items()},
        "root": escaped(header.root),
        "history": escaped(", ".join(history)),
    }


def _metadata(side: _Side) -> dict[str, str]:
    return {escaped(key): escaped(repr(value)) for key, value in side.archive.header.metadata.items()}


def _graphs(side: _Side) -> dict[str, str]:
    document = side.document
    found: dict[str, str] = {}
    for graph in list_graphs(document):
        where = f"graph {graph.modules[0] or '(root)'}" if graph.modules else f"graph {graph.number}"
        if where in found:
            where = f"graph {graph.number}"
        found[where] = "present"
        names = []
        for node in list_nodes(document, graph.number, metadata=True):
            names.append(node.name)
            found.update(_node(f"{where} %{node.name}", node))
        found[f"{where} order"] = _order(names)
        with reading(where):
            record = entry(document, "graphs", graph.number)
            notation = Notation(document, MOST_TEXT)
            found[f"{where} codegen"] = " ".join([_plain(notation, part) for part in record["codegen"]])
    return found


def _order(names: list[str]) -> str:
    """The order of the nodes in a few characters, since each node stands for itself already."""
    return f"{len(names):,} nodes, order {hashlib.sha256(' '.join(names).encode()).hexdigest()[:12]}"


def _node(where: str, node: NodeLine) -> dict[str, str]:
    return {where: str(node), **{f"{where} meta[{key}]": value for key, value in node.metadata}}


def _plain(notation: Notation, part: Any) -> str:
    """A part of a codegen record, which may be a list of names."""
    if type(part) is list and all(type(name) is str for name in part):
        return escaped(", ".join(part))
    return notation.written(part)


def _modules(side: _Side) -> dict[str, str]:
    document = side.document
    notation = Notation(document, MOST_TEXT)
    with reading("the modules"):
        found = {}
        root = resolved(document, document["root"])
        if type(root) is not list or root[0] not in ("module", "tensor"):
            found["root"] = notation.written(root)
        found["examples"] = notation.written(document["examples"])
        paths = module_paths(document)
        for row, module in enumerate(document["modules"]):
            mode = "" if module.get("training") else ", in evaluation mode"
            found[_module(paths, row)] = f"{escaped(class_name(document, row))}{mode}"
        for row, name, value in members(document, "attributes", 2):
            held = resolved(document, value)
            if tensor_facts(document, held) is None and not (type(held) is list and held[0] == "array"):
                found[_member(paths, row, name)] = notation.written(value)
        return found


def _module(paths: Mapping[int, str], row: int) -> str:
    path = paths.get(row)
    return f"module {row}" if path is None else f"module {escaped(path) or '(root)'}"


def _member(paths: Mapping[int, str], row: int, name: str) -> str:
    path = paths.get(row)
    before = f"module {row}." if path is None else f"{path}." if path else ""
    return escaped(f"{before}{name}")


def _weights(side: _Side) -> dict[str, str]:
    document = side.document
    with reading("the weights"):
        paths = module_paths(document)
        found: dict[str, str] = {}
        first: dict[Any, str] = {}
        for key, step in (("parameters", 2), ("buffers", 3), ("attributes", 2)):
            for row, name, value in members(document, key, step):
                held = resolved(document, value)
                if type(held) is list and held[0] in _TABLES:
                    where = _member(paths, row, name)
                    found[where] = _tensor(side, held)
                    storage = entry(document, _TABLES[held[0]], held[1]).get("storage")
                    if storage is not None and first.setdefault(storage, where) != where:
                        found[where] += f", in the memory of {first[storage]}"
        unnamed = [side.digest(row) for row in range(len(document["storages"])) if row not in first]
        for at, held in enumerate(sorted(unnamed)):
            found[f"storage without a name {at}"] = f"bytes {held[:16]}"
        return found


_TABLES = {"tensor": "tensors", "array": "arrays"}
"""Tag of what lies in a storage -> its table."""


def _tensor(side: _Side, value: Any) -> str:
    record = entry(side.document, _TABLES[value[0]], value[1])
    facts = tensor_facts(side.document, value)
    if value[0] == "array":
        text = array_text(side.document, value[1])
    else:
        text = "tensor" if facts is None else tensor_text(facts)
    known = ("dtype", "size", "storage")
    more = [f"{key} {held}" for key, held in sorted(record.items()) if key not in known]
    parts = [text, *[escaped(one)[:200] for one in more]]
    if "storage" in record:
        parts.append(f"bytes {side.digest(record['storage'])[:16]}")
    return ", ".join(parts)


_TEXTS = {
    "header": _header,
    "metadata": _metadata,
    "graphs": _graphs,
    "modules": _modules,
    "weights": _weights,
}


def _rest(first: _Side, second: _Side) -> Iterator[Difference]:
    """What the texts do not show: documents that differ although all of it is the same."""
    payloads = [
        hashlib.sha256(wire.dumps(side.content.document)).hexdigest()[:16] for side in (first, second)
    ]
    if payloads[0] != payloads[1]:
        where = "long values, or how values are shared"
        yield Difference("rest", where, f"document {payloads[0]}", f"document {payloads[1]}")
