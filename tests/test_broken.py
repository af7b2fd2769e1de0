"""The broken part of the corpus: each file gives exactly its error, in every call, at once, and stays as it is."""

from __future__ import annotations

import io
import shutil
import time
import tracemalloc
from pathlib import Path

import pytest

import fxarchive
from fxarchive.cli.main import run
from fxarchive.errors import FxArchiveError, MissingOperator, UntrustedNames
from fxarchive.limits import MIB
from fxarchive.migrations import STEPS

from .corpus import broken
from .synthetic import NEWER, steps

EXPECTED = broken.expected()

LATE = {
    "altered-weights": "large weights are compared with their digest on request",
    "section-of-nobody": "nothing that is loaded needs it",
}
"""Files that `load` takes, or refuses for another reason: it does not look at what it does not need."""

MOST_BYTES = 60 * MIB
MOST_SECONDS = 5.0

each_file = pytest.mark.parametrize("name", sorted(EXPECTED))


def path_of(name: str) -> Path:
    return broken.FOLDER / f"{name}.fxa"


def test_every_file_has_an_error_and_every_error_a_file() -> None:
    assert sorted(path.stem for path in broken.FOLDER.glob("*.fxa")) == sorted(EXPECTED)


def test_every_kind_of_damage_is_there() -> None:
    classes = {error["error"] for error in EXPECTED.values()}
    assert classes == {
        "NotAnArchive", "TruncatedArchive", "CorruptArchive", "InvalidDocument", "ForbiddenName", "TooLarge", "TooNew",
        "BadStream", "MigrationFailed",
    }  # fmt: skip
    assert len(EXPECTED) > 90


@each_file
def test_a_broken_file_gives_its_error_at_once_and_in_little_memory(name: str) -> None:
    tracemalloc.start()
    before = time.process_time()
    try:
        report = fxarchive.verify(path_of(name))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert broken.said(report.error) == EXPECTED[name]
    assert peak < MOST_BYTES
    assert time.process_time() - before < MOST_SECONDS


@each_file
def test_a_broken_file_is_never_loaded(name: str) -> None:
    if name in LATE:
        with pytest.raises((FxArchiveError,)) as caught:
            fxarchive.load(path_of(name), verify="all", trust=["mine.Block", "mine.helper"])
        assert type(caught.value).__name__ == EXPECTED[name]["error"] or isinstance(
            caught.value, MissingOperator
        )
        return
    with pytest.raises(FxArchiveError) as caught:
        fxarchive.load(path_of(name))
    if not isinstance(
        caught.value, UntrustedNames
    ):  # `small` asks for trust, which is asked before what needs torch
        assert broken.said(caught.value) == EXPECTED[name]


@each_file
def test_a_broken_file_is_never_upgraded(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.fxa"
    shutil.copy(path_of(name), path)
    with steps(*STEPS, NEWER, newest=3), pytest.raises(FxArchiveError) as caught:
        fxarchive.upgrade(path, backup=True)
    said = broken.said(caught.value)
    assert said is not None
    assert {**said, "text": said["text"].replace(str(path), "the archive")} == EXPECTED[name]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.fxa"]
    assert path.read_bytes() == path_of(name).read_bytes()


@each_file
def test_the_command_prints_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(path_of(name))]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.isascii()
    run(["inspect", str(path_of(name))])  # says what it can; no traceback


def test_the_builder_still_makes_the_same_kinds() -> None:
    built = broken.built()
    assert built.keys() == EXPECTED.keys()
    for name, data in built.items():
        error = fxarchive.verify(io.BytesIO(data)).error
        assert broken.said(error) == EXPECTED[name], name
