"""Strict exports with guards as torch 2.10 and later write them, kept as archives in ``strict_programs/``.

``python -m tests.material.strict_programs`` writes the archive of the running torch. What is there stays as it is.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import ExportedProgram

import fxarchive

from ..corpus.places import make_relative
from . import programs

BUILDERS = (programs.state, programs.shifted, programs.convolution)
"""Programs with guards, so that a torch that does not know their names for inputs fails."""

ARCHIVES = sorted((Path(__file__).parent / "strict_programs").glob("torch-*.fxa"))


def made() -> dict[str, ExportedProgram]:
    """Export them with the running torch."""
    found = {build.__name__: programs.exported(build, strict=True)[0] for build in BUILDERS}
    make_relative(found)
    return found


if __name__ == "__main__":
    path = Path(__file__).parent / "strict_programs" / f"torch-{torch.__version__.partition('+')[0]}.fxa"
    path.parent.mkdir(exist_ok=True)
    with open(path, "xb") as file:
        file.write(fxarchive.dumps(made()))
    print(path)
