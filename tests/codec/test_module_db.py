"""Every module of torch.nn, as a leaf of a graph and traced through: the same graph, outputs and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ..material import module_db
from ..material.op_db import Refused
from .round_trip import problems_of_round_trip

CHUNK = 25

pytestmark = pytest.mark.slow

# Modules whose `forward` asks for shapes in an `if`, which symbolic_trace cannot follow.
NOT_TRACED_THROUGH = {
    *("nn.BatchNorm1d", "nn.BatchNorm2d", "nn.BatchNorm3d"),
    *("nn.InstanceNorm1d", "nn.InstanceNorm2d", "nn.InstanceNorm3d"),
    *("nn.TransformerEncoder", "nn.TransformerEncoderLayer", "nn.TransformerDecoderLayer", "nn.Transformer"),
    *("nn.MultiheadAttention", "nn.RNNCell", "nn.GRUCell", "nn.LSTMCell", "nn.RNN", "nn.GRU", "nn.LSTM"),
    *("nn.Softmax2d", "nn.CircularPad1d", "nn.CircularPad2d", "nn.CircularPad3d"),
}

MODULES = module_db.modules()
CHUNKS = [MODULES[i : i + CHUNK] for i in range(0, len(MODULES), CHUNK)]


def ends(chunk: Sequence[Any]) -> str:
    return f"{chunk[0].name}..{chunk[-1].name}"


@pytest.mark.parametrize("chunk", CHUNKS, ids=ends)
def test_modules_come_back_exact(chunk: Sequence[Any]) -> None:
    problems: list[str] = []
    tested = set()
    for info in chunk:
        for found in module_db.traced(info, samples=3):
            if isinstance(found, Refused):
                continue
            problems += problems_of_round_trip(found.name, found.graph_module, found.inputs)
            tested.add((info.name, *found.name.split()[-2:]))
    assert problems == [], "\n".join(problems)
    names = {info.name for info in chunk}
    ways = {(name, mode, how) for name in names for mode in ("train", "eval") for how in ("leaf", "through")}
    untraced = {way for way in ways if way[0] in NOT_TRACED_THROUGH and way[2] == "through"}
    assert ways - untraced - tested == set(), "modules of which nothing was tested"


def test_the_database_is_all_there() -> None:
    assert len({info.name for info in MODULES}) == len(MODULES) >= 105
    assert len(NOT_TRACED_THROUGH) <= 21
