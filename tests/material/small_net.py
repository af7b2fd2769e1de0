"""A small network with tied weights, for tests of the public functions."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx, nn

WIDTH = 256
X = torch.linspace(-1, 1, 4 * WIDTH).reshape(4, WIDTH)
LACKING = "cuda:1" if not torch.cuda.is_available() else "xpu:1"


class Net(nn.Module):
    """Tied weights, a view among buffers, modules that behave differently while training."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH, bias=False)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(WIDTH, WIDTH)
        self.last.weight = self.first.weight
        self.register_buffer("offset", torch.ones(WIDTH))

    def forward(self, x):
        return self.last(self.drop(self.norm(self.first(x)))) + self.offset


def net() -> fx.GraphModule:
    torch.manual_seed(0)
    return fx.symbolic_trace(Net())


def outputs(module: Any) -> torch.Tensor:
    result: torch.Tensor = copy.deepcopy(module).eval()(X)
    return result
