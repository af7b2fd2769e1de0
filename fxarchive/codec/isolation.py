"""Keeps what the caller has switched on out of encoding and decoding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
import torch.utils.deterministic
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes

_memory: Any = torch.utils.deterministic  # its switch is a property of the module


@cache
def import_fake_tensors() -> None:
    """Let torch import what its first FakeTensorMode needs: on torch 2.7 those imports fail in `isolated`."""
    FakeTensorMode()


def _outside_of_transforms() -> AbstractContextManager[Any]:
    """Leave the transforms of torch.func that are going on, which would wrap each tensor that is made."""
    if torch._C._functorch.peek_interpreter_stack() is None:
        return nullcontext()
    from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

    return temporarily_clear_interpreter_stack()


@contextmanager
def _with_empty_memory() -> Iterator[None]:
    """Keep deterministic mode from filling what `torch.empty` gives, which it cannot do for every dtype."""
    filled = torch.are_deterministic_algorithms_enabled() and _memory.fill_uninitialized_memory
    if filled:
        _memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        if filled:
            _memory.fill_uninitialized_memory = True


@contextmanager
def isolated() -> Iterator[None]:
    """Run without the caller's modes: default devices, FakeTensorModes, tracers, inference mode, no_grad, torch.func.

    Inside, `torch.empty` makes a plain tensor on the device that it is told, and attributes of tensors are
    read without asking the `__torch_function__` of their class, which also halves the time of each read.
    """
    with (
        _outside_of_transforms(),
        _with_empty_memory(),
        _disable_current_modes(),
        torch._C.DisableTorchFunction(),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        yield
