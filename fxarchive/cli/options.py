"""Options that verbs which rewrite archives have in common."""

from __future__ import annotations

import click

from fxarchive.cli import output

FOLDER = click.option(
    "--output",
    "folder",
    type=output.FILE,
    metavar="DIR",
    help="Write results there and leave the archives alone.",
)
BACKUP = click.option("--backup", is_flag=True, help="Keep each archive that is replaced, as NAME.schema-N.")
JOBS = click.option("--jobs", type=click.IntRange(min=1), default=1, metavar="N", help="How many processes.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object an archive, one a line.")
