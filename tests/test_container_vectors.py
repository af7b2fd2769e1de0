"""The vectors of the spec are read, and written again byte for byte."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fxarchive.container import Change, Header, NewSection, Writer, open_archive, write
from fxarchive.errors import FxArchiveError

SPEC = Path(__file__).parent.parent / "spec"
VECTORS = SPEC / "vectors" / "container"
GOOD = sorted((VECTORS / "good").glob("*.fxa"))
REFUSED = sorted((VECTORS / "refused").glob("*.fxa"))


def expected(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return value


def header(fields: dict[str, Any]) -> Header:
    history = [Change(**{**each, "notes": tuple(each["notes"])}) for each in fields.get("history", ())]
    return Header(
        **{
            **fields,
            "features": tuple(fields["features"]),
            "writer": Writer(**fields["writer"]),
            "history": tuple(history),
        }
    )


def test_there_are_vectors_and_each_is_a_pair() -> None:
    assert len(GOOD) >= 5
    assert len(REFUSED) >= 17
    for folder in ("good", "refused"):
        names = {path.stem for path in (VECTORS / folder).glob("*.fxa")}
        assert names == {path.stem for path in (VECTORS / folder).glob("*.json")}


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_vector_is_read(path: Path) -> None:
    facts = expected(path)
    archive = open_archive(path.read_bytes(), schema=3, features={"export", "symbolic-shapes"})
    assert archive.header == header(facts["header"])
    assert (archive.identity, archive.size) == (facts["identity"], facts["size"])
    found = [
        {
            "name": section.name,
            "codec": section.codec,
            "content": archive.read(section.name).hex(),
            "extents": [list(extent) for extent in section.extents],
            "sha256": section.sha256.hex(),
        }
        for section in archive.sections.values()
    ]
    assert found == facts["sections"]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_vector_is_written_again(path: Path) -> None:
    facts = expected(path)
    contents = [(s["name"], s["codec"], bytes.fromhex(s["content"])) for s in facts["sections"]]
    sections = [NewSection(name, codec, len(content), [content]) for name, codec, content in contents]
    file = io.BytesIO()
    write(file, header(facts["header"]), sections, frame_data_bytes=facts["frame_data_bytes"])
    assert file.getvalue() == path.read_bytes()


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_a_bad_vector_is_refused(path: Path) -> None:
    facts = expected(path)
    with pytest.raises(FxArchiveError) as caught:
        read_all(path.read_bytes())
    assert {"error": type(caught.value).__name__, "text": str(caught.value)} == facts


def read_all(data: bytes) -> None:
    archive = open_archive(data, schema=2)
    for name in archive.sections:
        archive.read(name)


def test_the_worked_example_of_the_spec_is_the_vector() -> None:
    text = (SPEC / "container.md").read_text(encoding="utf-8")
    dump = re.search(r"```hexdump\n(.*?)```", text, re.DOTALL)
    assert dump is not None
    data = bytearray()
    for line in dump[1].splitlines():
        offset, rest = line.split("  ", 1)
        assert int(offset, 16) == len(data)
        data += bytes.fromhex(rest.split("|")[0])
    assert data == (VECTORS / "good" / "weights.fxa").read_bytes()
