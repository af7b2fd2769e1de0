"""Where archives live: local files, written so that each is whole or not there, open files, and fsspec URLs.

A local file is written beside its target under a name of its own, locked while its writer lives, synced, and
renamed over the target. A crash at any moment leaves the old file or the new one; what a killed writer left
behind is removed by the next save to the same path.
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
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, BinaryIO

from .errors import ArchiveNotFound, StoreError

PathOrFile = str | os.PathLike[str] | BinaryIO
"""A path, an fsspec URL (any text with "://"), or an open binary file."""

_LOCAL_URL = re.compile(r"(file|local)://")
_NAME_BYTES = 200
"""Longest file name that is kept in the name of its temporary file; with the rest it stays under 255."""

_REASONS = {
    errno.EISDIR: "it is a directory; name a file in it",
    errno.EACCES: "permission denied; change its permissions or name another path",
    errno.EPERM: "permission denied; change its permissions or name another path",
    errno.EROFS: "the file system is read-only; name another path",
    errno.ENOSPC: "the disk is full; free some space and save again",
    errno.EDQUOT: "the disk quota is used up; free some space and save again",
    errno.EFBIG: "the file would be larger than the system allows; raise the limit or name another path",
    errno.ENAMETOOLONG: "the name is too long for the file system; choose a shorter one",
    errno.ENOTDIR: "a part of the path before the last is not a directory; correct the path",
    errno.ELOOP: "its symbolic links lead in a circle; correct them",
}


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
            raise _store_error(self._path, error) from error
        return count


def open_read(source: PathOrFile) -> AbstractContextManager[BinaryIO]:
    """Open what an archive is read from; it is closed at the end of the `with`, unless it was open before.

    Args:
        source: a path, an fsspec URL, or an open binary file, which is handed back as it is.

    Returns:
        A context manager of a binary file that can seek. That of a local path is an `io.BufferedReader`,
        which `fxarchive.container.open_archive` can map into memory.

    Raises:
        ArchiveNotFound: there is no file.
        StoreError: it is a directory, may not be read, or the package for its URL is missing.
        TypeError: `source` is none of these, or a file in text mode.
    """
    if _is_file(source, "read"):
        return _kept_open(source)
    path = _path_of(source)
    return _open_url(path) if "://" in path else _open_local(path)


def write_atomic(target: PathOrFile) -> AbstractContextManager[WriteStream]:
    """Write a file that is there whole at the end of the `with`, or not at all if an error leaves it.

    Concurrent writers of one path each end with a whole file; the last one stays.

    Args:
        target: a path (through symbolic links; an existing file's permissions are kept), an fsspec URL (whole
            or not there as far as the store can promise it), or an open binary file, which is written from
            where it is and left open.

    Returns:
        A context manager of a stream with `write` alone.

    Raises:
        StoreError: the folder does not exist, may not be written, the disk is full, or the package for the
            URL is missing.
        TypeError: `target` is none of these, or a file in text mode.

    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "model.fxa")
    ...     with write_atomic(path) as stream:
    ...         _ = stream.write(b"whole")
    ...     path.read_bytes()
    b'whole'
    """
    if _is_file(target, "write"):
        return _write_open_file(target)
    path = _path_of(target)
    return _write_url(path) if "://" in path else _write_local(path)


def _is_file(value: Any, verb: str) -> bool:
    if isinstance(value, io.TextIOBase):
        raise TypeError("the file is open in text mode; open it in binary mode")
    return hasattr(value, verb) and not isinstance(value, (str, os.PathLike))


def _path_of(value: Any) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"expected a path, a URL or an open binary file, not {type(value).__name__}")
    path = os.fspath(value)
    if not isinstance(path, str):
        raise TypeError("expected a path as str, not bytes; os.fsdecode makes one of the other")
    path = _LOCAL_URL.sub("", path, count=1) if _LOCAL_URL.match(path) else path
    if not path:
        raise StoreError("''", "the path is empty; name a file")
    if "\0" in path:
        raise StoreError(repr(path), "the path holds a null character; correct it")
    return path


@contextmanager
def _kept_open(file: Any) -> Iterator[BinaryIO]:
    yield file


@contextmanager
def _open_local(path: str) -> Iterator[BinaryIO]:
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _store_error(path, error) from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise StoreError(path, _REASONS[errno.EISDIR])
        raise StoreError(path, "it is not a regular file; pass its bytes or an open file that can seek")
    with open(descriptor, "rb") as file:
        yield file


@contextmanager
def _write_open_file(file: Any) -> Iterator[WriteStream]:
    path = str(getattr(file, "name", "the open file"))
    yield WriteStream(file, path)
    if hasattr(file, "flush"):
        try:
            file.flush()
        except (OSError, ValueError) as error:
            raise _store_error(path, error) from error


@contextmanager
def _write_local(path: str) -> Iterator[WriteStream]:
    try:
        target = os.path.realpath(path)
        replaced = _replaceable(target)
        folder, name = os.path.split(target)
        _remove_litter(folder, name)
        temporary, descriptor = _create_locked(
            folder, name, 0o666 if replaced is None else replaced.st_mode & 0o777
        )
    except StoreError:
        raise
    except OSError as error:
        raise _creation_error(path, error) from error
    # The lock goes with the descriptor, so it is closed last: after the rename, or after the removal. Closing
    # the raw file drops what a full disk left in the buffer.
    with open(descriptor, "wb", buffering=0) as raw:
        file = io.BufferedWriter(raw)
        try:
            if replaced is not None:
                _take_over(descriptor, replaced)
            yield WriteStream(file, path)
            try:
                file.flush()
                os.fsync(descriptor)
                os.replace(temporary, target)
                _sync_folder(folder)
            except OSError as error:
                raise _store_error(path, error) from error
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise


def _replaceable(target: str) -> os.stat_result | None:
    """The file that will be replaced, if there is one."""
    try:
        found = os.lstat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "")
    if stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EISDIR, "")
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(target, "it is not a regular file; open it and pass the open file to write to it")
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


def _create_locked(folder: str, name: str, mode: int) -> tuple[str, int]:
    """A new file beside the target that nobody takes for litter: its path and descriptor."""
    while True:
        temporary = os.path.join(folder, f"{_prefix(name)}{secrets.token_hex(8)}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(temporary, flags, mode)
        with suppress(OSError):  # A file system without locks: then nobody removes litter on it either.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_at(temporary, descriptor):
            return temporary, descriptor
        os.close(descriptor)  # Between creation and lock, another writer took it for litter.


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_litter(folder: str, name: str) -> None:
    """Remove the temporary files of this target whose writers are gone: those whose lock can be taken."""
    litter = re.compile(re.escape(_prefix(name)) + r"[0-9a-f]{16}\.tmp")
    for entry in os.listdir(folder):
        if litter.fullmatch(entry):
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


def _sync_folder(folder: str) -> None:
    """Make the rename itself last; some file systems know no sync of a folder, and need none."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _open_url(url: str) -> Iterator[BinaryIO]:
    system, path = _file_system(url)
    try:
        file = system.open(path, "rb")
    except Exception as error:
        raise _store_error(url, error) from error
    with file:
        yield file


@contextmanager
def _write_url(url: str) -> Iterator[WriteStream]:
    system, path = _file_system(url)
    # In a transaction, fsspec completes the file at the end, or drops it if an error leaves the block.
    system.start_transaction()
    committed = False
    try:
        try:
            file = system.open(path, "wb")
        except Exception as error:
            raise _store_error(url, error) from error
        try:
            yield WriteStream(file, url)
        finally:
            with _as_store_error(url):
                file.close()
        committed = True
    finally:
        with _as_store_error(url):
            system.transaction.complete(commit=committed)


@contextmanager
def _as_store_error(path: str) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        raise _store_error(path, error) from error


def _file_system(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]
    except ImportError as error:
        raise StoreError(url, "fsspec is not installed; run pip install fxarchive[remote]") from error
    try:
        # An instance of our own: fsspec shares them, and a transaction would take in what others write.
        system, path = url_to_fs(url, skip_instance_cache=True)
    except ImportError as error:
        raise StoreError(
            url, f"a package for this kind of URL is not installed ({_one_line(error)})"
        ) from error
    except Exception as error:
        raise _store_error(url, error) from error
    return system, path


def _creation_error(path: str, error: OSError) -> StoreError:
    if isinstance(error, FileNotFoundError):
        return StoreError(path, "the folder does not exist; create it first")
    return _store_error(path, error)


def _store_error(path: str, error: Exception) -> StoreError:
    """The one sentence for what the system, or a remote store, said."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, FileNotFoundError):
        return ArchiveNotFound(path, "there is no such file; check the path")
    if isinstance(error, OSError) and error.errno in _REASONS:
        return StoreError(path, _REASONS[error.errno])
    if isinstance(error, OSError) and error.strerror:
        return StoreError(path, f"the system says: {error.strerror}")
    return StoreError(path, _one_line(error))


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text[:300]
