"""Upgrading against what the disk allows: ``python -m benchmarks.upgrades --folder DIR --result PATH [--quick]``.

A process of its own, without torch. A schema that never was stands in for the next one, so that a large archive whose
weights are copied and a thousand small ones can be upgraded. A large one is compared with ``cp`` and ``sync`` of the
same file, small ones with writing files of the same size in the same groups.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from fxarchive import api, batch, chain, container, packing, rewriting, selection, upgrading, wire
from fxarchive.container import Header, NewSection, Writer
from fxarchive.document import SCHEMA, empty_document
from fxarchive.migrations.content import Content
from fxarchive.orders import Order

LARGE, MANY, JOBS = 500 << 20, 1000, 2
QUICK_LARGE, QUICK_MANY = 10 << 20, 50
NODES = 40
WRITER = Writer("0.1.0", "2.13.0", "3.11.8")


class Renumber:
    """The next schema is this one under another number."""

    SOURCE = SCHEMA

    def upgrade(self, content: Content) -> Content:
        document = {**content.document, "schema": SCHEMA + 1}
        return replace(content, schema=SCHEMA + 1, document=document)

    def downgrade(self, content: Content) -> Content:
        document = {**content.document, "schema": SCHEMA}
        return replace(content, schema=SCHEMA, document=document)


def install() -> None:
    """Let the next schema be the current one, for the rest of the process."""
    chain.STEPS = (*chain.STEPS, Renumber())
    for name, module in list(sys.modules.items()):
        if name.startswith("fxarchive") and hasattr(module, "SCHEMA"):
            vars(module)["SCHEMA"] = SCHEMA + 1
            vars(module)["MIN_READER"] = SCHEMA + 1


def write_archive(path: Path, size: int, nodes: int = NODES) -> None:
    """Write an archive of a chain of additions, with one storage of ``size`` bytes."""
    document: Any = empty_document()
    document["schema"] = SCHEMA
    document["texts"] = ["x", "output"]
    document["targets"] = [["function", "operator.add"]]
    document["storages"] = [{"size": size, "device": "cpu", "section": "storages/0"}]
    document["tensors"] = [{"storage": 0, "dtype": "uint8", "size": [size]}]
    document["modules"] = [{"training": True, "graph": 0, "buffers": ["w", ["tensor", 0], True]}]
    document["root"] = ["module", 0]
    names = ["x", *[f"add_{number}" for number in range(nodes)], "output"]
    document["graphs"] = [
        {
            "names": "\n".join(names),
            "ops": bytes([0, *[2] * nodes, 5]),
            "targets": [0, *[0] * nodes, 1],
            "patterns": [[[], []], [[["hole"], 1], []], [[["hole"]], []]],
            "pattern": [0, *[1] * nodes, 2],
            "operands": [1] * (nodes + 1),
            "types": [[], []],
            "keys": [],
            "layouts": [[]],
            "layout": [0] * (nodes + 2),
            "columns": [],
            "codegen": ["plain", "forward"],
            "tracer": [None, ["dict", []]],
        }
    ]
    payload = wire.dumps(packing.pack(document))
    block = os.urandom(min(size, 1 << 20))
    sections = [
        NewSection("document", "zstd", len(payload), [payload]),
        NewSection("storages/0", "raw", size, (block for _ in range(size // len(block)))),
    ]
    with open(path, "wb") as file:
        container.write(file, Header(SCHEMA, SCHEMA, (), WRITER, "GraphModule"), sections)


def measure(folder: Path, *, quick: bool, repeat: int) -> dict[str, Any]:
    """Return wall seconds of each, taken in turns, and the peak of memory of this process in bytes."""
    large = _large(folder, QUICK_LARGE if quick else LARGE, repeat)
    peak = _peak()
    return {"large": {**large, "peak": peak}, "small": _small(folder, QUICK_MANY if quick else MANY, repeat)}


def _large(folder: Path, size: int, repeat: int) -> dict[str, Any]:
    source, path, copy = folder / "source", folder / "large.fxa", folder / "copy"
    write_archive(source, size)
    os.sync()
    found: dict[str, Any] = {"bytes": source.stat().st_size, "copy": [], "upgrade": [], "upgrade_cpu": []}

    def copied() -> None:
        subprocess.run(["cp", source, copy], check=True)
        subprocess.run(["sync", copy], check=True)

    for _ in range(repeat):
        shutil.copyfile(source, path)
        os.sync()
        found["copy"].append(_seconds(copied))
        copy.unlink()
        os.sync()
        cpu = time.process_time()
        found["upgrade"].append(_seconds(lambda: upgrading.upgrade(path)))
        found["upgrade_cpu"].append(time.process_time() - cpu)
        path.unlink()
    source.unlink()
    return found


def _small(folder: Path, count: int, repeat: int) -> dict[str, Any]:
    source = folder / "source"
    write_archive(source, 4096)
    data = source.read_bytes()
    found: dict[str, Any] = {"count": count, "bytes": len(data), "floor": [], "upgrade": []}
    for number in range(repeat):
        models = folder / f"models{number}"
        models.mkdir()
        for at in range(count):
            (models / f"{at}.fxa").write_bytes(data)
        os.sync()
        found["floor"].append(_seconds(lambda models=models: _floor(models, data, count)))  # type: ignore[misc]
        for at in range(count):
            (models / f"{at}.fxa").write_bytes(data)
        os.sync()
        found["upgrade"].append(_seconds(lambda models=models: _upgraded(models, count)))  # type: ignore[misc]
        shutil.rmtree(models)
    source.unlink()
    return found


def _upgraded(models: Path, count: int) -> None:
    reports = list(batch.run_jobs(list(selection.select([models])), Order(), JOBS))
    if [report.result for report in reports] != ["upgraded"] * count:
        raise SystemExit("an archive was not upgraded")


def _floor(models: Path, data: bytes, count: int) -> None:
    """Replace every file by one of the same size, in the same groups and as many processes, and do nothing else."""
    children = []
    for job in range(JOBS):
        child = os.fork()
        if not child:
            for group in _groups(range(job, count, JOBS)):
                _replace_group(models, data, group)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def _groups(numbers: range) -> Iterator[range]:
    for start in range(0, len(numbers), upgrading.TOGETHER):
        yield numbers[start : start + upgrading.TOGETHER]


def _replace_group(models: Path, data: bytes, group: range) -> None:
    written = []
    for number in group:
        file = os.open(models / f"{number}.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(file, data)
        written.append((file, number))
    files = [file for file, _ in written]
    with ThreadPoolExecutor(rewriting.SYNCED_AT_ONCE) as threads:
        list(threads.map(os.fsync, files))
    for file, number in written:
        os.replace(models / f"{number}.tmp", models / f"{number}.fxa")
        os.close(file)
    folder = os.open(models, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _seconds(call: Callable[[], object]) -> float:
    before = time.perf_counter()
    call()
    return time.perf_counter() - before


def _peak() -> int | None:
    """The most memory that this process ever had, in bytes, where the system tells."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return None if found is None else int(found[1]) << 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if api.SCHEMA == SCHEMA:
        install()
    options.result.write_text(
        json.dumps(measure(options.folder, quick=options.quick, repeat=options.repeat)), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
