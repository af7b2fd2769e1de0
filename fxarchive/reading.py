"""From an open archive to its content, and to its document, in memory and in the current schema."""

from __future__ import annotations

from dataclasses import replace

from fxarchive import chain, payload
from fxarchive.container import Archive
from fxarchive.document import SCHEMA, Document, content_section
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
        MigrationFailed: it is of an older schema, and a step cannot take it.
    """
    document: Document = read_current(archive, limits).document
    return document


def read_current(archive: Archive, limits: Limits = DEFAULT_LIMITS) -> Content:
    """Return the content of an archive in the current schema, brought up to date in memory if it is older.

    Its features are those to audit it with, and its sections stand beside those of the archive.

    Args and errors as for `read_document`.
    """
    content = read_content(archive, limits)
    if (
        content.schema > SCHEMA
    ):  # it was opened, so its `min_reader` says that it can be read as of this schema
        content = replace(content, schema=SCHEMA, document={**content.document, "schema": SCHEMA})
    content = chain.to_current(content)
    check_sections(archive, content)
    return content


def read_content(archive: Archive, limits: Limits = DEFAULT_LIMITS) -> Content:
    """Return the content of an archive as it is stored, in the schema that its header states.

    Args and errors as for `read_document`.
    """
    header = archive.header
    section = archive.section(content_section(header.schema))
    if header.schema != chain.STREAM_SCHEMA:
        payload.check_size(section.size, section.stored_size, limits)
    stored = archive.read(section.name)
    features = frozenset(header.features)
    if header.schema == chain.STREAM_SCHEMA:
        return Content(header.schema, stored, features, torch=header.writer.torch, stored=section.stored_size)
    packed = payload.loads(stored, section.stored_size, limits)
    stated = packed.get("schema")
    if stated != header.schema:
        raise InvalidDocument(
            "the document", f"it is of schema {stated!r} and its header says {header.schema}"
        )
    document = payload.unpack(packed, section.size, section.stored_size, limits)
    return Content(header.schema, document, features, torch=header.writer.torch)


def check_sections(archive: Archive, content: Content) -> None:
    """Check that no section that a migration took out has the name of one that the archive has.

    Raises:
        InvalidDocument: one has.
    """
    for name in content.sections:
        if name in archive.sections:
            raise InvalidDocument(f"section {name!r:.80}", "its content stands in the document too")
