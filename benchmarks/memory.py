"""How much memory a process comes to own while it saves or loads, seen from outside.

Counted are anonymous pages (``RssAnon`` of /proc/PID/status, proc(5)): memory that the process alone owns and
that only swapping could take back. Pages of a mapped file are not counted: they are the page cache's,
shared by
all who map the file, dropped when memory is short, and read again when touched. ``VmHWM``, which the kernel
keeps and
which counts both, is noted beside it.

The watched process says when its work begins and ends, and waits each time for the answer; in between the
watcher samples every millisecond, from a process of its own so that no interpreter lock holds it up.
"""

from __future__ import annotations

import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.001


@dataclass(frozen=True)
class Growth:
    """Bytes by which memory grew during the work: anonymous pages at their peak, and peak of all resident
    pages."""

    owned: int
    resident: int


def can_watch() -> bool:
    """Return whether this system tells what is needed: Linux does."""
    return sys.platform == "linux" and Path("/proc/self/clear_refs").exists()


def tell_caller() -> None:
    """In the watched process: say that the work begins, or that it has ended, and wait until that was
    noted."""
    sys.stdout.write(".\n")
    sys.stdout.flush()
    sys.stdin.readline()


def watch(command: list[str], folder: Path) -> Growth:
    """Run the command and return the growth between its two calls of `tell_caller`.

    Raises:
        RuntimeError: the process ended without them; the message holds what it wrote to stderr.
    """
    with (
        subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        before = peak = _status(process.pid, "RssAnon")
        resident_before = _status(process.pid, "VmRSS")
        _reset_peak(process.pid)
        _answer(process)
        while not select.select([process.stdout], [], [], SAMPLE_SECONDS)[0]:
            peak = max(peak, _status(process.pid, "RssAnon"))
        ended = process.stdout.readline()
        peak = max(peak, _status(process.pid, "RssAnon"))
        resident = _status(process.pid, "VmHWM")
        _answer(process)
        errors = process.stderr.read().decode(errors="replace")
    if not ended or process.returncode != 0:
        raise RuntimeError(f"the process ended with code {process.returncode}: {errors[-2000:]}")
    return Growth(peak - before, max(0, resident - resident_before))


def _answer(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(b"\n")
    except BrokenPipeError:
        return  # it has ended already: the caller finds no signal and says so


def _status(pid: int, name: str) -> int:
    """Return one figure of /proc/PID/status in bytes; 0 when the process has ended."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    for line in text.splitlines():
        key, _, figure = line.partition(":")
        if key == name:
            return int(figure.split()[0]) * 1024
    return 0


def _reset_peak(pid: int) -> None:
    """Make VmHWM start again from now (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
