"""From an open archive to its document, in memory and in the current schema."""

from __future__ import annotations

from fxarchive import packing, upgrade, wire
from fxarchive.container import Archive
from fxarchive.document import DOCUMENT, Document
from fxarchive.errors import InvalidDocument
from fxarchive.limits import DEFAULT_LIMITS, Limits
from fxarchive.migrations.content import Content


def read_document(archive: Archive, limits: Limits = DEFAULT_LIMITS) -> Document:
    """Return the document of an archive; its digest is checked, and it is not audited yet.

    Args:
        archive: as `container.open_archive` returned it.
        limits: bounds on its size and shape.

    Raises:
        CorruptArchive: the section is missing, altered, or not a document.
        TooLarge: it is over a limit.
        InvalidDocument: header and document disagree on the schema, or no migration leads on from it.
    """
    return packing.unpack(upgrade.to_current(read_content(archive, limits)).document)


def read_content(archive: Archive, limits: Limits = DEFAULT_LIMITS) -> Content:
    """Return the content of an archive as it is stored, in the schema that its header states.

    Args and errors as for `read_document`.
    """
    header = archive.header
    document = wire.loads(archive.read(DOCUMENT), limits)
    stated = document.get("schema")
    if stated != header.schema:
        raise InvalidDocument(
            "the document", f"it is of schema {stated!r} and its header says {header.schema}"
        )
    return Content(header.schema, document, frozenset(header.features))
