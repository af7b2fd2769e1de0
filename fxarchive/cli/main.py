"""The verbs, each imported when it is used, and what ends every call: exit codes and closed pipes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

import click

from fxarchive._version import __version__
from fxarchive.cli.output import EXIT_CODES

VERBS = ("inspect", "show", "verify", "diff", "adopt", "upgrade", "downgrade", "migrations", "compat")
"""Each is a module of this package with a `click.Command` called ``command``."""

COMPLETION = "_FXARCHIVE_COMPLETE"
"""The variable through which a shell asks for completions, as click names it."""

INTERRUPTED, CLOSED_PIPE = 130, 141
"""Exit codes that a shell gives for the signals SIGINT and SIGPIPE."""

STOPPED = "interrupted; every file is as it was or done, so run this again for the others"


class Verbs(click.Group):
    """A group whose commands are modules that are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        found: click.Command = import_module(f"fxarchive.cli.{cmd_name}").command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not ctx.resilient_parsing:
            raise click.UsageError(_not_a_verb(args[0]), ctx)
        return super().resolve_command(ctx, args)


def _not_a_verb(word: str) -> str:
    """Return what is wrong with the first word of a call, and what was probably meant."""
    if "://" in word or os.path.exists(word):
        return f"{word} is a file, and a command comes first: fxarchive inspect {word}"
    close = get_close_matches(word, VERBS, n=1, cutoff=0.5)
    return f"there is no command {word!r}" + (f"; did you mean {close[0]}?" if close else "")


@click.command(
    cls=Verbs,
    name="fxarchive",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def command() -> None:
    """Keep torch.fx graphs on disk for years: look into archives, check them, bring them up to date.

    FILE is a path or an fsspec URL such as s3://bucket/model.fxa.
    """


def run(args: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    asked = os.environ.get(COMPLETION)
    if asked:
        from click.shell_completion import shell_complete

        return shell_complete(command, {}, "fxarchive", COMPLETION, asked)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may not have every letter
    try:
        code = _invoke(args)
        sys.stdout.flush()
        return code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write(f"fxarchive: {STOPPED}\n")
        return INTERRUPTED
    except BrokenPipeError:
        # the interpreter flushes stdout once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE


def _invoke(args: Sequence[str]) -> int:
    try:
        # not command.main, which has its own way with closed pipes
        with command.make_context("fxarchive", list(args)) as context:
            return int(command.invoke(context))
    except click.exceptions.Exit as stop:  # after --help and --version
        return stop.exit_code
