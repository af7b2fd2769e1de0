"""Batches in several processes: every archive has a report, in order, whatever happens to a process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fxarchive import batch, container, upgrading
from fxarchive.batch import run_jobs
from fxarchive.errors import StoreError
from fxarchive.orders import Order, UpgradeReport
from fxarchive.selection import Place, select

from .synthetic import OLDER, steps, stream_archive

OLD = stream_archive()


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The processes that a test starts, each of which must have been waited for; torch may have others."""
    processes: list[int] = []
    fork = os.fork

    def noted() -> int:
        processes.append(fork())
        return processes[-1]

    monkeypatch.setattr(os, "fork", noted)
    yield processes
    for process in processes:
        with pytest.raises(ChildProcessError):
            os.waitpid(process, os.WNOHANG)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(30):
        (tmp_path / f"{number:02}.fxa").write_bytes(OLD)
    return tmp_path


def places(folder: Path) -> list[Place | StoreError]:
    return list(select([folder]))


def schemas(folder: Path) -> list[int]:
    return [container.open_archive(path.read_bytes()).header.schema for path in sorted(folder.glob("*.fxa"))]


@pytest.mark.parametrize("jobs", [1, 2, 5, 100])
def test_reports_come_in_order(folder: Path, jobs: int, started: list[int]) -> None:
    with steps(OLDER):
        reports = list(run_jobs(places(folder), Order(), jobs))
    assert [os.path.basename(report.path) for report in reports] == [
        f"{number:02}.fxa" for number in range(30)
    ]
    assert {report.result for report in reports} == {"upgraded"}
    assert all(type(report.steps) is tuple and report.notes for report in reports)
    assert schemas(folder) == [2] * 30
    assert bool(started) == (jobs > 1)


def test_no_archives_are_no_reports() -> None:
    assert list(run_jobs([], Order(), 4)) == []


def dies(name: str, how: Any) -> Any:
    """`run`, in a process that ends before it does the archive of that name."""
    real = upgrading.run

    def run(chosen: Iterable[Place | StoreError], order: Order) -> Iterator[UpgradeReport]:
        for place in chosen:
            if isinstance(place, Place) and place.relative == name:
                how()
            yield from real([place], order)

    return run


def test_a_process_that_is_killed_takes_only_its_archives_with_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "run", dies("07.fxa", lambda: os.kill(os.getpid(), signal.SIGKILL)))
    monkeypatch.setattr(batch, "TOGETHER", 3)
    with steps(OLDER):
        reports = list(run_jobs(places(folder), Order(), 2))
    failed = [report for report in reports if report.result == "failed"]
    assert len(reports) == 30
    assert [os.path.basename(report.path) for report in failed] == ["07.fxa", "08.fxa"]
    assert failed[0].error == "the process that had it was ended from outside; run this again."
    assert schemas(folder)[7:9] == [1, 1]
    assert sum(schemas(folder)) == 58


def test_every_process_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(chosen: Any, order: Order) -> Iterator[UpgradeReport]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield from ()

    monkeypatch.setattr(batch, "run", run)
    assert {report.result for report in run_jobs(places(folder), Order(), 3)} == {"failed"}
    assert schemas(folder) == [1] * 30


def test_an_error_of_a_process_is_printed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def bug() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(batch, "run", dies("29.fxa", bug))
    with steps(OLDER):
        reports = list(run_jobs(places(folder), Order(), 2))
    assert reports[-1].result == "failed"
    assert "ZeroDivisionError: a bug" in capfd.readouterr().err


def test_processes_end_when_nobody_listens(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "TOGETHER", 1)
    monkeypatch.setattr(batch, "run", dies("05.fxa", lambda: time.sleep(0.2)))
    with steps(OLDER):
        reports = run_jobs(places(folder), Order(), 2)
        assert next(reports).result == "upgraded"
        reports.close()  # type: ignore[attr-defined]
    assert set(schemas(folder)) == {1, 2}


def test_groups_are_bounded_by_bytes_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together: list[int] = []
    real = upgrading.finish

    def finish(drafts: Any) -> Any:
        together.append(len(drafts))
        return real(drafts)

    monkeypatch.setattr(upgrading, "finish", finish)
    monkeypatch.setattr(upgrading, "TOGETHER_BYTES", 3 * len(OLD))
    with steps(OLDER):
        assert len(list(run_jobs(places(folder), Order(), 1))) == 30
    assert sum(together) == 30
    assert max(together) <= 3


def test_a_batch_that_is_stopped_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = upgrading._begin

    def interrupted(path: str, *args: Any, **options: Any) -> Any:
        if path.endswith("05.fxa"):
            raise KeyboardInterrupt
        return begin(path, *args, **options)

    monkeypatch.setattr(upgrading, "_begin", interrupted)
    with steps(OLDER), pytest.raises(KeyboardInterrupt):
        list(run_jobs(places(folder), Order(), 1))
    assert len(os.listdir(folder)) == 30
    assert schemas(folder) == [1] * 30
