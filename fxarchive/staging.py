"""Local files that are whole or not there: written beside their target, synced, and renamed over it.

While it is written, a file has a name of its own and a lock that its writer holds. A crash at any moment leaves the
old file or the new one; what a killed writer left behind is removed by the next write to the same target.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import re
import secrets
import stat
import weakref
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .errors import ArchiveNotFound, StoreError

_NAME_BYTES = 200
"""Longest file name that is kept in the name of its temporary file; with the rest it stays under 255."""

_CHUNK = 1 << 20
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)

_LITTER = re.compile(r"\..*\.fxa-[0-9a-f]{16}\.tmp", re.DOTALL)
_LITTER_END = 16 + len(".tmp")

REASONS = {
    errno.EISDIR: "it is a directory; name a file in it",
    errno.EACCES: "permission denied; change its permissions or name another path",
    errno.EPERM: "permission denied; change its permissions or name another path",
    errno.EROFS: "the file system is read-only; name another path",
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EFBIG: "the file would be larger than the system allows; raise the limit or name another path",
    errno.ENAMETOOLONG: "the name is too long for the file system; choose a shorter one",
    errno.ENOTDIR: "a part of the path before the last is not a directory; correct the path",
    errno.ELOOP: "its symbolic links lead in a circle; correct them",
}
"""What is said of an error of the system, and what to do about it."""


class WriteStream:
    """A binary stream to write to, forward only; a failure becomes a `StoreError` that names the path."""

    def __init__(self, file: Any, path: str) -> None:
        self._file = file
        self._path = path

    def write(self, data: bytes | memoryview, /) -> int | None:
        """Write what the file takes and say how many bytes; None means all.

        Raises:
            StoreError: the file cannot be written, for example because the disk is full.
        """
        try:
            count: int | None = self._file.write(data)
        except Exception as error:
            raise store_error(self._path, error) from error
        return count


@dataclass
class _Place:
    """Where a file is while it is written, apart from its `Staged`, which this outlives.

    Attributes:
        process: who writes it.
        path: its name; empty before it is made, and once it is in its place or removed.
        raw: the open file.
    """

    process: int
    path: str = ""
    raw: io.FileIO | None = None

    def discard(self) -> None:
        with suppress(OSError):
            os.unlink(self.path)
        self.path = ""

    def close(self) -> None:
        if self.raw is not None:
            self.raw.close()

    def give_up(self) -> None:
        """Remove the file of which nobody knows any more; not that of a parent process."""
        if self.path and self.process == os.getpid():
            self.discard()
            self.close()


class Staged(WriteStream):
    """A file that is being written beside its target; nothing of it shows before `replace`.

    Attributes:
        target: the path that it replaces, links resolved.
    """

    def __init__(self, path: str, *, sweep: bool = True) -> None:
        """Begin to write.

        Args:
            path: a local path, through symbolic links; an existing file's permissions are kept.
            sweep: remove what killed writers of this target left; `remove_litter` does so for many at once.

        Raises:
            StoreError: the folder does not exist or may not be written, or the path is no place for a file.
        """
        self._place = _Place(os.getpid())
        # An interrupt can come between any two steps. This is no `__del__`, which would run for files that are in
        # their place too, and Python forgets an interrupt that comes while a destructor runs.
        self._abandoned = weakref.finalize(self, self._place.give_up)
        try:
            self.target = os.path.realpath(path)
            replaced = _replaceable(self.target, path)
            self.folder, name = os.path.split(self.target)
            if sweep:
                remove_litter(self.folder, [name])
            self._create(name, 0o666 if replaced is None else replaced.st_mode & 0o777)
        except StoreError:
            raise
        except OSError as error:
            raise creation_error(path, error) from error
        self._place.raw = io.FileIO(self._descriptor, "wb")
        super().__init__(io.BufferedWriter(self._place.raw), path)
        if replaced is not None:
            _take_over(self._descriptor, replaced)

    def _create(self, name: str, mode: int) -> None:
        """Make a new file beside the target that nobody takes for litter."""
        while True:
            self._place.path = os.path.join(self.folder, f"{_prefix(name)}{secrets.token_hex(8)}.tmp")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self.temporary, flags, mode)
            with suppress(OSError):  # A file system without locks: then nobody removes litter on it either.
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            if _is_at(self.temporary, self._descriptor):
                return
            os.close(self._descriptor)  # Between creation and lock, another writer took it for litter.

    @property
    def temporary(self) -> str:
        """Where the file is until `replace`."""
        return self._place.path

    def flush(self) -> None:
        """Hand everything to the system, so that the temporary file can be read back.

        Raises:
            StoreError: the disk is full, or fails.
        """
        try:
            self._file.flush()
        except OSError as error:
            raise store_error(self._path, error) from error

    def sync(self) -> None:
        """Wait until everything is on the disk. Raises as `flush`."""
        self.flush()
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise store_error(self._path, error) from error

    def replace(self) -> None:
        """Put the file in its place; it must have been synced. `sync_folder` makes the rename itself last.

        Raises:
            StoreError: the system does not let it.
        """
        try:
            os.replace(self.temporary, self.target)
        except OSError as error:
            raise store_error(self._path, error) from error
        self._place.path = ""

    def discard(self) -> None:
        """Remove the file, unless it is in its place."""
        self._place.discard()

    def close(self) -> None:
        """Give up the lock: after the rename, or after the removal.

        The raw file is closed alone, which drops what a full disk left in the buffer.
        """
        self._place.close()
        if not self._place.path:
            self._abandoned.detach()


def _replaceable(target: str, path: str) -> os.stat_result | None:
    """The file that will be replaced, if there is one; ``path`` is what errors call it."""
    try:
        found = os.lstat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "")
    if stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EISDIR, "")
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(path, "it is not a regular file; open it and pass the open file to write to it")
    if not os.access(
        target, os.W_OK
    ):  # Only the folder counts for a rename, but a read-only file is so on purpose.
        raise OSError(errno.EACCES, "")
    return found


def _prefix(name: str) -> str:
    """How the names of all temporary files of a target start."""
    if len(os.fsencode(name)) > _NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}.fxa-"


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def remove_litter(folder: str, names: Collection[str] | None = None) -> None:
    """Remove the temporary files whose writers are gone, those whose lock can be taken: of these targets, or all.

    Raises:
        OSError: the folder cannot be listed.
    """
    prefixes = None if names is None else {_prefix(name) for name in names}
    for entry in os.listdir(folder):
        if not entry.endswith(".tmp") or not _LITTER.fullmatch(entry):
            continue
        if prefixes is None or entry[:-_LITTER_END] in prefixes:
            with suppress(OSError):
                _remove_if_unlocked(os.path.join(folder, entry))


def _remove_if_unlocked(temporary: str) -> None:
    descriptor = os.open(temporary, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(temporary, descriptor):  # Its writer may have renamed it meanwhile.
            os.unlink(temporary)
    finally:
        os.close(descriptor)


def _take_over(descriptor: int, replaced: os.stat_result) -> None:
    """Give the new file the owner, where the system lets us, and the permissions of the one it replaces."""
    created = os.fstat(descriptor)
    if (created.st_uid, created.st_gid) != (replaced.st_uid, replaced.st_gid):
        with suppress(OSError):
            os.fchown(descriptor, replaced.st_uid, replaced.st_gid)
    with suppress(OSError):
        os.fchmod(descriptor, replaced.st_mode & 0o777)


def sync_folder(folder: str) -> None:
    """Make the renames in a folder last; some file systems know no sync of a folder, and need none.

    Raises:
        StoreError: the disk fails.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise store_error(folder, error) from error


def keep(path: str, ending: str) -> str:
    """Keep the file at ``path`` under a second name, ``path.ending`` or ``path.ending.2`` and so on; return it.

    A name that is taken is passed over, unless that file holds the same bytes: then it is the backup. Where the
    file system has no hard links, the bytes are copied.

    Raises:
        StoreError: the folder may not be written, or the disk is full.
    """
    number = 1
    while True:
        name = f"{path}.{ending}" if number == 1 else f"{path}.{ending}.{number}"
        try:
            if not os.path.lexists(name):
                _link_or_copy(path, name)
                return name
        except FileExistsError:
            pass  # somebody else made it meanwhile
        except OSError as error:
            raise store_error(name, error) from error
        if _is_same(path, name):
            return name
        number += 1


def _link_or_copy(path: str, name: str) -> None:
    try:
        os.link(path, name)
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    staged = Staged(name)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                staged.write(chunk)
        staged.sync()
        staged.replace()
    finally:
        staged.discard()
        staged.close()


def _is_same(path: str, name: str) -> bool:
    """Whether two files are one, or hold the same bytes."""
    try:
        if os.path.samefile(path, name):
            return True
        with open(path, "rb") as first, open(name, "rb") as second:
            if os.fstat(first.fileno()).st_size != os.fstat(second.fileno()).st_size:
                return False
            while chunk := first.read(_CHUNK):
                if chunk != second.read(_CHUNK):
                    return False
        return True
    except OSError:
        return False  # a link to nothing, or a folder: the name is taken


def creation_error(path: str, error: OSError) -> StoreError:
    """Return the one sentence for what the system said when a file could not be made."""
    if isinstance(error, FileNotFoundError):
        return StoreError(path, "the folder does not exist; create it first")
    return store_error(path, error)


def store_error(path: str, error: Exception) -> StoreError:
    """Return the one sentence for what the system, or a remote store, said."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, FileNotFoundError):
        return ArchiveNotFound(path, "there is no such file; check the path")
    if isinstance(error, OSError) and error.errno in REASONS:
        return StoreError(path, REASONS[error.errno])
    if isinstance(error, OSError) and error.strerror:
        return StoreError(path, f"the system says: {error.strerror}")
    return StoreError(path, one_line(error))


def one_line(error: Exception) -> str:
    """Return the text of an error without line ends and the full stop, at most 300 characters of it."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text[:300]
