"""Same graph, same bytes: in another process, with another hash seed, with and without dill."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.material import models

PROGRAM = """
import sys, warnings
warnings.simplefilter("ignore")
{before}
import torch, fxarchive, hashlib
torch.manual_seed(0)
from tests.material import models, programs
for build in models.BUILDERS:
    torch.manual_seed(0)
    module, inputs = build()
    data = fxarchive.dumps(module, metadata={{"b": 1, "a": [2, {{"z": 0, "y": None}}]}})
    print(build.__name__, hashlib.sha256(data).hexdigest())
for strict in (False, True):
    program = programs.exported(programs.tied, strict=strict)[0]
    print("program", strict, hashlib.sha256(fxarchive.dumps(program)).hexdigest())
sets = {{"names": {{f"name{{i}}" for i in range(50)}}, "more": frozenset(map(str, range(50))),
        "long": {{str(i) * 60 for i in range(20)}}}}
print("sets", hashlib.sha256(fxarchive.dumps(sets)).hexdigest())
"""
WITHOUT_DILL = "sys.modules['dill'] = None"
WITH_DILL = "import dill"


def digests(seed: str, before: str = "") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)],
        env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_bytes_depend_on_the_graph_alone() -> None:
    first = digests("1")
    assert len(first) == len(models.BUILDERS) + 3
    assert digests("2", WITH_DILL) == first
    assert digests("3", WITHOUT_DILL) == first
