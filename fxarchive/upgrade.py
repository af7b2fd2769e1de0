"""Bringing a document of an older schema up to date, one migration at a time, on plain data."""

from __future__ import annotations

from typing import Any

from fxarchive.document import SCHEMA
from fxarchive.errors import InvalidDocument
from fxarchive.migrations import STEPS


def to_current(document: dict[str, Any], schema: int) -> dict[str, Any]:
    """Return ``document``, in its wire form, in the current schema.

    Args:
        document: as `wire.loads` gave it.
        schema: the schema that the archive's header states.

    Raises:
        InvalidDocument: header and document disagree on the schema, or no migration leads on from it.
    """
    if document.get("schema") != schema:
        raise InvalidDocument(
            "the document", f"it is of schema {document.get('schema')!r} and its header says {schema}"
        )
    for step in STEPS:
        if document["schema"] == step.SOURCE:
            document = step.upgrade(document)
    if document["schema"] != SCHEMA:
        raise InvalidDocument("the document", f"no migration leads from schema {schema} to {SCHEMA}")
    return document
