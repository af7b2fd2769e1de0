"""Run the benchmarks: ``python -m benchmarks [--quick] [--only WORKLOAD]... [--repeat N] [--json PATH]``.

Each workload is measured in a process of its own, its peers taking turns; memory is measured in a fresh
process for each peer and direction. The exit code is 1 when fxarchive itself failed or gave other outputs; a
missed budget is shown and does not change it, since times depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import budgets, memory, plan, table
from fxarchive import __version__

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
INSPECT = [sys.executable, "-c", "import sys; from fxarchive.cli import main; sys.exit(main())", "inspect"]
INSPECT_REPEATS = 7
REPEATS = 15
UPGRADE_REPEATS = 5
"""At most: these write gigabytes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the JSON file; return the exit code."""
    options = _parse(arguments)
    began = time.perf_counter()
    chosen = [workload for workload in plan.WORKLOADS if not options.only or workload.name in options.only]
    results: dict[str, Any] = {
        "environment": _environment(),
        "quick": options.quick,
        "workloads": {},
        "upgrade": None,
        "inspect": [],
    }
    if options.folder is not None:
        Path(options.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fxarchive-bench-", dir=options.folder) as name:
        folder = Path(name).resolve()
        for workload in chosen:
            _say(f"{workload.name}: times")
            measured = _times(workload, folder, options)
            _say(f"{workload.name}: memory")
            measured["memory"] = _memory(workload, folder, options) if memory.can_watch() else None
            results["workloads"][workload.name] = measured
            if measured["peers"][plan.OURS]["failed"] is None:
                results["inspect"].append(_inspect(workload.name, folder))
            for file in folder.glob(f"{workload.name}.*"):
                _remove(file)
        if not options.only or plan.UPGRADE in options.only:
            _say(plan.UPGRADE)
            results["upgrade"] = _upgrade(folder, options)
    results["seconds"] = time.perf_counter() - began
    found = budgets.verdicts(results)
    results["budgets"] = [{**vars(verdict), "met": verdict.met} for verdict in found]
    table.show(results, found, judged=not options.quick)
    path = options.json or RESULTS / time.strftime("%Y-%m-%d-%H%M%S.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(f"{results['seconds']:.0f} s; all samples are in {path}")
    return 1 if any(_is_wrong(measured) for measured in results["workloads"].values()) else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure fxarchive against its peers."
    )
    names = [*[workload.name for workload in plan.WORKLOADS], plan.UPGRADE]
    parser.add_argument("--quick", action="store_true", help="small sizes, one repeat: shows that all works")
    parser.add_argument("--only", action="append", choices=names, help="measure this workload (repeatable)")
    parser.add_argument(
        "--repeat", type=int, default=None, help=f"samples of each peer at most ({REPEATS}; quick: 1)"
    )
    parser.add_argument("--json", type=Path, help="where to write all samples (benchmarks/results/...)")
    parser.add_argument(
        "--folder", type=Path, help="where to put the archives meanwhile (4 GB; a temporary one)"
    )
    options = parser.parse_args(arguments)
    if options.repeat is None:
        options.repeat = 1 if options.quick else REPEATS
    if options.repeat < 1:
        parser.error(f"--repeat is {options.repeat}; it must be at least 1")
    return options


def _times(workload: plan.Workload, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    result = folder / "times.json"
    command = _worker("times", workload.name, "--repeat", str(options.repeat), options=options)
    command += ["--folder", str(folder), "--result", str(result)]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if ended.returncode != 0:
        raise SystemExit(f"benchmark {workload.name} ended with code {ended.returncode}:\n{ended.stderr}")
    measured: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return measured


def _memory(workload: plan.Workload, folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Measure save and load of each peer, several processes at once: memory does not depend on speed."""
    peers = (plan.OURS,) if options.quick else workload.memory
    runs = [(peer, what) for peer in peers for what in ("save", "load")]

    def one(run: tuple[str, str]) -> dict[str, Any] | None:
        peer, what = run
        result = folder / f"memory-{plan.file_name(what, peer)}.json"
        command = _worker(what, workload.name, peer, options=options)
        command += ["--folder", str(folder), "--result", str(result)]
        grown = memory.watch(command, ROOT)
        failed = json.loads(result.read_text(encoding="utf-8"))["failed"]
        return None if failed else vars(grown)

    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        grown = dict(zip(runs, pool.map(one, runs), strict=True))
    return {peer: {what: grown[peer, what] for what in ("save", "load")} for peer in peers}


def _upgrade(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    result = folder / "upgrade.json"
    command = [sys.executable, "-m", "benchmarks.upgrades", "--folder", str(folder), "--result", str(result)]
    repeat = min(options.repeat, UPGRADE_REPEATS)
    command += ["--repeat", str(repeat), *(["--quick"] if options.quick else [])]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if ended.returncode != 0:
        raise SystemExit(f"benchmark upgrade ended with code {ended.returncode}:\n{ended.stderr}")
    measured: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return measured


def _worker(*words: str, options: argparse.Namespace) -> list[str]:
    quick = ["--quick"] if options.quick else []
    return [sys.executable, "-W", "ignore", "-m", "benchmarks.worker", *words, *quick]


def _inspect(workload: str, folder: Path) -> dict[str, Any]:
    """Time ``fxarchive inspect`` from the start of the process to its end."""
    path = folder / plan.file_name(workload, plan.OURS)
    wall = []
    for _ in range(INSPECT_REPEATS):
        before = time.perf_counter()
        subprocess.run([*INSPECT, path], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        wall.append(time.perf_counter() - before)
    return {"workload": workload, "bytes": path.stat().st_size, "wall": wall}


def _environment() -> dict[str, str]:
    versions = {name: version(name) for name in ("torch", "safetensors", "zstandard")}
    return {
        "python": platform.python_version(),
        **versions,
        "fxarchive": __version__,  # of this checkout; the metadata of an editable install may be older
        "cores": str(os.cpu_count()),
        "on": platform.system(),
    }


def _is_wrong(measured: dict[str, Any]) -> bool:
    ours = measured["peers"][plan.OURS]
    return ours["failed"] is not None or ours["same"] is False


def _remove(path: Path) -> None:
    if path.is_dir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    else:
        path.unlink()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
