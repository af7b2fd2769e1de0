"""Reading back beside the writer: what lies in the file is hashed, and nothing stays behind."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import fxarchive
from fxarchive import container, readback, rewriting
from fxarchive.container import Header, NewSection, Writer
from fxarchive.errors import CorruptArchive, StoreError
from fxarchive.readback import ReadBack
from fxarchive.staging import Staged

from .documents import archive_of, small
from .synthetic import NEWER, steps

HEADER = Header(2, 2, (), Writer("0.1.0", "2.13.0", "3.11.8"), "GraphModule")
DATA = os.urandom(1 << 20)
SECTIONS = {"a": DATA, "b": DATA[1000:], "c": DATA[:100]}


def copied(name: str, data: bytes, *, chunk: int = 300_000) -> NewSection:
    chunks = [data[at : at + chunk] for at in range(0, len(data), chunk)]
    return NewSection(name, "raw", len(data), chunks, len(data), hashlib.sha256(data).digest())


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    file = Staged(str(tmp_path / "a.fxa"))
    yield file
    file.discard()
    file.close()


def only(threads: set[int]) -> bool:
    """Whether the others are gone, soon."""
    for _ in range(500):
        if set(sys._current_frames()) <= threads:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("frame", [4096, 70_001, 1 << 30])
def test_digests_are_those_of_the_sections(staged: Staged, frame: int) -> None:
    sections = [copied(name, data) for name, data in SECTIONS.items()]
    before = set(sys._current_frames())
    with ReadBack(staged, {"a", "b"}) as read:
        written = container.write(staged, HEADER, sections, copied=read.follow, frame_data_bytes=frame)
        found = {section.name: read.digest_of(section) for section in written.sections}
        elsewhere = written.sections[0]._replace(extents=((0, len(DATA)),))
        assert read.digest_of(elsewhere) is None
    assert found == {"a": written.sections[0].sha256, "b": written.sections[1].sha256, "c": None}
    assert only(before)


def test_the_writer_is_followed_while_it_writes(staged: Staged) -> None:
    """The second piece is handed out when the first one has been read back, or never."""
    read = ReadBack(staged, {"a"})

    def pieces() -> Iterator[bytes]:
        yield DATA
        pause = threading.Event()
        for _ in range(1000):
            if "a" in read.extents:
                break
            pause.wait(0.01)
        assert [size for _, size in read.extents["a"]] == [len(DATA)]
        yield DATA

    section = NewSection(
        "a", "raw", 2 * len(DATA), pieces(), 2 * len(DATA), hashlib.sha256(2 * DATA).digest()
    )
    with read:
        written = container.write(staged, HEADER, [section], copied=read.follow)
        assert read.digest_of(written.sections[0]) == section.sha256


def test_what_lies_in_the_file_is_hashed_and_not_what_was_written(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow = ReadBack.follow

    def forget(read: ReadBack, name: str, offset: int, size: int) -> None:
        staged.flush()
        with open(staged.temporary, "r+b") as file:
            file.seek(offset)
            file.write(bytes(size))
        follow(read, name, offset, size)

    with ReadBack(staged, {"a"}) as read:
        monkeypatch.setattr(ReadBack, "follow", forget)
        written = container.write(staged, HEADER, [copied("a", DATA)], copied=read.follow)
        assert read.digest_of(written.sections[0]) == hashlib.sha256(bytes(len(DATA))).digest()


def test_a_file_that_became_shorter_has_no_such_section(staged: Staged) -> None:
    def cut(name: str, offset: int, size: int) -> None:
        staged.flush()
        os.truncate(staged.temporary, offset + 10)
        read.follow(name, offset, size)

    with ReadBack(staged, {"a"}) as read:
        written = container.write(staged, HEADER, [copied("a", DATA[:9000])], copied=cut)
        assert read.digest_of(written.sections[0]) is None


def test_a_file_that_cannot_be_read_back(staged: Staged) -> None:
    staged.discard()
    with ReadBack(staged, {"a"}) as read:
        written = container.write(staged, HEADER, [copied("a", DATA)], copied=read.follow)
        with pytest.raises(StoreError):
            read.digest_of(written.sections[0])


# in an upgrade


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An archive whose sections are large enough to be followed."""
    monkeypatch.setattr(rewriting, "FOLLOWED", 1)
    path = tmp_path / "a.fxa"
    path.write_bytes(archive_of(small()))
    return path


def test_large_sections_are_read_back_once(followed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    monkeypatch.setattr(container.Archive, "check", lambda archive, name: checked.append(name))
    with steps(NEWER, newest=3):
        fxarchive.upgrade(followed)
    assert checked == ["document"]


def test_a_source_that_was_altered_is_named(followed: Path) -> None:
    data = bytearray(followed.read_bytes())
    start, _ = container.open_archive(data).sections["storages/1"].extents[0]
    data[start] ^= 1
    followed.write_bytes(data)
    with (
        steps(NEWER, newest=3),
        pytest.raises(CorruptArchive, match="section 'storages/1': its digest does not match its bytes"),
    ):
        fxarchive.upgrade(followed)
    assert followed.read_bytes() == data
    assert os.listdir(followed.parent) == ["a.fxa"]


def test_a_disk_that_forgets_while_it_is_written(followed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = followed.read_bytes()
    follow = ReadBack.follow

    def forget(read: ReadBack, name: str, offset: int, size: int) -> None:
        read.staged.flush()
        with open(read.staged.temporary, "r+b") as file:
            file.seek(offset)
            file.write(b"forgotten")
        follow(read, name, offset, size)

    monkeypatch.setattr(ReadBack, "follow", forget)
    with steps(NEWER, newest=3), pytest.raises(CorruptArchive, match="'storages/1' was altered on its way"):
        fxarchive.upgrade(followed)
    assert followed.read_bytes() == data
    assert os.listdir(followed.parent) == ["a.fxa"]


def test_a_write_that_fails_leaves_no_thread(followed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = followed.read_bytes()
    follow = readback.ReadBack.follow

    def fails(read: ReadBack, name: str, offset: int, size: int) -> None:
        follow(read, name, offset, size)
        raise KeyboardInterrupt

    monkeypatch.setattr(ReadBack, "follow", fails)
    before = set(sys._current_frames())
    with steps(NEWER, newest=3), pytest.raises(KeyboardInterrupt):
        fxarchive.upgrade(followed)
    assert only(before)
    assert followed.read_bytes() == data
    assert os.listdir(followed.parent) == ["a.fxa"]


@pytest.mark.parametrize("backup", [False, True])
def test_pages_of_a_file_that_will_be_replaced_are_dropped(
    followed: Path, monkeypatch: pytest.MonkeyPatch, backup: bool
) -> None:
    dropped: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *args: dropped.append(args[2]), raising=False)
    with steps(NEWER, newest=3):
        assert fxarchive.upgrade(followed, backup=backup).result == "upgraded"
    assert dropped == ([] if backup else [0])


def test_systems_without_that_advice(followed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    with steps(NEWER, newest=3):
        assert fxarchive.upgrade(followed).result == "upgraded"
