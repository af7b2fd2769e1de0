"""From an open archive to its document, in memory and in the current schema."""

from __future__ import annotations

from fxarchive import packing, upgrade, wire
from fxarchive.container import Archive
from fxarchive.document import DOCUMENT, Document
from fxarchive.limits import DEFAULT_LIMITS, Limits


def read_document(archive: Archive, limits: Limits = DEFAULT_LIMITS) -> Document:
    """Return the document of an archive; its digest is checked, and it is not audited yet.

    Args:
        archive: as `container.open_archive` returned it.
        limits: bounds on its size and shape.

    Raises:
        CorruptArchive: the section is missing, altered, or not a document.
        TooLarge: it is over a limit.
    """
    parsed = wire.loads(archive.read(DOCUMENT), limits)
    current = upgrade.to_current(parsed, archive.header.schema)
    return packing.unpack(current)
