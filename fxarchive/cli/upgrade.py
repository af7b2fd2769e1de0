"""``fxarchive upgrade``: bring archives of older schemas up to date."""

from __future__ import annotations

import click

from fxarchive.cli import options, output


@click.command(
    name="upgrade", short_help="Bring archives of older schemas up to date.", epilog=output.EXIT_CODES
)
@click.argument("paths", type=output.FILE, metavar="PATH...", nargs=-1, required=True)
@click.option("--check", is_flag=True, help="Only say which are old; exit code 1 if any is.")
@click.option("--dry-run", is_flag=True, help="Migrate in memory, say what would be done, write nothing.")
@options.FOLDER
@options.BACKUP
@click.option("--to", type=int, metavar="N", help="The schema to bring them to, if not the current one.")
@options.JOBS
@options.AS_JSON
def command(
    paths: tuple[str, ...],
    check: bool,
    dry_run: bool,
    folder: str | None,
    backup: bool,
    to: int | None,
    jobs: int,
    as_json: bool,
) -> int:
    """Bring archives of older schemas up to date, without torch; what is current is left alone.

    PATH is a file, a folder (every .fxa in it, at any depth), a pattern in quotes, or an fsspec URL of one. A file
    is replaced only when the new one is whole, on the disk and read back. A bad file is reported and the others
    go on; the same command can be run again at any time.
    """
    from fxarchive.cli.rewrites import carry_out
    from fxarchive.orders import Order

    if check and (dry_run or folder or backup):
        raise click.UsageError("--check looks at headers alone and takes no --dry-run, --output or --backup")
    act = "check" if check else "plan" if dry_run else "run"
    return carry_out(paths, Order(to=to, output=folder, backup=backup, act=act), jobs, as_json)
