"""The public names: each says what holds, its arguments, what it returns and raises, and shows an example that runs."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fxarchive
from fxarchive import errors, pickler

from .test_errors import EXAMPLES, classes

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = {name: getattr(fxarchive, name) for name in fxarchive.__all__ if not name.startswith("_")}
FUNCTIONS = {name: held for name, held in PUBLIC.items() if inspect.isfunction(held)}
CLASSES = {name: held for name, held in PUBLIC.items() if inspect.isclass(held)} | {
    "Options": pickler.Options
}

LISTED = re.compile(r"^ +(\w+(?:, \w+)*): ", re.MULTILINE)
"""What a list of arguments, of errors or of attributes has before the colon."""


def listed(text: str) -> set[str]:
    return {name for names in LISTED.findall(text) for name in names.split(", ")}


def undescribed(function: Any) -> list[str]:
    """What the docstring of a function lacks."""
    doc = inspect.getdoc(function) or ""
    signature = inspect.signature(function)
    found = [f"the argument {name}" for name in signature.parameters if name not in listed(doc)]
    wanted = {
        "Returns:": signature.return_annotation not in (None, "None"),
        "Raises:": True,
        ">>> ": True,
    }
    return found + [text for text, is_wanted in wanted.items() if is_wanted and text not in doc]


def undescribed_fields(cls: Any) -> list[str]:
    """The fields of a dataclass that neither its docstring nor a text below them describes."""
    doc = cls.__doc__ or ""
    named = listed(doc) | set(re.findall(r"`(\w+)`", doc))
    below = set(re.findall(r'^    +(\w+): [^\n]*\n    +"""', inspect.getsource(cls), re.MULTILINE))
    return [field.name for field in dataclasses.fields(cls) if field.name not in named | below]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_function_is_described(name: str) -> None:
    assert undescribed(FUNCTIONS[name]) == []


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_class_and_what_it_has_are_described(name: str) -> None:
    cls = CLASSES[name]
    assert "__doc__" in vars(cls)
    assert not (cls.__doc__ or "").startswith(f"{name}(")  # which a dataclass gets by itself
    own = [member for member in vars(cls) if not member.startswith("_") and callable(getattr(cls, member))]
    assert [member for member in own if not inspect.getdoc(getattr(cls, member))] == []
    if dataclasses.is_dataclass(cls):
        assert undescribed_fields(cls) == []


@pytest.mark.parametrize(("error", "attributes"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_an_error_says_what_it_holds(error: errors.FxArchiveError, attributes: dict[str, Any]) -> None:
    ours = [cls.__doc__ or "" for cls in type(error).__mro__ if cls.__module__ == errors.__name__]
    assert attributes.keys() - set(re.findall(r"`(\w+)`", " ".join(ours))) == set()


def test_every_error_is_in_the_contract_of_a_function() -> None:
    raised = {name for function in FUNCTIONS.values() for name in listed(inspect.getdoc(function) or "")}
    elsewhere = {
        "UnboundArtefact": "calling a graph raises it",
        "ReplayFailed": "the report of verify holds it",
        "InvalidDocument": "it is a CorruptArchive",
    }
    assert {cls.__name__ for cls in classes()} - raised == elsewhere.keys()


def test_what_is_not_described_is_seen() -> None:
    def bare(path: str, *, run: bool = False) -> int:
        """Do it.

        Args:
            path: where.
        """
        return 0

    assert undescribed(bare) == ["the argument run", "Returns:", "Raises:", ">>> "]

    @dataclasses.dataclass
    class Bare:
        """Something with `one`."""

        one: int
        two: int
        three: int
        """The third."""

    assert undescribed_fields(Bare) == ["two"]


@pytest.mark.slow
def test_a_program_of_a_user_is_typed() -> None:
    """`typed_program.py` says which types it gets; what must be an error there is ignored, and would be unused."""
    command = [sys.executable, "-m", "mypy", "--strict", "tests/typed_program.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
