"""Paths, folders, patterns and URLs become archives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fxarchive.errors import StoreError
from fxarchive.selection import Place, select


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("m/b.fxa", "m/a.fxa", "m/x/c.fxa", "m/x/y/d.fxa", "m/e.bin", "m/[1].fxa"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "m" / ".a.fxa.fxa-0123456789abcdef.tmp").touch()
    return tmp_path


def relative(*paths: str) -> list[str]:
    found = []
    for place in select(paths):
        assert isinstance(place, Place)
        found.append(place.relative)
    return found


def test_a_folder_means_every_archive_in_it(folder: Path) -> None:
    assert list(select(["m"])) == [
        Place("m/[1].fxa", "[1].fxa"),
        Place("m/a.fxa", "a.fxa"),
        Place("m/b.fxa", "b.fxa"),
        Place("m/x/c.fxa", "x/c.fxa"),
        Place("m/x/y/d.fxa", "x/y/d.fxa"),
    ]


def test_folders_that_are_links_are_not_followed(folder: Path) -> None:
    os.symlink(".", folder / "m" / "loop")
    assert len(relative("m")) == 5


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("m/?.fxa", ["a.fxa", "b.fxa"]),
        ("m/**/*.fxa", ["[1].fxa", "a.fxa", "b.fxa", "x/c.fxa", "x/y/d.fxa"]),
        ("m/*/c.fxa", ["x/c.fxa"]),
        ("m/[ab].fxa", ["a.fxa", "b.fxa"]),
        ("*/a.fxa", ["m/a.fxa"]),
        ("m/*.bin", ["e.bin"]),
    ],
)
def test_a_pattern_means_what_it_matches(folder: Path, pattern: str, found: list[str]) -> None:
    assert relative(pattern) == found
    assert relative(str(folder / pattern)) == found


def test_a_file_that_is_named_is_taken_whatever_its_name(folder: Path) -> None:
    assert relative("m/e.bin", "m/[1].fxa", "m/none") == ["e.bin", "[1].fxa", "none"]
    assert list(select([f"file://{folder}/m/a.fxa"])) == [Place(f"{folder}/m/a.fxa", "a.fxa")]


def test_each_is_taken_once(folder: Path) -> None:
    os.symlink("a.fxa", folder / "m" / "z.fxa")
    assert relative("m/a.fxa", "m", "m/*.fxa", "m/z.fxa") == [
        "a.fxa",
        "[1].fxa",
        "b.fxa",
        "x/c.fxa",
        "x/y/d.fxa",
    ]


def test_a_pattern_without_a_match_is_an_error_among_the_others(folder: Path) -> None:
    nothing, place = select(["q/*.fxa", "m/a.fxa"])
    assert isinstance(nothing, StoreError)
    assert str(nothing) == "q/*.fxa: no file matches the pattern; check the path."
    assert place == Place("m/a.fxa", "a.fxa")


def test_a_folder_that_cannot_be_read_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", denied)
    (error,) = select(["m"])
    assert str(error) == "m: the folder cannot be read (Permission denied)."


def test_urls() -> None:
    import fsspec  # type: ignore[import-untyped]

    files = fsspec.filesystem("memory")
    for name in ("/select/b.fxa", "/select/a.fxa", "/select/x/c.fxa", "/select/e.bin"):
        files.pipe(name, b"")
    every = [
        Place("memory:///select/a.fxa", "a.fxa"),
        Place("memory:///select/b.fxa", "b.fxa"),
        Place("memory:///select/x/c.fxa", "x/c.fxa"),
    ]
    assert list(select(["memory://select"])) == every
    assert list(select(["memory://select/*.fxa"])) == every[:2]
    assert list(select(["memory://select/e.bin"])) == [Place("memory://select/e.bin", "e.bin")]
    (error,) = select(["memory://select/*.zip"])
    assert str(error) == "memory://select/*.zip: no file matches the pattern; check the path."
