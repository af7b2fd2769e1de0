"""Checking that an archive is whole and well formed and, if asked, that it still computes the same."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, BinaryIO

from fxarchive import container, store
from fxarchive.audit import audit, audit_sections
from fxarchive.container import Archive
from fxarchive.document import FEATURES, SCHEMA, content_section
from fxarchive.errors import FxArchiveError, ReplayFailed
from fxarchive.limits import DEFAULT_LIMITS, Limits
from fxarchive.reading import read_current
from fxarchive.summary import names_to_trust
from fxarchive.tables import reading


@dataclass(frozen=True)
class VerifyReport:
    """What was checked, and the first thing that is wrong."""

    path: str
    """As it was given; of an open file its name."""
    ok: bool
    """Whether everything that was checked is well."""
    identity: str | None = None
    """SHA-256 over header and index, in hexadecimal; None if they could not be read."""
    sections_checked: int = 0
    """Sections whose bytes were compared with their digests."""
    bytes_checked: int = 0
    """Bytes of those sections, as stored."""
    trust: tuple[str, ...] = ()
    """Names that `load` accepts only in ``trust=``."""
    outputs_compared: int | None = None
    """Outputs that a replay of the stored inputs gave again, bit for bit; None if nothing was replayed."""
    error: FxArchiveError | None = field(default=None, compare=False)
    """What is wrong, or None."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON; docs/cli.md describes the keys."""
        error = self.error
        kind = None if error is None else type(error).__name__
        return {
            **asdict(replace(self, error=None)),
            "error": None if error is None else str(error),
            "error_kind": kind,
        }


def verify(
    path: str | os.PathLike[str] | BinaryIO,
    *,
    run: bool = False,
    trust: Iterable[str] = (),
    limits: Limits = DEFAULT_LIMITS,
) -> VerifyReport:
    """Check every byte of an archive against its digests, and its document against the rules of its schema.

    Needs no torch unless ``run`` is set. What is wrong with the file is in the report, not raised.

    Args:
        path: a path, an open binary file that can seek, or an fsspec URL.
        run: also load the archive, replay the example inputs that were stored with it and compare the outputs
            bit for bit. Equal bits can only be expected from the same torch on the same kind of machine.
        trust: names of classes and functions outside the shipped list that loading may use.
        limits: bounds on what the file may ask for.

    Returns:
        The report; ``report.ok`` says whether all is well.

    Raises:
        TypeError: ``path`` is none of these.

    >>> import torch, fxarchive
    >>> gm = torch.fx.symbolic_trace(torch.nn.ReLU())
    >>> report = fxarchive.save(gm, "memory://relu.fxa", example_inputs=(torch.randn(3),))
    >>> fxarchive.verify("memory://relu.fxa", run=True).outputs_compared
    1
    """
    trusted = frozenset([trust] if isinstance(trust, str) else trust)
    shown = (
        os.fspath(path) if isinstance(path, str | os.PathLike) else str(getattr(path, "name", "<open file>"))
    )
    facts: dict[str, Any] = {}
    try:
        with store.open_read(path) as file:
            archive = container.open_archive(file, schema=SCHEMA, features=FEATURES, limits=limits)
            facts["identity"] = archive.identity
            _check_sections(archive, facts)
            _check_document(archive, limits, facts)
            if run:
                facts["outputs_compared"] = _replay(archive, trusted)
    except FxArchiveError as error:
        return VerifyReport(shown, False, error=error, **facts)
    return VerifyReport(shown, True, **facts)


def _check_sections(archive: Archive, facts: dict[str, Any]) -> None:
    facts.update(sections_checked=0, bytes_checked=0)
    for name, section in archive.sections.items():
        archive.check(name)
        facts["sections_checked"] += 1
        facts["bytes_checked"] += section.stored_size


def _check_document(archive: Archive, limits: Limits, facts: dict[str, Any]) -> None:
    content = read_current(archive, limits)
    document = content.document
    audit(document, trust=None, features=content.features)
    with reading("the document"):
        facts["trust"] = names_to_trust(document)
        sizes = {name: section.size for name, section in archive.sections.items()}
        sizes |= {name: len(held) for name, held in content.sections.items()}
        audit_sections(document, sizes, content_section(archive.header.schema))


def _replay(archive: Archive, trust: frozenset[str]) -> int:
    """Compute the outputs of the stored inputs again; return how many there are if all are equal."""
    from fxarchive.api import decode_archive
    from fxarchive.codec.outputs import count_leaves, differences
    from fxarchive.codec.replay import replay

    obj, examples = decode_archive(archive, trust=trust, examples=True)
    if examples is None:
        raise ReplayFailed("the archive has none; save with example_inputs=, or verify without a replay")
    args, kwargs, expected = examples
    try:
        found = replay(obj, args, kwargs)
    except Exception as error:  # whatever the graph may raise
        text = " ".join(str(error).split()) or type(error).__name__
        raise ReplayFailed(f"the graph raises {type(error).__name__} ({text[:300].rstrip('.')})") from error
    first = next(differences(expected, found), None)
    if first is not None:
        raise ReplayFailed(f"{first}; it was written by torch {archive.header.writer.torch}")
    return count_leaves(expected)
