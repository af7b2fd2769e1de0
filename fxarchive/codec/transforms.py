"""What torch.func transforms leave in metadata: tensors of vmap, and tensors of transforms that have ended.

Dynamo traces `torch.func` calls and notes the wrapped tensors as example values. A wrapper of `grad`, `vjp` or `jvp`
dies with its transform; one of `vmap` keeps its level. Live ones belong to a transform that is going on, and are
refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack

from fxarchive.codec.encoder import Refused
from fxarchive.errors import InvalidDocument

MAX_LEVEL = 63
"""Highest level of vmap that torch takes."""

_functorch: Any = torch._C._functorch


def is_transformed(tensor: Any) -> bool:
    """Whether a torch.func transform wrapped ``tensor``."""
    return bool(_functorch.is_functorch_wrapped_tensor(tensor))


def level_of(tensor: torch.Tensor) -> tuple[torch.Tensor, dict[str, Any]]:
    """Return the tensor that is inside of a wrapped one, and what describes the wrapper.

    Raises:
        Refused: the wrapper is of another kind than vmap's, and its transform is going on.
    """
    inner = _functorch.get_unwrapped(tensor)
    if _functorch.is_batchedtensor(tensor):
        dim, level = _functorch.maybe_get_bdim(tensor), _functorch.maybe_get_level(tensor)
        return inner, {"kind": "batched", "dim": dim, "level": level}
    if _functorch.is_gradtrackingtensor(tensor) and _functorch.is_dead_tensor_wrapper(tensor):
        return inner, {"kind": "dead"}
    raise Refused.because(
        "a tensor of a torch.func transform or of functionalization cannot be kept; save outside of it"
    )


def wrap_batched(inner: torch.Tensor, dim: int, level: int, where: str) -> torch.Tensor:
    """Return ``inner`` as vmap of ``level`` sees it, its dimension ``dim`` hidden."""
    if not (dim < inner.ndim and 1 <= level <= MAX_LEVEL):
        raise InvalidDocument(where, f"it hides dimension {dim} of {inner.ndim} at level {level}")
    found: torch.Tensor = _functorch._add_batch_dim(inner, dim, level)
    return found


def wrap_dead(inner: torch.Tensor, finish: Callable[[torch.Tensor], None] | None = None) -> torch.Tensor:
    """Return ``inner`` in the wrapper of a transform that has ended.

    Args:
        inner: what is inside.
        finish: called with the wrapper while the transform has not ended. Since torch 2.14 autograd takes the
            wrappers of ended ones off, and would give history to what is inside.
    """
    level = _functorch._grad_increment_nesting()
    try:
        found: torch.Tensor = _functorch._wrap_for_grad(inner, level)
        if finish is not None:
            with temporarily_pop_interpreter_stack():  # in a transform, autograd would ask for its rules
                finish(found)
    finally:
        _functorch._grad_decrement_nesting()
    return found
