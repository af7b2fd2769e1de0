"""Whether an archive opens under a release of torch, from the shipped tables and without torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from fxarchive import container, releases, store
from fxarchive.adaptation import Change, Torch, adapt, releases_with
from fxarchive.audit import audit
from fxarchive.demands import demands
from fxarchive.document import FEATURES, SCHEMA, Document
from fxarchive.errors import Problem
from fxarchive.limits import DEFAULT_LIMITS, Limits
from fxarchive.migrations.content import Content
from fxarchive.migrations.operators.calls import Kind
from fxarchive.reading import read_current
from fxarchive.summary import OPERATORS
from fxarchive.tables import reading
from fxarchive.trust import aliases

RUNNING = "running"
"""In place of a release: the torch that is installed."""


@dataclass(frozen=True)
class Compatibility:
    """What a torch makes of the calls of an archive.

    Attributes:
        torch: the release, such as ``2.13``.
        opens: whether it takes every call, some of them in another form.
        changes: the calls that it takes in another form.
        missing: what it lacks and nothing replaces, with the remedy.
        incompatible: what it takes otherwise, with the reason.
        foreign: operators of other packages, which must be imported before loading.
    """

    torch: str
    opens: bool
    changes: tuple[Change, ...]
    missing: tuple[Problem, ...]
    incompatible: tuple[Problem, ...]
    foreign: tuple[str, ...]


class ReleasedTorch:
    """What a release of torch has, as the tables say; what no table knows is taken to be there.

    Args:
        release: one of `releases.releases`.
        document: names operators of other packages, which no release of torch takes away.
    """

    def __init__(self, release: str, document: Document) -> None:
        self.release = release
        self._foreign = {
            record[1]: record[2]
            for record in document["targets"]
            if record[0] == "operator" and is_foreign(record[1])
        }

    def schema(self, name: str) -> str | None:
        """Return the schema of an operator, or None where the release lacks it."""
        return self._foreign.get(name) or releases.schema_in(name, self.release)

    def has(self, kind: Kind, name: str) -> bool:
        """Whether the release has what is called."""
        if kind == "packet":
            return is_foreign(name) or releases.has_operator(name, self.release)
        full = {"higher_order": f"torch.ops.higher_order.{name}", "method": f"torch.Tensor.{name}"}
        moved = aliases().get(name, ()) if kind == "function" else ()
        names = (full.get(kind, name), *moved)
        return any([releases.has_function(each, self.release) is not False for each in names])

    def has_value(self, name: str) -> bool:
        """Whether the release has a value of that dotted name."""
        return releases.has_function(name, self.release) is not False

    def remedy(self, record: list[Any]) -> str:
        """Return what to do about a row of `targets` that the release lacks."""
        known = releases_with(record[1]) if record[0] == "operator" else None
        have = known or f"another release than {self.release}"
        return f"load with a release that has it ({have})" if known else f"load with {have}"


def is_foreign(operator: str) -> bool:
    """Whether no release of torch has operators of that namespace.

    >>> is_foreign("mine::relu"), is_foreign("aten::relu")
    (True, False)
    """
    return operator.partition("::")[0] not in releases.namespaces()


def compat(
    path: str | os.PathLike[str] | BinaryIO,
    *,
    torch: str | Iterable[str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[Compatibility, ...]:
    """Say under which releases of torch an archive opens; from shipped tables, so that no torch is needed.

    Args:
        path: a path, an open binary file that can seek, or an fsspec URL.
        torch: a release such as ``"2.9"`` or ``"2.9.1"``, or several; ``"running"`` is the torch that is
            installed. None for every release that the tables know, oldest first.
        limits: bounds on what the file may ask for.

    Returns:
        What each release makes of the calls of the archive, in the order in which they were asked for.

    Raises:
        ArchiveNotFound, StoreError: the path cannot be read.
        NotAnArchive, TruncatedArchive, CorruptArchive, TooLarge, TooNew: the file is not whole, or not for
            this release.
        ForbiddenName: a name in it must not reach generated source.
        MigrationFailed: the file is of an older schema, and a migration cannot take what it holds.
        MissingTorch: ``"running"`` is asked for and there is none.
        ValueError: the tables do not know the release.
        TypeError: ``path`` is none of these.

    >>> import torch, fxarchive
    >>> made = fxarchive.save(torch.fx.symbolic_trace(lambda x: x.cholesky()), "memory://cholesky.fxa")
    >>> for found in fxarchive.compat("memory://cholesky.fxa", torch=["2.9", "2.14"]):
    ...     print(found.torch, found.opens, [change.now for change in found.changes])
    2.9 True []
    2.14 True ['torch._C._linalg.linalg_cholesky']
    """
    asked = releases.releases() if torch is None else [torch] if isinstance(torch, str) else list(torch)
    known = [known_release(release) for release in asked]
    content = read(path, limits)
    return tuple([compatibility(content.document, release, content.torch) for release in known])


def known_release(release: str) -> str:
    """Return the name that a release has in the tables; ``"running"`` is itself.

    Raises:
        ValueError: the tables do not know the release.
    """
    if release == RUNNING:
        return release
    known = releases.release_of(release)
    releases.has_operator("aten::add", known)  # raises where the tables do not know it
    return known


def compatibility(document: Document, release: str, writer: str = "") -> Compatibility:
    """Return what a release of torch makes of a document.

    Args:
        document: audited, of the current schema.
        release: such as ``2.9``, a full version, or ``"running"``.
        writer: the torch that wrote it, as `adapt` takes it.

    Raises:
        ValueError: the tables do not know the release.
    """
    known = known_release(release)
    if known != RUNNING:
        return judge(document, ReleasedTorch(known, document), writer)
    from fxarchive.codec.running_torch import RunningTorch

    return judge(document, RunningTorch(), writer)


def judge(document: Document, torch: Torch, writer: str = "") -> Compatibility:
    """Return what ``torch`` makes of a document that the torch ``writer`` wrote."""
    with reading("the document"):
        adapted = adapt(document, torch, writer)
        missing = (*adapted.missing, *_values_missing(document, torch))
    foreign = sorted({
        record[1] for record in document["targets"] if record[0] in OPERATORS and is_foreign(record[1])
    })  # fmt: skip
    return Compatibility(
        torch.release,
        not missing and not adapted.incompatible,
        adapted.changes,
        missing,
        adapted.incompatible,
        tuple(foreign),
    )


def _values_missing(document: Document, torch: Torch) -> Iterator[Problem]:
    """Yield the values that only other releases have."""
    for name in demands(document):
        known = releases.span_of(name)
        if known is not None and not torch.has_value(name):
            why = f"torch {torch.release} has no such value; load with a release that has it"
            yield Problem(name, f"{why} (torch {known[0]} to {known[1]})")


def read(path: str | os.PathLike[str] | BinaryIO, limits: Limits = DEFAULT_LIMITS) -> Content:
    """Return the audited content of an archive in the current schema, without torch.

    Raises:
        FxArchiveError: the file cannot be read, is not an archive, or is not whole.
    """
    with store.open_read(path) as file:
        archive = container.open_archive(file, schema=SCHEMA, features=FEATURES, limits=limits)
        content = read_current(archive, limits)
        audit(content.document, trust=None, features=content.features)
    return content
