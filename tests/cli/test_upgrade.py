"""``fxarchive upgrade``, ``downgrade`` and ``migrations``."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from fxarchive import container
from fxarchive._version import __version__
from fxarchive.cli.main import run

from ..documents import archive_of, small
from ..synthetic import NEWER, OLDER, steps, stream_archive

OLD, NOW = stream_archive(), archive_of(small())
NOTE = "the stream does not say who wrote it"


def bad() -> bytes:
    document = small()
    document["texts"][1] = "lambda x: x"
    return stream_archive(document)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two old archives, a current one, one that cannot be upgraded, and a file that is none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "deep").mkdir(parents=True)
    for name, data in {
        "a.fxa": OLD,
        "b.fxa": NOW,
        "c.fxa": bad(),
        "d.fxa": b"PK\3\4",
        "deep/e.fxa": OLD,
        "notes.txt": b"x",
    }.items():
        (tmp_path / "models" / name).write_bytes(data)
    return tmp_path / "models"


def call(*args: str, newest: int = 2) -> int:
    with steps(OLDER, NEWER, newest=newest):
        return run(list(args))


def schemas(folder: Path) -> dict[str, int]:
    found = {}
    for path in sorted(folder.rglob("*.fxa")):
        data = path.read_bytes()
        found[str(path.relative_to(folder))] = (
            container.open_archive(data).header.schema if data[:4] != b"PK\3\4" else 0
        )
    return found


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


WHY = (
    "The migration from schema 1 to 2 cannot take models/c.fxa, which is left as it was; each line says what to do. "
    "strings[1]: a lambda cannot be kept; give it a name."
)


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_a_folder_is_upgraded_and_a_bad_file_does_not_stop_it(
    folder: Path, capfd: pytest.CaptureFixture[str], jobs: str
) -> None:
    assert call("upgrade", "models", "--jobs", jobs) == 1
    shown = capfd.readouterr()
    assert shown.out == (
        f"models/a.fxa: upgraded from schema 1 to 2\n  note: {NOTE}\n"
        "models/b.fxa: schema 2, nothing to do\n"
        f"models/deep/e.fxa: upgraded from schema 1 to 2\n  note: {NOTE}\n"
        "2 upgraded, 1 left alone, 2 failed\n"
    )
    assert shown.err.splitlines() == [
        f"fxarchive: models/c.fxa: {WHY}",
        "fxarchive: models/d.fxa: Not an fxarchive file: it is a zip, as torch.save and torch.export.save write; "
        "load it with torch and save it again.",
    ]
    assert schemas(folder) == {"a.fxa": 2, "b.fxa": 2, "c.fxa": 1, "d.fxa": 0, "deep/e.fxa": 2}
    assert call("upgrade", "models", "--jobs", jobs) == 1
    assert "3 left alone, 2 failed" in capfd.readouterr().out


def test_check_says_what_is_old(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.fxa")}
    assert call("upgrade", "--check", "models/*.fxa") == 1
    assert capsys.readouterr().out == (
        "models/a.fxa: schema 1, which is older than 2\n"
        "models/b.fxa: schema 2, nothing to do\n"
        "models/c.fxa: schema 1, which is older than 2\n"
        "2 old, 1 left alone, 1 failed\n"
    )
    assert call("upgrade", "--check", "models/b.fxa") == 0
    assert call("upgrade", "--check", "models/b.fxa", newest=3) == 1
    assert call("upgrade", "--check", "models/b.fxa", "--to", "2", newest=3) == 0
    assert {path: path.read_bytes() for path in folder.rglob("*.fxa")} == before


def test_a_dry_run_prints_the_plan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("upgrade", "--dry-run", "models/a.fxa", "models/b.fxa", newest=3) == 0
    assert capsys.readouterr().out == (
        "models/a.fxa: from schema 1 to 3\n"
        "  1 -> 2: A stream that never was becomes a document\n"
        "  2 -> 3: Documents may have colours\n"
        f"  note: {NOTE}\n"
        "models/b.fxa: from schema 2 to 3\n"
        "  2 -> 3: Documents may have colours\n"
        "2 to do\n"
    )
    assert schemas(folder)["a.fxa"] == 1


def test_results_go_to_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = schemas(folder)
    assert call("upgrade", "models", "--output", "new/here") == 1
    out = capsys.readouterr().out
    assert "models/a.fxa: upgraded from schema 1 to 2 in new/here/a.fxa\n" in out
    assert "models/b.fxa: schema 2, copied as it is in new/here/b.fxa\n" in out
    assert out.endswith("2 upgraded, 1 copied as it is, 2 failed\n")
    assert schemas(folder) == before
    assert schemas(folder.parent / "new" / "here") == {"a.fxa": 2, "b.fxa": 2, "deep/e.fxa": 2}
    assert call("upgrade", "models", "--output", "new/here") == 1
    assert capsys.readouterr().out.endswith("3 done before, 2 failed\n")


def test_two_archives_of_one_name_do_not_overwrite_each_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "deep" / "a.fxa").write_bytes(stream_archive(metadata={"note": "another"}))
    assert call("upgrade", "models/a.fxa", "models/deep/a.fxa", "--output", "new") == 1
    shown = capsys.readouterr()
    assert "1 upgraded, 1 failed" in shown.out
    assert (
        "models/deep/a.fxa: its result would have the name of that of models/a.fxa; give the folder"
        in shown.err
    )


def test_a_backup_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("upgrade", "models/a.fxa", "--backup") == 0
    kept = folder / "a.fxa.schema-1"
    assert f"upgraded from schema 1 to 2; it was kept as {kept}\n" in capsys.readouterr().out
    assert kept.read_bytes() == OLD


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_json_has_a_line_for_each_archive(folder: Path, capfd: pytest.CaptureFixture[str], jobs: str) -> None:
    assert call("upgrade", "--json", "models", "--jobs", jobs) == 1
    found = {row["path"]: row for row in lines(capfd)}  # type: ignore[arg-type]
    assert [path.removeprefix("models/") for path in found] == [
        "a.fxa",
        "b.fxa",
        "c.fxa",
        "d.fxa",
        "deep/e.fxa",
    ]
    archive = container.open_archive((folder / "a.fxa").read_bytes())
    assert found["models/a.fxa"] == {
        "path": "models/a.fxa",
        "result": "upgraded",
        "source": 1,
        "target": 2,
        "steps": ["1 -> 2: A stream that never was becomes a document"],
        "notes": [NOTE],
        "output": "models/a.fxa",
        "backup": None,
        "identity": archive.identity,
        "predecessor": container.open_archive(OLD).identity,
        "size": archive.size,
        "error": None,
        "error_kind": None,
    }
    assert (found["models/c.fxa"]["error"], found["models/c.fxa"]["error_kind"]) == (WHY, "MigrationFailed")
    assert found["models/d.fxa"]["result"] == "failed"


def test_a_path_that_leads_nowhere_is_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("upgrade", "models/none.fxa", "models/*.bin", "models/b.fxa") == 1
    shown = capsys.readouterr()
    assert shown.err == (
        "fxarchive: models/none.fxa: there is no such file; check the path.\n"
        "fxarchive: models/*.bin: no file matches the pattern; check the path.\n"
    )
    assert shown.out.endswith("1 left alone\n") or "2 failed, 1 left alone" in shown.out


def test_a_folder_without_archives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("upgrade", str(tmp_path)) == 0
    assert capsys.readouterr().out == "no archives found\n"


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["upgrade"], "Missing argument 'PATH...'"),
        (["upgrade", "a", "--to", "9"], "Invalid value for '--to': to is 9; this fxarchive"),
        (["upgrade", "a", "--jobs", "0"], "Invalid value for '--jobs'"),
        (["upgrade", "a", "--check", "--backup"], "--check looks at headers alone"),
        (["downgrade", "a"], "Missing option '--to'"),
    ],
)
def test_wrong_usage(args: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*args) == 2
    assert text in re.sub(r"\s+", " ", capsys.readouterr().err)


def test_downgrade_asks_before_it_loses_anything(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = small()
    document["texts"].append("colour: red")
    path = folder / "b.fxa"
    path.write_bytes(archive_of(document))
    assert call("upgrade", "models/b.fxa", newest=3) == 0
    assert call("downgrade", "models/b.fxa", "--to", "2", newest=3) == 1
    shown = capsys.readouterr()
    assert "back to 2 loses what is listed; pass allow_loss=True (--allow-loss) to accept that." in shown.err
    assert "texts[6]: 'colour: red'" in shown.err
    assert call("downgrade", "models/b.fxa", "--to", "2", "--allow-loss", "--dry-run", newest=3) == 0
    assert schemas(folder)["b.fxa"] == 3
    assert call("downgrade", "models/b.fxa", "--to", "2", "--allow-loss", newest=3) == 0
    assert "models/b.fxa: taken from schema 3 back to 2\n  note: texts[6]: 'colour: red'\n1 taken back\n" in (
        capsys.readouterr().out
    )
    assert schemas(folder)["b.fxa"] == 2


def test_progress_is_for_terminals_only(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("upgrade", "models/a.fxa", "models/b.fxa") == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert call("upgrade", "models/a.fxa", "models/b.fxa") == 0
    assert "\r1 of 2\r\x1b[K\r2 of 2" in capsys.readouterr().err


def test_migrations_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    from fxarchive import migrations

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "STEPS", (OLDER, NEWER))
        assert call("migrations", newest=3) == 0
        assert capsys.readouterr().out == (
            "1 -> 2  A stream that never was becomes a document\n"
            "2 -> 3  Documents may have colours\n"
            "schema 3 is the current one; every archive from schema 1 on opens\n"
        )
        assert call("migrations", "--json") == 0
        assert lines(capsys)[1] == {"source": 2, "target": 3, "about": "Documents may have colours"}


def test_links_and_names_that_are_given_twice_are_done_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.symlink("a.fxa", folder / "link.fxa")
    assert call("upgrade", "models/link.fxa", "models/a.fxa", "models/./a.fxa") == 0
    assert capsys.readouterr().out.endswith("1 upgraded\n")


def test_inspect_shows_what_is_old_and_the_history(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("inspect", "models/a.fxa") == 0
    shown = capsys.readouterr().out
    assert "  old         loads as it is; fxarchive upgrade brings it to the current schema\n" in shown
    assert f"  notes       {NOTE}\n" in shown
    assert call("upgrade", "models/a.fxa") == 0
    assert call("inspect", "models/a.fxa") == 0
    shown = capsys.readouterr().out
    was = container.open_archive(OLD).identity[:16]
    assert f"  history     from schema 1 to 2 by fxarchive {__version__}; it was {was}...\n" in shown
    assert f"  notes       {NOTE}\n" in shown
    assert "  old  " not in shown
