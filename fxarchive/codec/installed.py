"""Whether there is a torch that fxarchive can use; the codec imports this before anything else."""

from __future__ import annotations

from fxarchive.errors import MissingTorch

OLDEST = (2, 7)

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise  # torch is there, and lacks something itself
    raise MissingTorch(None) from None

if tuple(map(int, str(torch.__version__).split(".")[:2])) < OLDEST:
    raise MissingTorch(str(torch.__version__))
