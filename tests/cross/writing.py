"""Archives that the running torch writes: ``python -m tests.cross.writing FOLDER``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from fxarchive.document import SCHEMA

from ..corpus import add, files
from ..corpus.entries import WRITTEN_HERE, Built, Entry
from ..material import higher_order, programs, symbolic


def entries() -> Iterator[Entry]:
    """Yield every entry of the corpus that this torch can make, and graphs that are not in it."""
    yield from WRITTEN_HERE.values()
    for build in symbolic.BUILDERS:
        yield Entry(build.__name__, build)
    for made in programs.BUILDERS:
        yield Entry(f"program_{made.__name__}", lambda made=made: programs.exported(made))
        yield Entry(f"module_{made.__name__}", lambda made=made: _module_of(made))
    for operator, captured, _ in higher_order.made():
        yield Entry(
            f"higher_order_{operator}", lambda captured=captured: (captured.graph_module, captured.inputs)
        )


def _module_of(made: Callable[[], programs.Made]) -> Built:
    program, (args, kwargs) = programs.exported(made)
    return program.module(), None if kwargs else args


def main(folder: Path) -> int:
    """Write what is not there yet; say what this torch cannot make."""
    torch.set_num_threads(1)
    for entry in entries():
        path = files.archive_path(folder, SCHEMA, torch.__version__, entry.name)
        if path.exists():
            continue
        try:
            root, inputs = entry.built()
        except Exception as error:  # whatever a torch raises that cannot trace it
            add.complain(f"torch {torch.__version__} cannot make {entry.name}: {error}".splitlines()[0])
            continue
        add.write(entry, root, inputs, path)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
