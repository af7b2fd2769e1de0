"""What the running torch makes of archives: ``python -m tests.cross.reading FOLDER`` prints a line of JSON for each.

It reads what `writing` left in the folder, and the regression corpus.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from fxarchive import compatibility
from fxarchive.codec.running_torch import RunningTorch
from fxarchive.errors import FxArchiveError
from fxarchive.migrations import schema_1_to_2
from fxarchive.migrations.content import Content

from ..corpus import adopted, checking, files
from ..corpus.checking import RUNNING
from .outcomes import Outcome, print_outcome


def outcomes(folder: Path) -> Iterator[Outcome]:
    """Yield what comes of each archive of the corpus and of the folder, and of each single stream."""
    for root in (files.HOME, folder):
        for case in files.cases(root):
            source = f"schema-{case.schema}" if root is files.HOME else "fresh"
            load = checking.wrong_load if case.schema > adopted.SCHEMA else checking.wrong_stream
            yield judged(
                (source, case.release, case.name),
                lambda case=case: compatibility.read(case.archive),
                lambda case=case, load=load: load(case),
            )
    for writer, name, data, _ in adopted.singles():
        made = Content(adopted.SCHEMA, data, torch=writer)
        yield judged(
            ("stream", writer, name),
            lambda made=made: schema_1_to_2.upgrade(made),
            lambda made=made: checking.wrong_object(schema_1_to_2.upgrade(made)),
        )


def judged(
    place: tuple[str, str, str], read: Callable[[], Content], load: Callable[[], list[str]]
) -> Outcome:
    """Load an archive, and compare what comes of it with what ``fxarchive compat`` says of it."""
    facts = (RUNNING, *place)
    try:
        content = read()
        document, writer = content.document, content.torch
        said = {
            "compat": compatibility.compatibility(document, RUNNING, writer).opens,
            "compat --torch running": compatibility.judge(document, RunningTorch(), writer).opens,
        }
        refused = None
        try:
            wrong = load()
        except FxArchiveError as error:
            refused, wrong = error, []
    except Exception as error:  # whatever a torch raises that cannot run it
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return Outcome(*facts, "wrong", text=text)
    for verb, opens in said.items():
        if opens != (refused is None):
            wrong.append(f"{verb} says that it {'opens' if opens else 'does not open'}; {_brief(refused)}")
    if wrong:
        return Outcome(*facts, "wrong", text="; ".join(wrong))
    if refused is not None:
        return Outcome(*facts, "refused", type(refused).__name__, _brief(refused))
    return Outcome(*facts, "exact")


def _brief(error: Any) -> str:
    return "it opens" if error is None else f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def main(folder: Path) -> int:
    """Print a line for each archive."""
    torch.set_num_threads(1)
    for outcome in outcomes(folder):
        print_outcome(outcome)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
