"""What is not as it was in an entry of the corpus, under the running torch.

`tests/test_corpus.py` asks it under the torch of the tests, `tests/cross` under every release.
"""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

import fxarchive
from fxarchive import chain, codec, container, packing, wire
from fxarchive.api import decode_archive
from fxarchive.audit import audit
from fxarchive.codec.replay import replay
from fxarchive.codec.running_torch import RunningTorch
from fxarchive.codec.unlifted import copied
from fxarchive.compatibility import judge
from fxarchive.document import DOCUMENT, STREAM
from fxarchive.migrations.content import Content

from . import add, adopted, files, numbers
from .entries import ENTRIES, TRUST
from .files import Case

RUNNING = torch.__version__.partition("+")[0]

OTHER_WHEN_SAVED_AGAIN = {
    "omitted": "its tensors are on the meta device after loading, and were on the CPU",
}
"""Entries whose document differs when what was loaded is saved again, by the same torch, with the reason."""


def opened(path: Path) -> tuple[Any, Any, container.Archive]:
    """Return what an archive holds: its root, its examples; and the archive itself, which stays open in memory.

    Raises:
        FxArchiveError: this torch refuses it.
    """
    archive = container.open_archive(path.read_bytes())
    root, examples = decode_archive(archive, trust=TRUST, examples=True, verify_all=True)
    return root, examples, archive


def wrong_text(case: Case) -> list[str]:
    """Return a clause if an entry reads otherwise than its text says; needs nothing of the running torch."""
    return other_text(case.text.read_text(encoding="utf-8"), files.seen(files.document_of(case.archive)))


def wrong_load(case: Case) -> list[str]:
    """Load an entry, save it again, run it, and return a clause for each thing that is not as it was recorded.

    Raises:
        FxArchiveError: this torch refuses it.
    """
    root, examples, archive = opened(case.archive)
    encoded = codec.encode(root, examples=examples)
    found = files.seen(encoded.document)
    wrong = []
    if not rewritten(case):
        wrong += other_text(case.text.read_text(encoding="utf-8"), found)
    if case.release == RUNNING and case.name not in OTHER_WHEN_SAVED_AGAIN:
        storages = {name: bytes(storage) for name, storage in encoded.storages.items()}
        again = {DOCUMENT: wire.dumps(packing.pack(encoded.document)), **storages, **encoded.extras}
        if again != {name: archive.read(name) for name in archive.sections}:
            wrong.append("a second save gives other bytes")
    return wrong + (wrong_numbers(case, root, examples) if examples is not None else [])


def rewritten(case: Case) -> bool:
    """Whether an operator of the entry has another form in the running torch; its numbers are the same."""
    entry = ENTRIES.get(case.name)
    return entry is not None and not entry.is_for(RUNNING)


def wrong_numbers(case: Case, root: Any, examples: Any) -> list[str]:
    """Compare what an entry computes with what it computed, and every bit with what it computes saved and loaded again.

    Bits as they were recorded can be asked for on the same torch and processor alone.
    """
    args, kwargs, expected = examples
    wrong: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(root, ExportedProgram):
            # torch writes its guards anew; a copy, since what runs changes buffers
            decomposed = replay(copied(root.run_decompositions().module()), args, kwargs)
            wrong += [f"decomposed, {clause}" for clause in numbers.far_apart(expected, decomposed)]
        wrong += numbers.far_apart(expected, replay(root, args, kwargs))
        inputs = (args, kwargs) if isinstance(root, ExportedProgram) else args or kwargs
        again = fxarchive.dumps(root, example_inputs=inputs)
        replayed = fxarchive.verify(io.BytesIO(again), run=True, trust=TRUST)
        wrong += [] if replayed.ok else [f"saved again: {replayed.error}"]
    info = fxarchive.inspect(case.archive)
    if case.release == RUNNING and info.metadata["machine"] == add.machine():
        replayed = fxarchive.verify(case.archive, run=True, trust=TRUST)
        wrong += [] if replayed.ok else [str(replayed.error)]
    return wrong


# streams of torch's own


@cache
def custom_operator() -> torch.library.Library:
    """Register the operator that the streams `custom_op` call."""
    library = torch.library.Library("fxarch", "FRAGMENT")
    library.define("scaled_sin(Tensor x, float k) -> Tensor")
    library.impl("scaled_sin", lambda x, k: torch.sin(x) * k, "CompositeExplicitAutograd")
    return library


def wrong_stream(case: Case) -> list[str]:
    """Load the archive of a stream, save it again, run it, and return a clause for what is not as it was.

    What it became without torch is what must come of it; `tests/test_adopted.py` compares that with what torch
    printed.

    Raises:
        FxArchiveError: this torch refuses it.
    """
    custom_operator()
    archive = container.open_archive(case.archive.read_bytes())
    module, _ = decode_archive(archive, examples=True)
    content = chain.to_current(
        Content(adopted.SCHEMA, archive.read(STREAM), torch=archive.header.writer.torch)
    )
    held = torch.load(case.archive.with_suffix(".pt"), weights_only=True)
    outputs = pytree.tree_leaves(module(*held["args"]))
    return wrong_again(content, module) + list(numbers.far_apart(held["out"], outputs))


def wrong_object(content: Content) -> list[str]:
    """Do the same with a single object, which cannot be run.

    Raises:
        FxArchiveError: this torch refuses it.
    """
    audit(content.document, trust=(), features=content.features)
    return wrong_again(content, codec.decode(content.document, None, writer=content.torch))


def wrong_again(content: Content, loaded: Any) -> list[str]:
    """Compare a document with that of what was loaded from it, unless its calls are rewritten for this torch."""
    if judge(content.document, RunningTorch(), content.torch).changes:
        return []
    return other_text(files.seen(content.document), files.seen(codec.encode(loaded).document))


def other_text(expected: str, found: str) -> list[str]:
    """Return a clause with the first line that differs, if one does."""
    if expected == found:
        return []
    before, now = expected.splitlines(), found.splitlines()
    for line, (one, other) in enumerate(zip(before, now, strict=False), 1):
        if one != other:
            return [f"line {line} of its text is {other.strip()!r:.300} and was {one.strip()!r:.300}"]
    return [f"its text has {len(now)} lines and had {len(before)}"]
