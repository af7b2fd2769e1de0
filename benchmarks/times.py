"""Times and sizes of one workload, all its peers taking turns in one process."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks import peers, plan
from benchmarks.subjects import Subject, build, smallest

T = TypeVar("T")

ENOUGH_SECONDS = 6.0
"""A peer that has been measured for this long is not measured again: its medians are of fewer samples, and the table
says of how many."""


@dataclass
class Samples:
    """What was measured of one peer: seconds, a sample a repeat.

    Attributes:
        save, load: until the file is written, until the object is returned.
        ready: from there until it can be called (generating and compiling code).
        call: the first call.
        bytes: size of the file.
        same: whether the outputs were those of the object saved, bit for bit; None when it was not called.
        failed: what went wrong and where, or None.
    """

    save_wall: list[float] = field(default_factory=list)
    save_cpu: list[float] = field(default_factory=list)
    load_wall: list[float] = field(default_factory=list)
    load_cpu: list[float] = field(default_factory=list)
    ready_wall: list[float] = field(default_factory=list)
    call_wall: list[float] = field(default_factory=list)
    bytes: int | None = None
    same: bool | None = None
    failed: str | None = None

    def spent(self) -> float:
        """Return the seconds that all samples took together."""
        return sum(map(sum, (self.save_wall, self.load_wall, self.ready_wall, self.call_wall)))


def measure(workload: plan.Workload, folder: Path, *, quick: bool, repeat: int) -> dict[str, Any]:
    """Save and load the workload with each peer ``repeat`` times; its last file stays in ``folder``."""
    warm_up(workload.peers, folder)
    subject = build(workload.name, quick=quick)
    expected = None if subject.inputs is None else _call(subject.module, subject)
    results = {peer: Samples() for peer in workload.peers}
    for turn in range(repeat):
        for peer in workload.peers:
            samples = results[peer]
            if samples.failed is None and (turn == 0 or samples.spent() < ENOUGH_SECONDS):
                path = folder / plan.file_name(workload.name, peer)
                if peer == plan.PICKLER_ZSTD:
                    source = folder / plan.file_name(workload.name, plan.PICKLER)
                    _measure_compressed(samples, results[plan.PICKLER], source, path)
                else:
                    _measure_peer(samples, peers.PEERS[peer], subject, expected, path)
    return {
        "about": workload.about,
        "nodes": len(subject.module.graph.nodes),
        "weights_bytes": 0 if subject.inputs is None else _weights_bytes(subject),
        "peers": {peer: asdict(samples) for peer, samples in results.items()},
    }


def warm_up(names: tuple[str, ...], folder: Path) -> None:
    """Save and load something small with each peer, so that no import falls into a measurement."""
    subject = smallest()
    path = folder / "warm-up"
    for name in names:
        if name in peers.PEERS:
            # One that fails here fails again where it is reported.
            attempt(lambda name=name: _round_trip(peers.PEERS[name], subject, path))  # type: ignore[misc]
    path.unlink(missing_ok=True)


def attempt(work: Callable[[], object]) -> str | None:
    """Do the work; return None, or in one line what it raised."""
    try:
        work()
    except Exception as error:  # whatever a peer raises is its result
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:240]
    return None


def _round_trip(peer: peers.Peer, subject: Subject, path: Path) -> None:
    peer.save(subject, path)
    if peer.load is not None:
        loaded = peer.load(path)
        if peer.ready is not None:
            _call(peer.ready(loaded), subject)


def _measure_peer(
    samples: Samples, peer: peers.Peer, subject: Subject, expected: torch.Tensor | None, path: Path
) -> None:
    save, load = peer.save, peer.load
    failed = attempt(lambda: _timed(lambda: save(subject, path), samples.save_wall, samples.save_cpu))
    if failed is not None:
        samples.failed = f"save fails: {failed}"
        return
    samples.bytes = path.stat().st_size
    _settle(path)
    if load is not None:
        failed = attempt(lambda: _measure_load(samples, load, peer.ready, subject, expected, path))
        samples.failed = None if failed is None else f"load fails: {failed}"


def _measure_load(
    samples: Samples,
    load: Callable[[Path], Any],
    ready: Callable[[Any], Callable[..., Any]] | None,
    subject: Subject,
    expected: torch.Tensor | None,
    path: Path,
) -> None:
    loaded = _timed(lambda: load(path), samples.load_wall, samples.load_cpu)
    if ready is None:
        return
    call = _timed(lambda: ready(loaded), samples.ready_wall)
    if expected is not None:
        output = _timed(lambda: _call(call, subject), samples.call_wall)
        samples.same = samples.same is not False and _same_bits(output, expected)


def _measure_compressed(samples: Samples, base: Samples, source: Path, path: Path) -> None:
    """Compress the file of another peer; the times are the sum of that peer's last ones and of these."""
    if base.failed is not None:
        samples.failed = base.failed
        return
    _timed(lambda: peers.compress(source, path), samples.save_wall, samples.save_cpu)
    samples.bytes = path.stat().st_size
    _settle(path)
    _timed(lambda: peers.decompress(path), samples.load_wall, samples.load_cpu)
    for name in ("save_wall", "save_cpu", "load_wall", "load_cpu"):
        getattr(samples, name)[-1] += getattr(base, name)[-1]
    samples.ready_wall.append(base.ready_wall[-1])


def _timed(work: Callable[[], T], wall: list[float], cpu: list[float] | None = None) -> T:
    """Do the work with garbage collected beforehand, and note the seconds it took."""
    gc.collect()
    cpu_before, wall_before = time.process_time(), time.perf_counter()
    result = work()
    wall_after, cpu_after = time.perf_counter(), time.process_time()
    wall.append(wall_after - wall_before)
    if cpu is not None:
        cpu.append(cpu_after - cpu_before)
    return result


def _settle(path: Path) -> None:
    """Sync the file, so that no measurement pays for writing back what an earlier one wrote."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _call(module: Callable[..., Any], subject: Subject) -> torch.Tensor:
    assert subject.inputs is not None
    with torch.no_grad():
        output = module(*subject.inputs)
    assert isinstance(output, torch.Tensor)
    return output


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))


def _weights_bytes(subject: Subject) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in subject.weights().values())
