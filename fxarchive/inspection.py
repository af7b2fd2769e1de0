"""Looking at an archive without opening what is in it: no torch, nothing built, weights untouched."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from fxarchive import container, store
from fxarchive.container import Archive, Change, Writer
from fxarchive.document import FEATURES, SCHEMA, content_section
from fxarchive.errors import BadStream, FxArchiveError, MigrationFailed, TooLarge, TooNew
from fxarchive.limits import DEFAULT_LIMITS, KIB, Limits
from fxarchive.nodes import Calls
from fxarchive.ports import Port
from fxarchive.summary import COUNTS, ArtefactInfo, Contents, describe

READ_BYTES = 512 * KIB
"""Documents up to this size are read by default; for larger ones the summary in the header has to do."""

MOST_PROBLEMS = 4
"""Offending items that `ArchiveInfo.stuck` names."""


@dataclass(frozen=True)
class SectionInfo:
    """One section of an archive."""

    name: str
    codec: str
    """"raw" or "zstd"."""
    size: int
    """Bytes of content."""
    stored_size: int
    """Bytes that it takes in the file."""


@dataclass(frozen=True)
class ArchiveInfo:
    """What an archive says of itself."""

    path: str
    """As it was given; of an open file its name."""
    size: int
    """Bytes of the file."""
    identity: str
    """SHA-256 over header and index, in hexadecimal: archives with one identity hold the same bytes."""
    container_version: int
    """Of the bytes of the file (spec/container.md)."""
    schema: int
    """Of the document in it."""
    min_reader: int
    """Lowest schema that a reader must know."""
    features: tuple[str, ...]
    """Feature flags that a reader must know."""
    writer: Writer
    """Releases of fxarchive, torch and Python that wrote it."""
    root: str
    """Kind of the object that was saved."""
    metadata: Mapping[str, Any]
    """What the user stored with it."""
    dropped: tuple[str, ...]
    """Metadata of nodes that was left out at save, with the reasons."""
    too_new: str | None
    """Why this release cannot load it, or None if it can."""
    old: bool
    """Whether it is of an older schema: it loads, and `fxarchive.upgrade` brings it up to date."""
    history: tuple[Change, ...]
    """How it came to its schema if it was not saved in it, oldest first: schemas, by which fxarchive, the
    identity of the archive that it was, and what could not be kept or was not known."""
    stuck: str | None
    """Why no migration can bring an old archive up to date, so that it cannot be loaded; None if that is not known."""
    notes: tuple[str, ...]
    """What a migration in memory could not keep or did not know; only where an old document was read."""
    complete: bool
    """Whether `contents` comes from the document; if False, from the summary that the header holds."""
    contents: Contents
    """Graphs, nodes, what is called, inputs, outputs, symbols, weights, what loading asks for."""
    sections: tuple[SectionInfo, ...]
    """In the order of the file."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON; docs/cli.md describes the keys."""
        writer = {name: getattr(self.writer, name) for name in ("fxarchive", "torch", "python")}
        history = [change._asdict() for change in self.history]
        plain = asdict(self)
        plain["contents"]["symbols"] = [symbol._asdict() for symbol in self.contents.symbols]
        return {**plain, "writer": writer, "history": history}


def inspect(
    path: str | os.PathLike[str] | BinaryIO, *, full: bool | None = None, limits: Limits = DEFAULT_LIMITS
) -> ArchiveInfo:
    """Read what an archive is and what loading it would ask for; nothing in it is built or run.

    The header and the index are always read and checked. What the graph holds comes from the document if that
    is small, else from the summary that `save` put into the header: the same counts, with the first few of
    what is called and of the inputs and outputs.

    Args:
        path: a path, an open binary file that can seek, or an fsspec URL.
        full: True to read the document however large it is, False to leave it alone; None to read it if it
            has at most `READ_BYTES` bytes.
        limits: bounds on what the file may ask for.

    Returns:
        Everything, typed.

    Raises:
        ArchiveNotFound, StoreError: the path cannot be read.
        NotAnArchive, TruncatedArchive, CorruptArchive, TooLarge: the file is not a whole archive.
        TooNew: its container version is not known. A newer schema is no error: see `ArchiveInfo.too_new`. Neither is an
            older one that no migration can take: see `ArchiveInfo.stuck`.
        TypeError: ``path`` is none of these.

    >>> import torch, fxarchive
    >>> report = fxarchive.save(torch.fx.symbolic_trace(torch.nn.Linear(2, 3)), "memory://linear.fxa")
    >>> info = fxarchive.inspect("memory://linear.fxa")
    >>> info.identity == report.identity, info.contents.parameters, info.contents.trust
    (True, 9, ())
    """
    with store.open_read(path) as file:
        archive = container.open_archive(file, walk=False, limits=limits)
        header = archive.header
        too_new = _too_new(archive)
        contents = None
        notes: tuple[str, ...] = ()
        stuck: str | None = None
        if too_new is None and _is_read(archive, full):
            from fxarchive.reading import read_current

            try:
                content = read_current(archive, limits)
                contents, notes = describe(content.document), content.notes
            except (MigrationFailed, BadStream, TooLarge) as error:
                if header.schema >= SCHEMA:
                    raise
                stuck = _why(error)  # what the header says is still worth showing
        return ArchiveInfo(
            path=_shown(path),
            size=archive.size,
            identity=archive.identity,
            container_version=archive.container_version,
            schema=header.schema,
            min_reader=header.min_reader,
            features=header.features,
            writer=header.writer,
            root=header.root,
            metadata=header.metadata,
            dropped=_strings(header.summary.get("dropped")),
            too_new=too_new,
            old=header.schema < SCHEMA,
            history=header.history,
            stuck=stuck,
            notes=notes,
            complete=contents is not None,
            contents=from_summary(header.summary) if contents is None else contents,
            sections=tuple(
                [SectionInfo(s.name, s.codec, s.size, s.stored_size) for s in archive.sections.values()]
            ),
        )


def _is_read(archive: Archive, full: bool | None) -> bool:
    if full is None:
        section = archive.sections.get(content_section(archive.header.schema))
        return section is not None and section.size <= READ_BYTES
    return full


def from_summary(summary: Mapping[str, Any]) -> Contents:
    """Return what the summary in a header says; what has another form than `summarise` writes is passed over.

    >>> from_summary({"nodes": 3, "calls": [["method", "view", 2]], "graphs": "many"}).calls
    (Calls(kind='method', name='view', calls=2),)
    """
    counts: dict[str, Any] = {key: value for key in COUNTS if type(value := summary.get(key)) is int}
    return Contents(
        **counts,
        calls=tuple([Calls(*row) for row in _rows(summary.get("calls"), (str, str, int))]),
        inputs=tuple([Port(*row) for row in _rows(summary.get("inputs"), (str, str))]),
        outputs=tuple([Port(*row) for row in _rows(summary.get("outputs"), (str, str))]),
        trust=_strings(summary.get("trust")),
        imports=_strings(summary.get("imports")),
        artefacts=tuple([ArtefactInfo(*row) for row in _rows(summary.get("artefacts"), (str, int))]),
        examples=summary.get("examples") is True,
    )


def _too_new(archive: Archive) -> str | None:
    try:
        container.check_supported(archive.header, SCHEMA, FEATURES)
    except TooNew as error:
        return str(error)
    return None


def _why(error: FxArchiveError) -> str:
    """Return in one line why an archive cannot be brought up to date: all that is wrong in it, or the first few."""
    if not isinstance(error, MigrationFailed):
        return str(error)
    found = [f"{item}: {why}" for item, why in error.problems]
    more = len(found) - MOST_PROBLEMS
    return "; ".join(found[:MOST_PROBLEMS]) + (f"; and {more:,} more" if more > 0 else "")


def _shown(path: Any) -> str:
    if isinstance(path, str | os.PathLike):
        return os.fspath(path)
    return str(getattr(path, "name", "<open file>"))


def _strings(value: Any) -> tuple[str, ...]:
    return tuple([item for item in value if type(item) is str]) if type(value) is list else ()


def _rows(value: Any, kinds: tuple[type, ...]) -> list[list[Any]]:
    rows = value if type(value) is list else []
    return [row for row in rows if type(row) is list and tuple(map(type, row)) == kinds]
