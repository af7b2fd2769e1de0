"""Control-C at any moment: one sentence, exit code 130, no litter, and a second run does the rest."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import fxarchive
from fxarchive import container, rewriting, staging
from fxarchive.cli.main import INTERRUPTED, STOPPED, run

from .documents import archive_of, small
from .synthetic import OLDER, steps, stream_archive

FOLDER = Path(__file__).parent
OLD = stream_archive()
COUNT = 200
TURNS = 40
ENOUGH = 5
"""Interrupts that came while the batch ran; then no more turns are needed."""

COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background inherits that it is ignored
from fxarchive.cli.main import run
from tests import synthetic
synthetic.install(synthetic.OLDER)
print("ready", flush=True)
code = run(["upgrade", sys.argv[1], "--jobs", sys.argv[2]])
sys.exit(code)
"""


def started(folder: Path, jobs: int) -> subprocess.Popen[str]:
    """Start an upgrade, and wait until it is about to begin."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder), str(jobs)],
        cwd=FOLDER.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def fill(folder: Path) -> None:
    for number in range(COUNT):
        (folder / f"{number}.fxa").write_bytes(OLD)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupted_batch(tmp_path: Path, jobs: int) -> None:
    fill(tmp_path)
    process = started(tmp_path, jobs)
    begun = time.perf_counter()
    assert process.communicate()[1] == ""
    whole = time.perf_counter() - begun
    assert process.returncode == 0
    new = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    moments = random.Random(5)
    codes = []
    for _ in range(TURNS):
        fill(tmp_path)
        process = started(tmp_path, jobs)
        time.sleep(moments.uniform(0.02, whole * 0.7))
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        codes.append(process.returncode)
        if process.returncode == -signal.SIGINT:  # Python was ending already
            assert (said, codes.pop()) == ("", -signal.SIGINT)
        elif process.returncode:
            assert (process.returncode, said) == (INTERRUPTED, f"fxarchive: {STOPPED}\n")
        held = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert held.keys() == new.keys()
        assert all(data in (OLD, new[name]) for name, data in held.items())
        if codes.count(INTERRUPTED) == ENOUGH:
            break
    assert codes.count(INTERRUPTED) == ENOUGH
    process = started(tmp_path, jobs)
    process.communicate()
    assert process.returncode == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == new


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(FOLDER / "corpus" / "broken" / "empty.fxa", tmp_path / "a.fxa")
    monkeypatch.setattr(container, "open_archive", interrupt)
    assert run(["verify", str(tmp_path / "a.fxa")]) == INTERRUPTED
    assert capsys.readouterr().err == f"fxarchive: {STOPPED}\n"


def test_an_interrupt_waits_for_the_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are not closed while a thread syncs them."""
    path = tmp_path / "a.fxa"
    path.write_bytes(OLD)
    sync = staging.Staged.sync
    begun, synced = threading.Event(), []

    def slowly(staged: staging.Staged) -> None:
        begun.set()
        time.sleep(0.3)
        sync(staged)
        synced.append(staged.target)

    def check(_: object) -> None:
        assert begun.wait(60)
        raise KeyboardInterrupt

    monkeypatch.setattr(staging.Staged, "sync", slowly)
    monkeypatch.setattr(rewriting, "_check", check)
    with steps(OLDER), pytest.raises(KeyboardInterrupt):
        fxarchive.upgrade(path)
    assert synced == [str(path)]
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["a.fxa"]


MOMENTS = [(staging, "_is_at"), (staging, "_take_over"), (container, "write"), (os, "replace")]
CASES = [(act, *moment) for act in ("save", "upgrade", "adopt") for moment in MOMENTS]
# an upgrade syncs in threads, which no interrupt reaches
CASES += [("save", os, "fsync"), ("adopt", os, "fsync")]


@pytest.mark.parametrize(("act", "module", "name"), CASES)
def test_no_moment_leaves_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, module: object, name: str
) -> None:
    path = tmp_path / "a.fxa"
    path.write_bytes(before := stream_archive() if act == "upgrade" else archive_of(small()))
    stream = next((FOLDER / "corpus" / "schema-1").rglob("*.fxa"))
    pickled = container.open_archive(stream.read_bytes()).read("stream")
    calls: dict[str, Callable[[], object]] = {
        "save": lambda: fxarchive.save([1, 2], path),
        "adopt": lambda: fxarchive.adopt(pickled, path),
        "upgrade": lambda: fxarchive.upgrade(path),
    }
    monkeypatch.setattr(module, name, interrupt)
    with steps(OLDER), pytest.raises(KeyboardInterrupt):
        calls[act]()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.fxa"]


def test_a_file_in_its_place_runs_nothing_when_its_object_goes(tmp_path: Path) -> None:
    """Python forgets an interrupt that comes then."""
    staged = staging.Staged(str(tmp_path / "a.fxa"))
    left = staged._abandoned
    staged.write(b"a")
    staged.sync()
    staged.close()
    assert left.alive
    staged.replace()
    staged.close()
    assert not left.alive
    assert not hasattr(staging.Staged, "__del__")


def test_a_file_that_nobody_closed_is_removed(tmp_path: Path) -> None:
    staged = staging.Staged(str(tmp_path / "a.fxa"))
    staged.write(b"a")
    assert len(os.listdir(tmp_path)) == 1
    del staged
    assert os.listdir(tmp_path) == []
