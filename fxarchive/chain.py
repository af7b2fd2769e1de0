"""The chain of migrations: from one schema to another, a step at a time, on plain data.

It knows nothing of files. `plan` says what would be done before anything is done; `migrate` does it. DESIGN's
``upgrade.py`` has this name because ``fxarchive.upgrade`` is the function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fxarchive.document import SCHEMA
from fxarchive.errors import (
    FxArchiveError,
    InvalidDocument,
    LossNotAllowed,
    MigrationFailed,
    Problem,
    UnsupportedValue,
)
from fxarchive.migrations import STEPS, Step
from fxarchive.migrations.content import Content

STREAM_SCHEMA = 1
"""The schema whose content is a stream of bytes; that of every later one is a dict that states its schema."""


@dataclass(frozen=True)
class Move:
    """One step, and the way it is taken.

    >>> [move.source for move in plan(SCHEMA, SCHEMA)]
    []
    """

    step: Step
    source: int
    target: int

    @property
    def about(self) -> str:
        """What the step does, in one line: the first of its docstring."""
        return about(self.step)

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"

    def __call__(self, content: Content) -> Content:
        """Take the step, as it is: `migrate` checks what comes of it."""
        return self.step.upgrade(content) if self.source < self.target else self.step.downgrade(content)


def about(step: Step) -> str:
    """Return the first line of a step's docstring, without its full stop."""
    return (step.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def check_steps(steps: Sequence[Step], schema: int) -> None:
    """Check that ``steps`` lead to ``schema`` in order and without a gap.

    Raises:
        ValueError: a step is missing, comes twice or stands in the wrong place; the text names it.

    >>> check_steps(STEPS, SCHEMA)
    """
    sources = [step.SOURCE for step in steps]
    for at, source in enumerate(sources):
        expected = schema - len(sources) + at
        if source != expected:
            raise ValueError(
                f"step {at} of STEPS takes schema {source}, and {expected} should stand there: "
                f"{', '.join(map(str, sources))} do not lead to schema {schema} one by one"
            )


def oldest() -> int:
    """Return the oldest schema that `STEPS` lead on from."""
    return STEPS[0].SOURCE if STEPS else SCHEMA


def plan(source: int, target: int) -> tuple[Move, ...]:
    """Return the moves by `STEPS` that lead from one schema to another; none if they are the same.

    Args:
        source: the schema of the content.
        target: the schema that is wanted.

    Raises:
        InvalidDocument: no steps lead there.
    """
    known = {step.SOURCE: step for step in STEPS}
    moves = []
    at = source
    while at != target:
        up = at < target
        step = known.get(at if up else at - 1)
        if step is None:
            raise InvalidDocument("the document", f"no migration leads from schema {source} to {target}")
        following = at + 1 if up else at - 1
        moves.append(Move(step, at, following))
        at = following
    return tuple(moves)


def migrate(
    content: Content, moves: Sequence[Move], *, path: str | None = None, allow_loss: bool = True
) -> Content:
    """Return the content after ``moves``; what a move had to leave out or could not know is in its `notes`.

    Args:
        content: of the schema that the first move takes.
        moves: as `plan` returned them.
        path: of the archive, for the text of errors.
        allow_loss: whether a move back may lose something.

    Raises:
        MigrationFailed: a step cannot take the content; it names the step and every offending item.
        LossNotAllowed: a move back loses something; it names all that this move loses.
        InvalidDocument: the content breaks a rule of its schema.
    """
    for move in moves:
        before = content.notes
        content = _moved(content, move, path)
        lost = [note for note in content.notes if note not in before]
        if move.target < move.source and lost and not allow_loss:
            raise LossNotAllowed(move.source, move.target, lost, path)
    return content


def to_current(content: Content) -> Content:
    """Return ``content`` in the current schema.

    Args:
        content: as read from an archive.

    Raises:
        MigrationFailed, InvalidDocument: as `migrate` and `plan`.
    """
    return migrate(content, plan(content.schema, SCHEMA))


def _moved(content: Content, move: Move, path: str | None) -> Content:
    def failed(item: str, why: str) -> MigrationFailed:
        return MigrationFailed(move.source, move.target, [Problem(item, why)], path)

    try:
        result = move(content)
    except UnsupportedValue as error:
        raise MigrationFailed(move.source, move.target, error.problems, path) from error
    except FxArchiveError:
        raise
    except (RecursionError, MemoryError) as error:
        raise failed("the document", "it is nested too deep, or too large, for this machine") from error
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".rstrip(".: ")
        raise failed("the document", f"the step raised {text}; report this with the file") from error
    problem = _broken_promise(content, result, move)
    if problem:
        raise failed("the result", f"{problem}; report this with the file")
    # what earlier steps took out and said stays, whatever a step does with it, and so does who wrote the archive
    sections = {**content.sections, **result.sections}
    notes = (*content.notes, *[note for note in result.notes if note not in content.notes])
    return replace(result, sections=sections, notes=notes, torch=content.torch)


def _broken_promise(before: Content, after: Any, move: Move) -> str | None:
    """What a step gave that no step may give."""
    if not isinstance(after, Content):
        return f"it is a {type(after).__name__} and not the content of an archive"
    if after.schema != move.target:
        return f"it is of schema {after.schema} and not {move.target}"
    if before.schema != move.source:
        return f"the step was given schema {before.schema}"
    stated = after.schema if after.schema == STREAM_SCHEMA else _stated(after.document)
    if stated != move.target:
        return f"its document is of schema {stated!r:.80} and not {move.target}"
    return None


def _stated(document: Any) -> Any:
    return document.get("schema") if type(document) is dict else None
