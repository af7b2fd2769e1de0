"""Files are whole or not there, whatever happens to their writer."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import random
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fxarchive import store
from fxarchive.errors import ArchiveNotFound, StoreError
from fxarchive.store import open_read, write_atomic

SIZE = 200_000
OLD = b"old" * SIZE


def save(target: store.PathOrFile, content: bytes) -> None:
    with write_atomic(target) as stream:
        for start in range(0, len(content), 50_000):
            stream.write(content[start : start + 50_000])


class Interrupting(bytes):
    """Content whose second piece does not come."""

    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, key: object) -> bytes:  # type: ignore[override]
        assert isinstance(key, slice)
        if key.start:
            raise KeyboardInterrupt
        return bytes(self)


def message(path: object, reason: str) -> str:
    return f"^{re.escape(f'{path}: {reason}.')}$"


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def umask() -> Iterator[int]:
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def test_a_new_file_is_whole_and_alone(tmp_path: Path) -> None:
    save(tmp_path / "a.fxa", b"content")
    assert (tmp_path / "a.fxa").read_bytes() == b"content"
    assert names(tmp_path) == ["a.fxa"]


def test_a_relative_path_without_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save("a.fxa", b"content")
    with open_read("a.fxa") as file:
        assert file.read() == b"content"


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.fxa"
    path.write_bytes(b"old")
    with write_atomic(path) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"old"
        (beside,) = (name for name in names(tmp_path) if name != "a.fxa")
        assert re.fullmatch(r"\.a\.fxa\.fxa-[0-9a-f]{16}\.tmp", beside)
    assert path.read_bytes() == b"new"


def test_an_error_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.fxa"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        save(path, Interrupting(b"new"))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.fxa"]


def test_a_new_file_has_the_permissions_of_an_ordinary_one(tmp_path: Path, umask: int) -> None:
    save(tmp_path / "a.fxa", b"")
    assert stat.S_IMODE((tmp_path / "a.fxa").stat().st_mode) == 0o666 & ~umask


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "a.fxa"
    path.write_bytes(b"old")
    path.chmod(0o666)
    save(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_a_secret_file_is_never_wider_open(tmp_path: Path) -> None:
    path = tmp_path / "a.fxa"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with write_atomic(path) as stream:
        stream.write(b"new")
        (beside,) = (entry for entry in tmp_path.iterdir() if entry != path)
        assert stat.S_IMODE(beside.stat().st_mode) == 0o600


def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.fxa").write_bytes(b"old")
    (tmp_path / "link.fxa").symlink_to(Path("real", "a.fxa"))
    save(tmp_path / "link.fxa", b"new")
    assert (tmp_path / "link.fxa").is_symlink()
    assert (tmp_path / "real" / "a.fxa").read_bytes() == b"new"


def test_other_names_of_a_file_keep_what_it_was(tmp_path: Path) -> None:
    path, other = tmp_path / "a.fxa", tmp_path / "other"
    path.write_bytes(b"old")
    os.link(path, other)
    save(path, b"new")
    assert (path.read_bytes(), other.read_bytes()) == (b"new", b"old")


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(StoreError, match=r"^/dev/null: it is not a regular file"):
        save("/dev/null", b"new")


def test_what_is_no_file_is_called_as_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=r"^pipe: it is not a regular file"):
        save("pipe", b"new")


def test_a_link_to_nothing_makes_the_file_it_names(tmp_path: Path) -> None:
    (tmp_path / "link.fxa").symlink_to("a.fxa")
    save(tmp_path / "link.fxa", b"new")
    assert (tmp_path / "a.fxa").read_bytes() == b"new"


def test_a_name_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    save(path, b"content")
    assert path.read_bytes() == b"content"


def test_data_and_folder_are_synced_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    sync, replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        calls.append("sync folder" if folder else f"sync {os.fstat(descriptor).st_size} bytes")
        sync(descriptor)

    def rename(source: str, target: str) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    save(tmp_path / "a.fxa", b"content")
    assert calls == ["sync 7 bytes", "rename", "sync folder"]


def test_litter_of_a_dead_writer_is_removed_and_that_of_a_living_one_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.fxa"
    dead = tmp_path / ".a.fxa.fxa-0123456789abcdef.tmp"
    other = tmp_path / ".b.fxa.fxa-0123456789abcdef.tmp"
    alike = tmp_path / ".a.fxa.fxa-notes.tmp"
    for file in (dead, other, alike):
        file.write_bytes(b"part")
    with write_atomic(path) as slow:
        slow.write(b"slow")
        assert not dead.exists()
        save(path, b"quick")
        slow.write(b"ly")
    assert path.read_bytes() == b"slowly"
    assert names(tmp_path) == sorted([other.name, alike.name, "a.fxa"])


def test_a_file_taken_for_litter_before_its_lock_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    removed: list[str] = []

    def late(descriptor: int, operation: int) -> None:
        if not removed:
            removed.extend(names(tmp_path))
            (tmp_path / removed[0]).unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    save(tmp_path / "a.fxa", b"content")
    assert len(removed) == 1
    assert names(tmp_path) == ["a.fxa"]


def test_concurrent_writers_each_end_with_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.fxa"
    contents = {bytes([number]) * SIZE for number in range(8)}
    found: list[bytes] = []

    def work(content: bytes) -> None:
        for _ in range(3):
            save(path, content)
            found.append(path.read_bytes())

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 24
    assert set(found) <= contents
    assert names(tmp_path) == ["a.fxa"]


WRITER = """
import sys
from fxarchive.store import write_atomic
path, size = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
number = 0
while True:
    number = (number + 1) % 250
    with write_atomic(path) as stream:
        for _ in range(10):
            stream.write(bytes([number]) * (size // 10))
"""


def kill_a_writer(path: Path, moment: float) -> None:
    command = [sys.executable, "-c", WRITER, str(path), str(SIZE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def check_kills(tmp_path: Path, times: int) -> None:
    path = tmp_path / "a.fxa"
    path.write_bytes(OLD)
    moments = random.Random(2)
    interrupted = 0
    for _ in range(times):
        kill_a_writer(path, moments.uniform(0, 0.03))
        content = path.read_bytes()
        assert content == OLD or (len(content) == SIZE and content == content[:1] * SIZE)
        interrupted += len(names(tmp_path)) - 1
        assert len(names(tmp_path)) <= 2, "the litter of one killed writer is removed by the next"
    assert interrupted > times // 10, "kills came between saves only"
    save(path, b"last")
    assert names(tmp_path) == ["a.fxa"]


def test_twenty_killed_writers_leave_a_whole_file(tmp_path: Path) -> None:
    check_kills(tmp_path, 20)


@pytest.mark.slow
def test_two_hundred_killed_writers_leave_a_whole_file(tmp_path: Path) -> None:
    check_kills(tmp_path, 200)


def test_open_files_are_used_as_they_are(tmp_path: Path) -> None:
    file = io.BytesIO()
    save(file, b"content")
    assert not file.closed
    assert file.getvalue() == b"content"
    with open_read(file) as opened:
        assert opened is file
    assert not file.closed


@pytest.mark.parametrize("open_it", [open_read, write_atomic])
def test_text_files_and_other_things_are_refused(open_it: object) -> None:
    with pytest.raises(TypeError, match=r"^the file is open in text mode; open it in binary mode$"):
        open_it(io.StringIO())  # type: ignore[operator]
    with pytest.raises(TypeError, match=r"^expected a path, a URL or an open binary file, not int$"):
        open_it(3)  # type: ignore[operator]


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.fxa"
    reason = "there is no such file; check the path"
    with pytest.raises(ArchiveNotFound, match=message(path, reason)), open_read(path):
        pass


def test_a_missing_folder(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.fxa"
    reason = "the folder does not exist; create it first"
    with pytest.raises(StoreError, match=message(path, reason)), write_atomic(path):
        pass


@pytest.mark.parametrize("open_it", [open_read, write_atomic])
def test_a_directory(tmp_path: Path, open_it: object) -> None:
    reason = "it is a directory; name a file in it"
    with pytest.raises(StoreError, match=message(tmp_path, reason)), open_it(tmp_path):  # type: ignore[operator]
        pass


@pytest.mark.parametrize("open_it", [open_read, write_atomic])
def test_a_named_pipe_is_refused_at_once(tmp_path: Path, open_it: object) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="it is not a regular file; "), open_it(tmp_path / "pipe"):  # type: ignore[operator]
        pass


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("", "^'': the path is empty; name a file.$"),
        ("a\0b", "^'a.x00b': the path holds a null character; correct it.$"),
        ("n" * 256, "^n{256}: the name is too long for the file system; choose a shorter one.$"),
        (__file__ + "/a", "a part of the path before the last is not a directory; correct the path.$"),
    ],
)
@pytest.mark.parametrize("open_it", [open_read, write_atomic])
def test_impossible_paths(path: str, text: str, open_it: object) -> None:
    with pytest.raises(StoreError, match=text), open_it(path):  # type: ignore[operator]
        pass


@pytest.mark.parametrize("open_it", [open_read, write_atomic])
def test_links_in_a_circle(tmp_path: Path, open_it: object) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    reason = "its symbolic links lead in a circle; correct them"
    with pytest.raises(StoreError, match=message(tmp_path / "a", reason)), open_it(tmp_path / "a"):  # type: ignore[operator]
        pass


def denied(*_: object, **__: object) -> int:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "permission denied; change its permissions or name another path"
    monkeypatch.setattr(
        os, "open", denied
    )  # Root may open everything, so the system cannot be asked to refuse.
    for open_it in (open_read, write_atomic):
        with pytest.raises(StoreError, match=message(tmp_path / "a", reason)), open_it(tmp_path / "a"):
            pass


def test_a_read_only_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.fxa"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StoreError, match="permission denied"):
        save(path, b"new")
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("size", [100, 50_000])
def test_a_full_disk_found_on_writing_or_on_flushing(tmp_path: Path, size: int) -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        buffered = io.BufferedWriter(full, 1000)
        reason = "the disk is full; free some space and try again"
        with pytest.raises(StoreError, match=message("/dev/full", reason)):
            save(buffered, bytes(size))


@pytest.mark.parametrize("limit", [10, 1_000, 120_000])
def test_a_file_over_the_size_limit_leaves_nothing(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "a.fxa"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(StoreError, match="the file would be larger than the system allows"):
            save(path, bytes(limit + 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.fxa"]


def test_memory_urls_are_whole_or_not_there() -> None:
    url = f"memory://fxarchive-test-{os.getpid()}/a.fxa"
    save(url, b"first")
    with pytest.raises(KeyboardInterrupt):
        save(url, Interrupting(b"second"))
    with open_read(url) as file:
        assert file.read() == b"first"
    save(url, b"third")
    with open_read(url) as file:
        assert file.read() == b"third"
    with pytest.raises(ArchiveNotFound, match=message(url + "x", "there is no such file; check the path")):
        open_read(url + "x").__enter__()


def test_file_urls_are_local_paths(tmp_path: Path) -> None:
    save(f"file://{tmp_path}/a.fxa", b"content")
    with open_read(f"file://{tmp_path}/a.fxa") as file:
        assert isinstance(file, io.BufferedReader)
        assert file.read() == b"content"


def test_an_unknown_kind_of_url() -> None:
    for open_it in (open_read, write_atomic):
        with pytest.raises(StoreError, match=r"^nosuch://a: Protocol not known: nosuch.$"):
            open_it("nosuch://a").__enter__()


def test_urls_without_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(
        StoreError, match=r"^s3://a: fsspec is not installed; run pip install fxarchive\[remote\]\.$"
    ):
        open_read("s3://a").__enter__()


def test_urls_without_the_package_for_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(
        StoreError, match=r"^s3://a: a package for this kind of URL is not installed \(Install s3fs"
    ):
        open_read("s3://a").__enter__()


def test_fsspec_is_imported_for_urls_only() -> None:
    code = "import sys, fxarchive.store; raise SystemExit('fsspec' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
