"""Where archives live: local files, written so that each is whole or not there, open files, and fsspec URLs.

A local file is written beside its target under a name of its own, locked while its writer lives, synced, and
renamed over the target. A crash at any moment leaves the old file or the new one; what a killed writer left
behind is removed by the next save to the same path.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, BinaryIO, cast

from .errors import StoreError
from .staging import REASONS, Staged, WriteStream, one_line, store_error, sync_folder

PathOrFile = str | os.PathLike[str] | BinaryIO
"""A path, an fsspec URL (any text with "://"), or an open binary file."""

_LOCAL_URL = re.compile(r"(file|local)://")


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
    path = without_scheme(path)
    if not path:
        raise StoreError("''", "the path is empty; name a file")
    if "\0" in path:
        raise StoreError(repr(path), "the path holds a null character; correct it")
    return path


def without_scheme(path: str) -> str:
    """Return the path of a URL of a local file, and anything else as it is.

    >>> without_scheme("file:///models/a.fxa"), without_scheme("s3://models/a.fxa")
    ('/models/a.fxa', 's3://models/a.fxa')
    """
    return _LOCAL_URL.sub("", path, count=1) if _LOCAL_URL.match(path) else path


@contextmanager
def _kept_open(file: Any) -> Iterator[BinaryIO]:
    yield file


@contextmanager
def _open_local(path: str) -> Iterator[BinaryIO]:
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise store_error(path, error) from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise StoreError(path, REASONS[errno.EISDIR])
        raise StoreError(path, "it is not a regular file; pass its bytes or an open file that can seek")
    with open(descriptor, "rb") as file:
        yield file


def forget(file: BinaryIO) -> None:
    """Let the system drop the pages of a local file that will be replaced, which takes time when that happens."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def _write_open_file(file: Any) -> Iterator[WriteStream]:
    path = str(getattr(file, "name", "the open file"))
    yield WriteStream(file, path)
    if hasattr(file, "flush"):
        try:
            file.flush()
        except (OSError, ValueError) as error:
            raise store_error(path, error) from error


@contextmanager
def _write_local(path: str) -> Iterator[WriteStream]:
    staged = Staged(path)
    try:
        yield staged
        staged.sync()
        staged.replace()
        sync_folder(staged.folder)
    except BaseException:
        staged.discard()
        raise
    finally:
        staged.close()


@contextmanager
def _open_url(url: str) -> Iterator[BinaryIO]:
    system, path = file_system(url)
    try:
        file = system.open(path, "rb")
    except Exception as error:
        raise store_error(url, error) from error
    with file:
        yield cast("BinaryIO", _Remote(file, url))


class _Remote:
    """A file in a remote store; whatever goes wrong while it is read is a `StoreError` that names its URL."""

    def __init__(self, file: Any, url: str) -> None:
        self._file = file
        self.name = url

    def read(self, size: int = -1) -> bytes:
        with as_store_error(self.name):
            data: bytes = self._file.read(size)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with as_store_error(self.name):
            position: int = self._file.seek(offset, whence)
        return position


@contextmanager
def _write_url(url: str) -> Iterator[WriteStream]:
    system, path = file_system(url)
    # In a transaction, fsspec completes the file at the end, or drops it if an error leaves the block.
    system.start_transaction()
    committed = False
    try:
        try:
            file = system.open(path, "wb")
        except Exception as error:
            raise store_error(url, error) from error
        try:
            yield WriteStream(file, url)
        finally:
            with as_store_error(url):
                file.close()
        committed = True
    finally:
        with as_store_error(url):
            system.transaction.complete(commit=committed)


@contextmanager
def as_store_error(path: str) -> Iterator[None]:
    """Turn whatever a remote store raises within this context into a `StoreError` that names the path."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        raise store_error(path, error) from error


def file_system(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the path in it.

    Raises:
        StoreError: fsspec, or the package for this kind of URL, is not installed.
    """
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]
    except ImportError as error:
        raise StoreError(url, "fsspec is not installed; run pip install fxarchive[remote]") from error
    try:
        # An instance of our own: fsspec shares them, and a transaction would take in what others write.
        system, path = url_to_fs(url, skip_instance_cache=True)
    except ImportError as error:
        raise StoreError(
            url, f"a package for this kind of URL is not installed ({one_line(error)})"
        ) from error
    except Exception as error:
        raise store_error(url, error) from error
    return system, path
