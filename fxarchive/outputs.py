"""Results that go elsewhere than to the place of a local archive: to an output folder, or to a remote store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

from fxarchive import container, store
from fxarchive.container import Archive
from fxarchive.errors import FxArchiveError, StoreError
from fxarchive.orders import Order, UpgradeReport, report_of
from fxarchive.rewriting import Migrated, check_copy, sections_of
from fxarchive.selection import Place

CHUNK = 1 << 20


def joined(folder: str, relative: str) -> str:
    """Return the path below a folder, or the URL below a URL."""
    if "://" in folder:
        return f"{folder.rstrip('/')}/{relative.replace(os.sep, '/')}"
    return os.path.join(folder, relative)


def apart(places: Iterable[Place | StoreError]) -> Iterator[Place | StoreError]:
    """Yield places; an error instead of one whose result would have the name of an earlier one's."""
    names: dict[str, str] = {}
    for place in places:
        if isinstance(place, Place) and names.setdefault(place.relative, place.path) != place.path:
            first = names[place.relative]
            why = f"its result would have the name of that of {first}; give the folder that holds both"
            yield StoreError(place.path, why)
        else:
            yield place


def already(target: str, archive: Archive, order: Order, old: bool) -> UpgradeReport | None:
    """Return a report if an earlier run wrote the output; refuse to overwrite anything else."""
    try:
        with store.open_read(target) as file:
            found = container.open_archive(file, walk=False)
    except FileNotFoundError:
        return None
    except FxArchiveError:
        found = None
    if found is not None:
        history = found.header.history
        made = history[-1].predecessor if history else None
        same = made == archive.identity and found.header.schema == order.target
        if same if old else found.identity == archive.identity:
            return UpgradeReport(
                "",
                "done",
                target=found.header.schema,
                output=target,
                identity=found.identity,
                predecessor=archive.identity if old else None,
                notes=history[-1].notes if old else (),
                size=found.size,
            )
    raise StoreError(target, "another file is there; remove it, or choose another folder for the output")


def copy(archive: Archive, path: str, target: str) -> None:
    """Write an archive to ``target`` as it is, once every byte of it has been checked."""
    archive.check_all()
    with store.open_read(path) as file, store.write_atomic(target) as stream:
        file.seek(0)
        while chunk := file.read(CHUNK):
            stream.write(chunk)


def write_remote(path: str, target: str, archive: Archive, made: Migrated, order: Order) -> UpgradeReport:
    """Write to or from a remote store: whole or not there as far as that can promise it, then read back."""
    archive.check_all()
    kept = keep_remote(path, archive) if order.backup and target == path else None
    with store.write_atomic(target) as stream:
        written = container.write(stream, made.header, sections_of(archive, made), limits=order.limits)
    with store.open_read(target) as file:
        check_copy(container.open_archive(file, limits=order.limits), archive, made, written)
    return replace(
        report_of(path, "downgraded" if order.back else "upgraded", made),
        output=target,
        backup=kept,
        identity=written.identity,
        predecessor=archive.identity,
        size=written.size,
    )


def keep_remote(url: str, archive: Archive) -> str:
    """Copy an archive beside itself, under the first name that is free."""
    number = 1
    while True:
        name = f"{url}.schema-{archive.header.schema}" + (f".{number}" if number > 1 else "")
        try:
            with store.open_read(name) as file:
                if container.open_archive(file, walk=False).identity == archive.identity:
                    return name
        except FileNotFoundError:
            copy(archive, url, name)
            return name
        except FxArchiveError:
            pass  # another file: its name is taken
        number += 1
