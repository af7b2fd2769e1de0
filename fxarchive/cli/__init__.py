"""The command ``fxarchive``; docs/cli.md describes it."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command with the arguments of the process, and end the process with its exit code."""
    try:
        from fxarchive.cli.main import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before the command runs, or after it
        code = 130
    sys.exit(code)
