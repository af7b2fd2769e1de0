"""What a migration takes and gives: the content of an archive as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Content:
    """The content of an archive of one schema.

    Attributes:
        schema: the schema that `document` is of.
        document: the document as rows, unpacked; for schema 1 the bytes of the stream.
        features: feature flags that a reader of the document must understand.
        sections: bytes of the sections that a step took out of the document, by name; sections that the archive
            has already are not here and stay as they are.
        notes: what a step could not know or had to leave out, a sentence each.
        torch: the release of torch that wrote the archive, as its header says; empty where nobody knows.
        stored: bytes that the document is stored in; None if it is not in an archive.
    """

    schema: int
    document: Any
    features: frozenset[str] = frozenset()
    sections: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    torch: str = ""
    stored: int | None = None
