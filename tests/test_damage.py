"""A damaged archive gives an error of fxarchive, never another exception and never another graph."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
import torch

import fxarchive
from fxarchive.errors import FxArchiveError

from .compare import differences


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(9, 9)
        self.register_buffer("steps", torch.arange(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(x)) + self.steps.sum()


@pytest.fixture(scope="module")
def module() -> Any:
    torch.manual_seed(0)
    return torch.fx.symbolic_trace(Net())


@pytest.fixture(scope="module")
def archive(module: Any) -> bytes:
    data = fxarchive.dumps(module, metadata={"note": "small"})
    assert b"storages/" in data, "the archive must hold a section of weights too"
    return data


def outcome(data: bytes) -> Any:
    """Return the loaded module, or None for an error of fxarchive; anything else propagates and fails the
    test."""
    try:
        return fxarchive.loads(data)
    except FxArchiveError as error:
        return None if str(error) else "an error without a message"


def test_every_truncation_is_refused(archive: bytes) -> None:
    for size in range(len(archive)):
        assert outcome(archive[:size]) is None, f"the first {size} bytes loaded"


@pytest.mark.slow
def test_every_flipped_bit_is_refused_or_means_nothing(archive: bytes, module: Any) -> None:
    tracemalloc.start()
    try:
        for at in range(len(archive)):
            damaged = bytearray(archive)
            for bit in range(8):
                damaged[at] ^= 1 << bit
                loaded = outcome(bytes(damaged))
                assert loaded is None or not differences(module, loaded), (
                    f"bit {bit} of byte {at} gave another graph"
                )
                damaged[at] ^= 1 << bit
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


@pytest.mark.parametrize("extra", [b"\x00", b"x" * 100, b"PK\x03\x04"])
def test_bytes_after_the_end_are_refused(archive: bytes, extra: bytes) -> None:
    assert outcome(archive + extra) is None
    assert outcome(archive + archive) is None


def test_the_test_would_see_another_graph(module: Any) -> None:
    other = torch.fx.symbolic_trace(torch.nn.ReLU())
    assert differences(module, other)
