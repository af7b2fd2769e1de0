"""A save that is killed at any moment leaves the old archive or the new one, whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TIMES = 200

# One process imports torch once and forks every writer; each saves version n over version n - 1 and is killed.
PROGRAM = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch, fxarchive

folder, times = Path(sys.argv[1]), int(sys.argv[2])
path, moments = folder / "a.fxa", random.Random(5)

def version(n):
    module = torch.fx.symbolic_trace(torch.nn.Linear(1024, 1024))
    for tensor in module.state_dict().values():
        tensor.fill_(n)
    return module

def kill_a_writer(n, moment):
    module = version(n)
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        os.write(tell, b"r")
        fxarchive.save(module, path)
        os._exit(0)
    os.read(ready, 1)
    time.sleep(moment)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(ready), os.close(tell)
    return os.WIFSIGNALED(status)

def found():
    report = fxarchive.verify(path)
    assert report.ok, report.error
    (value,) = {value for t in fxarchive.load(path).state_dict().values() for value in t.unique().tolist()}
    return int(value)

took = []
for _ in range(5):
    start = time.perf_counter()
    fxarchive.save(version(0), path)
    took.append(time.perf_counter() - start)
whole = sorted(took)[2] * 1.5

counts, held = {"old": 0, "new": 0, "killed": 0, "litter": 0}, 0
for n in range(1, times + 1):
    counts["killed"] += kill_a_writer(n, moments.uniform(0, whole))
    now = found()
    assert now in (held, n), (held, n, now)
    counts["new" if now == n else "old"] += 1
    held = now
    litter = [name for name in os.listdir(folder) if name != path.name]
    assert len(litter) <= 1, litter
    counts["litter"] += len(litter)
fxarchive.save(version(-1), path)
assert found() == -1
assert os.listdir(folder) == [path.name]
print(json.dumps(counts))
"""


@pytest.mark.slow
def test_two_hundred_killed_saves_leave_a_whole_archive(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(TIMES)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["old"] + counts["new"] == TIMES
    for what in ("old", "new", "killed", "litter"):  # else the kills came at one end of the saves only
        assert counts[what] > TIMES // 20, counts
