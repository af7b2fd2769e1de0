"""Running the command in this process, and archives for it to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from fxarchive.cli.main import run
from tests.documents import archive_of, small


class Result(NamedTuple):
    """What a call gave."""

    code: int
    out: str
    err: str


Call = Callable[..., Result]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Return a function that runs ``fxarchive`` with arguments."""

    def run_it(*args: object) -> Result:
        code = run([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run_it


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A good archive."""
    path = tmp_path / "good.fxa"
    path.write_bytes(archive_of(small(), metadata={"note": "first"}))
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A file that is no archive."""
    path = tmp_path / "bad.fxa"
    path.write_bytes(b"something else")
    return path


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """An archive with escape sequences of terminals wherever a file can put text."""
    red = "\x1b[31m\r\n\x9b0m"
    document = small()
    document["texts"] = [red] * 6
    for record in document["targets"]:
        record[1] = red
    document["graphs"][0]["names"] = "\n".join(["\x1b]0;x\x07"] * 7)
    document["modules"][0]["modules"] = [red, 1]
    document["modules"][1]["parameters"] = [red, ["tensor", 0]]
    document["storages"][1]["device"] = red
    document["descriptions"][0][0] = red
    path = tmp_path / "hostile.fxa"
    path.write_bytes(
        archive_of(document, metadata={red: [red], "other": red}, summary={"dropped": [red], "trust": [red]})
    )
    return path
