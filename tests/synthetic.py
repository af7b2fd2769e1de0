"""Schemas that never were, for the tests of migrations: an older one (1) and a newer one (3), with their steps.

Content of the older one is a stream: the data of a document whose texts stand under another key, and whose
tensors have their bytes in it. Documents of the newer one are those of schema 2 under another number; what it
holds more, and a step back loses, are texts that start with ``colour:``.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest

from fxarchive import chain, container, wire
from fxarchive.container import Header, NewSection, Writer
from fxarchive.document import DOCUMENT, SCHEMA, STREAM
from fxarchive.errors import Problem, UnsupportedValue
from fxarchive.migrations import Step
from fxarchive.migrations.content import Content

from .documents import small

WRITER = Writer("0.1.0", "2.7.1", "3.11.8")


class FromStream:
    """A stream that never was becomes a document."""

    SOURCE = 1

    def upgrade(self, content: Content) -> Content:
        document = dict(wire.loads(content.document))
        bad = [f"strings[{at}]" for at, text in enumerate(document["strings"]) if "lambda" in text]
        if bad:
            raise UnsupportedValue([Problem(item, "a lambda cannot be kept; give it a name") for item in bad])
        weights = document.pop("weights")
        document["storages"] = [
            {**record, "section": f"storages/{row}"} if row in weights else record
            for row, record in enumerate(document["storages"])
            for row in [str(row)]
        ]
        document["texts"] = document.pop("strings")
        return replace(
            content,
            schema=2,
            document={**document, "schema": 2},
            sections={f"storages/{row}": data for row, data in weights.items()},
            notes=("the stream does not say who wrote it",),
        )

    def downgrade(self, content: Content) -> Content:
        raise UnsupportedValue([Problem("the document", "a document never becomes a stream; keep a backup")])


class Coloured:
    """Documents may have colours."""

    SOURCE = 2

    def upgrade(self, content: Content) -> Content:
        return replace(content, schema=3, document={**content.document, "schema": 3})

    def downgrade(self, content: Content) -> Content:
        texts = content.document["texts"]
        kept = [text if not text.startswith("colour:") else "" for text in texts]
        lost = [f"texts[{row}]: {text!r}" for row, text in enumerate(texts) if text.startswith("colour:")]
        document = {**content.document, "schema": 2, "texts": kept}
        return replace(content, schema=2, document=document, notes=(*content.notes, *lost))


KNOW_THE_SCHEMA = ("api", "batch", "comparison", "compatibility", "inspection", "verification", "cli.show")
"""Modules that, with what they import, hold the number of the schema; none of them imports torch."""

OLDER, NEWER = FromStream(), Coloured()


@contextmanager
def steps(*chosen: Step, newest: int = SCHEMA) -> Iterator[None]:
    """Let these be all steps that there are, and ``newest`` the schema that is written."""
    with pytest.MonkeyPatch.context() as patch:
        install(*chosen, newest=newest, patch=patch)
        yield


def install(*chosen: Step, newest: int = SCHEMA, patch: Any = None) -> None:
    """As `steps`, for the rest of the process if there is no ``patch``."""
    change = setattr if patch is None else patch.setattr
    for module in KNOW_THE_SCHEMA:  # what is imported later would keep the number for good
        import_module(f"fxarchive.{module}")

    change(chain, "STEPS", chosen)
    for name, module in list(sys.modules.items()):
        if name.startswith("fxarchive"):
            for constant in ("SCHEMA", "MIN_READER"):
                if hasattr(module, constant):
                    change(module, constant, newest)


def stream_archive(document: Any = None, *, schema: int = 1, **header: Any) -> bytes:
    """Return an archive of the older schema with what `small` holds; its second storage is in the stream."""
    document = dict(small() if document is None else document)
    texts = document.pop("texts")
    weights = {}
    records = []
    for row, record in enumerate(document["storages"]):
        kept = dict(record)
        if kept.pop("section", None):
            weights[str(row)] = bytes(range(256)) * (record["size"] // 256)
        records.append(kept)
    stream = wire.dumps({**document, "storages": records, "strings": texts, "weights": weights})
    fields: dict[str, Any] = {
        "schema": schema,
        "min_reader": schema,
        "features": (),
        "writer": WRITER,
        "root": "GraphModule",
        "metadata": {"note": "mine"},
    }
    file = io.BytesIO()
    sections = [NewSection(STREAM, "zstd", len(stream), [stream])]
    container.write(file, Header(**{**fields, **header}), sections)
    return file.getvalue()


def content_of(data: bytes) -> Any:
    """Return the document of an archive in its wire form, in the schema that it has."""
    return wire.loads(container.open_archive(data).read(DOCUMENT))
