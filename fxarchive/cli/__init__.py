"""The command ``fxarchive``; docs/cli.md describes it."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command with the arguments of the process, and end the process with its exit code."""
    from fxarchive.cli.main import run

    sys.exit(run(sys.argv[1:]))
