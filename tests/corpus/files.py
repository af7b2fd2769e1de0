"""The files of a corpus, read without torch: where they are, what is wrong with them, what they cover."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fxarchive import container, store
from fxarchive.document import VALUE_TAGS
from fxarchive.listing import list_graphs, list_nodes
from fxarchive.notation import Notation
from fxarchive.reading import read_document

HOME = Path(__file__).resolve().parent
MANIFEST = "MANIFEST"
RELEASES = "RELEASES"


@dataclass(frozen=True)
class Case:
    """One entry of a corpus."""

    archive: Path

    @property
    def text(self) -> Path:
        """The file that says what a reader must see."""
        return self.archive.with_suffix(".txt")

    @property
    def name(self) -> str:
        """The entry's own name; those of several releases share it."""
        return self.archive.stem

    @property
    def release(self) -> str:
        """The torch release that wrote it."""
        return self.archive.parent.name.removeprefix("torch-")

    @property
    def schema(self) -> int:
        """The schema of its document."""
        return int(self.archive.parent.parent.name.removeprefix("schema-"))

    def __str__(self) -> str:
        return f"schema-{self.schema}/torch-{self.release}/{self.name}"


def cases(root: Path = HOME) -> list[Case]:
    """Return every entry of the corpus in ``root``, in the order of their paths."""
    return [Case(path) for path in sorted(root.glob("schema-*/torch-*/*.fxa"))]


def archive_path(root: Path, schema: int, release: str, name: str) -> Path:
    """Return where an entry's archive belongs; local versions of torch (``+cpu``) are left out."""
    return root / f"schema-{schema}" / f"torch-{release.partition('+')[0]}" / f"{name}.fxa"


def document_of(path: Path) -> Any:
    """Return the document of an archive in the current schema."""
    with store.open_read(path) as file:
        return read_document(container.open_archive(file))


def features_of(path: Path) -> frozenset[str]:
    """Return the feature flags of an archive."""
    with store.open_read(path) as file:
        return frozenset(container.open_archive(file, walk=False).header.features)


def seen(document: Any) -> str:
    """Return what a reader sees in a document: its root, its examples, and its graphs with their metadata."""
    notation = Notation(document, 400)
    lines = [f"root: {notation.written(document['root'])}"]
    if document["examples"] is not None:
        lines.append(f"examples: {notation.written(document['examples'])}")
    for graph in list_graphs(document):
        holders = ", ".join(path or "the root" for path in graph.modules)
        lines += ["", f"graph {graph.number} ({holders})"]
        for node in list_nodes(document, graph.number, metadata=True):
            lines.append(f"  {node}")
            lines += [f"      {key}: {value}" for key, value in node.metadata]
    return "\n".join(lines) + "\n"


# digests


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def append(root: Path, paths: Iterable[Path]) -> None:
    """Put files of the corpus into its MANIFEST."""
    with open(root / MANIFEST, "a", encoding="ascii") as manifest:
        manifest.writelines(f"{digest(path)}  {path.relative_to(root).as_posix()}\n" for path in paths)


def freeze(root: Path, release: str) -> None:
    """Write down what MANIFEST holds at a release of fxarchive."""
    lines = _lines(root / MANIFEST)
    with open(root / RELEASES, "a", encoding="ascii") as releases:
        releases.write(f"{release} {len(lines)} {_digest_of(lines)}\n")


def problems(root: Path = HOME) -> list[str]:
    """Return what is not as it was: files against MANIFEST, both ways, and MANIFEST against RELEASES."""
    lines = _lines(root / MANIFEST)
    listed: dict[str, str] = {}
    found = []
    for line in lines:
        expected, _, name = line.partition("  ")
        if name in listed:
            found.append(f"{name} is listed twice")
        listed[name] = expected
    paths = [*root.glob("schema-*/*/*"), *root.glob("broken/*.fxa")]
    files = {path.relative_to(root).as_posix(): path for path in sorted(paths)}
    found += [f"{name} is gone" for name in listed if name not in files]
    found += [f"{name} is not in {MANIFEST}" for name in files if name not in listed]
    found += [
        f"{name} was changed" for name, path in files.items() if listed.get(name) not in (None, digest(path))
    ]
    found += [f"{case} has no text" for case in cases(root) if not case.text.exists()]
    for line in _lines(root / RELEASES):
        release, count, expected = line.split()
        if _digest_of(lines[: int(count)]) != expected:
            found.append(f"{MANIFEST} does not begin as it did in release {release}")
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").splitlines() if path.exists() else []


def _digest_of(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("ascii")).hexdigest()


# coverage

_LENGTHS = {
    1: {"ellipsis", "notimplemented", "hole"},
    3: {
        "default",
        "deque",
        "named",
        "complex",
        "enum",
        "annotation",
        "device",
        "node",
        "standard",
        "export",
        "nested_int",
    },
    4: {"range", "generator", "partial", "dim_range"},
}
LENGTHS = {tag: length for length, tags in _LENGTHS.items() for tag in tags}
"""Tag -> items of a value with it, the tag itself included; 2 for those that are not listed."""


def tags_of(document: Any) -> set[str]:
    """Return the tags of the values that a document holds.

    Lists of names are told from values by their length and by what stands after the tag.
    """
    found: set[str] = set()
    pending: list[Any] = [document]
    while pending:
        part = pending.pop()
        if type(part) is dict:
            pending += part.values()
        elif type(part) is list:
            if _is_tagged(part):
                found.add(part[0])
            pending += part
    for graph in document["graphs"]:
        found |= {column[0] for column in graph["columns"]} & VALUE_TAGS
    return found


def _is_tagged(part: list[Any]) -> bool:
    if not part or type(part[0]) is not str or part[0] not in VALUE_TAGS:
        return False
    tag = part[0]
    if tag in ("symint", "symfloat", "symbool", "expression", "shape_env", "value_range", "path_key"):
        return len(part) > 1 and (type(part[1]) is int or tag == "path_key")
    if len(part) != LENGTHS.get(tag, 2):
        return False
    if tag in _OF_ROWS:
        return type(part[1]) is int
    return tag not in _OF_ITEMS or type(part[1]) is list


_OF_ROWS = {
    "shared",
    "value",
    "text",
    "target",
    "tensor",
    "fake",
    "module",
    "graph",
    "named",
    "enum",
    "node",
    "record",
    "artefact",
    "program",
    "tracing_context",
}
_OF_ITEMS = {
    "tuple", "list", "dict", "set", "frozenset", "ordered", "default", "deque", "size", "ilist", "idict", "slice",
}  # fmt: skip


def kinds_of(document: Any) -> Iterator[str]:
    """Yield the kinds of the rows of `targets`."""
    for record in document["targets"]:
        yield record[0]
