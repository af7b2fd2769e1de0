"""One archive in another schema, as a transaction: either the new file is whole and in its place, or nothing changed.

`draft` plans, migrates and writes beside the target; `finish` syncs drafts, reads them back, keeps backups and puts
them in their places. Many drafts are finished together, since a disk syncs many small files as fast as one.
Weights are copied as they are stored, never decoded: they are hashed once, as they are read back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fxarchive import chain, container, staging, store
from fxarchive._version import __version__
from fxarchive.audit import audit, audit_sections
from fxarchive.chain import Move
from fxarchive.container import Archive, Change, Header, NewSection, Written
from fxarchive.document import MIN_READER, SCHEMA, content_section
from fxarchive.errors import CorruptArchive, FxArchiveError, StoreError
from fxarchive.limits import Limits
from fxarchive.migrations.content import Content
from fxarchive.payload import payload_of
from fxarchive.readback import ReadBack
from fxarchive.reading import check_sections, read_content
from fxarchive.summary import summarise
from fxarchive.tables import reading, root_kind
from fxarchive.threads import Threads

MOST_NOTES = 100
"""Notes of one migration that the header keeps; what follows them is counted."""

MOST_NOTE = 1_000
"""Characters of one note that the header keeps."""

SYNCED_AT_ONCE = 8
"""Files that are synced at the same time, while all are read back: a journal commits at once what waits."""

FOLLOWED = 4 << 20
"""Stored bytes of a section that is read back while it is written; for a smaller one a thread is no gain."""


@dataclass(frozen=True)
class Migrated:
    """The content of an archive after a chain of moves, and the header that it will have."""

    moves: tuple[Move, ...]
    content: Content
    payload: bytes
    """The bytes of its content section."""
    header: Header


def migrated(archive: Archive, target: int, *, path: str, allow_loss: bool, limits: Limits) -> Migrated:
    """Return what an archive will be in schema ``target``, without writing anything.

    Raises:
        MigrationFailed, LossNotAllowed, InvalidDocument, CorruptArchive, TooLarge: as `chain.migrate`,
        `read_content` and `audit`.
    """
    moves = chain.plan(archive.header.schema, target)
    before = read_content(archive, limits)
    content = chain.migrate(before, moves, path=path, allow_loss=allow_loss)
    check_sections(archive, content)
    stream = target == chain.STREAM_SCHEMA
    payload: bytes = content.document if stream else payload_of(content.document, limits)
    return Migrated(moves, content, payload, _header(archive, content, target))


def _header(archive: Archive, content: Content, target: int) -> Header:
    old = archive.header
    change = Change(old.schema, target, __version__, archive.identity, _kept_notes(content.notes))
    header = replace(
        old,
        schema=target,
        min_reader=MIN_READER if target == SCHEMA else target,
        features=tuple(sorted(content.features)),
        writer=old.writer._replace(fxarchive=__version__),
        history=(*old.history, change),
    )
    if target != SCHEMA:
        return header
    document: Any = content.document
    audit(document, trust=None, features=content.features)
    with reading("the document"):
        sizes = _sizes(archive, content)
        audit_sections(document, sizes, content_section(old.schema))
        root = root_kind(document) if old.schema == chain.STREAM_SCHEMA else old.root
        dropped = {key: old.summary[key] for key in ("dropped",) if key in old.summary}
        return replace(header, root=root, summary={**summarise(document), **dropped})


def _sizes(archive: Archive, content: Content) -> Mapping[str, int]:
    stored = {name: section.size for name, section in archive.sections.items()}
    return stored | {name: len(held) for name, held in content.sections.items()}


def _kept_notes(notes: Sequence[str]) -> tuple[str, ...]:
    kept = tuple(
        [note if len(note) <= MOST_NOTE else f"{note[:MOST_NOTE]}..." for note in notes[:MOST_NOTES]]
    )
    more = len(notes) - len(kept)
    return (*kept, f"and {more} more") if more else kept


def sections_of(archive: Archive, made: Migrated) -> Iterator[NewSection]:
    """Yield the sections of the new archive: its content, what was in the old one, what was taken out of that."""
    yield NewSection(content_section(made.header.schema), "zstd", len(made.payload), [made.payload])
    left_out = content_section(archive.header.schema)
    for name in archive.sections:
        if name != left_out:
            yield archive.copy_of(name, verified=False)
    for name, held in made.content.sections.items():
        yield NewSection(name, "raw", len(held), [held])


def check_copy(
    copy: Archive, archive: Archive, made: Migrated, written: Written, read: ReadBack | None = None
) -> None:
    """Compare what was read back with what was to be written, and every byte with its digest.

    Args:
        copy: what was written.
        archive: what it was made from.
        made, written: what was to be written, and what the writer says it wrote.
        read: what was read back already.

    Raises:
        CorruptArchive: bytes were altered, in the old archive or on the way to the new one.
    """
    if copy.identity != written.identity or copy.header != made.header:
        raise CorruptArchive("what was written", "it was read back as something else")
    left_out = content_section(archive.header.schema)
    for name, section in archive.sections.items():
        if name != left_out and copy.sections[name].sha256 != section.sha256:
            raise CorruptArchive("what was written", f"section {name!r:.80} was read back as something else")
    if copy.read(content_section(made.header.schema)) != made.payload:
        raise CorruptArchive("what was written", "its content was read back as something else")
    try:
        for name, section in copy.sections.items():
            digest = None if read is None else read.digest_of(section)
            if digest is None:
                copy.check(name)
            elif digest != section.sha256:
                raise CorruptArchive("what was written", f"section {name!r:.80} was altered on its way")
    except CorruptArchive:
        archive.check_all()  # says so if the old one was altered
        raise


# local files


@dataclass
class Draft:
    """A new archive beside the place that it will take. `finish` or `discard` it."""

    path: str
    target: str
    made: Migrated
    backup: bool
    archive: Archive
    written: Written
    staged: staging.Staged
    read: ReadBack
    before: os.stat_result
    """The file at `path`, when it was opened."""
    resources: ExitStack
    kept: str | None = None
    """Where the backup is."""

    def discard(self) -> None:
        """Leave everything as it was; nothing, once it is in its place."""
        self.staged.discard()
        self.resources.close()


def write_draft(
    path: str,
    target: str,
    archive: Archive,
    made: Migrated,
    resources: ExitStack,
    *,
    backup: bool,
    sweep: bool,
) -> Draft:
    """Write the new archive beside ``target``, a local path; ``resources`` keep the old one open.

    Raises:
        StoreError: it cannot be written.
        CorruptArchive, TooLarge: as `container.write`.
    """
    before = os.stat(path)
    large = {name for name, section in archive.sections.items() if section.stored_size >= FOLLOWED}
    staged = staging.Staged(target, sweep=sweep)
    resources.callback(staged.close)
    read = resources.enter_context(ReadBack(staged, large))
    try:
        written = container.write(staged, made.header, sections_of(archive, made), copied=read.follow)
        staged.flush()
    except BaseException:
        staged.discard()
        raise
    return Draft(path, target, made, backup, archive, written, staged, read, before, resources)


def finish(drafts: Sequence[Draft]) -> Iterator[tuple[Draft, FxArchiveError | None]]:
    """Sync drafts, read them back, keep backups, and put each in its place; yield each with what is wrong with it.

    What fails leaves its file as it was and the others go on. When this ends, the renames are on the disk too.
    """
    found: dict[int, FxArchiveError] = {}
    wrong: dict[int, FxArchiveError] = {}
    try:
        with _synced(drafts, found):
            for at, draft in enumerate(drafts):
                try:
                    _check(draft)
                except FxArchiveError as error:
                    wrong[at] = error
        found |= wrong
        folders = set()
        for at, draft in enumerate(drafts):
            if at not in found:
                try:
                    _put_in_place(draft)
                    folders.add(draft.staged.folder)
                except FxArchiveError as error:
                    found[at] = error
        for folder in sorted(folders):
            staging.sync_folder(folder)
    finally:
        for draft in drafts:
            draft.discard()
    for at, draft in enumerate(drafts):
        yield draft, found.get(at)


@contextmanager
def _synced(drafts: Sequence[Draft], failed: dict[int, FxArchiveError]) -> Iterator[None]:
    """Sync drafts in threads while the caller reads them back; when this ends, all are synced, or in ``failed``.

    When an interrupt ends it, no thread has anything to do with a draft any more either.
    """

    def sync(first: int) -> None:
        for at in range(first, len(drafts), SYNCED_AT_ONCE):
            if threads.stopped:
                break
            try:
                drafts[at].staged.sync()
            except FxArchiveError as error:
                failed[at] = error

    with Threads() as threads:
        for first in range(min(SYNCED_AT_ONCE, len(drafts))):
            threads.start(partial(sync, first))
        yield
        threads.wait()


def _check(draft: Draft) -> None:
    with store.open_read(draft.staged.temporary) as file:
        check_copy(container.open_archive(file), draft.archive, draft.made, draft.written, draft.read)


def _put_in_place(draft: Draft) -> None:
    try:
        now = os.stat(draft.path)
    except OSError as error:
        raise staging.store_error(draft.path, error) from error
    if (now.st_ino, now.st_size, now.st_mtime_ns) != (
        draft.before.st_ino,
        draft.before.st_size,
        draft.before.st_mtime_ns,
    ):
        raise StoreError(draft.path, "it was written to meanwhile and is left as it is; run this again")
    if draft.backup:
        draft.kept = staging.keep(draft.staged.target, f"schema-{draft.archive.header.schema}")
    draft.staged.replace()
