"""``fxarchive adopt``: streams of torch's GraphPickler become archives."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from fxarchive.cli import output

if TYPE_CHECKING:
    from fxarchive.adoption import AdoptReport


@click.command(
    name="adopt", short_help="Put streams of torch's GraphPickler into archives.", epilog=output.EXIT_CODES
)
@click.argument("streams", type=output.FILE, metavar="STREAM...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "target",
    type=output.FILE,
    metavar="PATH",
    help="The archive, or a folder for archives of several streams.",
)
@click.option(
    "--torch",
    "release",
    metavar="RELEASE",
    help="The torch that wrote the streams, such as 2.9; else they show it.",
)
@click.option(
    "--to",
    type=click.IntRange(1, 2),
    default=1,
    metavar="N",
    help="The schema of the archive: 1 keeps the stream as it is, 2 is what fxarchive itself writes.",
)
@click.option(
    "--at",
    "keys",
    metavar="KEY",
    multiple=True,
    help="In a pickle of another program: a key or position that leads to the stream; repeatable.",
)
@click.option("--force", is_flag=True, help="Replace an archive that is there already.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a stream, one a line.")
def command(
    streams: tuple[str, ...],
    target: str | None,
    release: str | None,
    to: int,
    keys: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> int:
    """Put what torch.fx._graph_pickler.GraphPickler wrote into archives, as it is; the streams stay.

    A stream is read without running anything in it, and torch is not needed. The archive is written beside the
    stream, with the suffix .fxa, if no PATH is given. It loads like any other; `fxarchive upgrade` brings it to the
    current schema.
    """
    from fxarchive.adoption import adopt
    from fxarchive.errors import FxArchiveError, StoreError

    if target is not None and len(streams) > 1 and not os.path.isdir(target):
        raise click.UsageError(f"{target} is not a folder, and there are {len(streams)} streams")
    at = [int(key) if key.isdecimal() and key.isascii() and len(key) < 10 else key for key in keys]
    code = 0
    for stream in streams:
        path = _target(stream, target)
        try:
            if not force and "://" not in path and os.path.lexists(path):
                raise StoreError(path, "it is there already; name another path or pass --force")
            report = adopt(stream, path, torch=release, to=to, at=at)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="'--at'" if at else "'--torch'") from error
        except FxArchiveError as error:
            code = 1
            output.complain(stream, error)
            if as_json:
                output.json_error(stream, error)
            continue
        if as_json:
            output.json_line(
                {"path": stream, "archive": path, **vars(report), "error": None, "error_kind": None}
            )
        else:
            _write(path, report)
    return code


def _target(stream: str, target: str | None) -> str:
    """Return the path of the archive of a stream."""
    name = f"{os.path.splitext(stream)[0]}.fxa"
    if target is None:
        return name
    return os.path.join(target, os.path.basename(name)) if os.path.isdir(target) else target


def _write(path: str, report: AdoptReport) -> None:
    from fxarchive.errors import escaped

    output.line(
        f"{escaped(path)}: {escaped(report.root)} of {output.counted(report.nodes, 'node')}, written by torch "
        f"{escaped(report.torch)}, identity {report.identity}"
    )
    for note in report.notes:
        output.line(f"  {escaped(note)}")
