"""Streams of torch's GraphPickler in the corpus: archives of schema 1, with what torch itself recorded of them.

``schema-1/torch-2.13.0/NAME.fxa`` holds the stream as torch wrote it, ``NAME.txt`` beside it the graph and its code as
torch printed them and what its metadata described, ``NAME.pt`` example inputs and the outputs that torch computed.
``streams.zip`` holds streams of single objects and of single operators, each with what it was in ``NAME.json``.

To add entries: write ``NAME.pkl``, ``NAME.json`` (keys graph, code, vals) and ``NAME.io.pt`` (keys args, out) into a
folder ``RELEASE`` with a script in that release's environment, then ``python -m tests.corpus.adopted FOLDER``.
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fxarchive

from .files import HOME, append, archive_path

STREAMS = "streams.zip"
SCHEMA = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Put the streams of a folder into the corpus; what is there already stays as it is."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus.adopted", description=__doc__)
    parser.add_argument(
        "folder", type=Path, help="with a folder for each release, with NAME.pkl, .json, .io.pt"
    )
    parser.add_argument(
        "--single", type=Path, nargs="*", default=[], help="the same for streams.zip, .pkl and .json"
    )
    parser.add_argument("--root", type=Path, default=HOME)
    options = parser.parse_args(arguments)
    for stream in sorted(options.folder.glob("*/*.pkl")):
        adopt(stream, options.root)
    for release in sorted({path.parent.name for folder in options.single for path in folder.glob("*/*.pkl")}):
        pack([folder / release for folder in options.single], release, options.root)
    return 0


def adopt(stream: Path, root: Path) -> None:
    """Put one stream, what was recorded of it, and its numbers into the corpus."""
    release, name = stream.parent.name, stream.stem
    path = archive_path(root, SCHEMA, release, name)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"entry": name, "machine": "unknown"}
    fxarchive.adopt(stream, path, torch=release, metadata=metadata)
    path.with_suffix(".txt").write_text(
        recorded(json.loads(stream.with_suffix(".json").read_text(encoding="utf-8"))), encoding="utf-8"
    )
    path.with_suffix(".pt").write_bytes(stream.with_suffix(".io.pt").read_bytes())
    append(root, [path.with_suffix(suffix) for suffix in (".fxa", ".txt", ".pt")])


def recorded(facts: dict[str, Any]) -> str:
    """Return the text of an entry: the graph, its code, and the value that each node was traced with."""
    values = [f"{name}: {value}" for name, value in sorted(facts["vals"].items())]
    return "\n".join([facts["graph"], "", facts["code"].strip("\n").rstrip(), "", *values, ""])


def pack(folders: Sequence[Path], release: str, root: Path) -> None:
    """Put streams of single objects and operators into one file of a release."""
    path = archive_path(root, SCHEMA, release, "x").with_name(STREAMS)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in folders:
            for file in sorted([*folder.glob("*.pkl"), *folder.glob("*.json")]):
                archive.writestr(zipfile.ZipInfo(file.name), file.read_bytes(), zipfile.ZIP_DEFLATED)
    append(root, [path])


def singles(root: Path = HOME) -> Iterator[tuple[str, str, bytes, str | None]]:
    """Yield each stream of the files `STREAMS`: release, name, bytes, and what it was, where that was recorded."""
    for path in sorted(root.glob(f"schema-{SCHEMA}/torch-*/{STREAMS}")):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            for name in names:
                if name.endswith(".pkl"):
                    facts = name.removesuffix(".pkl") + ".json"
                    held = json.loads(archive.read(facts))["described"] if facts in names else None
                    yield path.parent.name.removeprefix("torch-"), name[:-4], archive.read(name), held


if __name__ == "__main__":
    sys.exit(main())
