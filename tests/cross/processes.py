"""Each release's part, in a process with its torch."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .outcomes import Outcome, read_outcomes

ROOT = Path(__file__).resolve().parents[2]


def matrix(pythons: Mapping[str, str], folder: Path) -> list[Outcome]:
    """Let each release write into ``folder``, then let each read everything.

    Args:
        pythons: release -> interpreter.
        folder: of the archives; those that are there are not written again.
    """
    outcomes = []
    for part in ("writing", "reading"):
        for release, python in pythons.items():
            code, text = run(python, part, folder)
            outcomes += read_outcomes(text)
            if code:
                text = f"the process ended with code {code}"
                outcomes.append(Outcome(release, "fresh", release, part, "wrong", text=text))
    return outcomes


def run(python: str, part: str, folder: Path) -> tuple[int, str]:
    """Run a module of this package with another interpreter; return its exit code and what it prints."""
    command = [python, "-W", "ignore", "-m", f"tests.cross.{part}", str(folder.resolve())]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    return done.returncode, done.stdout
