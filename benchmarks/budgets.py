"""The budgets of speed and size, and what a run says about each.

Ratios are of CPU seconds, which other work on the machine disturbs least; wall seconds stand beside them in
the table. Saving weights is bound by the disk, so the budget of saving is for the graph alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.plan import EXPORT, OURS, PICKLER, PICKLER_ZSTD

GRAPHS = ("gpt2-graph", "gpt2-dynamic", "chain100k", "chain100k-fake", "chain5k-symbolic")
"""Workloads in which the graph is what counts."""

SAVE_FASTER = 12.0
LOAD_FASTER = 15.0
SMALLER = 3.0
WEIGHTS_FASTER = 40.0
WEIGHTS_FASTER_THAN_EXPORT = 60.0
SAVE_MEMORY_SHARE = 0.1
LOAD_MEMORY_BYTES = 16 * 2**20
"""Growth on load that is not the weights': what another run of the same load differs by, and page tables."""
INSPECT_SECONDS = 0.2
UPGRADE_AGAINST_COPY = 1.5
UPGRADE_MEMORY_BYTES = 100e6
UPGRADES_A_SECOND = 200.0


@dataclass(frozen=True)
class Verdict:
    """One budget and what was measured.

    Attributes:
        what: the budget in words.
        budget, measured: of one unit, which ``unit`` names.
        at_least: True when more is better.
    """

    what: str
    budget: float
    measured: float
    unit: str
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether the budget was kept."""
        return self.measured >= self.budget if self.at_least else self.measured <= self.budget


def verdicts(results: dict[str, Any]) -> list[Verdict]:
    """Return a verdict for each budget of which the run has both sides."""
    found = [*_graph_verdicts(results["workloads"]), *_weights_verdicts(results["workloads"])]
    found += _upgrade_verdicts(results.get("upgrade"))
    for row in results["inspect"]:
        what = f"inspect {row['workload']} ({row['bytes'] / 1e6:.1f} MB), whole process"
        found.append(Verdict(what, INSPECT_SECONDS * 1e3, median(row["wall"]) * 1e3, "ms", at_least=False))
    return found


def ratio(workload: dict[str, Any], peer: str, figure: str) -> float | None:
    """Return how many times fxarchive's ``figure`` fits into the peer's; None when one of them is missing.

    Args:
        workload: the results of one workload.
        peer: a name in its peers.
        figure: ``save_cpu``, ``load_cpu``, any other list of seconds, or ``bytes``.
    """
    theirs, ours = (middle(workload["peers"].get(name, {}).get(figure)) for name in (peer, OURS))
    return theirs / ours if theirs is not None and ours else None


def middle(figures: Any) -> float | None:
    """Return the median of a list, a number as it is, and None for nothing measured."""
    if isinstance(figures, list):
        return median(figures) if figures else None
    return None if figures is None else float(figures)


def _graph_verdicts(workloads: dict[str, Any]) -> Iterator[Verdict]:
    for name in GRAPHS:
        workload = workloads.get(name)
        if workload is None:
            continue
        for what, peer, figure, budget in (
            ("save", PICKLER, "save_cpu", SAVE_FASTER),
            ("load", PICKLER, "load_cpu", LOAD_FASTER),
            ("size", PICKLER_ZSTD, "bytes", SMALLER),
        ):
            measured = ratio(workload, peer, figure)
            if measured is not None:
                yield Verdict(f"{name}: {what} against {peer}", budget, measured, "x", at_least=True)


def _weights_verdicts(workloads: dict[str, Any]) -> Iterator[Verdict]:
    weights = workloads.get("gpt2")
    if weights is None:
        return
    for peer, budget in ((PICKLER, WEIGHTS_FASTER), (EXPORT, WEIGHTS_FASTER_THAN_EXPORT)):
        measured = ratio(weights, peer, "load_cpu")
        if measured is not None:
            yield Verdict(f"gpt2: load with weights against {peer}", budget, measured, "x", at_least=True)
    saving = _growth(weights, "save")
    if saving is not None:
        budget = SAVE_MEMORY_SHARE * weights["weights_bytes"] / 1e6
        yield Verdict(
            "gpt2: memory on save, a tenth of the weights", budget, saving / 1e6, "MB", at_least=False
        )
    loading, bare = _growth(weights, "load"), _growth(workloads.get("gpt2-graph"), "load")
    if loading is not None and bare is not None:
        what = "gpt2: memory on load, more than without its weights"
        yield Verdict(what, LOAD_MEMORY_BYTES / 1e6, (loading - bare) / 1e6, "MB", at_least=False)


def _upgrade_verdicts(measured: dict[str, Any] | None) -> Iterator[Verdict]:
    if measured is None:
        return
    large, small = measured["large"], measured["small"]
    what = f"upgrade {large['bytes'] / 1e6:,.0f} MB against cp and sync"
    ratio_of_turns = median(
        [ours / theirs for ours, theirs in zip(large["upgrade"], large["copy"], strict=True)]
    )
    yield Verdict(what, UPGRADE_AGAINST_COPY, ratio_of_turns, "x", at_least=False)
    if large["peak"] is not None:
        what = "upgrade: memory of the whole process"
        yield Verdict(what, UPGRADE_MEMORY_BYTES / 1e6, large["peak"] / 1e6, "MB", at_least=False)
    speed, floor = (small["count"] / median(small[key]) for key in ("upgrade", "floor"))
    what = f"upgrade {small['count']:,} small archives, two processes (the disk alone: {floor:,.0f})"
    yield Verdict(what, UPGRADES_A_SECOND, speed, "a second", at_least=True)


def _growth(workload: dict[str, Any] | None, what: str) -> float | None:
    grown = ((workload or {}).get("memory", {}).get(OURS) or {}).get(what)
    return None if grown is None else float(grown["owned"])
