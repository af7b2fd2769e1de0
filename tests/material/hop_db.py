"""Graphs of every entry of torch's database of higher-order operators, on torch's own sample inputs.

`torch.testing._internal.hop_db.hop_db` is what torch tests its higher-order operators with: 17 entries in
2.13. Entries that torch lists for a GPU alone are traced on the CPU too, wherever torch can.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from .capture import Captured, Refused, captured


def operators() -> Sequence[Any]:
    """Every OpInfo of hop_db, in torch's order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.hop_db import hop_db
    found: Sequence[Any] = hop_db
    return found


def operator_name(op: Any) -> str:
    """The name of an OpInfo with its variant, unique in hop_db."""
    return f"{op.name}.{op.variant_test_name}"


def traced(op: Any, ways: Sequence[str], *, gradient: bool = False) -> Iterator[Captured | Refused]:
    """Capture the sample inputs of one operator in each of ``ways`` (keys of `capture.WAYS`)."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = list(op.sample_inputs("cpu", torch.float32, requires_grad=gradient))
    for number, sample in enumerate(samples):

        def program(*args: Any, sample: Any = sample) -> Any:
            return op.op(*args, **sample.kwargs)

        name = operator_name(op) + (f"[{number}]" if number else "") + (" trained" if gradient else "")
        yield from captured(name, program, (sample.input, *sample.args), ways)
