"""Write entries into the corpus with the running torch: ``python -m tests.corpus.add NAME...`` or ``--all``.

An entry that exists is never written again: what a release wrote is evidence.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

import fxarchive
from fxarchive.document import SCHEMA

from .entries import ENTRIES, WRITTEN_HERE, Entry
from .files import HOME, append, archive_path, document_of, freeze, seen
from .places import absolute, make_relative


def main(arguments: Sequence[str] | None = None) -> int:
    """Write what the arguments name and return the exit code: 1 if an entry exists or cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus.add", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ENTRIES)}")
    parser.add_argument("--all", action="store_true", help="every entry that this torch has not written yet")
    parser.add_argument(
        "--root", type=Path, default=HOME, help="folder of the corpus; by default that of the tests"
    )
    parser.add_argument("--freeze", action="store_true", help="note what the corpus holds at this release")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - ENTRIES.keys())
    if unknown or not (options.names or options.all or options.freeze):
        parser.error(
            f"there is no entry {', '.join(unknown)}" if unknown else "give a NAME, --all or --freeze"
        )
    torch.set_num_threads(1)
    code = 0
    for entry in WRITTEN_HERE.values() if options.all else [ENTRIES[name] for name in options.names]:
        path = archive_path(options.root, SCHEMA, torch.__version__, entry.name)
        if path.exists():
            if not options.all:
                code = complain(f"{path} exists, and entries are frozen; give a new entry another name")
            continue
        try:
            root, inputs = entry.built()
            make_relative(root)
        except Exception as error:  # whatever a torch raises that cannot trace it
            code = complain(f"torch {torch.__version__} cannot make {entry.name}: {error}".splitlines()[0])
            continue
        write(entry, root, inputs, path)
        check_places(entry, path)
        append(options.root, (path, path.with_suffix(".txt")))
        print(path)
    if options.freeze:
        freeze(options.root, fxarchive.__version__)
    return code


def write(entry: Entry, root: object, inputs: tuple[object, ...] | None, path: Path) -> None:
    """Write the archive of an entry, and beside it what a reader must see in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"entry": entry.name, "machine": machine()}
    fxarchive.save(root, path, metadata=metadata, example_inputs=inputs, **entry.options)
    path.with_suffix(".txt").write_text(seen(document_of(path)), encoding="utf-8")


def check_places(entry: Entry, path: Path) -> None:
    """Take away what was written if it names files of this machine, and stop."""
    found = absolute(document_of(path))
    if found:
        path.unlink()
        path.with_suffix(".txt").unlink()
        raise SystemExit(f"{entry.name} names files of this machine; see make_relative: {found[:3]}")


_FACTS = ("vendor_id", "cpu family", "model", "stepping", "flags")
"""What a processor says of itself, by the names of the system's file of it."""


def machine() -> str:
    """Return what decides, with the torch release, whether kernels give the same bits.

    Libraries choose kernels by more than the vector instructions that torch names (matrix instructions, the model), so
    a digest of what the processor says of itself stands behind them.
    """
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {_processor()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    except OSError:
        lines = [f"flags: {platform.processor()}"]
    facts = [line for line in lines if line.partition(":")[0].strip() in _FACTS]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def complain(text: str) -> int:
    """Print a complaint and return the exit code for it."""
    print(text, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
