"""Settings for every test: torch runs on one thread, so that results are the same on any machine."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def fresh_dynamo() -> Iterator[None]:
    """A dynamo that has compiled nothing yet, and leaves nothing behind."""
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, while it traces
        yield
    torch._dynamo.reset()
