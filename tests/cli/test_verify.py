"""``fxarchive verify``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fxarchive import api
from tests.cli.conftest import Call


def test_a_good_file(call: Call, good: Path) -> None:
    code, out, err = call("verify", good)
    assert (code, err) == (0, "")
    assert out.startswith(f"{good}: good (2 sections, ")
    assert out.endswith("\n")


def test_a_bad_byte_and_the_rest(call: Call, good: Path, tmp_path: Path) -> None:
    data = bytearray(good.read_bytes())
    data[data.rindex(bytes(4096)) + 5] ^= 1
    broken = tmp_path / "broken.fxa"
    broken.write_bytes(data)
    code, out, err = call("verify", broken, good)
    assert code == 1
    assert out.count("\n") == 1
    assert err == (
        f"fxarchive: {broken}: The archive is corrupt in section 'storages/1': "
        "its digest does not match its bytes; restore it from a good copy.\n"
    )


def test_json_is_one_object_a_file(call: Call, good: Path, bad: Path) -> None:
    code, out, _ = call("verify", "--json", good, bad)
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [line["ok"] for line in found] == [True, False]
    assert set(found[0]) == set(found[1]) == {
        "path", "ok", "identity", "sections_checked", "bytes_checked", "trust", "outputs_compared", "error",
        "error_kind",
    }  # fmt: skip
    assert found[0]["trust"] == ["mine.Block", "mine.helper"]
    assert found[1]["error_kind"] == "NotAnArchive"


@pytest.fixture
def relu(tmp_path: Path) -> Path:
    path = tmp_path / "relu.fxa"
    api.save(torch.fx.symbolic_trace(torch.nn.ReLU()), path, example_inputs=(torch.randn(3),))
    return path


def test_a_replay(call: Call, relu: Path) -> None:
    code, out, err = call("verify", "--run", relu)
    assert (code, err) == (0, "")
    assert "1 output equal bit for bit" in out


def test_a_replay_without_examples(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "bare.fxa"
    api.save(torch.fx.symbolic_trace(torch.nn.ReLU()), path)
    code, out, err = call("verify", "--run", path)
    assert (code, out) == (1, "")
    assert "The replay of the example inputs failed: the archive has none" in err


def test_names_are_trusted_one_by_one(call: Call, good: Path) -> None:
    code, _, err = call("verify", "--run", good, "--trust", "mine.Block")
    assert code == 1
    assert "'mine.helper'" in err
    assert "'mine.Block'" not in err


def test_trust_and_import_need_run(call: Call, good: Path) -> None:
    assert call("verify", "--trust", "a.b", good).code == 2
    assert call("verify", "--import", "json", good).code == 2


def test_a_module_that_cannot_be_imported_is_wrong_usage(call: Call, relu: Path) -> None:
    code, _, err = call("verify", "--run", "--import", "no_such_module", relu)
    assert code == 2
    assert "no_such_module" in err
    assert call("verify", "--run", "--import", "json", relu).code == 0


def test_an_error_of_several_lines_becomes_one(call: Call, good: Path) -> None:
    code, _, err = call("verify", "--run", good, "--trust", "mine.Block", "--trust", "mine.helper")
    assert code == 1
    assert "mine::relu: import mine.ops first" in err
    assert err.count("\n") == 1
