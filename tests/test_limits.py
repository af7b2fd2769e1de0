"""The numbers in spec/limits.md are those of the code."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROWS = re.findall(
    r"^\| [^|]+ \| ([0-9,^ -]+) \| `(fxarchive[\w.]+)\.(\w+)` \|$",
    (Path(__file__).parent.parent / "spec" / "limits.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def test_the_page_has_rows() -> None:
    assert len(ROWS) == 29


@pytest.mark.parametrize(("number", "module", "name"), ROWS, ids=[row[2] for row in ROWS])
def test_the_page_states_the_number_of_the_code(number: str, module: str, name: str) -> None:
    stated = 2**63 - 1 if "^" in number else int(number.replace(",", ""))
    assert getattr(importlib.import_module(module), name) == stated
