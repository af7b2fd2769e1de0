"""A program of a user, which mypy checks with --strict; `tests/test_public.py` says so. It is not run."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from typing_extensions import assert_type

import fxarchive
from fxarchive.pickler import GraphPickler, Options


class Tile:
    def __init__(self, rows: int) -> None:
        self.rows = rows


def saving(graph: torch.fx.GraphModule) -> None:
    report = fxarchive.save(
        graph, Path("g.fxa"), metadata={"run": 7}, example_inputs=(torch.ones(1),), weights="zstd"
    )
    assert_type(report, fxarchive.SaveReport)
    assert_type(report.identity, str)
    assert_type(report.dropped, tuple[fxarchive.Problem, ...])
    with open("g.fxa", "wb") as file:
        fxarchive.save(graph, file)
    fxarchive.save(graph, io.BytesIO())
    fxarchive.save(graph, 3)  # type: ignore[arg-type]
    fxarchive.save(graph, "g.fxa", weights="none")  # type: ignore[arg-type]
    assert_type(fxarchive.dumps(graph), bytes)


def loading(data: bytes) -> None:
    fxarchive.load("g.fxa", trust=["mylib.Tile"], device=torch.device("cpu"), mmap=False, verify="all")
    fxarchive.loads(memoryview(data), limits=fxarchive.Limits())
    fxarchive.load("g.fxa", verify="most")  # type: ignore[arg-type]
    assert_type(GraphPickler.dumps([1], Options(ops_filter=None)), bytes)


def looking() -> None:
    info = fxarchive.inspect("g.fxa")
    assert_type(info, fxarchive.ArchiveInfo)
    assert_type(info.features, tuple[str, ...])
    assert_type(info.writer.torch, str)
    assert_type([port.shape for port in info.contents.inputs], list[tuple[int | str, ...] | None])
    report = fxarchive.verify("g.fxa", run=True)
    assert_type(report, fxarchive.VerifyReport)
    assert_type(report.error, fxarchive.FxArchiveError | None)
    assert_type([found.opens for found in fxarchive.compat("g.fxa", torch="2.9")], list[bool])
    assert_type(fxarchive.compare("a.fxa", "b.fxa").differences, tuple[fxarchive.Difference, ...])


def migrating() -> None:
    assert_type(fxarchive.adopt("g.pkl", "g.fxa"), fxarchive.AdoptReport)
    assert_type(fxarchive.upgrade("g.fxa", backup=True), fxarchive.UpgradeReport)
    assert_type(fxarchive.downgrade("g.fxa", to=1, allow_loss=True), fxarchive.UpgradeReport)
    fxarchive.downgrade("g.fxa")  # type: ignore[call-arg]


def registering() -> None:
    fxarchive.register(
        Tile, tag="mylib.Tile", encode=lambda tile: tile.rows, decode=lambda held, version: Tile(held)
    )
    fxarchive.register(
        Tile,
        tag="mylib.Tile",
        encode=lambda tile: tile.columns,  # type: ignore[attr-defined]
        decode=lambda held, version: Tile(held),
    )


def failing(graph: torch.fx.GraphModule) -> None:
    try:
        fxarchive.save(graph, "g.fxa")
    except fxarchive.UnsupportedValue as error:
        assert_type(error.problems[0].path, str)
    except fxarchive.TooLarge as error:
        assert_type((error.found, error.limit), tuple[int, int])
    fxarchive.sav(graph, "g.fxa")  # type: ignore[attr-defined]
