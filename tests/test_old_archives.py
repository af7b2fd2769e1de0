"""An archive of an older schema is read as if it were of this one, by every call, and stays as it is."""

from __future__ import annotations

import io
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import fxarchive
from fxarchive import container, packing
from fxarchive.cli.main import run
from fxarchive.container import Header, NewSection, Writer
from fxarchive.document import empty_document
from fxarchive.errors import InvalidDocument, OldSchemaWarning
from fxarchive.reading import read_current, read_document

from .documents import archive_of, small
from .synthetic import NEWER, OLDER, steps, stream_archive


def weights() -> Any:
    """A document without a graph: a tensor with its bytes in a section, and one with them in the document."""
    document: Any = empty_document()
    document["storages"] = [
        {"size": 512, "device": "cpu", "section": "storages/0"},
        {"size": 16, "device": "cpu", "data": bytes(16)},
    ]
    document["tensors"] = [
        {"storage": 0, "dtype": "float32", "size": [128]},
        {"storage": 1, "dtype": "int64", "size": [2]},
    ]
    document["root"] = ["list", [["tensor", 0], ["tensor", 1]]]
    return document


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.fxa"
    path.write_bytes(stream_archive(weights()))
    return path


def test_it_loads_with_the_bytes_that_the_migration_took_out(old: Path) -> None:
    before = old.read_bytes()
    with steps(OLDER), pytest.warns(OldSchemaWarning):
        first, second = fxarchive.load(old)
    assert first.view(torch.uint8).tolist() == [*range(256), *range(256)]
    assert second.tolist() == [0, 0]
    first.zero_()  # private memory
    assert old.read_bytes() == before


@pytest.mark.parametrize("call", ["load", "loads"])
def test_it_says_once_how_to_upgrade(old: Path, call: str) -> None:
    source: Any = old if call == "load" else old.read_bytes()
    with steps(OLDER), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            getattr(fxarchive, call)(source)
    (warning,) = caught
    assert (warning.category, warning.filename) == (OldSchemaWarning, __file__)
    assert str(warning.message) == (
        "This archive is of schema 1 and was brought to 2 in memory, as at each load; run `fxarchive upgrade` "
        "on the file, or on the folder of many, to do that once."
    )


def test_nothing_is_said_of_an_archive_that_is_not_old() -> None:
    fxarchive.loads(archive_of(weights()))  # warnings are errors


def test_inspect_show_and_verify_read_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "old.fxa"
    path.write_bytes(stream_archive())
    with steps(OLDER):
        info = fxarchive.inspect(path, full=True)
        assert (info.schema, info.complete, info.contents.nodes) == (1, True, 7)
        assert info.metadata == {"note": "mine"}
        report = fxarchive.verify(path)
        assert (report.ok, report.error, report.trust) == (True, None, ("mine.Block", "mine.helper"))
        assert run(["show", str(path)]) == 0
        assert run(["verify", str(path)]) == 0
    assert "call_function aten.add.Tensor(%x, %w, alpha=2)" in capsys.readouterr().out


def test_two_steps_are_taken(old: Path) -> None:
    with steps(OLDER, NEWER, newest=3), pytest.warns(OldSchemaWarning, match="brought to 3"):
        assert fxarchive.load(old)[1].tolist() == [0, 0]


def test_the_document_is_the_one_that_would_have_been_saved() -> None:
    archive = container.open_archive(stream_archive())
    with steps(OLDER):
        assert read_document(archive) == small()
        assert read_current(archive).document == small()


def test_a_section_that_stands_in_both_places_is_refused() -> None:
    archive = container.open_archive(stream_archive(weights()))
    sections = [archive.copy_of("stream"), container.NewSection("storages/0", "raw", 512, [bytes(512)])]
    file = io.BytesIO()
    container.write(file, archive.header, sections)
    with steps(OLDER), pytest.raises(InvalidDocument, match="its content stands in the document too"):
        read_document(container.open_archive(file.getvalue()))


def test_a_schema_that_no_step_leads_on_from_is_refused() -> None:
    with pytest.raises(InvalidDocument, match="no migration leads from schema 1 to 2"), steps():
        read_document(container.open_archive(stream_archive()))


def test_a_newer_schema_that_readers_of_this_one_may_read_is_read() -> None:
    newer = {**packing.pack(weights()), "schema": 3}
    data = archive_of(weights(), schema=3, payload=newer)
    assert fxarchive.loads(data)[1].tolist() == [0, 0]
    assert fxarchive.verify(io.BytesIO(data)).ok


# archives that no migration can take


def stuck(tmp_path: Path, data: bytes) -> Path:
    """An archive of schema 1 as fxarchive writes it, with a stream that the migration refuses."""
    path = tmp_path / "stuck.fxa"
    header = Header(
        schema=1,
        min_reader=1,
        features=(),
        writer=Writer("0.3.0", "2.9", ""),
        root="GraphModule",
        summary={"nodes": 3, "graphs": 1},
        metadata={"run": 7},
    )
    with path.open("wb") as file:
        container.write(file, header, [NewSection("stream", "zstd", len(data), [data])])
    return path


STUCK = {
    "object": (
        pickle.dumps([object(), print, object()]),
        "[0]: what builtins.object makes has no form in schema 2; [2]",
    ),
    "many": (pickle.dumps([object()] * 9), "; and 5 more"),
    "code": (b"\x80\x04cdill._dill\n_create_code\n)R.", "the object: dill stored it by value, as code"),
    "no pickle": (b"text", "The stream cannot be read: it does not begin as a pickle"),
    "deep": (b"\x80\x04N" + b"\x85" * 1000 + b".", " ... "),
}


@pytest.mark.parametrize("name", STUCK)
def test_an_archive_that_no_migration_takes_is_described_by_its_header(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, why = STUCK[name]
    path = stuck(tmp_path, data)
    info = fxarchive.inspect(path)
    assert (info.contents.nodes, info.metadata, info.writer.torch, info.complete) == (
        3,
        {"run": 7},
        "2.9",
        False,
    )
    assert info.stuck is not None
    assert why in info.stuck
    assert "\n" not in info.stuck
    assert info.notes == ()
    assert run(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "stuck       no migration brings it to the current schema: " in shown
    assert "loads as it is" not in shown
    assert run(["inspect", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["stuck"] == info.stuck


@pytest.mark.parametrize(
    "verb", [["show"], ["verify"], ["compat"], ["diff"], ["upgrade"], ["upgrade", "--dry-run"]]
)
@pytest.mark.parametrize("name", ["object", "no pickle"])
def test_other_verbs_say_in_one_line_why_it_cannot_be_read(
    name: str, verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stuck(tmp_path, STUCK[name][0])
    before = path.read_bytes()
    other = [str(path)] if verb == ["diff"] else []
    assert run([*verb, str(path), *other]) == (2 if verb == ["diff"] else 1)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    expected = "what builtins.object makes has no form" if name == "object" else "does not begin as a pickle"
    assert expected in said[0]
    assert said[0].startswith(f"fxarchive: {path}: ")
    assert said[0].endswith(".")
    assert path.read_bytes() == before
