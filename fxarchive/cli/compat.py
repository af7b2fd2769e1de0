"""``fxarchive compat``: will an archive open under another release of torch, and if not, why."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

import click

from fxarchive.cli import output
from fxarchive.errors import FxArchiveError

if TYPE_CHECKING:
    from fxarchive.compatibility import Compatibility


@click.command(
    name="compat",
    short_help="Will it open under another torch?",
    epilog="Exit codes: 0 it opens under each release asked for, 1 it does not or cannot be read, 2 wrong usage.",
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
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
    from fxarchive import compatibility, releases

    code = 0
    for file in files:
        try:
            document = compatibility.read(file)
        except FxArchiveError as error:
            code = 1
            output.complain(file, error)
            if as_json:
                output.json_error(file, error)
            continue
        found = []
        for release in asked or releases.releases():
            if release == "running":
                from fxarchive.codec.running_torch import RunningTorch

                found.append(compatibility.judge(document, RunningTorch()))
                continue
            try:
                found.append(compatibility.compatibility(document, release))
            except ValueError as error:
                raise click.BadParameter(str(error), param_hint="'--torch'") from error
        if not all([answer.opens for answer in found]):
            code = 1
        if as_json:
            for answer in found:
                output.json_line({"path": file, **_plain(answer)})
        else:
            _write(file, found)
    return code


def _plain(answer: Compatibility) -> dict[str, object]:
    plain = asdict(answer)
    for key in ("missing", "incompatible"):
        plain[key] = [{"name": problem.path, "why": problem.why} for problem in getattr(answer, key)]
    return plain


def _write(file: str, found: list[Compatibility]) -> None:
    from fxarchive.notation import escaped

    output.heading(escaped(file))
    for _, group in groupby(found, lambda answer: (answer.changes, answer.missing, answer.incompatible)):
        answers = list(group)
        first, last = answers[0].torch, answers[-1].torch
        output.fact(f"torch {first}" if len(answers) == 1 else f"{first} to {last}", _facts(answers[0]))
    if found and found[0].foreign:
        output.fact("needs", [escaped(name) for name in found[0].foreign])


def _facts(answer: Compatibility) -> list[str]:
    from fxarchive.notation import escaped

    rewritten = f", {output.counted(len(answer.changes), 'call')} rewritten" if answer.changes else ""
    facts = [("opens" if answer.opens else "does not open") + rewritten]
    facts += [f"{escaped(name)}: {escaped(why)}" for name, why in (*answer.missing, *answer.incompatible)]
    # one line for calls that are rewritten alike
    whys = dict.fromkeys((change.was, change.now, change.why) for change in answer.changes)
    return facts + [f"{escaped(was)} -> {escaped(now)}: {escaped(why)}" for was, now, why in whys]
