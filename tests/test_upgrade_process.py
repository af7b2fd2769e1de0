"""Upgrades in processes of their own: killed at any moment, with nothing but data, in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
TIMES = 200


def run_program(program: str, *args: object, timeout: int = 300) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, args)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# Each child upgrades a folder and is killed, in turn with all that it forked and alone, when they must end themselves.
KILL = """
import json, os, random, shutil, signal, sys, time
from pathlib import Path
from fxarchive.batch import run_jobs
from fxarchive.orders import Order
from fxarchive.selection import select
from tests import synthetic

folder, times = Path(sys.argv[1]), int(sys.argv[2])
synthetic.install(synthetic.OLDER)
moments, olds, news = random.Random(7), {}, {}
for number in range(12):
    olds[f"{number}.fxa"] = synthetic.stream_archive(metadata={"number": number, "more": bytes(900)})

def reset():
    for name, data in olds.items():
        (folder / name).write_bytes(data)

def upgrade(jobs):
    return [report.result for report in run_jobs(list(select([folder])), Order(), jobs)]

def found():
    held = {name: (folder / name).read_bytes() for name in olds}
    wrong = [name for name, data in held.items() if data not in (olds[name], news[name])]
    assert not wrong, wrong
    return sum(data == news[name] for name, data in held.items())

reset()
start = time.perf_counter()
assert upgrade(1) == ["upgraded"] * len(olds)
whole = time.perf_counter() - start
news = {name: (folder / name).read_bytes() for name in olds}
assert all(news[name] != olds[name] for name in olds)

counts = {"killed": 0, "none": 0, "some": 0, "all": 0, "litter": 0}
for turn in range(times):
    jobs, alone = 1 + turn % 2, turn % 4 == 1
    if found() == len(olds) or turn % 3 == 0:
        reset()
    alive, live = os.pipe()
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        os.write(tell, b"r")
        upgrade(jobs)
        os._exit(0)
    os.close(live)
    os.read(ready, 1)
    time.sleep(moments.uniform(0, whole * 0.9))
    (os.kill if alone else os.killpg)(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    now = found()
    while os.read(alive, 1):  # ends when nobody holds the other end any more
        pass
    os.close(alive), os.close(ready), os.close(tell)
    counts["killed"] += os.WIFSIGNALED(status)
    now = found()
    counts["none" if now == 0 else "all" if now == len(olds) else "some"] += 1
    counts["litter"] += any(name.endswith(".tmp") for name in os.listdir(folder))
assert set(upgrade(2)) <= {"upgraded", "current"}
assert found() == len(olds)
assert sorted(os.listdir(folder)) == sorted(olds)
print(json.dumps(counts))
"""


@pytest.mark.slow
def test_two_hundred_killed_batches_leave_each_file_old_or_new(tmp_path: Path) -> None:
    counts = run_program(KILL, tmp_path, TIMES)
    assert counts["none"] + counts["some"] + counts["all"] == TIMES
    assert counts["killed"] > TIMES // 2
    for what in ("none", "some", "litter"):  # else the kills came at one end of the batches only
        assert counts[what] > TIMES // 25, counts


# What an upgrade needs is imported before; then nothing may be imported, compiled, run or fetched.
ALONE = """
import json, sys
sys.modules["torch"] = None
from pathlib import Path
from tests import synthetic
from tests.documents import small
from fxarchive.batch import run_jobs
from fxarchive.cli import downgrade, migrations, rewrites, upgrade
from fxarchive.cli.main import run
from fxarchive.orders import Order
from fxarchive.selection import select
import fxarchive.upgrading

try:
    import torch
except ImportError:
    pass
else:
    raise SystemExit("torch was imported")
folder = Path(sys.argv[1])
synthetic.install(synthetic.OLDER, synthetic.NEWER, newest=3)
(folder / "warm").mkdir()
(folder / "real").mkdir()
hostile = small()
hostile["targets"] += [["class", "os.system"], ["function", "builtins.eval"]]
hostile["texts"] += [f"__import__('os').system('touch {folder}/never')"]
for name in ("warm/a.fxa", "warm/b.fxa", "real/a.fxa", "real/b.fxa"):
    (folder / name).write_bytes(synthetic.stream_archive(hostile))
sys.stdout = open(folder / "warmth", "w")
run(["upgrade", str(folder / "warm"), "--json", "--backup"])  # codecs and the like are loaded on first use
sys.stdout = sys.__stdout__

FORBIDDEN = {"import", "exec", "compile", "marshal.loads", "pickle.find_class", "os.system", "os.exec", "os.fork",
             "os.posix_spawn", "subprocess.Popen", "socket.__new__", "socket.connect", "socket.getaddrinfo",
             "urllib.Request", "ctypes.dlopen", "code.__new__", "sys._getframe", "cpython.run_command"}
seen, tried = [], []

def watch(event, args):
    if event == "import" and args[0] in sys.modules:
        return
    seen.append(event)
    if event in FORBIDDEN:
        tried.append([event, str(args)[:200]])
        raise RuntimeError(event)

sys.addaudithook(watch)
sys.stdout = open(folder / "said", "w")
code = run(["upgrade", str(folder / "real"), "--backup", "--json"])
sys.stdout.flush()
sys.stdout = sys.__stdout__
before = list(tried)
try:
    __import__("this")
except RuntimeError:
    pass
print(json.dumps({"code": code, "tried": before, "hook": tried[len(before):], "opened": seen.count("open")}))
"""


def test_an_upgrade_imports_compiles_runs_and_fetches_nothing(tmp_path: Path) -> None:
    facts = run_program(ALONE, tmp_path)
    assert facts["tried"] == []
    assert facts["code"] == 0
    assert facts["hook"], "the hook does not see an import"
    assert facts["opened"] > 4
    rows = [json.loads(line) for line in (tmp_path / "said").read_text().splitlines()]
    assert [(row["result"], row["source"], row["target"]) for row in rows] == [("upgraded", 1, 3)] * 2
    assert not (tmp_path / "never").exists()


MEMORY = r"""
import json, os, re, sys
from pathlib import Path
from fxarchive import container, packing, upgrade, wire
from fxarchive.container import Header, NewSection, Writer
from tests import synthetic
from tests.documents import small

path, size = Path(sys.argv[1]), int(sys.argv[2]) << 20
document = small()
document["storages"][1]["size"] = size
payload = wire.dumps(packing.pack(document))
block = os.urandom(1 << 20)
with open(path, "wb") as file:
    container.write(file, Header(2, 2, (), Writer("0.1.0", "2.13.0", "3.11.8"), "GraphModule"), [
        NewSection("document", "zstd", len(payload), [payload]),
        NewSection("storages/1", "raw", size, (block for _ in range(size >> 20))),
    ])
synthetic.install(synthetic.NEWER, newest=3)


def peak():  # of this process alone, in MiB
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10

before = peak()
report = upgrade(path)
print(json.dumps({"result": report.result, "size": report.size, "peak": peak(), "grown": peak() - before}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells the peak of memory in another way")
def test_an_upgrade_takes_little_memory_however_large_the_weights_are(tmp_path: Path) -> None:
    facts = run_program(MEMORY, tmp_path / "a.fxa", 200)
    assert (facts["result"], facts["size"] >> 20) == ("upgraded", 200)
    assert facts["peak"] < 100
    assert facts["grown"] < 20
