"""Archives written by each of several torch releases, read by each: `make cross TORCHES="2.8.0 2.15.0"`.

Each release gets a virtual environment of its own, in the user's cache folder or ``--venvs``; it takes 1 to 5 GB.
An archive is *exact* if it loads, its graph reads as the writer saw it, and its outputs are the writer's numbers.

    python tests/cross.py 2.7.1 2.13.0 2.15.0
    python tests/cross.py --python 2.7.1=/path/to/bin/python --python 2.15.0=/path/to/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("msgpack", "zstandard", "click", "rich", "numpy", "einops")
MISMATCH = "other graph or numbers"


def main() -> int:
    """Run the matrix, or with ``--write`` and ``--read`` one release's part of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("releases", nargs="*", help="torch releases, such as 2.8.0")
    parser.add_argument(
        "--python", action="append", default=[], metavar="RELEASE=PATH", help="use this interpreter"
    )
    parser.add_argument("--venvs", type=Path, default=Path.home() / ".cache" / "fxarchive-cross")
    parser.add_argument("--json", type=Path, help="write the results here too")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write)
        return 0
    if options.read:
        print(json.dumps(read(options.read)))
        return 0
    pythons = dict(pair.split("=", 1) for pair in options.python)
    for release in options.releases or ([] if pythons else ["2.13.0"]):
        pythons[release] = str(environment(options.venvs, release))
    with tempfile.TemporaryDirectory() as folder:
        results = matrix(pythons, Path(folder))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    show(results)
    return int(
        any(
            outcome != "exact"
            for row in results.values()
            for cell in row.values()
            for outcome in cell.values()
        )
    )


def environment(folder: Path, release: str) -> Path:
    """Return the interpreter of an environment with that torch, made on first use."""
    home = folder / f"torch-{release}"
    python = home / "bin" / "python"
    if not (home / ".ready").exists():
        print(f"installing torch {release} into {home}", file=sys.stderr)
        venv.create(home, with_pip=True)
        packages = (f"torch=={release}", *PACKAGES)
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-cache-dir", *packages], check=True)
        (home / ".ready").touch()
    return python


def matrix(pythons: dict[str, str], folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Return writer -> reader -> case -> "exact" or what went wrong."""
    for release, python in pythons.items():
        (folder / release).mkdir()
        run(python, "--write", folder / release)
    return {
        writer: {
            reader: json.loads(run(python, "--read", folder / writer).splitlines()[-1])
            for reader, python in pythons.items()
        }
        for writer in pythons
    }


def run(python: str, *arguments: Any) -> str:
    """Run this file with another interpreter and return what it prints."""
    command = [python, "-W", "ignore", "-m", "tests.cross", *map(str, arguments)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environ, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def show(results: dict[str, dict[str, dict[str, str]]]) -> None:
    """Print the matrix, and a line for each case that is not exact."""
    readers = list(results)
    print("exact / written; rows wrote, columns read")
    print(f"{'':>10}" + "".join(f"{reader:>10}" for reader in readers))
    for writer, row in results.items():
        cells = [f"{sum(o == 'exact' for o in row[r].values())}/{len(row[r])}" for r in readers]
        print(f"{writer:>10}" + "".join(f"{cell:>10}" for cell in cells))
    for writer, row in results.items():
        for reader, cell in row.items():
            for case, outcome in cell.items():
                if outcome != "exact":
                    print(f"{writer} -> {reader}  {case}: {outcome}")


# one release's part


def write(folder: Path) -> None:
    """Save every hand-written graph that this torch can make, with inputs, outputs and what its nodes read."""
    import torch

    import fxarchive
    from tests.material import models, programs, symbolic

    for made in programs.BUILDERS:
        program, (args, kwargs) = programs.exported(made)
        module = program.module()
        case = {
            "program": program,
            "module": module,
            "inputs": args,
            "keywords": kwargs,
            "outputs": call(module, args, kwargs),
            "nodes": nodes_of(module),
        }
        fxarchive.save(case, folder / f"program_{made.__name__}.fxa")
    for build in (*models.BUILDERS, *symbolic.BUILDERS):
        torch.manual_seed(0)
        try:
            module, inputs = build()
        except Exception as error:  # an old torch cannot trace every one
            print(f"torch {torch.__version__} cannot make {build.__name__}: {error}", file=sys.stderr)
            continue
        case = {
            "module": module,
            "inputs": inputs,
            "outputs": call(module, inputs),
            "nodes": nodes_of(module),
        }
        fxarchive.save(case, folder / f"{build.__name__}.fxa")


def read(folder: Path) -> dict[str, str]:
    """Load every archive of a folder and compare it with what its writer saw."""
    import fxarchive
    from tests.material import models, programs

    trust = [f"{models.__name__}.Point", f"{models.__name__}.BufferTracer", *programs.TRUST]
    outcomes: dict[str, str] = {}
    for path in sorted(folder.glob("*.fxa")):
        try:
            case = fxarchive.load(path, trust=trust)
            same = case["nodes"] == nodes_of(case["module"])
            modules = [case["module"], *([case["program"].module()] if "program" in case else [])]
            found = [call(module, case["inputs"], case.get("keywords", {})) for module in modules]
            same = same and all(close(case["outputs"], outputs) for outputs in found)
            outcomes[path.stem] = "exact" if same else MISMATCH
        except Exception as error:
            outcomes[path.stem] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    return outcomes


def call(module: Any, inputs: Any, keywords: Any = None) -> Any:
    """Return the outputs of a copy of the module for copies of the inputs, from one seed."""
    import copy

    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        return copy.deepcopy(module)(*copy.deepcopy(tuple(inputs)), **copy.deepcopy(keywords or {}))


def nodes_of(module: Any) -> list[str]:
    """Return a line for each node: what it is, what it calls with what, and the shape of its value."""
    lines = []
    for node in module.graph.nodes:
        target = (
            node.target
            if isinstance(node.target, str)
            else getattr(node.target, "__name__", str(node.target))
        )
        value = node.meta.get("val", node.meta.get("example_value"))
        shape = (
            (str(value.dtype), list(value.shape), list(value.stride()))
            if hasattr(value, "stride")
            else (type(value).__name__, str(value), value.node.hint)
            if hasattr(value, "node")
            else type(value).__name__
        )
        lines.append(
            f"{node.op} {node.name} {target} {node.args} {node.kwargs} {sorted(map(str, node.meta))} {shape}"
        )
    return lines


def close(expected: Any, actual: Any) -> bool:
    """Whether two trees hold the same numbers, up to what kernels of another release may change."""
    import torch
    from torch.utils import _pytree as pytree

    one, spec = pytree.tree_flatten(expected)
    other, other_spec = pytree.tree_flatten(actual)
    return spec == other_spec and all(
        torch.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(one, other, strict=True)
    )


if __name__ == "__main__":
    sys.exit(main())
