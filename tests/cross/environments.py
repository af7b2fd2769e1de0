"""Virtual environments with one torch release each."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

PACKAGES = ("msgpack", "zstandard", "click", "rich", "numpy", "einops")


def environment(folder: Path, release: str) -> Path:
    """Return the interpreter of an environment with that torch, made on first use."""
    home = folder / f"torch-{release}"
    python = home / "bin" / "python"
    if not (home / ".ready").exists():
        print(f"installing torch {release} into {home}", file=sys.stderr)
        venv.create(home, with_pip=True)
        packages = (f"torch=={release}", *PACKAGES)
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-cache-dir", *packages], check=True)
        (home / ".ready").touch()
    return python
