"""An archive of an older schema is read as if it were of this one, by every call, and stays as it is."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import fxarchive
from fxarchive import container, packing
from fxarchive.cli.main import run
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
