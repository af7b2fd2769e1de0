"""The benchmarks at their smallest size, and the verdicts on results that are known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import budgets, memory, plan, table

ROOT = Path(__file__).resolve().parents[1]


def samples(seconds: float, size: int, **other: Any) -> dict[str, Any]:
    names = ("save_wall", "save_cpu", "load_wall", "load_cpu", "ready_wall", "call_wall")
    return {**{name: [seconds] for name in names}, "bytes": size, "same": True, "failed": None, **other}


def results(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    graph = {
        "about": "a graph",
        "nodes": 3,
        "weights_bytes": 0,
        "peers": {plan.PICKLER: theirs, plan.PICKLER_ZSTD: theirs, plan.OURS: ours},
        "memory": {plan.OURS: {"save": {"owned": 0}, "load": {"owned": 2_000_000}}},
    }
    weights = {
        **graph,
        "weights_bytes": 500_000_000,
        "peers": {plan.PICKLER: theirs, plan.EXPORT: theirs, plan.OURS: ours},
        "memory": {plan.OURS: {"save": {"owned": 60_000_000}, "load": {"owned": 3_000_000}}},
    }
    return {
        "environment": {"python": "3"},
        "workloads": {"gpt2": weights, "gpt2-graph": graph},
        "inspect": [{"workload": "gpt2", "bytes": 500_000_000, "wall": [0.1, 0.3, 0.15]}],
    }


def test_verdicts() -> None:
    found = budgets.verdicts(results(samples(1.0, 100), samples(50.0, 299)))
    assert [(verdict.measured, verdict.met) for verdict in found] == [
        (50.0, True),  # save of the graph
        (50.0, True),  # load of the graph
        (2.99, False),  # size: three times is asked
        (50.0, True),  # load with weights against GraphPickler: 40 times
        (50.0, False),  # against torch.export: 60 times
        (60.0, False),  # memory on save: 50 MB
        (1.0, True),  # memory on load beyond that of the graph
        (150.0, True),  # inspect
    ]


def test_what_was_not_measured_has_no_verdict() -> None:
    failed = samples(1.0, 1, failed="save fails: ValueError: no") | {
        "save_cpu": [],
        "load_cpu": [],
        "bytes": None,
    }
    found = budgets.verdicts(results(failed, samples(50.0, 299)))
    assert [verdict.what.partition(":")[2] for verdict in found[:-1]] == [
        " memory on save, a tenth of the weights",
        " memory on load, more than without its weights",
    ]


def test_table_tells_what_is_missed_and_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    measured = results(samples(1.0, 100), samples(50.0, 299, same=False, failed="load fails: OSError: none"))
    table.show(measured, budgets.verdicts(measured), judged=True)
    text = capsys.readouterr().out
    assert "GraphPickler: load fails: OSError: none" in text
    assert text.count("MISSED") == 3
    assert text.count("met") == 5
    table.show(measured, budgets.verdicts(measured), judged=False)
    assert "MISSED" not in capsys.readouterr().out


@pytest.mark.skipif(not memory.can_watch(), reason="needs /proc of Linux")
@pytest.mark.parametrize(
    ("work", "least", "most"),
    [
        ("kept = bytearray(b'x') * (64 << 20)", 64, 80),
        ("kept = bytearray(b'x') * (64 << 20); time.sleep(0.2); del kept", 48, 80),
        (
            "file = open(sys.executable, 'rb'); mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).read()",
            0,
            40,
        ),
        ("pass", 0, 2),
    ],
    ids=["kept", "freed again", "mapped", "nothing"],
)
def test_memory_that_a_process_comes_to_own(work: str, least: int, most: int) -> None:
    program = f"import mmap, sys, time; from benchmarks.memory import tell_caller; tell_caller(); {work}; tell_caller()"
    growth = memory.watch([sys.executable, "-c", program], ROOT)
    assert least << 20 <= growth.owned <= most << 20
    assert growth.resident >= growth.owned // 2


@pytest.mark.skipif(not memory.can_watch(), reason="needs /proc of Linux")
@pytest.mark.parametrize("program", ["raise OSError('gone')", "print('.'); raise OSError('gone')"])
def test_a_process_that_ends_early_is_an_error(program: str) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)ended with code 1: .*gone"):
        memory.watch([sys.executable, "-c", program], ROOT)


def test_the_symbolic_workload_has_symbols() -> None:
    pytest.importorskip("safetensors")
    from benchmarks.subjects import build

    nodes = build("chain5k-symbolic", quick=True).module.graph.nodes
    kinds = {type(node.meta["val"]).__name__ for node in nodes if "val" in node.meta}
    assert {"FakeTensor", "SymInt"} <= kinds
    sizes = {type(size) for node in nodes for size in getattr(node.meta.get("val"), "shape", ())}
    assert len(sizes) == 2
    assert "chain5k-symbolic" in budgets.GRAPHS


def test_upgrades_are_judged_against_the_disk() -> None:
    large = {"bytes": 500_000_000, "copy": [1.0, 2.0, 1.0], "upgrade": [1.2, 3.2, 1.4], "peak": 40_000_000}
    small = {"count": 1000, "bytes": 5000, "floor": [2.0], "upgrade": [4.0]}
    found = budgets.verdicts({"workloads": {}, "inspect": [], "upgrade": {"large": large, "small": small}})
    assert [(verdict.measured, verdict.met) for verdict in found] == [
        (1.4, True),
        (40.0, True),
        (250.0, True),
    ]
    assert "the disk alone: 500" in found[2].what
    large["upgrade"] = [1.6, 3.2, 1.4]
    found = budgets.verdicts({"workloads": {}, "inspect": [], "upgrade": {"large": large, "small": small}})
    assert not found[0].met


def test_a_run_of_upgrades(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    options = ["--quick", "--only", "upgrade", "--json", str(path), "--folder", str(tmp_path)]
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(path.read_text())["upgrade"]
    assert [len(found[size][key]) for size in ("large", "small") for key in ("upgrade",)] == [1, 1]
    assert 0 < found["large"]["peak"] < 100_000_000
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_one_run(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    options = ["--quick", "--only", "resnet", "--only", "gpt2-graph", "--json", path, "--folder", tmp_path]
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", *map(str, options)], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(path.read_text())
    assert list(found["workloads"]) == ["resnet", "gpt2-graph"]
    resnet = found["workloads"]["resnet"]["peers"]
    assert list(resnet) == list(plan.EVERY_PEER)
    assert [name for name, peer in resnet.items() if peer["failed"]] == []
    assert resnet[plan.OURS]["same"] is True
    assert all(name in ended.stdout for name in plan.EVERY_PEER)
    assert len(found["budgets"]) == 5
    assert list(tmp_path.iterdir()) == [path]


def test_no_repeats_are_refused() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--repeat", "0"], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert "--repeat is 0; it must be at least 1" in ended.stderr
