"""Each row of the tables in `spec/refusals.md` is provoked, and gives the class and the text that the row says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fxarchive import errors

from .refusals import CASES, reading, saving  # noqa: F401 (they add the cases)

PAGE = Path(__file__).resolve().parent.parent / "spec" / "refusals.md"


def rows() -> dict[str, tuple[str, str]]:
    """Name of each row of the page -> its class and its message."""
    found: dict[str, tuple[str, str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 5 and re.fullmatch(r"`[a-z0-9-]+`", cells[0]):
            name, _, cls, message, _ = (cell.replace("\\|", "|") for cell in cells)
            assert name[1:-1] not in found, f"{name} has two rows"
            found[name[1:-1]] = cls.strip("`"), message.strip("`").replace("⏎", "\n")
    return found


ROWS = rows()


@pytest.mark.parametrize("name", sorted(ROWS))
@pytest.mark.filterwarnings("ignore")
def test_a_row_is_what_happens(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cls, message = ROWS[name]
    act, places = CASES[name](tmp_path, monkeypatch)
    with pytest.raises((errors.FxArchiveError, TypeError, ValueError)) as caught:
        act()
    assert type(caught.value).__name__ == cls
    assert str(caught.value) == message.format(**places)


def test_every_row_has_a_case_and_every_case_a_row() -> None:
    assert sorted(CASES) == sorted(ROWS)


def test_every_class_has_a_row() -> None:
    classes = {
        name
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, errors.FxArchiveError)
    }
    assert classes - {cls for cls, _ in ROWS.values()} == {"FxArchiveError"}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_message_is_one_sentence(name: str) -> None:
    cls, message = ROWS[name]
    first, *others = message.split("\n")
    assert first.endswith(".") or not hasattr(errors, cls)  # Python writes its own errors without a full stop
    assert ". " not in first
    assert all(line.startswith("  ") for line in others)


def test_a_row_that_says_something_else_is_seen() -> None:
    act, _ = CASES["empty-file"](Path(), pytest.MonkeyPatch())
    with pytest.raises(errors.NotAnArchive) as caught:
        act()
    assert str(caught.value) == ROWS["empty-file"][1]
    assert str(caught.value) != ROWS["pickle"][1]
