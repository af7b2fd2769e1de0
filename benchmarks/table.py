"""The results as text."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.budgets import Verdict, middle, ratio
from benchmarks.plan import OURS, PICKLER

MIN_WIDTH = 165

NOTES = """\
save, load: wall seconds (CPU seconds). ready: until the loaded graph can be called, its code generated. call:
the first call. memory: growth of what the process owns (RssAnon at its peak, in MB) on save / load, in a fresh
process; pages of a mapped file belong to the page cache and are not counted. x: how many times fxarchive fits
into it, by CPU seconds and by bytes. fxarchive syncs what it saves and the peers do not; files are read from a
warm page cache. Figures are medians of as many samples as stand under n: the peers take turns, and one that has taken
six seconds in all drops out."""


def show(results: dict[str, Any], found: list[Verdict], *, judged: bool) -> None:
    """Print the results and the budgets; without ``judged`` no budget is called met or missed."""
    console = Console(highlight=False)
    if console.width < MIN_WIDTH:
        console.width = MIN_WIDTH
    environment = results["environment"]
    console.print(", ".join(f"{name} {value}" for name, value in environment.items()))
    for name, workload in results["workloads"].items():
        console.print(_workload_table(name, workload))
        for peer, samples in workload["peers"].items():
            if samples["failed"]:
                console.print(f"  {peer}: {samples['failed']}", markup=False, soft_wrap=True)
    console.print(NOTES, markup=False)
    if results["inspect"]:
        console.print(_inspect_table(results["inspect"]))
    console.print(_verdict_table(found, judged=judged))


def _workload_table(name: str, workload: dict[str, Any]) -> Table:
    title = f"{name}: {workload['about']}; {workload['nodes']:,} nodes"
    if workload["weights_bytes"]:
        title += f", {workload['weights_bytes'] / 1e6:,.1f} MB of weights"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    table.add_column("", no_wrap=True)
    for heading in (
        "n",
        "save",
        "load",
        "ready",
        "call",
        "bytes",
        "memory",
        "save x",
        "load x",
        "size x",
        "outputs",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for peer, samples in workload["peers"].items():
        ratios = [ratio(workload, peer, figure) for figure in ("save_cpu", "load_cpu", "bytes")]
        table.add_row(
            peer,
            str(len(samples["save_wall"])),
            _seconds(samples["save_wall"], samples["save_cpu"]),
            _seconds(samples["load_wall"], samples["load_cpu"]),
            _seconds(samples["ready_wall"]),
            _seconds(samples["call_wall"]),
            "-" if samples["bytes"] is None else f"{samples['bytes']:,}",
            _memory((workload.get("memory") or {}).get(peer)),
            *("-" if value is None else f"{value:,.1f}" for value in ratios),
            "fails" if samples["failed"] else {None: "-", True: "same", False: "DIFFER"}[samples["same"]],
            style="bold" if peer == OURS else None,
        )
    return table


def _seconds(wall: list[float], cpu: list[float] | None = None) -> str:
    value, spent = middle(wall), middle(cpu)
    if value is None:
        return "-"
    return _figure(value) if spent is None else f"{_figure(value)} ({_figure(spent)})"


def _figure(value: float) -> str:
    """Three digits that count."""
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.4f}"


def _memory(grown: dict[str, Any] | None) -> str:
    if grown is None:
        return "-"
    parts = (grown.get(what) for what in ("save", "load"))
    return " / ".join("-" if part is None else f"{part['owned'] / 1e6:,.0f}" for part in parts)


def _inspect_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="fxarchive inspect, the whole process", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("archive of", "bytes", "wall seconds"):
        table.add_column(heading, justify="left" if heading == "archive of" else "right")
    for row in rows:
        table.add_row(row["workload"], f"{row['bytes']:,}", _seconds(row["wall"]))
    return table


def _verdict_table(found: list[Verdict], *, judged: bool) -> Table:
    title = f"Budgets (fxarchive against {PICKLER} and others)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for heading in ("", "budget", "measured", "verdict" if judged else "quick run: not judged"):
        table.add_column(heading, justify="left" if heading == "" else "right", no_wrap=True)
    for verdict in found:
        bound = "at least" if verdict.at_least else "at most"
        table.add_row(
            verdict.what,
            f"{bound} {verdict.budget:,g} {verdict.unit}",
            f"{verdict.measured:,.1f} {verdict.unit}",
            ("met" if verdict.met else "MISSED") if judged else "",
            style="red" if judged and not verdict.met else None,
        )
    return table
