"""``fxarchive diff``: how two archives differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fxarchive.cli import output

if TYPE_CHECKING:
    from fxarchive.comparison import Difference

PARTS = ("header", "metadata", "graphs", "modules", "weights")
MOST_ROWS = 40
"""Differences of one part that are shown without --full."""


@click.command(
    name="diff",
    short_help="Compare two archives.",
    epilog="Exit codes: 0 they are the same, 1 they differ, 2 one cannot be read, or wrong usage.",
)
@click.argument("left", type=output.FILE, metavar="A")
@click.argument("right", type=output.FILE, metavar="B")
@click.option(
    "--ignore",
    type=click.Choice(PARTS),
    multiple=True,
    metavar="PART",
    help=f"A part that may differ, repeatable: {', '.join(PARTS)}.",
)
@click.option("--full", is_flag=True, help="Show every difference.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with every difference.")
def command(left: str, right: str, ignore: tuple[str, ...], full: bool, as_json: bool) -> int:
    """Say how two archives differ: header, metadata, nodes, modules, and weights by their digests.

    Neither torch nor the weights are needed. Archives of older schemas are compared as what they become.
    """
    from dataclasses import asdict

    from fxarchive.comparison import compare
    from fxarchive.errors import FxArchiveError

    paths = {"path": left, "other": right}
    try:
        found = compare(left, right, ignore=ignore)
    except FxArchiveError as error:
        output.complain(_at_fault(left, right), error)
        if as_json:
            kind = type(error).__name__
            output.json_line({**paths, "same": None, "error": output.message_of(error), "error_kind": kind})
        return 2
    if as_json:
        rows = [asdict(difference) for difference in found.differences]
        identities = {"identity": found.left, "other_identity": found.right}
        output.json_line(
            {
                **paths,
                **identities,
                "same": found.same,
                "differences": rows,
                "error": None,
                "error_kind": None,
            }
        )
    else:
        for part in (*PARTS, "rest"):
            _write(part, [each for each in found.differences if each.part == part], full)
    return 0 if found.same else 1


def _at_fault(left: str, right: str) -> str:
    """Which of two paths cannot be read: the first that fails alone."""
    from fxarchive.errors import FxArchiveError
    from fxarchive.inspection import inspect

    try:
        inspect(left, full=True)
    except FxArchiveError:
        return left
    return right


def _write(part: str, found: list[Difference], full: bool) -> None:
    if not found:
        return
    output.heading(part)
    for difference in found if full else found[:MOST_ROWS]:
        for sign, text in (("-", difference.left), ("+", difference.right)):
            if text is not None:
                colour = {"-": "red", "+": "green"}[sign]
                line = f"  {sign} {difference.where}: {text}"
                output.line(click.style(line, fg=colour) if output.is_coloured() else line)
    more = len(found) - MOST_ROWS
    if more > 0 and not full:
        output.line(f"  and {more:,} more; --full shows them")
