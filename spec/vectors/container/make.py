"""Write the vectors of the container: `python spec/vectors/container/make.py`.

Each vector is a file of bytes, `NAME.fxa`, and what a reader must make of it, `NAME.json`. Under `good/` the
JSON holds everything that a writer needs to write the bytes again; under `refused/` it holds the class of the
error and its text. A vector of a released version never changes; to add one, add it here, run this and look
at the difference: only new files may appear.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from fxarchive.container import Change, Header, NewSection, Section, Writer, open_archive, write
from fxarchive.errors import FxArchiveError

HERE = Path(__file__).parent
WRITER = Writer("0.1.0", "2.13.0", "3.11.8")
PLAIN = Header(2, 2, (), WRITER, "GraphModule")
RICH = Header(
    3,
    2,
    ("export", "symbolic-shapes"),
    Writer("0.1.0", "", "3.10.0"),
    "ExportedProgram",
    {"nodes": 12, "operators": {"aten::add.Tensor": 3, "aten::mm": 1}},
    {"z": [None, True, -1, 18446744073709551615, 0.5], "a": {"é": "雪", "": []}},
)
UPGRADED = replace(
    PLAIN,
    schema=3,
    history=(
        Change(1, 2, "0.3.0", bytes(range(32)).hex(), ("the stream does not say who wrote it",)),
        Change(2, 3, "0.4.0", bytes(range(32, 64)).hex()),
    ),
)
GRAPH = ("graph", "zstd", b"hello")
SMALL = ("storage/0", "raw", bytes(range(16)))
ODD = ("storage/1", "raw", bytes(range(100, 201)))
NOTHING = ("storage/2", "raw", b"")

# Compressed contents are so short that every release of the Zstandard library stores them as they are.
GOOD: dict[str, tuple[Header, list[tuple[str, str, bytes]], int]] = {
    "no-sections": (PLAIN, [], 2**32 - 2**16),
    "graph": (PLAIN, [GRAPH], 2**32 - 2**16),
    "weights": (PLAIN, [GRAPH, SMALL, ODD, NOTHING], 2**32 - 2**16),
    "spanning": (PLAIN, [ODD, GRAPH], 40),
    "history": (UPGRADED, [GRAPH], 2**32 - 2**16),
    "rich-header": (RICH, [GRAPH, ("empty", "zstd", b"")], 2**32 - 2**16),
}


def archive(header: Header, sections: list[tuple[str, str, bytes]], frame_data_bytes: int) -> bytes:
    file = io.BytesIO()
    new = [NewSection(name, codec, len(content), [content]) for name, codec, content in sections]
    write(file, header, new, frame_data_bytes=frame_data_bytes)
    return file.getvalue()


def described(section: Section, content: bytes) -> dict[str, Any]:
    return {
        "name": section.name,
        "codec": section.codec,
        "content": content.hex(),
        "extents": [list(extent) for extent in section.extents],
        "sha256": section.sha256.hex(),
    }


def good(name: str) -> dict[str, Any]:
    header, sections, frame_data_bytes = GOOD[name]
    data = archive(header, sections, frame_data_bytes)
    opened = open_archive(data)
    (HERE / "good" / f"{name}.fxa").write_bytes(data)
    return {
        "header": {
            "schema": header.schema,
            "min_reader": header.min_reader,
            "features": list(header.features),
            "writer": header.writer._asdict(),
            "root": header.root,
            "summary": header.summary,
            "metadata": header.metadata,
            **({"history": [change._asdict() for change in header.history]} if header.history else {}),
        },
        "frame_data_bytes": frame_data_bytes,
        "sections": [described(section, opened.read(section.name)) for section in opened.sections.values()],
        "identity": opened.identity,
        "size": opened.size,
    }


def signed(data: bytes) -> bytes:
    """The archive with its identity made right after its header or index was altered."""
    header_end = 8 + int.from_bytes(data[4:8], "little")
    index_at = int.from_bytes(data[-56:-48], "little")
    return data[:-40] + hashlib.sha256(data[:header_end] + data[index_at:-40]).digest() + data[-8:]


def with_version(data: bytes, version: int) -> bytes:
    """The archive with another container version, and the header's digest made right."""
    header_end = 8 + int.from_bytes(data[4:8], "little")
    fixed = data[8:16] + version.to_bytes(4, "little")
    return signed(data[:8] + fixed + hashlib.sha256(fixed + data[52:header_end]).digest() + data[52:])


def forged(header: Header) -> bytes:
    """An archive whose history ends at schema 3 and which is of schema 2, with right digests."""
    data = archive(header, [SMALL, GRAPH], 2**32 - 2**16).replace(b"\xa2to\x02", b"\xa2to\x03")
    return with_version(data, 1)


def refused() -> dict[str, bytes]:
    data = archive(PLAIN, [SMALL, GRAPH], 2**32 - 2**16)
    raw_at, _ = open_archive(data).sections["storage/0"].extents[0]
    graph_at, graph_size = open_archive(data).sections["graph"].extents[0]
    frame_at = 8 + int.from_bytes(data[4:8], "little")
    newer = replace(PLAIN, schema=9, min_reader=9, writer=Writer("7.0.0", "", "3.14.0"))
    flagged = replace(PLAIN, features=("from-the-future",))
    return {
        "empty": b"",
        "zip": b"PK\x03\x04" + bytes(26),
        "pickle": b"\x80\x04N.",
        "other-zstd": data[graph_at : graph_at + graph_size],
        "header-cut": data[:60],
        "end-cut": data[:-1],
        "bytes-appended": data + b"\n",
        "container-version-2": with_version(data, 2),
        "container-version-0": with_version(data, 0),
        "header-altered": data[:100] + b"X" + data[101:],
        "schema-9": archive(newer, [SMALL, GRAPH], 2**32 - 2**16),
        "unknown-feature": archive(flagged, [SMALL, GRAPH], 2**32 - 2**16),
        "history-broken": forged(replace(PLAIN, history=(Change(1, 2, "0.3.0", "00" * 32),))),
        "index-altered": data.replace(b"\xa3raw\x10", b"\xa3raw\x11"),
        "size-wrong": signed(data.replace(b"\xa3raw\x10", b"\xa3raw\x11")),
        "padding-not-zero": data[: frame_at + 8] + b"\1" + data[frame_at + 9 :],
        "raw-altered": data[:raw_at] + b"\xff" + data[raw_at + 1 :],
        "compressed-altered": data[: graph_at + 10] + b"J" + data[graph_at + 11 :],
    }


def verdict(data: bytes) -> dict[str, str]:
    try:
        opened = open_archive(data, schema=2)
        for name in opened.sections:
            opened.read(name)
    except FxArchiveError as error:
        return {"error": type(error).__name__, "text": str(error)}
    raise SystemExit("a vector that must be refused was read")


def put(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    for name in GOOD:
        put(HERE / "good" / f"{name}.json", good(name))
    for name, data in refused().items():
        (HERE / "refused" / f"{name}.fxa").write_bytes(data)
        put(HERE / "refused" / f"{name}.json", verdict(data))


if __name__ == "__main__":
    main()
