"""Which archives a torch may refuse, and why: whatever else is refused is a failure."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from fxarchive.releases import number_of


@dataclass(frozen=True)
class Refusal:
    """Archives that some releases refuse.

    Attributes:
        names: pattern of the names of entries.
        error: class of the error.
        why: the reason.
        last: the last release that refuses them; None for no end.
        writer_is_newer: whether only what a newer release wrote is refused.
    """

    names: str
    error: str
    why: str
    last: str | None = None
    writer_is_newer: bool = False

    def holds(self, name: str, writer: str, reader: str, error: str) -> bool:
        """Whether this is such a refusal."""
        return (
            fnmatchcase(name, self.names)
            and error == self.error
            and (self.last is None or number_of(reader) <= number_of(self.last))
            and (not self.writer_is_newer or number_of(writer) > number_of(reader))
        )


REFUSALS = (
    Refusal(
        "newer_dtypes",
        "MissingOperator",
        "its dtypes are those of the torch that wrote it",
        writer_is_newer=True,
    ),
)


def reason(name: str, writer: str, reader: str, error: str) -> str | None:
    """Return why a release may refuse an entry with that error, or None if it may not."""
    found = [refusal.why for refusal in REFUSALS if refusal.holds(name, writer, reader, error)]
    return found[0] if found else None
