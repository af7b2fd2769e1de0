"""``fxarchive adopt``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import fxarchive
from tests.cli.conftest import Call


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """A stream that torch's GraphPickler writes."""
    from torch.fx._graph_pickler import GraphPickler

    path = tmp_path / "relu.pkl"
    path.write_bytes(GraphPickler.dumps(torch.fx.symbolic_trace(torch.nn.ReLU())))
    return path


def test_the_archive_stands_beside_the_stream(call: Call, stream: Path) -> None:
    code, out, err = call("adopt", "--torch", "2.13", stream)
    archive = stream.with_suffix(".fxa")
    identity = fxarchive.inspect(archive).identity
    assert (code, err) == (0, "")
    assert out == f"{archive}: GraphModule of 3 nodes, written by torch 2.13, identity {identity}\n"
    assert stream.exists()
    assert ": stream " in call("inspect", archive).out
    assert "weights" not in call("inspect", archive).out


def test_an_archive_that_is_there_is_replaced_only_by_force(call: Call, stream: Path) -> None:
    assert call("adopt", stream).code == 0
    code, out, err = call("adopt", stream)
    assert (code, out) == (1, "")
    archive = stream.with_suffix(".fxa")
    assert err == f"fxarchive: {stream}: {archive}: it is there already; name another path or pass --force.\n"
    assert call("adopt", "--force", "--to", "2", stream).code == 0
    assert fxarchive.inspect(stream.with_suffix(".fxa")).schema == 2


def test_several_streams_go_into_a_folder_past_a_bad_one(call: Call, stream: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pkl"
    bad.write_bytes(b"no pickle")
    folder = tmp_path / "archives"
    assert call("adopt", stream, bad, "-o", folder).code == 2
    folder.mkdir()
    code, out, err = call("adopt", bad, stream, "-o", folder, "--json")
    assert code == 1
    assert "does not begin as a pickle" in err
    found = [json.loads(line) for line in out.splitlines()]
    assert [line["error_kind"] for line in found] == ["BadStream", None]
    assert found[1]["archive"] == str(folder / "relu.fxa")
    assert (found[1]["nodes"], found[1]["schema"], found[1]["root"]) == (3, 1, "GraphModule")


def test_a_release_that_is_none_is_wrong_usage(call: Call, stream: Path) -> None:
    code, _, err = call("adopt", stream, "--torch", "newest")
    assert code == 2
    assert "torch is 'newest'" in err
