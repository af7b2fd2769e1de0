"""How much memory a process comes to own while it saves or loads, seen from outside.

Counted are anonymous pages (``RssAnon`` of /proc/PID/status, proc(5)): memory that the process alone owns and
that only swapping could take back. Pages of a mapped file are not counted: they are the page cache's, shared
by all who map the file, dropped when memory is short, and read again when touched. ``VmHWM``, which the kernel
keeps and which counts both, is noted beside it.

The watched process says when its work begins and ends, and waits each time for the answer; in between the
watcher samples every millisecond, from a process of its own so that no interpreter lock holds it up.
"""

from __future__ import annotations

import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.001


@dataclass(frozen=True)
class Growth:
    """Bytes by which memory grew during the work, at the peak: anonymous pages, and all resident ones."""

    owned: int
    resident: int


def can_watch() -> bool:
    """Return whether this system tells what is needed: Linux does."""
    return sys.platform == "linux" and Path("/proc/self/clear_refs").exists()


def tell_caller() -> None:
    """In the watched process: say that the work begins, or has ended, and wait until that was noted."""
    sys.stdout.write(".\n")
    sys.stdout.flush()
    sys.stdin.readline()


def watch(command: list[str], folder: Path) -> Growth:
    """Run the command and return the growth between its two calls of `tell_caller`.

    Raises:
        RuntimeError: the process ended without them; the message holds what it wrote to stderr.
    """
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, stderr=errors, bufsize=0) as process,
    ):
        try:
            growth = _between_signals(process)
        except BrokenPipeError:  # it ended between its signal and the answer
            growth = None
        process.wait()
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    if growth is None or process.returncode != 0:
        raise RuntimeError(f"the process ended with code {process.returncode}: {said[-2000:]}")
    return growth


def _between_signals(process: subprocess.Popen[bytes]) -> Growth | None:
    """Return the growth from the first signal to the second; None when the process ended before."""
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None
    if not stdout.readline():
        return None
    before = peak = _status(process.pid, "RssAnon")
    resident_before = _status(process.pid, "VmRSS")
    _reset_peak(process.pid)
    stdin.write(b"\n")
    while not select.select([stdout], [], [], SAMPLE_SECONDS)[0]:
        peak = max(peak, _status(process.pid, "RssAnon"))
    if not stdout.readline():
        return None
    peak = max(peak, _status(process.pid, "RssAnon"))
    resident = _status(process.pid, "VmHWM")
    stdin.write(b"\n")
    return Growth(peak - before, max(0, resident - resident_before))


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
