"""Comparing outputs of kernels that may round differently: other releases, other processors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils import _pytree as pytree

_HALF = (torch.bfloat16, torch.float16)


def far_apart(expected: Any, found: Any) -> Iterator[str]:
    """Yield one clause for each output that is not nearly what it was; structure, dtypes and shapes are exact."""
    before, spec = pytree.tree_flatten(expected)
    now, other = pytree.tree_flatten(found)
    if spec != other:
        yield f"the outputs are {other} and were {spec}"
        return
    for at, (one, two) in enumerate(zip(before, now, strict=True)):
        if not isinstance(one, torch.Tensor):
            if type(one) is not type(two) or (one != two and one == one):
                yield f"output {at} is {two!r:.80} and was {one!r:.80}"
            continue
        facts = [(t.dtype, t.shape, t.layout, t.device) for t in (one, two) if isinstance(t, torch.Tensor)]
        if facts != facts[:1] * 2:
            yield f"output {at} is {facts[-1]} and was {facts[0]}"
        elif not torch.allclose(
            one, two, rtol=2e-2 if one.dtype in _HALF else 1e-4, atol=1e-5, equal_nan=True
        ):
            yield f"output {at} differs by up to {(one - two).abs().max().item():.3g}"
