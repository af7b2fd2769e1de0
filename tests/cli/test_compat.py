"""``fxarchive compat``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import fx

from fxarchive import api, releases
from tests.cli.conftest import Call


@pytest.fixture
def cholesky(tmp_path: Path) -> Path:
    graph = fx.Graph()
    graph.output(graph.call_method("cholesky", (graph.placeholder("x"),)))
    path = tmp_path / "cholesky.fxa"
    api.save(fx.GraphModule(torch.nn.Module(), graph), path)
    return path


@pytest.fixture
def named(tmp_path: Path) -> Path:
    graph = fx.Graph()
    graph.output(graph.call_method("align_to", (graph.placeholder("x"), "N")))
    path = tmp_path / "named.fxa"
    api.save(fx.GraphModule(torch.nn.Module(), graph), path)
    return path


def test_every_release(call: Call, cholesky: Path) -> None:
    code, out, err = call("compat", cholesky)
    assert (code, err) == (0, "")
    newest = releases.releases()[-1]
    assert out.splitlines() == [
        str(cholesky),
        "  torch 2.7 to 2.13   opens",
        f"  torch 2.14 to {newest}  opens, 1 call rewritten",
        "                      cholesky -> torch._C._linalg.linalg_cholesky: torch 2.14 removed it; "
        "torch.linalg.cholesky gives the same",
    ]


def test_one_release_that_cannot(call: Call, named: Path) -> None:
    code, out, _ = call("compat", "--torch", "2.12", named)
    assert (code, out.splitlines()[1]) == (0, "  torch 2.12  opens")
    code, out, _ = call("compat", "--torch", "2.13.0", named)
    assert code == 1
    assert "does not open" in out
    assert "align_to: torch 2.13 removed named tensors; capture the graph again" in out


def test_json(call: Call, cholesky: Path, bad: Path) -> None:
    code, out, err = call("compat", "--json", "--torch", "2.9", "--torch", "2.14", cholesky, bad)
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [(line.get("torch"), line.get("opens")) for line in found] == [
        ("2.9", True),
        ("2.14", True),
        (None, None),
    ]
    assert found[1]["changes"][0]["node"] == "cholesky"
    assert found[2]["error_kind"] == "NotAnArchive"
    assert "Not an fxarchive file" in err


def test_the_running_torch(call: Call, cholesky: Path) -> None:
    code, out, _ = call("compat", "--torch", "running", cholesky)
    assert code == 0
    assert f"torch {releases.release_of(torch.__version__)}" in out


def test_a_release_that_no_table_knows(call: Call, cholesky: Path) -> None:
    code, _, err = call("compat", "--torch", "1.13", cholesky)
    assert code == 2
    assert "the tables know torch 2.7 to" in err
