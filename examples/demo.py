"""Save the graph of a transformer, inspect it, load it in a second process, and compare the outputs bit for bit.
Then open what torch's own GraphPickler wrote six releases ago.

``python examples/demo.py [--layers N] [--width N] [--own] [--output DIR]``; the default is the size of GPT-2 small.
The exit code is 0 only when the outputs are the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import torch
from model import VOCABULARY, build, capture
from torch.fx._graph_pickler import GraphPickler, Options

import fxarchive

SECOND = Path(__file__).resolve().with_name("second_process.py")
OLD = Path(__file__).resolve().with_name("old_streams.py")
STREAMS = Path(__file__).resolve().parents[1] / "tests" / "corpus" / "schema-1" / "torch-2.7.0"
CLI = [sys.executable, "-m", "fxarchive"]
LENGTH = 32
"""Tokens in the example input."""

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    options = parse(arguments)
    warnings.simplefilter("ignore")
    with ExitStack() as stack:
        if options.output is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fxarchive-demo-")))
        else:
            folder = options.output
            folder.mkdir(parents=True, exist_ok=True)
        return run(folder, options)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", type=int, default=12, help="blocks of the decoder (12)")
    parser.add_argument("--width", type=int, default=768, help="its width, a multiple of 64 (768)")
    parser.add_argument(
        "--own", action="store_true", help="our own decoder, even where transformers is installed"
    )
    parser.add_argument("--output", type=Path, help="keep the files in this folder")
    options = parser.parse_args(arguments)
    if options.layers < 1 or options.width < 64 or options.width % 64:
        parser.error("--layers must be at least 1 and --width a multiple of 64")
    return options


def run(folder: Path, options: argparse.Namespace) -> int:
    """Go through all steps, with the files in ``folder``."""
    archive, pickled, expected = (folder / name for name in ("model.fxa", "model.pickle", "expected.fxa"))

    (about, model), seconds = timed(lambda: build(options.layers, options.width, own=options.own))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    step(1, "build", f"{about}: {parameters:,} parameters", seconds)

    inputs = (torch.randint(0, VOCABULARY, (1, LENGTH)),)
    graph, seconds = timed(lambda: capture(model, inputs))
    step(2, "capture", f"one graph of {len(graph.graph.nodes):,} nodes, by torch.export", seconds)

    report, save_seconds = timed(lambda: fxarchive.save(graph, archive, metadata={"made by": "make demo"}))
    step(
        3, "save", f"{archive.name}, {report.size:,} bytes, identity {report.identity[:16]}...", save_seconds
    )

    with torch.no_grad():
        fxarchive.save({"inputs": inputs, "output": graph(*inputs)}, expected)

    ended, seconds = timed(
        lambda: subprocess.run([*CLI, "inspect", str(archive)], stdout=subprocess.PIPE, text=True)
    )
    step(4, "inspect", f"`fxarchive inspect {archive.name}`, as a process of its own, without torch", seconds)
    print("\n" + "\n".join("    " + line for line in ended.stdout.splitlines()) + "\n")

    ours, seconds = timed(lambda: second_process("fxarchive", archive, expected))
    spent = (
        "failed"
        if ours["load"] is None
        else f"loaded in {ours['load']:.3f} s, called in {ours['call']:.2f} s"
    )
    step(5, "load", f"in a second process: {spent}; the rest is the start of Python and torch", seconds)

    _, pickle_seconds = timed(
        lambda: pickled.write_bytes(GraphPickler.dumps(graph, Options(ops_filter=None)))
    )
    theirs = second_process("GraphPickler", pickled, expected)
    step(6, "compare", "the same with torch's GraphPickler", pickle_seconds)
    print_comparison(
        {"save": save_seconds, "bytes": report.size, **ours},
        {"save": pickle_seconds, "bytes": pickled.stat().st_size, **theirs},
    )
    old, seconds = timed(lambda: answer_of([sys.executable, str(OLD), str(STREAMS)]))
    step(
        7,
        "old",
        f"graphs that GraphPickler of torch 2.7.0 wrote, opened by torch {torch.__version__}",
        seconds,
    )
    print_old(old)

    failures = [
        why
        for why, failed in (
            ("`fxarchive inspect` failed", ended.returncode != 0),
            ("the second process failed (see above)", ours["same"] is None),
            ("the outputs differ", ours["same"] is False),
            ("old graphs do not open", not old or old["fxarchive"] != old["all"]),
        )
        if failed
    ]
    if failures:
        print(f"FAILED: {', '.join(failures)}.")
        return 1
    print(
        f"Proven: a graph of {len(graph.graph.nodes):,} nodes and {parameters:,} parameters, saved by one process, "
        "gave the same outputs bit for bit in another that had only the file; "
        f"and {old['all']} graphs that torch 2.7.0 wrote gave what it recorded."
    )
    return 0


def second_process(kind: str, path: Path, expected: Path) -> dict[str, Any]:
    """Load and call in a fresh interpreter; return the seconds it took and whether the outputs are the same."""
    result = answer_of([sys.executable, str(SECOND), kind, str(path), str(expected)])
    return result or {"load": None, "call": None, "same": None}


def answer_of(command: Sequence[str]) -> dict[str, Any]:
    """Run a process and return the object in the last line of what it prints; an empty one if it fails."""
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if ended.returncode != 0:
        return {}
    result: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return result


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Do the work; return its result and the wall seconds it took."""
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


def step(number: int, name: str, text: str, seconds: float) -> None:
    print(f"{number}. {name:<8} {text}  [{seconds:.2f} s]", flush=True)


def print_comparison(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Print both columns side by side."""
    rows = [
        ("save, seconds", "save", "{:.3f}"),
        ("load until callable, seconds", "load", "{:.3f}"),
        ("first call, seconds", "call", "{:.3f}"),
        ("file, bytes", "bytes", "{:,}"),
        ("outputs the same", "same", "{}"),
    ]
    print(f"\n    {'':<30}{'fxarchive':>16}{'GraphPickler':>16}")
    for label, key, form in rows:
        cells = ("failed" if side[key] is None else form.format(side[key]) for side in (ours, theirs))
        print(f"    {label:<30}" + "".join(f"{cell:>16}" for cell in cells))
    print()


def print_old(old: dict[str, Any]) -> None:
    """Print how many graphs each opens, and why the others do not open."""
    cells = [f"{old[side]} of {old['all']}" if old else "failed" for side in ("fxarchive", "GraphPickler")]
    print(f"\n    {'outputs as torch 2.7 recorded':<30}" + "".join(f"{cell:>16}" for cell in cells))
    if old and old["why"]:
        print(f"    GraphPickler: {old['why'].partition(' from ')[0]}")
    print()


if __name__ == "__main__":
    sys.exit(main())
