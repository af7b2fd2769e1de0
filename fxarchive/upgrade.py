"""Bringing the content of an archive of an older schema up to date, one migration at a time, on plain data."""

from __future__ import annotations

from fxarchive.document import SCHEMA
from fxarchive.errors import InvalidDocument
from fxarchive.migrations import STEPS
from fxarchive.migrations.content import Content


def to_current(content: Content) -> Content:
    """Return ``content`` in the current schema.

    Args:
        content: as read from an archive.

    Raises:
        InvalidDocument: no migration leads on from its schema.
    """
    for step in STEPS:
        if content.schema == step.SOURCE:
            content = step.upgrade(content)
    if content.schema != SCHEMA:
        raise InvalidDocument("the document", f"no migration leads from schema {content.schema} to {SCHEMA}")
    return content
