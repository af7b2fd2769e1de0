"""What the documentation says is run: examples in docstrings, and Python blocks in the pages."""

from __future__ import annotations

import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from .test_imports import MODULES

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path for folder in (ROOT, ROOT / "docs", ROOT / "spec") for path in folder.glob("*.md") if path.is_file()
)

BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


def python_blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the source of each block that says ``python`` and not ``no-run``."""
    for block in BLOCK.finditer(text):
        words = block.group(1).split()
        if words[:1] == ["python"] and "no-run" not in words:
            yield text.count("\n", 0, block.start()) + 2, block.group(2)


def links(text: str) -> list[str]:
    """Return what a page links to, outside of its blocks of code and its `code`."""
    prose = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", text))
    return LINK.findall(prose)


def anchor(heading: str) -> str:
    """Return the name under which a heading can be linked to."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def broken_links(page: Path) -> list[str]:
    """Return the links of a page that lead to no file, or to no heading of one."""
    broken = []
    for link in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z][a-z+.-]*:", link):
            continue  # the web is not looked at
        path, _, part = unquote(link).partition("#")
        target = page if not path else (page.parent / path).resolve()
        if not target.exists() or not target.is_relative_to(ROOT):
            broken.append(link)
        elif part and target.suffix == ".md":
            headings = HEADING.findall(BLOCK.sub("", target.read_text(encoding="utf-8")))
            if part not in map(anchor, headings):
                broken.append(link)
    return broken


@pytest.mark.parametrize("name", sorted(MODULES))
def test_examples_of_docstrings(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"fxarchive.{name}".rstrip("."))
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0, capsys.readouterr().out


def test_the_public_functions_have_examples() -> None:
    import fxarchive

    finder = doctest.DocTestFinder(recurse=False)
    for name in ("save", "load", "dumps", "loads", "inspect", "verify"):
        (found,) = finder.find(getattr(fxarchive, name), name)
        assert found.examples, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_of_a_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line, source in python_blocks(page.read_text(encoding="utf-8")):
        # as many lines before it as in the page, so that a traceback names the right one
        exec(compile("\n" * (line - 1) + source, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_blocks_and_links_are_found(tmp_path: Path) -> None:
    text = "# A b\n```python\nx = 1\n```\n```python no-run\ny\n```\n```\nz [n](no.md)\n```\n[a](b.md#a-b) `[c](d)`\n"
    assert list(python_blocks(text)) == [(3, "x = 1\n")]
    assert links(text) == ["b.md#a-b"]
    assert [anchor(found) for found in HEADING.findall(text)] == ["a-b"]
    page = ROOT / "spec" / "schema-2.md"
    assert "schema-2-tensors.md" in links(page.read_text(encoding="utf-8"))
    lost = tmp_path / "page.md"
    lost.write_text("[gone](gone.md) [web](https://example.org/x)")
    assert broken_links(lost) == ["gone.md"]


def test_decisions_have_one_shape() -> None:
    """A blank line on both sides of each heading, a date in it, the newest last."""
    lines = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8").split("\n")
    entries = [at for at, line in enumerate(lines) if line.startswith("#")][1:]
    assert [lines[at] for at in entries if lines[at - 1] or lines[at + 1] or not lines[at + 2]] == []
    dates = [re.fullmatch(r"## (\d{4}-\d\d-\d\d): .+[^.]", lines[at]) for at in entries]
    assert [lines[at] for at, date in zip(entries, dates, strict=True) if date is None] == []
    found = [date[1] for date in dates if date is not None]
    assert found == sorted(found)
