"""``fxarchive diff``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fxarchive import container
from fxarchive.cli.diff import PARTS
from fxarchive.cli.main import run

from ..documents import archive_of, small


def other() -> Any:
    document = small()
    document["targets"][0][1] = "aten::sub.Tensor"
    document["modules"][1]["training"] = False
    return document


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, data in {"a": archive_of(small()), "b": archive_of(other()), "c": b"PK\3\4"}.items():
        (tmp_path / f"{name}.fxa").write_bytes(data)
    return tmp_path


def test_the_same_archive(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", "a.fxa", "a.fxa"]) == 0
    assert capsys.readouterr() == ("", "")


def test_what_differs_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", "a.fxa", "b.fxa"]) == 1
    assert capsys.readouterr().out == (
        "graphs\n"
        "  - graph (root) %add: %add : f32[2, 3] = call_function aten.add.Tensor(%x, %w, alpha=2)\n"
        "  + graph (root) %add: %add : f32[2, 3] = call_function aten.sub.Tensor(%x, %w, alpha=2)\n"
        "modules\n"
        "  - module lin: torch.nn.modules.linear.Linear\n"
        "  + module lin: torch.nn.modules.linear.Linear, in evaluation mode\n"
    )
    assert run(["diff", "a.fxa", "b.fxa", "--ignore", "modules", "--ignore", "graphs"]) == 0


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", "--json", "a.fxa", "b.fxa", "--ignore", "graphs"]) == 1
    left, right = (
        container.open_archive((folder / name).read_bytes()).identity for name in ("a.fxa", "b.fxa")
    )
    linear = "torch.nn.modules.linear.Linear"
    assert json.loads(capsys.readouterr().out) == {
        "path": "a.fxa",
        "other": "b.fxa",
        "identity": left,
        "other_identity": right,
        "same": False,
        "differences": [
            {
                "part": "modules",
                "where": "module lin",
                "left": linear,
                "right": f"{linear}, in evaluation mode",
            }
        ],
        "error": None,
        "error_kind": None,
    }


@pytest.mark.parametrize(("files", "bad"), [(("a", "c"), "c"), (("c", "a"), "c"), (("a", "none"), "none")])
def test_trouble_has_its_own_exit_code(
    folder: Path, capsys: pytest.CaptureFixture[str], files: tuple[str, str], bad: str
) -> None:
    assert run(["diff", *[f"{name}.fxa" for name in files]]) == 2
    assert capsys.readouterr().err.startswith(f"fxarchive: {bad}.fxa: ")
    assert run(["diff", "--json", *[f"{name}.fxa" for name in files]]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["same"], found["error_kind"] is None) == (None, False)


def test_many_differences_are_cut_short(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxarchive.cli.diff.MOST_ROWS", 1)
    metadata = {f"key{number}": number for number in range(5)}
    (folder / "d.fxa").write_bytes(archive_of(small(), metadata=metadata))
    assert run(["diff", "a.fxa", "d.fxa"]) == 1
    assert capsys.readouterr().out == "metadata\n  + key0: 0\n  and 4 more; --full shows them\n"
    assert run(["diff", "--full", "a.fxa", "d.fxa"]) == 1
    assert "key4: 4" in capsys.readouterr().out


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", "a.fxa"]) == 2
    assert run(["diff", "a", "b", "--ignore", "colours"]) == 2


def test_the_parts_are_those_of_the_comparison() -> None:
    from fxarchive import comparison

    assert comparison.PARTS == PARTS
