"""Programs with guards as other torch releases write them, kept as archives in ``guarded_programs/``.

``python -m tests.material.guarded_programs [--strict]`` writes the archive of the running torch. What is there stays
as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch.export import ExportedProgram

import fxarchive

from ..corpus.places import make_relative
from . import programs

BUILDERS = (programs.state, programs.shifted, programs.convolution)
"""Programs with guards, so that a torch that does not know their names for inputs fails."""

_HOME = Path(__file__).parent / "guarded_programs"
STRICT = sorted(_HOME.glob("strict-torch-*.fxa"))
"""Strict exports of torch 2.10 and later, which number inputs."""
OF_TORCH_2_7 = _HOME / "non-strict-torch-2.7.1.fxa"
"""Exports of torch 2.7, which names inputs by the pair of all arguments."""


def made(strict: bool) -> dict[str, ExportedProgram]:
    """Export them with the running torch."""
    found = {build.__name__: programs.exported(build, strict=strict)[0] for build in BUILDERS}
    make_relative(found)
    return found


if __name__ == "__main__":
    strict = sys.argv[1:] == ["--strict"]
    path = _HOME / f"{'' if strict else 'non-'}strict-torch-{torch.__version__.partition('+')[0]}.fxa"
    with open(path, "xb") as file:
        file.write(fxarchive.dumps(made(strict)))
    print(path)
