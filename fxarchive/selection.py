"""Which archives a caller means by paths: files, folders, patterns, and URLs of each."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from fxarchive import store
from fxarchive.errors import StoreError

ENDING = ".fxa"
"""What names in a folder end with that are taken for archives; a file that is named itself may have any ending."""

_PATTERN = re.compile(r"[*?\[]")


class Place(NamedTuple):
    """One archive.

    path: as it is opened. relative: its path below the folder or the fixed part of the pattern that led to it;
    the name alone if it was named itself.
    """

    path: str
    relative: str


def select(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Place | StoreError]:
    """Yield every archive that ``paths`` mean, each once, those of a folder or pattern in the order of their names.

    Args:
        paths: files; folders, in which every file that ends with ``.fxa`` is meant, at any depth, links to
            folders not followed; patterns with ``*``, ``?``, ``[...]``, and ``**`` for any depth; URLs of each.

    Yields:
        A place, or the error for a path that leads nowhere.
    """
    seen: set[str] = set()
    for path in paths:
        try:
            found = list(_found(os.fspath(path)))
        except StoreError as error:
            yield error
            continue
        for place in found:
            key = place.path if "://" in place.path else os.path.realpath(place.path)
            if key not in seen:
                seen.add(key)
                yield place


def _found(path: str) -> Iterator[Place]:
    path = store.without_scheme(path)
    if "://" in path:
        return _in_store(path)
    if os.path.isdir(path):
        return _in_folder(path)
    if _PATTERN.search(path) and not os.path.lexists(path):
        return _of_pattern(path)
    return iter([Place(path, os.path.basename(path))])


def _in_folder(folder: str) -> Iterator[Place]:
    def refuse(error: OSError) -> None:
        raise StoreError(str(error.filename), f"the folder cannot be read ({error.strerror})")

    for here, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        for name in sorted(names):
            if name.endswith(ENDING):
                path = os.path.join(here, name)
                yield Place(path, os.path.relpath(path, folder))


def _of_pattern(pattern: str) -> Iterator[Place]:
    fixed = _fixed(pattern, os.sep)
    found = [path for path in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(path)]
    if not found:
        raise StoreError(pattern, "no file matches the pattern; check the path")
    for path in found:
        yield Place(path, os.path.relpath(path, fixed or "."))


def _fixed(pattern: str, separator: str) -> str:
    """The folders of a pattern before the first that is not fixed."""
    parts = pattern.split(separator)
    at = next(number for number, part in enumerate(parts) if _PATTERN.search(part))
    return separator.join(parts[:at]) or (separator if pattern.startswith(separator) else "")


def _in_store(url: str) -> Iterator[Place]:
    system, path = store.file_system(url)
    with store.as_store_error(url):
        if _PATTERN.search(path):
            fixed = _fixed(path, "/")
            names = [name for name in sorted(system.glob(path)) if not system.isdir(name)]
            if not names:
                raise StoreError(url, "no file matches the pattern; check the path")
        elif system.isdir(path):
            fixed = path
            names = [name for name in sorted(system.find(path)) if name.endswith(ENDING)]
        else:
            yield Place(url, path.rpartition("/")[2])
            return
        for name in names:
            yield Place(_url_of(system, name), name[len(fixed) :].lstrip("/"))


def _url_of(system: Any, name: str) -> str:
    url: str = system.unstrip_protocol(name)
    return url
