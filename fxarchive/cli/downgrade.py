"""``fxarchive downgrade``: take archives back to an older schema."""

from __future__ import annotations

import click

from fxarchive.cli import options, output


@click.command(
    name="downgrade", short_help="Take archives back to an older schema.", epilog=output.EXIT_CODES
)
@click.argument("paths", type=output.FILE, metavar="PATH...", nargs=-1, required=True)
@click.option("--to", type=int, metavar="N", required=True, help="The schema to go back to.")
@click.option("--allow-loss", is_flag=True, help="Go on where the older schema cannot hold everything.")
@click.option("--dry-run", is_flag=True, help="Migrate in memory, say what would be lost, write nothing.")
@options.FOLDER
@options.BACKUP
@options.JOBS
@options.AS_JSON
def command(
    paths: tuple[str, ...],
    to: int,
    allow_loss: bool,
    dry_run: bool,
    folder: str | None,
    backup: bool,
    jobs: int,
    as_json: bool,
) -> int:
    """Take archives back to an older schema, for an older fxarchive; paths and options as for upgrade.

    What the older schema cannot hold is listed, and only --allow-loss lets it go.
    """
    from fxarchive.cli.rewrites import carry_out
    from fxarchive.orders import Order

    order = Order(
        to=to,
        back=True,
        allow_loss=allow_loss,
        output=folder,
        backup=backup,
        act="plan" if dry_run else "run",
    )
    return carry_out(paths, order, jobs, as_json)
