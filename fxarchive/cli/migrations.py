"""``fxarchive migrations``: the steps between schemas that this release knows."""

from __future__ import annotations

import click

from fxarchive.cli import output


@click.command(name="migrations", short_help="List the migrations between schemas.", epilog=output.EXIT_CODES)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a migration, one a line.")
def command(as_json: bool) -> int:
    """List the migrations that this release knows, from the oldest schema to the current one."""
    from fxarchive import chain
    from fxarchive.document import SCHEMA
    from fxarchive.migrations import STEPS

    for step in STEPS:
        source, target, said = step.SOURCE, step.SOURCE + 1, chain.about(step)
        if as_json:
            output.json_line({"source": source, "target": target, "about": said})
        else:
            output.line(f"{source} -> {target}  {said}")
    if not as_json:
        output.line(
            f"schema {SCHEMA} is the current one; every archive from schema {chain.oldest()} on opens"
        )
    return 0
