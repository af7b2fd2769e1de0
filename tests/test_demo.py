"""The demo at a small size: what it prints, and that it fails when the outputs differ."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import fxarchive

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SMALL = ["--layers", "2", "--width", "64"]

pytestmark = pytest.mark.slow


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    "options",
    [
        ["--own"],
        pytest.param(
            [], marks=pytest.mark.skipif(find_spec("transformers") is None, reason="needs transformers")
        ),
    ],
    ids=["own", "transformers"],
)
def test_outputs_are_the_same_in_a_second_process(options: list[str], tmp_path: Path) -> None:
    ended = run("demo.py", *SMALL, *options, "--output", tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    assert [line[0] for line in lines if line[:1].isdigit()] == list("1234567")
    assert lines[-1].startswith("Proven: ")
    assert "fxarchive    GraphPickler" in ended.stdout
    assert "outputs as torch 2.7 recorded           9 of 9" in ended.stdout
    assert {file.name for file in tmp_path.iterdir()} == {"model.fxa", "model.pickle", "expected.fxa"}


def test_other_outputs_are_told_apart(tmp_path: Path) -> None:
    graph = torch.fx.symbolic_trace(torch.nn.ReLU())
    x = torch.tensor([-1.0, 0.0, 2.0])
    fxarchive.save(graph, tmp_path / "graph.fxa")
    for name, output, same in (
        ("right", torch.relu(x), True),
        ("wrong", torch.tensor([-0.0, 0.0, 2.0]), False),
    ):
        fxarchive.save({"inputs": (x,), "output": output}, tmp_path / f"{name}.fxa")
        ended = run("second_process.py", "fxarchive", tmp_path / "graph.fxa", tmp_path / f"{name}.fxa")
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["same"] is same


@pytest.mark.parametrize("options", [["--layers", "0"], ["--width", "100"]])
def test_sizes_that_make_no_model_are_refused(options: list[str]) -> None:
    ended = run("demo.py", *options)
    assert ended.returncode == 2
    assert "--layers must be at least 1 and --width a multiple of 64" in ended.stderr
