"""Many archives at once, in several processes, each with a report, in the order in which they were given.

The processes are forked, and each takes the next few archives from a pipe when it has done its own. If the first one
is killed, the pipe ends and the others end with it; if one of them is killed, its archives are reported as failed and
the others go on.
"""

from __future__ import annotations

import io
import json
import os
import selectors
import signal
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from fxarchive.errors import StoreError
from fxarchive.orders import Order, UpgradeReport, failure
from fxarchive.outputs import apart
from fxarchive.selection import Place
from fxarchive.upgrading import TOGETHER, run

_SHARE = struct.Struct("<II")
"""Numbers of the first archive of a share and of the one after its last."""

_AHEAD = 2
"""Shares for each process that lie in the pipe, so that none waits for the next."""


def run_jobs(places: Sequence[Place | StoreError], order: Order, jobs: int) -> Iterator[UpgradeReport]:
    """Yield a report for each archive, in order, from ``jobs`` processes.

    Args:
        places: as `select` gives them.
        order: what to do with each.
        jobs: how many processes; with 1, it is this one.
    """
    places = places if order.output is None else list(apart(places))
    size = max(1, min(TOGETHER, len(places) // (2 * jobs)))
    shares = [(start, min(start + size, len(places))) for start in range(0, len(places), size)]
    jobs = min(jobs, len(shares))
    if jobs <= 1:
        yield from run(places, order)
        return
    sys.stdout.flush()
    sys.stderr.flush()
    take, give = os.pipe()
    handing = _Handing(iter(shares), give)
    workers: list[_Worker] = []
    try:
        for _ in range(jobs):
            _start(places, order, take, give, workers)
        os.close(take)
        yield from _collected(places, {end - 1 for _, end in shares}, workers, handing)
    finally:
        handing.end()
        for worker in workers:
            worker.end()


class _Handing:
    """The pipe from which processes take shares; it is closed after the last one, so that they end."""

    def __init__(self, shares: Iterator[tuple[int, int]], give: int) -> None:
        self._shares = shares
        self._give: int | None = give

    def out(self) -> None:
        """Hand out one more share, if there is one."""
        share = next(self._shares, None)
        if share is None:
            self.end()
        elif self._give is not None:
            with suppress(BrokenPipeError):  # all of them were killed, which their own pipes say too
                os.write(self._give, _SHARE.pack(*share))

    def end(self) -> None:
        """Hand out nothing more."""
        if self._give is not None:
            os.close(self._give)
            self._give = None


@dataclass
class _Worker:
    process: int
    pipe: int
    text: bytearray = field(default_factory=bytearray)
    """What came from it and is no whole line yet."""

    def lines(self) -> list[dict[str, Any]] | None:
        """Return the reports that came meanwhile, None when it has ended."""
        data = os.read(self.pipe, 1 << 16)
        if not data:
            return None
        self.text += data
        *whole, rest = self.text.split(b"\n")
        self.text = bytearray(rest)
        return [json.loads(line) for line in whole]

    def end(self) -> None:
        os.close(self.pipe)
        os.waitpid(self.process, 0)


@contextmanager
def _uninterrupted() -> Iterator[set[signal.Signals]]:
    """Let an interrupt wait until the end of the block; gives the signals that waited before."""
    before: Any = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(
    places: Sequence[Place | StoreError], order: Order, take: int, give: int, workers: list[_Worker]
) -> None:
    """Fork one more process and add it to ``workers``; it takes shares until there are none."""
    # Interrupted in between, the child would go on as if it were the parent.
    with _uninterrupted() as mask:
        tell, hear = os.pipe()[::-1]
        process = os.fork()
        if process:
            os.close(tell)
            workers.append(_Worker(process, hear))
            return
        code = 1
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            # an end of a pipe that stays open here would keep the others waiting
            for descriptor in (give, hear, *[worker.pipe for worker in workers]):
                os.close(descriptor)
            _work(places, order, take, tell)
            code = 0
        except (BrokenPipeError, KeyboardInterrupt):
            pass  # nobody listens any more
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)  # what the parent has in its buffers is its own


def _work(places: Sequence[Place | StoreError], order: Order, take: int, tell: int) -> None:
    with io.FileIO(tell, "wb") as out:
        while share := os.read(take, _SHARE.size):
            start, end = _SHARE.unpack(share)
            for number, report in enumerate(run(places[start:end], order), start):
                out.write(json.dumps({"number": number, **report.to_dict()}).encode("ascii") + b"\n")


def _collected(
    places: Sequence[Place | StoreError], ends: set[int], workers: list[_Worker], handing: _Handing
) -> Iterator[UpgradeReport]:
    """Hand out shares, and yield reports in order as soon as those before them are there.

    A share is handed out for each that is done (its last archive is one of ``ends``), and for each process that
    ended, since that took one with it.
    """
    for _ in range(_AHEAD * len(workers)):
        handing.out()
    found: dict[int, UpgradeReport] = {}
    following = 0
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.pipe, selectors.EVENT_READ, worker)
        while following < len(places) and selector.get_map():
            for key, _ in selector.select():
                lines = key.data.lines()
                if lines is None:
                    selector.unregister(key.fileobj)
                    handing.out()
                for line in lines or ():
                    number = line.pop("number")
                    found[number] = _report(line)
                    if number in ends:
                        handing.out()
            while following in found:
                yield found.pop(following)
                following += 1
    for number in range(following, len(places)):
        place = places[number]
        lost = StoreError(place.path, "the process that had it was ended from outside; run this again")
        yield found[number] if number in found else failure(place.path, lost)


def _report(line: dict[str, Any]) -> UpgradeReport:
    return UpgradeReport(**{**line, "steps": tuple(line["steps"]), "notes": tuple(line["notes"])})
