"""Every operator that torch can trace, saved and loaded: the same graph, the same outputs, the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ..material import op_db
from .round_trip import problems_of_round_trip

CHUNK = 25

pytestmark = pytest.mark.slow

# Operators of which no sample traces, in torch 2.13 on the CPU: they read values out of tensors (`equal`,
# `allclose`), need a GPU (`jiterator`), or have outputs whose shape fake tensors cannot know (`lstsq`).
UNTRACED_IN_BOTH = {
    *("allclose", "corrcoef", "cov", "equal", "istft", "nn.functional.gaussian_nll_loss"),
    *("jiterator_2inputs_2outputs", "jiterator_4inputs_with_extra_args", "jiterator_binary"),
    *("jiterator_binary_return_by_ref", "jiterator_unary", "nn.functional.batch_norm.without_cudnn"),
    *("torch.ops.aten._efficient_attention_forward", "torch.ops.aten._flash_attention_forward"),
}
UNTRACED = {
    "real": UNTRACED_IN_BOTH | {"item", "nn.functional.one_hot", "sparse.mm.reduce", "sparse.sampled_addmm"},
    "fake": UNTRACED_IN_BOTH
    | {"linalg.lstsq", "linalg.lstsq.grad_oriented", "nn.functional.ctc_loss", "tensor_split"},
    "symbolic": (UNTRACED_IN_BOTH - {"istft"})
    | {"geqrf", "histogram", "histogramdd", "linalg.lstsq", "linalg.lstsq.grad_oriented"}
    | {"nn.functional.ctc_loss", "nn.functional.one_hot", "resize_", "sparse.mm.reduce"}
    | {"sparse.sampled_addmm", "to_sparse"},
}

SAMPLES = {"real": 2, "fake": 2, "symbolic": 1}
"""How many samples of each operator; tracing with symbols takes as long as all else together."""

# Operators whose results are whatever the memory held.
UNINITIALISED = {"empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided"}

OPERATORS = op_db.operators()
CHUNKS = [OPERATORS[i : i + CHUNK] for i in range(0, len(OPERATORS), CHUNK)]


def ends(chunk: Sequence[Any]) -> str:
    return f"{op_db.operator_name(chunk[0])}..{op_db.operator_name(chunk[-1])}"


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@pytest.mark.parametrize("chunk", CHUNKS, ids=ends)
def test_operators_come_back_exact(chunk: Sequence[Any], mode: str) -> None:
    problems: list[str] = []
    tested, expected = set(), {op_db.operator_name(operator) for operator in chunk} - UNTRACED[mode]
    for operator in chunk:
        name = op_db.operator_name(operator)
        for found in op_db.traced(operator, modes=(mode,), samples=SAMPLES[mode]):
            if isinstance(found, op_db.Refused):
                continue
            run = name not in UNINITIALISED
            problems += problems_of_round_trip(found.name, found.graph_module, found.inputs, run=run)
            tested.add(name)
    assert problems == [], "\n".join(problems)
    assert expected - tested == set(), "operators of which nothing was tested"


def test_the_database_is_all_there() -> None:
    names = [op_db.operator_name(operator) for operator in OPERATORS]
    assert len(set(names)) == len(names)
    assert sum(map(len, CHUNKS)) == len(names) >= 640
    assert max(map(len, UNTRACED.values())) <= 24
