"""A process of its own for one workload, started by ``python -m benchmarks``.

``times WORKLOAD`` measures all its peers; ``save WORKLOAD PEER`` and ``load WORKLOAD PEER`` do that once,
with the caller watching their memory. The result is a JSON file.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import memory, peers, plan, times
from benchmarks.subjects import build, silence


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["times", "save", "load"])
    parser.add_argument("workload")
    parser.add_argument("peer", nargs="?")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    silence()
    workload = plan.named(options.workload)
    if options.what == "times":
        result = times.measure(workload, options.folder, quick=options.quick, repeat=options.repeat)
    else:
        result = _watched(workload.name, options.what, options.peer, options.folder, options.quick)
    options.result.write_text(json.dumps(result), encoding="utf-8")


def _watched(workload: str, what: str, peer: str, folder: Path, quick: bool) -> dict[str, Any]:
    """Save or load once between two signals to the caller, which watches the memory of this process."""
    path = folder / plan.file_name(workload, peer)
    scratch = folder / f"{path.name}.{what}"
    scratch.mkdir()
    times.warm_up((peer,), scratch)
    chosen = peers.PEERS[peer]
    kept: list[Any] = []
    if what == "save":
        subject = build(workload, quick=quick)
        target = scratch / "saved"
    _give_back()
    memory.tell_caller()
    if what == "save":
        failed = times.attempt(lambda: kept.append(chosen.save(subject, target)))
        target.unlink(missing_ok=True)
    else:
        assert chosen.load is not None
        load = chosen.load
        failed = times.attempt(lambda: kept.append(load(path)))
    memory.tell_caller()
    return {"failed": failed}


def _give_back() -> None:
    """Return freed memory to the system: what is reused from there would not be seen to grow."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
        if trim is not None:
            trim(0)


if __name__ == "__main__":
    main()
