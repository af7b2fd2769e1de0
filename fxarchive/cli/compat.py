"""``fxarchive compat``: will an archive open under another release of torch, and if not, why."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING

import click

from fxarchive.cli import output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fxarchive.compatibility import Compatibility


@click.command(
    name="compat",
    short_help="Will it open under another torch?",
    epilog="Exit codes: 0 it opens under each release asked for, 1 it does not or cannot be read, 2 wrong usage.",
)
@click.argument("files", type=output.FILE, metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--torch",
    "asked",
    metavar="RELEASE",
    multiple=True,
    help="Such as 2.9, or 'running' for the torch that is installed; repeatable. Every release if left out.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file and release, one a line.")
def command(files: tuple[str, ...], asked: tuple[str, ...], as_json: bool) -> int:
    """Say under which releases of torch the calls of an archive mean the same.

    The answer comes from shipped tables of the operators of each release; torch is not needed. Calls that a
    release takes in another form are rewritten when the archive is loaded there, and are listed.
    """
    from fxarchive.compatibility import compat, known_release

    for release in asked:
        try:
            known_release(release)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="'--torch'") from error

    def look(file: str) -> bool:
        found = compat(file, torch=asked or None)
        if as_json:
            for answer in found:
                output.json_line({"path": file, **_plain(answer)})
        else:
            _write(file, found)
        return all([answer.opens for answer in found])

    return output.each_file(files, as_json, look)


def _plain(answer: Compatibility) -> dict[str, object]:
    plain = asdict(answer)
    for key in ("missing", "incompatible"):
        plain[key] = [{"name": problem.path, "why": problem.why} for problem in getattr(answer, key)]
    return plain


def _write(file: str, found: Sequence[Compatibility]) -> None:
    from fxarchive.errors import escaped

    output.heading(escaped(file))
    rows = []
    for _, group in groupby(found, lambda answer: (answer.changes, answer.missing, answer.incompatible)):
        answers = list(group)
        first, last = answers[0].torch, answers[-1].torch
        label = f"torch {first}" if len(answers) == 1 else f"torch {first} to {last}"
        rows += list(zip_longest([label], _facts(answers[0]), fillvalue=""))
    if found and found[0].foreign:
        rows += list(zip_longest(["needs"], map(escaped, found[0].foreign), fillvalue=""))
    output.table(rows)


def _facts(answer: Compatibility) -> list[str]:
    from fxarchive.errors import escaped

    rewritten = f", {output.counted(len(answer.changes), 'call')} rewritten" if answer.changes else ""
    facts = [("opens" if answer.opens else "does not open") + rewritten]
    facts += [f"{escaped(name)}: {escaped(why)}" for name, why in (*answer.missing, *answer.incompatible)]
    # one line for calls that are rewritten alike
    whys = dict.fromkeys((change.was, change.now, change.why) for change in answer.changes)
    return facts + [f"{escaped(was)} -> {escaped(now)}: {escaped(why)}" for was, now, why in whys]
