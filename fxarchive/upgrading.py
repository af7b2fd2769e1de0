"""Bringing archives into another schema: one at a time for a program, or a batch for the command.

What is old is decided by the schema alone. Operators are compared with the running torch on load, and a container
version or feature flag that this release knows is as good as any other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from fxarchive import chain, container, store
from fxarchive.container import Archive
from fxarchive.document import FEATURES, SCHEMA
from fxarchive.errors import FxArchiveError, StoreError, TooNew
from fxarchive.limits import DEFAULT_LIMITS, Limits
from fxarchive.orders import Order, UpgradeReport, failure, report_of
from fxarchive.outputs import already, copy, joined, write_remote
from fxarchive.rewriting import Draft, finish, migrated, write_draft
from fxarchive.selection import Place
from fxarchive.staging import remove_litter

TOGETHER = 64
"""Archives that are finished together: so many small files sync as fast as one."""

TOGETHER_BYTES = 64 << 20
"""Bytes of archives that are finished together."""


def upgrade(
    path: str | os.PathLike[str],
    *,
    to: int | None = None,
    output: str | os.PathLike[str] | None = None,
    backup: bool = False,
    dry_run: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> UpgradeReport:
    """Bring an archive of an older schema up to date, or leave it exactly as it was; needs no torch.

    The new file is written beside the old one, synced, read back and compared before it takes its place. Weights
    are copied as they are stored. The header says what was done (`ArchiveInfo.history`). An archive that is not
    older is left alone, so upgrading twice is the same as once.

    Args:
        path: a path or an fsspec URL.
        to: the schema to bring it to; None for the current one.
        output: where to write the result instead; the archive at ``path`` stays as it is.
        backup: keep the old file beside the new one, as ``NAME.schema-N``; no file is ever overwritten by that.
        dry_run: migrate in memory alone, and say what would be done.
        limits: bounds on what the file may ask for.

    Returns:
        What was done.

    Raises:
        ArchiveNotFound, StoreError: the path cannot be read or written.
        NotAnArchive, TruncatedArchive, CorruptArchive, TooLarge, TooNew: the file is not whole, or not for this
        release.
        MigrationFailed: a migration cannot take what the archive holds.
        ValueError: ``to`` is no schema that this release can write.

    >>> import torch, fxarchive
    >>> report = fxarchive.save(torch.fx.symbolic_trace(torch.nn.ReLU()), "memory://now.fxa")
    >>> fxarchive.upgrade("memory://now.fxa").result
    'current'
    """
    order = Order(to=to, backup=backup, act="plan" if dry_run else "run", limits=limits)
    return _one(path, output, order)


def downgrade(
    path: str | os.PathLike[str],
    *,
    to: int,
    allow_loss: bool = False,
    output: str | os.PathLike[str] | None = None,
    backup: bool = False,
    dry_run: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> UpgradeReport:
    """Take an archive back to an older schema, for an older fxarchive, or leave it exactly as it was.

    Args:
        path, output, backup, dry_run, limits: as for `upgrade`.
        to: the schema to go back to.
        allow_loss: go on if the older schema cannot hold everything; the report and the header say what is lost.

    Returns:
        What was done.

    Raises:
        LossNotAllowed: something would be lost; the error lists it.
        FxArchiveError, ValueError: as `upgrade` does; MigrationFailed also where a step cannot be taken back.

    >>> import fxarchive
    >>> report = fxarchive.save([1, 2], "memory://list.fxa")
    >>> fxarchive.downgrade("memory://list.fxa", to=2).result
    'current'
    """
    act = "plan" if dry_run else "run"
    order = Order(to=to, back=True, allow_loss=allow_loss, backup=backup, act=act, limits=limits)
    return _one(path, output, order)


def _one(path: str | os.PathLike[str], output: str | os.PathLike[str] | None, order: Order) -> UpgradeReport:
    check_target(order)
    place = store.without_scheme(os.fspath(path))
    target = place if output is None else store.without_scheme(os.fspath(output))
    begun = _begin(place, target, order, sweep=True)
    if isinstance(begun, UpgradeReport):
        return begun
    (report,) = _finished([begun], raising=True)
    return report


def check_target(order: Order) -> None:
    """Refuse a target that no archive can be brought to.

    Raises:
        ValueError: it is none of the schemas from the oldest to the current one.
    """
    if not chain.oldest() <= order.target <= SCHEMA:
        raise ValueError(
            f"to is {order.target}; this fxarchive ({SCHEMA} is its schema) writes {chain.oldest()} to {SCHEMA}."
        )


def run(places: Iterable[Place | StoreError], order: Order) -> Iterator[UpgradeReport]:
    """Yield a report for each archive, in order; what is wrong with one does not stop the others.

    Small archives are finished together, so reports come in groups.
    """
    waiting: list[UpgradeReport | Draft] = []
    swept: set[str] = set()
    try:
        for place in places:
            waiting.append(_attempt(place, order, swept))
            drafts = [each for each in waiting if isinstance(each, Draft)]
            written = sum([draft.written.size for draft in drafts])
            if not drafts or len(drafts) >= TOGETHER or written >= TOGETHER_BYTES:
                settled, waiting = _settled(waiting), []
                yield from settled
        settled, waiting = _settled(waiting), []
        yield from settled
    finally:
        for each in waiting:
            if isinstance(each, Draft):
                each.discard()


def _settled(waiting: list[UpgradeReport | Draft]) -> list[UpgradeReport]:
    finished = _finished([each for each in waiting if isinstance(each, Draft)])
    return [each if isinstance(each, UpgradeReport) else next(finished) for each in waiting]


def _attempt(place: Place | StoreError, order: Order, swept: set[str]) -> UpgradeReport | Draft:
    if isinstance(place, StoreError):
        return failure(place.path, place)
    target = place.path if order.output is None else joined(order.output, place.relative)
    try:
        if order.act == "run" and "://" not in target:
            _prepare_folder(target, order, swept)
        return _begin(place.path, target, order, sweep=False)
    except FxArchiveError as error:
        return failure(place.path, error)


def _prepare_folder(target: str, order: Order, swept: set[str]) -> None:
    """Make the folder of a result, and remove what killed runs left there, once a folder."""
    folder = os.path.dirname(os.path.realpath(target))
    if folder in swept:
        return
    if order.output is not None:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise StoreError(folder, f"the folder cannot be made ({error.strerror})") from error
    with suppress(OSError):
        remove_litter(folder)
    swept.add(folder)


def _begin(path: str, target: str, order: Order, *, sweep: bool) -> UpgradeReport | Draft:
    """Do all that comes before the disk is waited for."""
    with ExitStack() as resources:
        file = resources.enter_context(store.open_read(path))
        walk = order.act != "check"
        archive = container.open_archive(
            file, schema=SCHEMA, features=FEATURES, limits=order.limits, walk=walk
        )
        report = _first_look(path, target, archive, order)
        if report is not None:
            return report
        made = migrated(archive, order.target, path=path, allow_loss=order.allow_loss, limits=order.limits)
        planned = report_of(path, "planned", made)
        if order.act == "plan":
            return replace(planned, identity=archive.identity)
        if "://" in path or "://" in target:
            return write_remote(path, target, archive, made, order)
        backup = order.backup and target == path
        draft = write_draft(path, target, archive, made, resources, backup=backup, sweep=sweep)
        if target == path and not backup:
            store.forget(file)
        draft.resources = resources.pop_all()
        return draft


def _first_look(path: str, target: str, archive: Archive, order: Order) -> UpgradeReport | None:
    """Return the report of an archive with which nothing is to be done, or that was done already."""
    source = archive.header.schema
    if source > SCHEMA:
        if order.back:
            raise TooNew("schema", source, f"up to {SCHEMA}", archive.header.writer.fxarchive)
        source = SCHEMA  # it is newer, and can be read as it is
    old = source > order.target if order.back else source < order.target
    facts: dict[str, Any] = {
        "source": archive.header.schema,
        "identity": archive.identity,
        "size": archive.size,
    }
    if order.act == "check":
        return UpgradeReport(
            path, "old" if old else "current", target=order.target if old else source, **facts
        )
    if target == path:
        return None if old else UpgradeReport(path, "current", target=source, **facts)
    there = already(target, archive, order, old)
    if there is not None:
        return replace(there, path=path, source=source)
    if old:
        return None
    if order.act == "plan":
        return UpgradeReport(path, "planned", target=source, output=target, **facts)
    copy(archive, path, target)
    return UpgradeReport(path, "copied", target=source, output=target, **facts)


def _finished(drafts: list[Draft], *, raising: bool = False) -> Iterator[UpgradeReport]:
    for draft, error in finish(drafts):
        if error is not None:
            if raising:
                raise error
            yield failure(draft.path, error)
            continue
        moves = draft.made.moves
        back = moves[0].target < moves[0].source
        yield replace(
            report_of(draft.path, "downgraded" if back else "upgraded", draft.made),
            output=draft.target,
            backup=draft.kept,
            identity=draft.written.identity,
            predecessor=draft.archive.identity,
            size=draft.written.size,
        )
