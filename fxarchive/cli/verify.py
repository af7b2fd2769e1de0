"""``fxarchive verify``: whether an archive is whole, well formed and, with --run, computes the same."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import click

from fxarchive.cli import output

if TYPE_CHECKING:
    from fxarchive.verification import VerifyReport


@click.command(
    name="verify", short_help="Check its bytes, its format, and its results.", epilog=output.EXIT_CODES
)
@click.argument("files", type=output.FILE, metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--run", is_flag=True, help="Load it too, replay its stored inputs, compare the outputs bit for bit."
)
@click.option(
    "--trust", metavar="NAME", multiple=True, help="With --run: a name that loading may use; repeatable."
)
@click.option(
    "--import", "modules", metavar="MODULE", multiple=True, help="With --run: import this first; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file, one a line.")
def command(
    files: tuple[str, ...], run: bool, trust: tuple[str, ...], modules: tuple[str, ...], as_json: bool
) -> int:
    """Check every byte of an archive against its digests, and its graph against the rules of the format.

    Without --run nothing is loaded and torch is not needed.
    """
    from fxarchive.verification import verify

    if not run and (trust or modules):
        raise click.UsageError("--trust and --import have a meaning only with --run")
    for module in modules:
        try:
            import_module(module)
        except Exception as error:  # whatever the module does on import
            raise click.BadParameter(f"{module}: {error}", param_hint="'--import'") from error
    code = 0
    for file in files:
        report = verify(file, run=run, trust=trust)
        if report.error is not None:
            code = 1
            output.complain(file, report.error)
        if as_json:
            message = None if report.error is None else output.message_of(report.error)
            output.json_line({**report.to_dict(), "error": message})
        elif report.ok:
            _write(file, report)
    return code


def _write(file: str, report: VerifyReport) -> None:
    from fxarchive.errors import escaped

    found = [output.counted(report.sections_checked, "section"), output.size_text(report.bytes_checked)]
    if report.outputs_compared is not None:
        found.append(f"{output.counted(report.outputs_compared, 'output')} equal bit for bit")
    output.line(f"{escaped(file)}: good ({', '.join(found)}), identity {report.identity}")
