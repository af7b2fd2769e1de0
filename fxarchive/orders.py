"""What is asked of an upgrade or a downgrade, and what is said of each archive."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fxarchive.document import SCHEMA
from fxarchive.errors import FxArchiveError, StoreError
from fxarchive.limits import DEFAULT_LIMITS, Limits
from fxarchive.rewriting import Migrated


@dataclass(frozen=True)
class UpgradeReport:
    """What was done with one archive."""

    path: str
    """Where the archive is, as it was given."""
    result: str
    """"upgraded", "downgraded", "current" (nothing to do), "copied" (nothing to do but to copy it to the output),
    "done" (the output has it already), "old" (found by a check), "planned" (a dry run), or "failed"."""
    source: int | None = None
    """The schema that it had, or None if that could not be read."""
    target: int | None = None
    """The schema that it has now, or would have."""
    steps: tuple[str, ...] = ()
    """The migrations, in order: ``"1 -> 2: what it does"``."""
    notes: tuple[str, ...] = ()
    """What could not be kept, or was not known, a sentence each."""
    output: str | None = None
    """Where the result is; None where nothing was written."""
    backup: str | None = None
    """Where the archive is as it was, if a backup was asked for."""
    identity: str | None = None
    """Of the result, or of the archive if nothing was written."""
    predecessor: str | None = None
    """Identity of the archive that it was, where something was written."""
    size: int | None = None
    """Bytes of the result."""
    error: str | None = None
    """What went wrong, in one sentence; a batch has it here, and `upgrade` raises it."""
    error_kind: str | None = None
    """The class of the error, as in `fxarchive.errors`."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON; docs/cli.md describes the keys."""
        return asdict(self)


@dataclass(frozen=True)
class Order:
    """What to do with archives.

    Attributes:
        to: the schema to bring them to; None for the current one.
        back: go back to an older schema instead of forward to a newer one.
        allow_loss: going back may lose something.
        output: folder or URL to write results to; None for the place of each archive.
        backup: keep each archive that is replaced, beside it.
        act: "run", "plan" (migrate in memory and write nothing) or "check" (look at the header alone).
        limits: bounds on what a file may ask for.
    """

    to: int | None = None
    back: bool = False
    allow_loss: bool = False
    output: str | None = None
    backup: bool = False
    act: str = "run"
    limits: Limits = DEFAULT_LIMITS

    @property
    def target(self) -> int:
        """The schema to bring archives to."""
        return SCHEMA if self.to is None else self.to


def failure(path: str, error: FxArchiveError) -> UpgradeReport:
    """Return the report of an archive that stayed as it was because of an error."""
    # an error of where the result goes names that place
    text = f"{error.reason}." if isinstance(error, StoreError) and error.path == path else str(error)
    return UpgradeReport(path, "failed", error=text, error_kind=type(error).__name__)


def report_of(path: str, result: str, made: Migrated) -> UpgradeReport:
    """Return the report of an archive that was migrated, in memory so far."""
    return UpgradeReport(
        path,
        result,
        source=made.moves[0].source,
        target=made.header.schema,
        steps=tuple([f"{move}: {move.about}" for move in made.moves]),
        notes=made.header.history[-1].notes,
    )
