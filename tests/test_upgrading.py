"""Upgrading a file: whole and read back before it takes its place, or nothing changed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

import fxarchive
from fxarchive import chain, container, packing, rewriting, staging, upgrading, wire
from fxarchive._version import __version__
from fxarchive.container import Change
from fxarchive.document import DOCUMENT
from fxarchive.errors import (
    ArchiveNotFound,
    CorruptArchive,
    ForbiddenName,
    LossNotAllowed,
    MigrationFailed,
    StoreError,
    TooNew,
)
from fxarchive.orders import Order
from fxarchive.selection import Place
from fxarchive.summary import summarise

from .documents import archive_of, small
from .synthetic import NEWER, OLDER, steps, stream_archive
from .test_old_archives import weights

OLD = stream_archive()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.fxa"
    path.write_bytes(OLD)
    return path


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def newer(document: Any = None) -> bytes:
    """An archive of schema 3 of what `small` holds."""
    document = small() if document is None else document
    return archive_of(document, payload={**packing.pack(document), "schema": 3}, schema=3, min_reader=3)


def test_the_new_file_holds_what_the_old_one_did(old: Path) -> None:
    before = container.open_archive(OLD)
    with steps(OLDER):
        report = fxarchive.upgrade(old)
    archive = container.open_archive(old.read_bytes(), schema=2)
    assert packing.unpack(wire.loads(archive.read(DOCUMENT))) == small()
    assert archive.read("storages/1") == bytes(range(256)) * 16
    assert archive.sections["storages/1"].codec == "raw"
    header = archive.header
    assert (header.schema, header.min_reader, header.root) == (2, 2, "GraphModule")
    assert header.writer == before.header.writer._replace(fxarchive=__version__)
    assert header.metadata == {"note": "mine"}
    assert header.summary == summarise(small())
    note = "the stream does not say who wrote it"
    assert header.history == (Change(1, 2, __version__, before.identity, (note,)),)
    assert report == fxarchive.UpgradeReport(
        path=str(old),
        result="upgraded",
        source=1,
        target=2,
        steps=("1 -> 2: A stream that never was becomes a document",),
        notes=(note,),
        output=str(old),
        identity=archive.identity,
        predecessor=before.identity,
        size=len(old.read_bytes()),
    )
    assert names(old.parent) == ["old.fxa"]


def test_twice_is_the_same_as_once(old: Path) -> None:
    with steps(OLDER):
        fxarchive.upgrade(old)
        once = old.read_bytes()
        inode = old.stat().st_ino
        report = fxarchive.upgrade(old)
    assert (report.result, report.identity) == ("current", container.open_archive(once).identity)
    assert (old.read_bytes(), old.stat().st_ino) == (once, inode)


def test_the_same_archive_gives_the_same_bytes_anywhere(tmp_path: Path) -> None:
    for name in ("a.fxa", "b"):
        (tmp_path / name).write_bytes(OLD)
        with steps(OLDER):
            fxarchive.upgrade(tmp_path / name)
    assert (tmp_path / "a.fxa").read_bytes() == (tmp_path / "b").read_bytes()


def test_two_steps_make_one_entry_in_the_history_and_two_runs_two(tmp_path: Path) -> None:
    at_once, apart = tmp_path / "a.fxa", tmp_path / "b.fxa"
    at_once.write_bytes(OLD)
    apart.write_bytes(OLD)
    with steps(OLDER):
        first = fxarchive.upgrade(apart)
    with steps(OLDER, NEWER, newest=3):
        assert fxarchive.upgrade(apart).steps == ("2 -> 3: Documents may have colours",)
        assert len(fxarchive.upgrade(at_once).steps) == 2
    history = container.open_archive(at_once.read_bytes()).header.history
    assert [(change.source, change.target) for change in history] == [(1, 3)]
    history = container.open_archive(apart.read_bytes()).header.history
    assert [(change.source, change.target) for change in history] == [(1, 2), (2, 3)]
    assert history[1].predecessor == first.identity
    first_part, second = (container.open_archive(path.read_bytes()) for path in (at_once, apart))
    assert first_part.read(DOCUMENT) == second.read(DOCUMENT)


def test_a_schema_between_can_be_asked_for(old: Path) -> None:
    with steps(OLDER, NEWER, newest=3):
        assert fxarchive.upgrade(old, to=2).target == 2
        assert fxarchive.upgrade(old, to=2).result == "current"
        archive = container.open_archive(old.read_bytes())
        assert (archive.header.schema, archive.header.min_reader) == (2, 2)
        assert fxarchive.upgrade(old).target == 3
        assert fxarchive.upgrade(old, to=2).result == "current"
        for to in (0, 4):
            with pytest.raises(ValueError, match=f"^to is {to}; this fxarchive"):
                fxarchive.upgrade(old, to=to)


def test_sections_are_copied_as_they_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document: Any = weights()
    document["storages"].append({"size": 100_000, "device": "cpu", "section": "storages/2"})
    path = tmp_path / "a.fxa"
    fxarchive.save({"a": bytes(10)}, path)  # what torch saves is left alone
    path.write_bytes(archive_of(document))
    decoded: list[str] = []
    monkeypatch.setattr(container.reader, "decompress_into", lambda *args: decoded.append("into"))  # type: ignore[attr-defined]
    before = container.open_archive(path.read_bytes())
    with steps(OLDER, NEWER, newest=3):
        fxarchive.upgrade(path)
    after = container.open_archive(path.read_bytes())
    assert decoded == []
    for name in ("storages/0", "storages/2"):
        assert after.sections[name].sha256 == before.sections[name].sha256
        assert after.read(name) == before.read(name)


def test_compressed_weights_stay_compressed(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "a.fxa"
    fxarchive.save(torch.zeros(5000), path, weights="zstd")
    before = container.open_archive(path.read_bytes()).sections["storages/0"]
    with steps(NEWER, newest=3):
        fxarchive.upgrade(path)
        after = container.open_archive(path.read_bytes()).sections["storages/0"]
        assert fxarchive.load(path).tolist() == [0.0] * 5000
    assert (after.codec, after.sha256, after.size) == ("zstd", before.sha256, 20_000)


def test_a_dry_run_migrates_and_writes_nothing(old: Path) -> None:
    with steps(OLDER, NEWER, newest=3):
        report = fxarchive.upgrade(old, dry_run=True)
    assert (report.result, report.source, report.target, report.output) == ("planned", 1, 3, None)
    assert report.steps == (
        "1 -> 2: A stream that never was becomes a document",
        "2 -> 3: Documents may have colours",
    )
    assert report.notes == ("the stream does not say who wrote it",)
    assert (old.read_bytes(), names(old.parent)) == (OLD, ["old.fxa"])


def test_the_output_can_go_elsewhere(old: Path) -> None:
    with steps(OLDER):
        report = fxarchive.upgrade(old, output=old.parent / "new.fxa")
        assert (report.result, report.output) == ("upgraded", str(old.parent / "new.fxa"))
        again = fxarchive.upgrade(old, output=old.parent / "new.fxa")
        assert (again.result, again.identity, again.predecessor) == (
            "done",
            report.identity,
            report.predecessor,
        )
    assert old.read_bytes() == OLD
    assert names(old.parent) == ["new.fxa", "old.fxa"]


@pytest.mark.parametrize("there", [b"something else", OLD, archive_of(small())])
def test_another_file_in_the_output_is_never_overwritten(old: Path, there: bytes) -> None:
    (old.parent / "new.fxa").write_bytes(there)
    with steps(OLDER), pytest.raises(StoreError, match="another file is there"):
        fxarchive.upgrade(old, output=old.parent / "new.fxa")
    assert (old.parent / "new.fxa").read_bytes() == there


def test_a_current_archive_is_copied_to_the_output(tmp_path: Path) -> None:
    path, target = tmp_path / "a.fxa", tmp_path / "b.fxa"
    path.write_bytes(archive_of(small()))
    with steps(OLDER):
        assert fxarchive.upgrade(path, output=target, dry_run=True).result == "planned"
        assert not target.exists()
        assert fxarchive.upgrade(path, output=target).result == "copied"
        assert fxarchive.upgrade(path, output=target).result == "done"
    assert target.read_bytes() == path.read_bytes()


def test_permissions_and_links_stay(old: Path) -> None:
    old.chmod(0o640)
    (old.parent / "link").symlink_to("old.fxa")
    with steps(OLDER):
        fxarchive.upgrade(old.parent / "link")
    assert (old.parent / "link").is_symlink()
    assert container.open_archive(old.read_bytes()).header.schema == 2
    assert stat.S_IMODE(old.stat().st_mode) == 0o640


def test_inspect_says_what_was_done(old: Path) -> None:
    with steps(OLDER):
        before = fxarchive.inspect(old)
        fxarchive.upgrade(old)
        after = fxarchive.inspect(old)
    note = "the stream does not say who wrote it"
    assert (before.old, before.history, before.notes) == (True, (), (note,))
    assert (after.old, after.notes) == (False, ())
    (change,) = after.history
    assert change == Change(1, 2, __version__, before.identity, (note,))
    assert after.to_dict()["history"] == [
        {"source": 1, "target": 2, "by": __version__, "predecessor": before.identity, "notes": (note,)}
    ]


# backups


def test_a_backup_is_the_file_that_was(old: Path) -> None:
    with steps(OLDER):
        report = fxarchive.upgrade(old, backup=True)
    assert report.backup == f"{old}.schema-1"
    assert Path(report.backup).read_bytes() == OLD
    assert names(old.parent) == ["old.fxa", "old.fxa.schema-1"]


def test_a_backup_never_overwrites_one(old: Path) -> None:
    taken = old.parent / "old.fxa.schema-1"
    taken.write_bytes(b"an older backup")
    (old.parent / "old.fxa.schema-1.2").symlink_to("nowhere")
    with steps(OLDER):
        report = fxarchive.upgrade(old, backup=True)
    assert report.backup == f"{old}.schema-1.3"
    assert taken.read_bytes() == b"an older backup"
    assert Path(report.backup).read_bytes() == OLD


def test_a_backup_that_is_there_already_is_the_backup(old: Path) -> None:
    (old.parent / "old.fxa.schema-1").write_bytes(OLD)  # a run was killed after it
    with steps(OLDER):
        assert fxarchive.upgrade(old, backup=True).backup == f"{old}.schema-1"
    assert names(old.parent) == ["old.fxa", "old.fxa.schema-1"]


def test_a_backup_is_copied_where_there_are_no_links(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*paths: str) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    with steps(OLDER):
        report = fxarchive.upgrade(old, backup=True)
    assert report.backup is not None
    assert Path(report.backup).read_bytes() == OLD
    assert names(old.parent) == ["old.fxa", "old.fxa.schema-1"]


def test_a_backup_that_fails_leaves_the_file(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*paths: str) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "link", link)
    with steps(OLDER), pytest.raises(StoreError, match="the disk is full"):
        fxarchive.upgrade(old, backup=True)
    assert (old.read_bytes(), names(old.parent)) == (OLD, ["old.fxa"])


# what goes wrong leaves everything as it was


def unchanged(path: Path, data: bytes) -> bool:
    return path.read_bytes() == data and names(path.parent) == [path.name]


def test_a_migration_that_fails(tmp_path: Path) -> None:
    document = small()
    document["texts"][1] = "lambda x: x"
    data = stream_archive(document)
    path = tmp_path / "a.fxa"
    path.write_bytes(data)
    with steps(OLDER), pytest.raises(MigrationFailed, match=f"cannot take {path}, which is left") as caught:
        fxarchive.upgrade(path)
    assert caught.value.path == str(path)
    assert unchanged(path, data)


def test_a_migration_to_a_document_that_breaks_the_rules(tmp_path: Path) -> None:
    document = small()
    document["graphs"][0]["names"] = document["graphs"][0]["names"].replace("add", "import os")
    path = tmp_path / "a.fxa"
    path.write_bytes(data := stream_archive(document))
    with steps(OLDER), pytest.raises(ForbiddenName, match="import os"):
        fxarchive.upgrade(path)
    assert unchanged(path, data)


@pytest.mark.parametrize("section", ["document", "storages/1"])
def test_an_altered_source(tmp_path: Path, section: str) -> None:
    data = bytearray(archive_of(small()))
    start, size = container.open_archive(data).sections[section].extents[0]
    data[start + size // 2] ^= 1
    path = tmp_path / "a.fxa"
    path.write_bytes(data)
    with (
        steps(NEWER, newest=3),
        pytest.raises(CorruptArchive, match=f"section '{section}': its digest does not match"),
    ):
        fxarchive.upgrade(path)
    assert unchanged(path, data)


@pytest.mark.parametrize("where", ["document", "storages/1", "header", "index"])
def test_a_disk_that_forgets(old: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    flush = staging.Staged.flush

    def forget(staged: Any) -> None:
        flush(staged)
        data = bytearray(Path(staged.temporary).read_bytes())
        archive = container.open_archive(bytes(data))
        if where in archive.sections:
            at, _ = archive.sections[where].extents[0]
        else:
            at = 60 if where == "header" else len(data) - 70
        data[at] ^= 1
        Path(staged.temporary).write_bytes(data)
        monkeypatch.setattr(staging.Staged, "flush", flush)

    monkeypatch.setattr(staging.Staged, "flush", forget)
    with steps(OLDER), pytest.raises(CorruptArchive):
        fxarchive.upgrade(old)
    assert unchanged(old, OLD)


def test_what_was_read_back_is_compared(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flush = staging.Staged.flush

    def swap(staged: Any) -> None:
        monkeypatch.setattr(staging.Staged, "flush", flush)
        flush(staged)
        Path(staged.temporary).write_bytes(archive_of(small()))  # whole, and another archive

    monkeypatch.setattr(staging.Staged, "flush", swap)
    with steps(OLDER), pytest.raises(CorruptArchive, match="it was read back as something else"):
        fxarchive.upgrade(old)
    assert unchanged(old, OLD)


def test_a_sync_that_fails(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with steps(OLDER), pytest.raises(StoreError, match="the disk is full"):
        fxarchive.upgrade(old)
    assert unchanged(old, OLD)


def test_one_sync_of_many_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That archive stays as it was, and the others take their places: after all syncs, before the folder's."""
    count = 2 * rewriting.SYNCED_AT_ONCE + 1
    paths = [tmp_path / f"{at}.fxa" for at in range(count)]
    for path in paths:
        path.write_bytes(OLD)
    sync, replace, calls = staging.Staged.sync, os.replace, []

    def fails_once(staged: Any) -> None:
        calls.append("sync")
        if staged.target.endswith("/9.fxa"):
            raise StoreError(staged.target, "the disk is full")
        sync(staged)

    def rename(source: str, target: str) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(staging.Staged, "sync", fails_once)
    monkeypatch.setattr(os, "replace", rename)
    with steps(OLDER):
        reports = list(upgrading.run([Place(str(path), path.name) for path in paths], Order()))
    assert [at for at, report in enumerate(reports) if report.result == "failed"] == [9]
    assert names(tmp_path) == sorted(path.name for path in paths)
    assert [path for path in paths if path.read_bytes() == OLD] == [paths[9]]
    assert calls == ["sync"] * count + ["rename"] * (count - 1)


def test_the_file_is_synced_before_it_is_renamed_and_the_folder_after(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    sync, replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def rename(source: str, target: str) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    with steps(OLDER):
        fxarchive.upgrade(old)
    assert calls == ["file", "rename", "folder"]


def test_a_file_that_was_written_meanwhile_is_not_replaced(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = staging.Staged.flush
    later = archive_of(small())

    def meanwhile(staged: Any) -> None:
        flush(staged)
        beside = old.parent / "other"
        beside.write_bytes(later)
        os.replace(beside, old)

    monkeypatch.setattr(staging.Staged, "flush", meanwhile)
    with steps(OLDER), pytest.raises(StoreError, match="it was written to meanwhile"):
        fxarchive.upgrade(old)
    assert unchanged(old, later)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ArchiveNotFound):
        fxarchive.upgrade(tmp_path / "none.fxa")


def test_a_newer_archive_names_the_release(tmp_path: Path) -> None:
    path = tmp_path / "a.fxa"
    path.write_bytes(newer())
    with pytest.raises(TooNew, match=r"needs schema 3 .*; install fxarchive 0\.1\.0 or later"):
        fxarchive.upgrade(path)


def test_a_newer_archive_that_can_be_read_as_it_is_is_current(tmp_path: Path) -> None:
    path = tmp_path / "a.fxa"
    path.write_bytes(data := archive_of(small(), payload={**packing.pack(small()), "schema": 3}, schema=3))
    assert fxarchive.upgrade(path).result == "current"
    with pytest.raises(TooNew):
        fxarchive.downgrade(path, to=2)
    assert unchanged(path, data)


# back


def test_back_gives_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.fxa"
    path.write_bytes(archive_of(small()))
    before = container.open_archive(path.read_bytes())
    with steps(NEWER, newest=3):
        fxarchive.upgrade(path)
        report = fxarchive.downgrade(path, to=2)
    after = container.open_archive(path.read_bytes())
    assert (report.result, report.source, report.target) == ("downgraded", 3, 2)
    assert after.read(DOCUMENT) == before.read(DOCUMENT)
    assert after.sections["storages/1"].sha256 == before.sections["storages/1"].sha256
    assert (after.header.schema, after.header.min_reader) == (2, 2)
    assert [(change.source, change.target) for change in after.header.history] == [(2, 3), (3, 2)]


def test_a_loss_is_listed_and_only_allowed_on_request(tmp_path: Path) -> None:
    document = small()
    document["texts"].append("colour: red")
    path = tmp_path / "a.fxa"
    path.write_bytes(data := newer(document))
    with steps(NEWER, newest=3):
        with pytest.raises(LossNotAllowed, match=r"texts\[6\]: 'colour: red'"):
            fxarchive.downgrade(path, to=2)
        assert unchanged(path, data)
        assert fxarchive.downgrade(path, to=2, allow_loss=True, dry_run=True).notes == (
            "texts[6]: 'colour: red'",
        )
        assert unchanged(path, data)
        fxarchive.downgrade(path, to=2, allow_loss=True)
    (change,) = container.open_archive(path.read_bytes()).header.history
    assert change.notes == ("texts[6]: 'colour: red'",)


def test_a_step_that_cannot_go_back_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.fxa"
    path.write_bytes(data := archive_of(small()))
    with (
        steps(OLDER),
        pytest.raises(MigrationFailed, match="a document never becomes a stream; keep a backup"),
    ):
        fxarchive.downgrade(path, to=1)
    assert unchanged(path, data)


def test_nothing_is_taken_back_that_is_older(old: Path) -> None:
    with steps(OLDER, NEWER, newest=3):
        assert fxarchive.downgrade(old, to=2).result == "current"
    assert unchanged(old, OLD)


# notes that are too many for a header


def test_many_notes_are_counted(old: Path) -> None:
    import dataclasses

    class Talkative(type(OLDER)):  # type: ignore[misc]
        def upgrade(self, content: Any) -> Any:
            notes = tuple([f"note {number} {'x' * 2000}" for number in range(1000)])
            return dataclasses.replace(super().upgrade(content), notes=notes)

    with steps(Talkative()):
        report = fxarchive.upgrade(old)
    assert len(report.notes) == rewriting.MOST_NOTES + 1
    assert report.notes[-1] == "and 900 more"
    assert len(report.notes[0]) == rewriting.MOST_NOTE + 3


# remote stores


def test_a_url_is_upgraded_in_place_with_a_backup() -> None:
    import fsspec  # type: ignore[import-untyped]

    files = fsspec.filesystem("memory")
    files.pipe("/upgrading/a.fxa", OLD)
    with steps(OLDER):
        report = fxarchive.upgrade("memory://upgrading/a.fxa", backup=True)
        assert report.backup == "memory://upgrading/a.fxa.schema-1"
        assert files.cat("/upgrading/a.fxa.schema-1") == OLD
        assert container.open_archive(files.cat("/upgrading/a.fxa")).identity == report.identity
        assert fxarchive.upgrade("memory://upgrading/a.fxa").result == "current"
        files.pipe("/upgrading/a.fxa", stream_archive(metadata={"note": "another"}))
        assert fxarchive.upgrade("memory://upgrading/a.fxa", backup=True).backup == f"{report.backup}.2"
    assert files.cat("/upgrading/a.fxa.schema-1") == OLD


def test_a_url_gives_the_bytes_that_a_path_does(old: Path) -> None:
    import fsspec

    with steps(OLDER):
        fxarchive.upgrade(old, output="memory://upgrading/b.fxa")
        fxarchive.upgrade(old)
    assert fsspec.filesystem("memory").cat("/upgrading/b.fxa") == old.read_bytes()


def test_a_url_that_is_altered_stays(old: Path) -> None:
    import fsspec

    data = bytearray(archive_of(small()))
    start, size = container.open_archive(data).sections["storages/1"].extents[0]
    data[start + size // 2] ^= 1
    fsspec.filesystem("memory").pipe("/upgrading/c.fxa", bytes(data))
    with steps(NEWER, newest=3), pytest.raises(CorruptArchive):
        fxarchive.upgrade("memory://upgrading/c.fxa")
    assert fsspec.filesystem("memory").cat("/upgrading/c.fxa") == data


def test_the_plan_of_the_chain_is_what_is_done() -> None:
    with steps(OLDER, NEWER, newest=3):
        assert [str(move) for move in chain.plan(1, 3)] == ["1 -> 2", "2 -> 3"]
