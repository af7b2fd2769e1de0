"""What ``upgrade`` and ``downgrade`` share: carrying out an order on every archive, and saying what was done."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace

import click

from fxarchive.cli import output
from fxarchive.errors import escaped
from fxarchive.orders import Order, UpgradeReport

WORDS = {
    "upgraded": "upgraded",
    "downgraded": "taken back",
    "current": "left alone",
    "copied": "copied as it is",
    "done": "done before",
    "old": "old",
    "planned": "to do",
    "failed": "failed",
}
"""Result -> the word for it in the last line."""


def carry_out(paths: tuple[str, ...], order: Order, jobs: int, as_json: bool) -> int:
    """Do what ``order`` says with every archive that ``paths`` mean; return the exit code."""
    from fxarchive.batch import run_jobs
    from fxarchive.selection import select
    from fxarchive.upgrading import check_target

    try:
        check_target(order)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--to'") from None
    places = list(select(paths))
    counts: Counter[str] = Counter()
    for report in run_jobs(places, order, jobs):
        counts[report.result] += 1
        _clear_progress()
        if report.error is not None:
            report = replace(report, error=output.one_line(report.error))
            output.complain_of(report.path, str(report.error))
        if as_json:
            output.json_line(report.to_dict())
        elif report.error is None:
            _write(report)
        _show_progress(sum(counts.values()), len(places))
    _clear_progress()
    if not as_json:
        _write_counts(counts)
    return 1 if counts["failed"] or counts["old"] else 0


def _write(report: UpgradeReport) -> None:
    path = escaped(report.path)
    output.line(f"{path}: {_said(report)}")
    for step in report.steps if report.result == "planned" else ():
        output.line(f"  {escaped(step)}")
    for note in report.notes:
        output.line(f"  note: {escaped(note)}")


def _said(report: UpgradeReport) -> str:
    source, target = f"schema {report.source}", f"schema {report.target}"
    where = f" in {escaped(report.output)}" if report.output not in (None, report.path) else ""
    kept = f"; it was kept as {escaped(report.backup)}" if report.backup else ""
    said = {
        "upgraded": f"upgraded from {source} to {report.target}{where}{kept}",
        "downgraded": f"taken from {source} back to {report.target}{where}{kept}",
        "current": f"{source}, nothing to do",
        "copied": f"{source}, copied as it is{where}",
        "done": f"{target}, done before{where}",
        "old": f"{source}, which is older than {report.target}",
        "planned": f"from {source} to {report.target}"
        if report.steps
        else f"{source}, would be copied{where}",
    }
    return said[report.result]


def _write_counts(counts: Counter[str]) -> None:
    said = [f"{count:,} {WORDS[result]}" for result, count in counts.items()]
    output.line(", ".join(said) if said else "no archives found")


def _show_progress(done: int, all_of_them: int) -> None:
    if sys.stderr.isatty() and all_of_them > 1:
        sys.stderr.write(f"\r{done:,} of {all_of_them:,}")
        sys.stderr.flush()


def _clear_progress() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
