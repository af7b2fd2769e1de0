"""Adopting a stream of torch's GraphPickler: it becomes an archive of schema 1 as it is.

The stream is read inertly to learn what it holds: nothing in it is imported, called or built, and torch is not
needed. Its bytes are kept as they are, so nothing is lost; migrations bring the archive up to date.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

from fxarchive import bundles, chain, container, store
from fxarchive._version import __version__
from fxarchive.chain import STREAM_SCHEMA
from fxarchive.container import Header, NewSection, Writer
from fxarchive.document import SCHEMA, STREAM
from fxarchive.errors import MigrationFailed, NotAGraphPickler, TooLarge
from fxarchive.limits import DEFAULT_LIMITS, Limits
from fxarchive.migrations.content import Content
from fxarchive.migrations.graph_pickler import recognition
from fxarchive.migrations.graph_pickler.dill import read_stream
from fxarchive.migrations.graph_pickler.survey import Survey, survey
from fxarchive.rewriting import migrated, sections_of
from fxarchive.summary import names_to_trust

Source: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO


@dataclass(frozen=True)
class AdoptReport:
    """What became of a stream.

    Attributes:
        identity: SHA-256 over header and index, in hexadecimal: the same stream gives the same one.
        size: bytes of the archive.
        torch: the release of torch that wrote the stream, as far as its records prove it: ``2.13``,
            ``2.7 to 2.8``, ``2.15 or later``; or the one that was given.
        root: kind of the object in it.
        nodes: nodes of all graphs in it.
        schema: of the archive.
        notes: what the stream does not hold, or what of it has no place in that schema, a sentence each.
    """

    identity: str
    size: int
    torch: str
    root: str
    nodes: int
    schema: int = STREAM_SCHEMA
    notes: tuple[str, ...] = ()


def adopt(
    stream: Source,
    path: str | os.PathLike[str] | BinaryIO,
    *,
    torch: str | None = None,
    to: int = STREAM_SCHEMA,
    at: Sequence[bundles.Key] = (),
    metadata: Mapping[str, Any] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> AdoptReport:
    """Put a stream that torch's GraphPickler wrote into an archive of schema 1, whole or not at all.

    The archive loads like any other: `load` brings it up to date in memory, and ``fxarchive upgrade`` for good.

    Args:
        stream: its bytes, or where they are: a path, an open binary file, or an fsspec URL.
        path: of the archive: a path, an open binary file (written forward only), or an fsspec URL.
        torch: the release of torch that wrote the stream, such as "2.9", where you know it; None to
            take what the records of the stream prove.
        at: where the stream is in a pickle that another program wrote, as keys, positions and names of attributes:
            ``("graph_module",)`` for a dict that has it under that key. Pickles inside of pickles add nothing.
        to: the schema of the archive: 1 for the stream as it is, or the current one, as if it were upgraded at once.
        metadata: plain values of your own, shown by `inspect`; keys are strings.
        limits: bounds on the stream.

    Returns:
        What it is, and who wrote it.

    Raises:
        ArchiveNotFound, StoreError: a path cannot be read or written.
        BadStream: the stream is no pickle, or a broken one.
        NotAGraphPickler: it is another pickle or another kind of file, or it has records of dill, which are code.
        TooLarge: it is over a bound.
        MigrationFailed: ``to`` is not 1, and something in the stream cannot be translated; it names each.
        ValueError: ``torch`` is not a release, ``to`` not a schema, or there is no stream at ``at``.

    >>> import torch, fxarchive
    >>> from torch.fx._graph_pickler import GraphPickler
    >>> data = GraphPickler.dumps(torch.fx.symbolic_trace(torch.nn.ReLU()))
    >>> fxarchive.adopt(data, "memory://adopted.fxa").nodes
    3
    """
    if to not in (STREAM_SCHEMA, SCHEMA):
        raise ValueError(f"to is {to!r:.40}; give {STREAM_SCHEMA} or {SCHEMA}.")
    given = None if torch is None else recognition.given(torch)
    if torch is not None and given is None:
        raise ValueError(f"torch is {torch!r:.80}; give a release such as '2.9' or '2.9.1'.")
    data = _bytes_of(stream, limits)
    if at:
        data = bundles.stream_at(data, at)
    found = look(data, known=torch is not None)
    writer = str(found.releases if torch is None else torch)
    header = Header(
        schema=STREAM_SCHEMA,
        min_reader=STREAM_SCHEMA,
        features=(),
        writer=Writer(__version__, writer, ""),  # no stream says which Python wrote it
        root=found.root,
        summary=found.summary(),
        metadata=dict(metadata or {}),
    )
    sections = [NewSection(STREAM, "zstd", len(data), [data])]
    if to == STREAM_SCHEMA:
        with store.write_atomic(path) as file:
            written = container.write(file, header, sections)
        return AdoptReport(written.identity, written.size, writer, found.root, found.nodes)
    adopted = io.BytesIO()
    container.write(adopted, header, sections)
    archive = container.open_archive(adopted.getvalue(), limits=limits)
    made = migrated(archive, to, path="the stream", allow_loss=False, limits=limits)
    with store.write_atomic(path) as file:
        written = container.write(file, made.header, sections_of(archive, made))
    notes = made.header.history[-1].notes
    return AdoptReport(written.identity, written.size, writer, made.header.root, found.nodes, to, notes)


def look(data: bytes, *, known: bool = False) -> Survey:
    """Read a stream inertly and return what it holds.

    Args:
        data: the stream.
        known: whether somebody knows that GraphPickler wrote it, so that it need not show.

    Raises:
        BadStream: the stream is no pickle, or a broken one.
        NotAGraphPickler: it is another pickle, another kind of file, or a stream with records of dill.
        TooLarge: it is over a bound.
    """
    other = bundles.other_kind(data)
    if other is not None:
        raise NotAGraphPickler(other)
    root = read_stream(data)
    found = survey(root)
    if found.dill:
        raise NotAGraphPickler(
            f"it holds {', '.join(found.dill[:4])}, by which dill stores code; write it again where dill cannot be "
            "imported"
        )
    if not (found.of_pickler or known):
        inside = bundles.streams_in(data)
        if inside:
            places = ", ".join(map(bundles.shown, inside[:4])) + (", ..." if len(inside) > 4 else "")
            raise NotAGraphPickler(
                f"it is a pickle that holds such streams as bytes, at {places}; say which with at= (--at)"
            )
        try:  # values that need no record of GraphPickler: a dtype, a list of numbers
            asked = names_to_trust(chain.to_current(Content(STREAM_SCHEMA, data)).document)
        except MigrationFailed as error:
            reason = error.problems[0].why
            raise NotAGraphPickler(f"none of its records is one of GraphPickler, and {reason}") from None
        if asked:
            raise NotAGraphPickler(
                f"none of its records is one of GraphPickler, and it names {asked[0]}; if GraphPickler wrote it, "
                "say of which torch with torch= (--torch)"
            )
    return found


def _bytes_of(stream: Source, limits: Limits) -> bytes:
    if isinstance(stream, bytes | bytearray | memoryview):
        data = bytes(stream)
    else:
        with store.open_read(stream) as file:
            data = file.read(limits.payload_bytes + 1)
    if len(data) > limits.payload_bytes:
        raise TooLarge("The size of the stream", len(data), limits.payload_bytes)
    return data
