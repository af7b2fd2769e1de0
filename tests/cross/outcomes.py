"""What came of each archive under each release, and how it is shown; knows nothing of torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal

from ..corpus.expected import reason


@dataclass(frozen=True)
class Outcome:
    """What one release made of one archive.

    Attributes:
        reader: the release.
        source: where the archive is from: ``fresh``, or the schema of the corpus that holds it.
        writer: the release that wrote it.
        name: of the entry.
        state: exact, refused or wrong.
        error: the class of a refusal.
        text: what a refusal says, or what is wrong.
    """

    reader: str
    source: str
    writer: str
    name: str
    state: Literal["exact", "refused", "wrong"]
    error: str = ""
    text: str = ""

    @property
    def reason(self) -> str | None:
        """Why it may be refused."""
        return reason(self.name, self.writer, self.reader, self.error) if self.state == "refused" else None

    @property
    def fails(self) -> bool:
        """Whether this should not be."""
        return self.state == "wrong" or (self.state == "refused" and self.reason is None)


def print_outcome(outcome: Outcome) -> None:
    """Print an outcome as a line of JSON, for the process that asked."""
    print(json.dumps(asdict(outcome)), flush=True)


def read_outcomes(text: str) -> list[Outcome]:
    """Return the outcomes among what a process printed."""
    return [Outcome(**json.loads(line)) for line in text.splitlines() if line.startswith("{")]


def failures(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return those that should not be."""
    return [outcome for outcome in outcomes if outcome.fails]


def plain(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the outcomes for JSON, refusals with their reason."""
    return [{**asdict(outcome), "reason": outcome.reason} for outcome in outcomes]


def shown(outcomes: Sequence[Outcome]) -> str:
    """Return the matrix for people, then every refusal and its reason, then what is wrong."""
    return "\n".join([*_table(outcomes), *_refusals(outcomes), *_failures(outcomes)])


def _table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    readers = list(dict.fromkeys(outcome.reader for outcome in outcomes))
    rows = list(dict.fromkeys((outcome.source, outcome.writer) for outcome in outcomes))
    yield "exact / read; rows wrote, columns read; ! has failures"
    yield " " * 18 + "".join(f"{reader:>10}" for reader in readers)
    for source, writer in rows:
        line = f"{source} {writer}".ljust(18)
        for reader in readers:
            cell = [o for o in outcomes if (o.source, o.writer, o.reader) == (source, writer, reader)]
            exact = sum(outcome.state == "exact" for outcome in cell)
            line += f"{exact}/{len(cell)}{'!' * any(outcome.fails for outcome in cell)}".rjust(10)
        yield line


def _refusals(outcomes: Sequence[Outcome]) -> Iterator[str]:
    refused = sorted(
        (outcome for outcome in outcomes if outcome.reason is not None),
        key=lambda outcome: (str(outcome.reason), outcome.name),
    )
    for why, group in groupby(refused, lambda outcome: outcome.reason):
        yield f"refused, as expected: {why}"
        for name, cells in groupby(group, lambda outcome: outcome.name):
            pairs = dict.fromkeys(f"{cell.writer} -> {cell.reader}" for cell in cells)
            yield f"    {name}: {', '.join(pairs)}"


def _failures(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for outcome in failures(outcomes):
        place = f"{outcome.source} {outcome.writer} -> {outcome.reader}  {outcome.name}"
        what = outcome.state if outcome.state == "wrong" else f"refused, {outcome.error}"
        yield f"FAILED {place}: {what}: {outcome.text}"
