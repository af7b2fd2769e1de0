"""Keeps what the caller has switched on out of encoding and decoding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes


@cache
def import_fake_tensors() -> None:
    """Let torch import what its first FakeTensorMode needs: on torch 2.7 those imports fail in `isolated`."""
    FakeTensorMode()


@contextmanager
def isolated() -> Iterator[None]:
    """Run without the caller's modes: default devices, FakeTensorModes, tracers, inference mode, no_grad.

    Inside, `torch.empty` makes a plain tensor on the device that it is told, and attributes of tensors are
    read without asking the `__torch_function__` of their class, which also halves the time of each read.
    """
    with (
        _disable_current_modes(),
        torch._C.DisableTorchFunction(),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        yield
