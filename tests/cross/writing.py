"""Archives that the running torch writes: ``python -m tests.cross.writing FOLDER``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from fxarchive.codec.replay import examples_of
from fxarchive.document import SCHEMA

from ..corpus import add, files
from ..corpus.checking import RUNNING
from ..corpus.entries import WRITTEN_HERE, Built, Entry
from ..material import higher_order, programs, symbolic
from .outcomes import Outcome, print_outcome


def entries() -> Iterator[Entry]:
    """Yield every entry of the corpus that this torch can make, and graphs that are not in it."""
    yield from WRITTEN_HERE.values()
    for build in symbolic.BUILDERS:
        yield Entry(build.__name__, build)
    for made in programs.BUILDERS:
        yield Entry(f"program_{made.__name__}", lambda made=made: programs.exported(made))
        yield Entry(f"strict_{made.__name__}", lambda made=made: _strict(made))
        yield Entry(f"module_{made.__name__}", lambda made=made: _module_of(made))
    yield Entry("strict_sequential", _strict_sequential)
    for operator, captured, _ in higher_order.made():
        yield Entry(f"higher_order_{operator}", lambda captured=captured: _of_passes(captured))


def _module_of(made: Callable[[], programs.Made]) -> Built:
    program, (args, kwargs) = programs.exported(made)
    return program.module(), None if kwargs else args


def _strict(made: Callable[[], programs.Made]) -> Built:
    program, inputs = programs.exported(made, strict=True)
    return program, inputs


def _strict_sequential() -> Built:
    """In torch 2.7 and 2.8, dynamo names modules by how it reaches them: ``getattr(L['fn'], '0')``."""
    inputs = (torch.randn(2, 4),)
    return torch.export.export(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), inputs, strict=True), inputs


def _of_passes(captured: higher_order.Captured) -> Built:
    """A graph made by hand, with its inputs if torch can run it."""
    try:
        examples_of(captured.graph_module, captured.inputs)
    except Exception:  # whatever an operator raises outside of its backend
        return captured.graph_module, None
    return captured.graph_module, captured.inputs


def main(folder: Path) -> int:
    """Write what is not there yet; say what this torch cannot make, and print an outcome for what cannot be saved."""
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
        try:
            add.write(entry, root, inputs, path)
        except Exception as error:  # a refusal to save is as wrong as one to load
            text = f"it cannot be saved: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            print_outcome(Outcome(RUNNING, "fresh", RUNNING, entry.name, "wrong", text=text))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
