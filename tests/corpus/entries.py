"""What `add` can write into the corpus, by name, and what a reader has to know to open it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from fxarchive.releases import number_of

from ..material import configs, higher_order, models, programs
from . import operators, values

TRUST = (
    f"{models.__name__}.Point",
    f"{models.__name__}.BufferTracer",
    *configs.TRUST,
    *programs.TRUST,
    f"{higher_order.__name__}.LoweredBackendModule",
    "mylib.kernel",
    "mylib.cache",
)
"""Names that the archives ask for; they stay where they are, since archives do."""

Built = tuple[Any, tuple[Any, ...] | None]


@dataclass(frozen=True)
class Entry:
    """One entry: how to make its root and its example inputs, and how to save it."""

    name: str
    build: Callable[[], Built]
    options: dict[str, Any] = field(default_factory=dict)
    """Of `fxarchive.save`."""
    first: str | None = None
    last: str | None = None
    """The first and the last release of torch that can write it; None for no end."""

    def is_for(self, torch_version: str) -> bool:
        """Whether that torch can write it."""
        release = number_of(torch_version)
        return (self.first is None or number_of(self.first) <= release) and (
            self.last is None or release <= number_of(self.last)
        )

    def built(self) -> Built:
        """Make the root and its example inputs, the same in every process."""
        torch.manual_seed(0)
        return self.build()


def coarse(build: Callable[[], Built]) -> Callable[[], Built]:
    """Round the weights of a graph to multiples of 1/32, so that they compress: the corpus is kept for ever."""

    def built() -> Built:
        module, inputs = build()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_((parameter * 32).round() / 32)
        return module, inputs

    return built


def alone(build: Callable[[], Any]) -> Callable[[], Built]:
    """Let what makes a root alone make no inputs."""
    return lambda: (build(), None)


def omitted() -> Built:
    """A graph whose weights are left out."""
    return fx.symbolic_trace(nn.Sequential(nn.Linear(300, 400), nn.BatchNorm1d(400), nn.ReLU())), None


def exported_program() -> Built:
    """A program with subgraphs, and inputs for its module."""
    program, (args, _) = programs.exported(programs.branches)
    return program, args


def exported_programs() -> Built:
    """Programs with every kind of state and a registered container, and the module of one of them."""
    state, _ = programs.exported(programs.state)
    return {
        "state": state,
        "module": state.module(),
        "registered": programs.exported(programs.registered)[0],
    }, None


LARGE = {models.resnet, models.resnet_train_shapes}
"""Builders with weights of several hundred kilobytes; their entries also have compressed storages."""

ENTRIES = {
    entry.name: entry
    for entry in (
        *[
            Entry(build.__name__, coarse(build), {"weights": "zstd"})
            if build in LARGE
            else Entry(build.__name__, build)
            for build in models.BUILDERS
        ],
        *[Entry(build.__name__, build) for build in values.GRAPHS],
        *[Entry(build.__name__, alone(build)) for build in values.VALUES],
        Entry(omitted.__name__, omitted, {"weights": "omit"}),
        Entry(exported_program.__name__, exported_program),
        Entry(exported_programs.__name__, exported_programs),
        Entry("accumulated_gradient", operators.accumulated_gradient, last="2.12"),
        Entry("accumulated_gradient_given", operators.accumulated_gradient_given, first="2.13"),
        *[Entry(case.name, case, first=case.first, last=case.last) for case in operators.CHANGED],
    )
}
"""Every entry that some torch release can write, by name."""

AWAITED: frozenset[str] = frozenset()
"""Entries that came after the last release: the corpus gets their files with the next one."""

WRITTEN_HERE = {name: entry for name, entry in ENTRIES.items() if entry.is_for(torch.__version__)}
"""Those that the running torch can write."""
