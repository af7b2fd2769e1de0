"""From one process to another: the same outputs, and nothing that the file chooses is imported or run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent

WRITE = """
import sys, warnings
warnings.simplefilter("ignore")
import torch, fxarchive
from tests.codec.round_trip import call
from tests.material import models
for name, module, inputs in models.graphs():
    fxarchive.save(module, f"{sys.argv[1]}/{name}.fxa")
    torch.save((inputs, call(module, inputs)), f"{sys.argv[1]}/{name}.pt")
"""

READ = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import torch, fxarchive
from tests.codec.round_trip import call
from tests.compare import differences
from tests.material import models
trust = [f"{models.__name__}.Point", f"{models.__name__}.BufferTracer"]
for path in sorted(Path(sys.argv[1]).glob("*.fxa")):
    inputs, expected = torch.load(path.with_suffix(".pt"), weights_only=False)
    found = differences(expected, call(fxarchive.load(path, trust=trust), inputs))
    print(path.stem, found)
"""

# The first opening of a file imports parts of torch, the second finds all that torch and fxarchive need.
AUDIT = """
import json, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from tests.material import models
import torch, fxarchive

SOURCE = {"exec", "compile", "import", "marshal.loads", "pickle.find_class", "code.__new__", "ctypes.dlopen"}
OUTWARD = ("subprocess.", "os.system", "os.exec", "os.fork", "os.spawn", "os.posix_spawn", "socket.", "urllib.")
events, watched = [], None

def hook(event, args):
    if watched and (event.startswith(OUTWARD) or watched == "again" and event in SOURCE):
        events.append((watched, event, repr(args)[:300]))
    elif watched == "again" and event == "open" and not is_read(*args[1:]):
        events.append((watched, event, repr(args)[:300]))

def is_read(mode, flags):
    return mode in ("r", "rb") if isinstance(mode, str) else not flags & 3

def open_all():
    for path in sorted(Path(sys.argv[1]).glob("*.fxa")):
        fxarchive.inspect(path, full=True)
        report = fxarchive.verify(path, trust=trust)
        assert report.ok, report.error
        fxarchive.load(path, trust=trust, verify="all")

before = set(sys.modules)
trust = [f"{models.__name__}.Point", f"{models.__name__}.BufferTracer"]
sys.addaudithook(hook)
for watched in ("first", "again"):
    open_all()
compile("1", "<the hook sees this>", "eval")
watched = None
print(json.dumps({"events": events, "new": sorted(set(sys.modules) - before)}))
"""

MISSING = """
import json, sys
import torch, fxarchive
sys.path.insert(0, sys.argv[1])
result = {}
for trust in ((), "named_by_the_file.Block"):
    try:
        fxarchive.load(sys.argv[1] + "/block.fxa", trust=trust)
    except fxarchive.FxArchiveError as error:
        result[type(error).__name__] = str(error)
result["imported"] = "named_by_the_file" in sys.modules
import named_by_the_file
result["loaded"] = type(fxarchive.load(sys.argv[1] + "/block.fxa", trust="named_by_the_file.Block")).__name__
print(json.dumps(result))
"""


def run(program: str, folder: Path, seed: str = "0") -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive of each model, and its inputs and outputs, written by another process."""
    folder = tmp_path_factory.mktemp("archives")
    run(WRITE, folder, "1")
    return folder


@pytest.mark.slow
def test_another_process_gets_the_same_outputs_bit_for_bit(archives: Path) -> None:
    lines = run(READ, archives, "2").splitlines()
    assert len(lines) >= 13
    assert [line for line in lines if not line.endswith(" []")] == []


@pytest.mark.slow
def test_opening_runs_and_imports_nothing_that_the_file_chose(archives: Path) -> None:
    seen: dict[str, Any] = json.loads(run(AUDIT, archives))
    *events, last = seen["events"]
    assert last[1] == "compile"
    assert "<the hook sees this>" in last[2]
    assert events == []
    assert [module for module in seen["new"] if not is_expected(module)] == []


def is_expected(module: str) -> bool:
    """Whether a module is of Python, of fxarchive, of what it depends on, or made by one of these."""
    top = module.partition(".")[0]
    depends = {"torch", "fxarchive", "sympy", "mpmath", "numpy", "msgpack", "zstandard", "triton"}
    made = {"cython_runtime", "_remote_module_non_scriptable"}
    return top in depends | made | sys.stdlib_module_names or top.startswith(("_cython_", "_sysconfigdata_"))


@pytest.mark.slow
def test_a_module_that_the_file_names_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "named_by_the_file.py").write_text(
        "import torch\n\n\nclass Block(torch.nn.Module):\n    def forward(self, x):\n        return x\n"
    )
    write = "import sys; sys.path.insert(0, sys.argv[1])\nimport named_by_the_file, fxarchive\n"
    run(write + "fxarchive.save(named_by_the_file.Block(), sys.argv[1] + '/block.fxa')", tmp_path)
    result = json.loads(run(MISSING, tmp_path))
    assert result["imported"] is False
    assert result["loaded"] == "Block"
    assert "trust=['named_by_the_file.Block']" in result["UntrustedNames"]
    (text,) = [text for name, text in result.items() if name in ("MissingOperator", "MissingClass")]
    assert "import named_by_the_file" in text
