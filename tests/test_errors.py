"""Every error crosses processes and copies, and holds what it says as attributes."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fxarchive
from fxarchive import errors
from fxarchive.errors import FxArchiveError, Problem

EXAMPLES: list[tuple[FxArchiveError, dict[str, Any]]] = [
    (FxArchiveError("The base holds text alone."), {}),
    (
        errors.StoreError("g.fxa", "the disk is full; free some space and try again"),
        {"path": "g.fxa", "reason": "the disk is full; free some space and try again"},
    ),
    (
        errors.ArchiveNotFound("g.fxa", "there is no such file; check the path"),
        {"path": "g.fxa", "reason": "there is no such file; check the path"},
    ),
    (errors.MissingTorch("2.4.0"), {"found": "2.4.0"}),
    (errors.MissingNumpy(), {}),
    (errors.NotAnArchive("it is empty"), {"reason": "it is empty"}),
    (errors.TruncatedArchive("it ends after 9 bytes"), {"reason": "it ends after 9 bytes"}),
    (
        errors.CorruptArchive("the index", "its digest does not match"),
        {"where": "the index", "reason": "its digest does not match"},
    ),
    (
        errors.InvalidDocument("graph 0", "its columns differ in length"),
        {"where": "graph 0", "reason": "its columns differ in length"},
    ),
    (
        errors.TooNew("schema", 3, "up to 2", "0.9.0"),
        {"what": "schema", "found": 3, "supported": "up to 2", "writer": "0.9.0"},
    ),
    (
        errors.TooLarge("The number of sections", 9, 4),
        {"what": "The number of sections", "found": 9, "limit": 4},
    ),
    (errors.ForbiddenName("graph 0, a node,", "a b"), {"where": "graph 0, a node,", "name": "a b"}),
    (errors.UntrustedNames(["m.B", "m.A"]), {"names": ("m.A", "m.B")}),
    (
        errors.UnsupportedValue([Problem("a", "one"), Problem("b[0]", "two")]),
        {"problems": (Problem("a", "one"), Problem("b[0]", "two"))},
    ),
    (
        errors.MissingOperator([Problem("mine::f", "import mine first")]),
        {"operators": (Problem("mine::f", "import mine first"),)},
    ),
    (
        errors.IncompatibleOperator([Problem("mine::f", "it has other arguments")]),
        {"operators": (Problem("mine::f", "it has other arguments"),)},
    ),
    (errors.UnboundArtefact("mylib.kernel"), {"kind": "mylib.kernel"}),
    (
        errors.MissingDevice("cuda:1", False, "no driver"),
        {"device": "cuda:1", "forced": False, "reason": "no driver"},
    ),
    (
        errors.MissingMesh("DeviceMesh('cpu', [0])", "it is outside", "go there"),
        {"mesh": "DeviceMesh('cpu', [0])", "reason": "it is outside", "remedy": "go there"},
    ),
    (errors.ReplayFailed("output[0] differs"), {"reason": "output[0] differs"}),
    (
        errors.MigrationFailed(1, 2, [Problem("node 3", "a lambda cannot be kept")], "old.fxa"),
        {
            "source": 1,
            "target": 2,
            "problems": (Problem("node 3", "a lambda cannot be kept"),),
            "path": "old.fxa",
        },
    ),
    (
        errors.LossNotAllowed(3, 2, ["the colour of node 3"], "new.fxa"),
        {"source": 3, "target": 2, "losses": ("the colour of node 3",), "path": "new.fxa"},
    ),
    (
        errors.BadStream("the stream", "it ends without STOP (byte 9)"),
        {"where": "the stream", "reason": "it ends without STOP (byte 9)"},
    ),
    (errors.NotAGraphPickler("it is a list"), {"reason": "it is a list"}),
    (
        errors.UnknownExtension([Problem("mine.kind", "import mine first")]),
        {"tags": (Problem("mine.kind", "import mine first"),)},
    ),
    (
        errors.ExtensionFailed("mine.kind", 1, "ValueError('no')"),
        {"tag": "mine.kind", "version": 1, "reason": "ValueError('no')"},
    ),
    (errors.FakeModeConflict("it has no ShapeEnv"), {"reason": "it has no ShapeEnv"}),
]


def classes(base: type[FxArchiveError] = FxArchiveError) -> Iterator[type[FxArchiveError]]:
    """The classes of `errors`; a test may define more of its own."""
    yield base
    for cls in base.__subclasses__():
        if cls.__module__ == errors.__name__:
            yield from classes(cls)


def test_every_class_has_an_example_and_a_public_name() -> None:
    assert {type(example) for example, _ in EXAMPLES} == set(classes())
    assert {cls.__name__ for cls in classes()} <= set(fxarchive.__all__)


@pytest.mark.parametrize(("error", "attributes"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_an_error_holds_its_values(error: FxArchiveError, attributes: dict[str, Any]) -> None:
    assert vars(error) == attributes
    assert str(error).partition("\n")[0].endswith(".")


@pytest.mark.parametrize("how", ["pickle", "copy", "deepcopy"])
@pytest.mark.parametrize(
    "error", [example for example, _ in EXAMPLES], ids=lambda error: type(error).__name__
)
def test_an_error_comes_back_from_another_process_and_from_a_copy(error: FxArchiveError, how: str) -> None:
    if how == "pickle":
        found = [pickle.loads(pickle.dumps(error, level)) for level in range(pickle.HIGHEST_PROTOCOL + 1)]
    else:
        found = [getattr(copy, how)(error)]
    for again in found:
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.args == error.args
        assert vars(again) == vars(error)


def test_errors_of_paths_are_errors_of_the_system_too() -> None:
    assert issubclass(errors.StoreError, OSError)
    assert issubclass(errors.ArchiveNotFound, FileNotFoundError)
    assert issubclass(errors.InvalidDocument, errors.CorruptArchive)


def test_a_long_or_unprintable_name_does_not_spoil_a_message() -> None:
    text = str(errors.ForbiddenName("a node", "x" * 500 + "\x1b[2J"))
    assert text.isprintable()
    assert len(text) < 200


def test_the_page_for_users_has_every_error() -> None:
    page = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
    named = set(re.findall(r"`(\w+)`", page.read_text(encoding="utf-8")))
    assert {cls.__name__ for cls in classes()} - named == {"FxArchiveError"}
