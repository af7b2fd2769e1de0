"""Files that must be refused, each with one error.

``python -m tests.corpus.broken`` writes those that are not there yet. ``broken/NAME.fxa`` are frozen in MANIFEST like
every other entry. ``broken/errors.json`` has the class and the text of the error that each gives; what this release
supports stands there as ``...``, since later ones support more.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zstandard

from fxarchive import container, packing, verify, wire
from fxarchive.container import Header, NewSection, Writer
from fxarchive.document import empty_document
from fxarchive.errors import FxArchiveError, TooNew
from fxarchive.packing.numbers import pack_numbers

from ..documents import archive_of, small
from ..material.archives import FIELDS, finished, header_frame
from .files import HOME, append

FOLDER = HOME / "broken"
ERRORS = FOLDER / "errors.json"

GOOD = archive_of(small())
ARCHIVE = container.open_archive(GOOD)
HEADER_END = 8 + int.from_bytes(GOOD[4:8], "little")
INDEX_AT = int.from_bytes(GOOD[-56:-48], "little")
WRITER = Writer("0.1.0", "2.13.0", "3.11.8")


def flipped(at: int) -> bytes:
    """A good archive with one bit of a byte changed."""
    return GOOD[:at] + bytes([GOOD[at] ^ 1]) + GOOD[at + 1 :]


def within(section: str) -> int:
    start, size = ARCHIVE.sections[section].extents[0]
    return start + size // 2


def holding(payload: bytes, **header: Any) -> bytes:
    """An archive whose document section holds ``payload``, with right digests."""
    file = io.BytesIO()
    fields: dict[str, Any] = {"schema": 2, "min_reader": 2, "features": (), "writer": WRITER, "root": "list"}
    container.write(
        file, Header(**{**fields, **header}), [NewSection("document", "zstd", len(payload), [payload])]
    )
    return file.getvalue()


def stored(content: bytes, size: int) -> bytes:
    """An archive whose document section is a given Zstandard frame, said to hold ``size`` bytes."""
    first = header_frame(FIELDS)
    entry = ["document", "zstd", size, [len(first), len(content)], hashlib.sha256(content).digest()]
    return finished(content, [entry])


def document(change: Callable[[Any], Any], **header: Any) -> bytes:
    """An archive of `small` with a change, with right digests."""
    made = small()
    change(made)
    return archive_of(made, **header)


def wire_of(change: Callable[[Any], Any]) -> bytes:
    """An archive of `small` with a change of its wire form, with right digests."""
    made = packing.pack(small())
    change(made)
    return archive_of(small(), payload=made)


def stated(change: Callable[[Any], Any]) -> bytes:
    """An archive with the sections of `small`, whose document says something else of them."""
    made = small()
    change(made)
    return archive_of(small(), payload=packing.pack(made))


def graph(**parts: Any) -> Callable[[Any], Any]:
    return lambda made: made["graphs"][0].update(parts)


def names(old: str, new: str) -> Callable[[Any], Any]:
    return lambda made: graph(names=made["graphs"][0]["names"].replace(old, new))(made)


def frame(size: int, **options: Any) -> bytes:
    """A Zstandard frame of so many zero bytes."""
    compressor = zstandard.ZstdCompressor(write_checksum=True, **options)
    return compressor.compress(bytes(size))


def window_bomb() -> bytes:
    """The header of a frame that asks for a window of 3.75 TiB, and says that it holds 1 KiB."""
    return b"\x28\xb5\x2f\xfd" + bytes([0x44, 0xFF]) + struct.pack("<H", 1024 - 256) + bytes(20)


def pickled(body: bytes) -> bytes:
    return holding(b"\x80\x05" + body + b".")


def nested(levels: int) -> bytes:
    return b"\x80\x05}\x8c\x01a" + b"]" * levels + b"a" * (levels - 1) + b"s."


def truncated() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    for name, size in {
        "frame-magic": 3, "header-early": 40, "header": HEADER_END - 1, "after-header": HEADER_END,
        "document": within("document"), "weights": within("storages/1"), "index": INDEX_AT + 20,
        "tail": len(GOOD) - 30, "last-byte": len(GOOD) - 1,
    }.items():  # fmt: skip
        yield f"cut-in-{name}" if name not in ("after-header", "last-byte") else f"cut-{name}", GOOD[:size]
    yield "appended-newline", GOOD + b"\n"
    yield "twice", GOOD + GOOD


def altered() -> Iterator[tuple[str, bytes]]:
    for name, at in {
        "frame-magic": 0, "frame-size": 4, "magic": 9, "container-version-high-byte": 19, "header-digest": 30,
        "header-map": 70, "document": within("document"), "weights": within("storages/1"),
        "padding": ARCHIVE.sections["storages/1"].extents[0][0] - 1, "index": INDEX_AT + 12,
        "index-offset": len(GOOD) - 56, "index-size": len(GOOD) - 48, "identity": len(GOOD) - 20,
        "end-mark": len(GOOD) - 3,
    }.items():  # fmt: skip
        yield f"altered-{name}", flipped(at)
    yield "line-ends-rewritten", GOOD.replace(b"\r\n", b"\n")
    yield "eighth-bit-lost", bytes([byte & 0x7F for byte in GOOD])


def others() -> Iterator[tuple[str, bytes]]:
    yield "zip", b"PK\x03\x04" + bytes(60)
    yield "pickle", pickle.dumps({"graph": [1, 2]}, protocol=4)
    yield "hostile-pickle", b"cos\nsystem\n(S'true'\ntR."
    yield "zstandard", frame(100)
    yield "text", b"graph():\n    %x = placeholder\n"


def bombs() -> Iterator[tuple[str, bytes]]:
    size = 5 * 2**30
    yield (
        "bomb-of-5-gib",
        stored(b"\x28\xb5\x2f\xfd\xc4\x50" + struct.pack("<Q", size) + bytes(200_000), size),
    )
    yield "bomb-of-20-mib-of-zeros", stored(frame(20 * 2**20), 20 * 2**20)
    yield "bomb-beyond-what-can-be", stored(frame(1000), 2**62)
    yield "bomb-of-a-window", stored(window_bomb(), 1024)
    yield "bomb-that-decodes-to-more", stored(frame(5000), 4000)
    yield "bomb-of-sections", finished(b"", None, packed=b"\xdd" + struct.pack(">I", 2**32 - 1))
    yield "bomb-of-depth", holding(nested(5000))
    yield "bomb-of-a-string", pickled(b"}\x8c\x01a\x8d" + struct.pack("<Q", 2**62) + b"ab" + b"s")
    yield "bomb-of-bytes", pickled(b"}\x8c\x01a\x8e" + struct.pack("<Q", 2**40) + b"ab" + b"s")
    yield "bomb-of-an-int", pickled(b"}\x8c\x01a\x8b" + struct.pack("<I", 2**17) + bytes(2**17) + b"s")
    yield "bomb-of-a-frame", pickled(b"\x95" + struct.pack("<Q", 2**60) + b"}")
    depth = b"\x91" * 100 + b"\xc0"
    yield "bomb-of-depth-in-the-header", finished(b"", [], first=header_frame(None, packed=depth))
    wide = b"\xdd" + struct.pack(">I", 2**31)
    yield "bomb-of-width-in-the-header", finished(b"", [], first=header_frame(None, packed=wide))


PICKLES = {
    "global": b"cos\nsystem\n",
    "stack-global": b"\x8c\x02os\x8c\x06system\x93",
    "reduce": b"}(tR",
    "build": b"}}b",
    "newobj": b"})\x81",
    "newobj-ex": b"})}\x92",
    "inst": b"(ios\nsystem\n",
    "obj": b"(}o",
    "extension": b"\x82\x01",
    "persistent": b"}Q",
    "memoize": b"}\x94",
    "long-binput": b"}r\xff\xff\xff\xff",
    "binget": b"h\x00",
    "buffer": b"\x97",
    "text-int": b"I1\n",
    "tuple": b"}\x85",
    "set": b"\x8f",
    "bytearray": b"\x96" + struct.pack("<Q", 1) + b"a",
}


def hostile_pickles() -> Iterator[tuple[str, bytes]]:
    for name, body in PICKLES.items():
        yield f"opcode-{name}", pickled(body)
    yield "pickle-protocol-4", holding(b"\x80\x04}.")
    yield "pickle-without-stop", holding(b"\x80\x05}")
    yield "pickle-and-more", holding(b"\x80\x05}.}.")
    yield "pickle-of-a-list", pickled(b"]")
    yield "pickle-key-twice", pickled(b"}(\x8c\x01aK\x01\x8c\x01aK\x02u")
    yield "pickle-key-no-string", pickled(b"}K\x01K\x02s")
    yield "pickle-pops-nothing", pickled(b"e")
    yield "pickle-bad-text", pickled(b"}\x8c\x01\xffNs")


def hostile_documents() -> Iterator[tuple[str, bytes]]:
    yield "name-with-a-call", document(names("add", "__import__('os').system('true')"))
    yield "name-that-is-a-keyword", document(names("add", "import"))
    yield "name-with-a-line-end", document(names("add", "a\rb"))
    yield (
        "path-with-a-call",
        document(lambda made: made["texts"].__setitem__(1, 'lin"]; import os; ["weight')),
    )
    yield "method-that-is-no-name", document(lambda made: made["texts"].__setitem__(2, "tanh()"))
    yield (
        "keyword-that-is-no-name",
        document(lambda made: made["graphs"][0]["patterns"][2][1].__setitem__(0, "a=1, b")),
    )
    yield "function-name-of-a-codegen", document(graph(codegen=["plain", "f(): pass\ndef g"]))
    yield "operand-that-is-later", document(graph(operands=[0, 1, 1, 1, 1, 4, 1]))
    yield "operand-before-the-first", document(graph(operands=[9, 1, 1, 1, 1, 4, 1]))
    yield "columns-of-other-lengths", document(graph(layout=[0, 0]))
    yield "opcode-that-is-none", document(graph(ops=bytes([0, 1, 2, 3, 4, 99, 5])))
    yield "row-that-is-not-there", wire_of(graph(targets=pack_numbers([0, 1, 77, 2, 3, 1, 4])))
    yield "column-of-half-numbers", wire_of(graph(layout=b"\1\2\3"))
    yield "column-that-is-a-list", wire_of(graph(layout=[1]))
    yield "table-missing", wire_of(lambda made: made.pop("modules"))
    yield "table-unknown", wire_of(lambda made: made.update(colours=[]))
    yield "table-of-another-kind", wire_of(lambda made: made.update(texts={}))
    yield "schema-other-than-the-header", wire_of(lambda made: made.update(schema=1))
    yield "feature-not-declared", document(lambda made: made.update(symbolic={}))
    yield "section-of-nobody", stated(lambda made: made["storages"][1].pop("section"))
    yield "section-of-two", stated(lambda made: made["storages"].append({**made["storages"][1]}))
    yield "section-that-is-the-document", stated(lambda made: made["storages"][1].update(section="document"))
    yield "section-of-another-size", _resized()
    yield "section-that-is-not-there", _without_section()
    yield "no-document", _without("document")


def _without(name: str) -> bytes:
    file = io.BytesIO()
    container.write(
        file, ARCHIVE.header, [ARCHIVE.copy_of(each) for each in ARCHIVE.sections if each != name]
    )
    return file.getvalue()


def _without_section() -> bytes:
    return _without("storages/1")


def _resized() -> bytes:
    file = io.BytesIO()
    sections = [ARCHIVE.copy_of("document"), NewSection("storages/1", "raw", 5, [bytes(5)])]
    container.write(file, ARCHIVE.header, sections)
    return file.getvalue()


def streaming(data: bytes) -> bytes:
    """An archive of schema 1 whose stream is ``data``."""
    file = io.BytesIO()
    header = Header(1, 1, (), WRITER, "GraphModule")
    container.write(file, header, [NewSection("stream", "zstd", len(data), [data])])
    return file.getvalue()


def hostile_streams() -> Iterator[tuple[str, bytes]]:
    yield "stream-that-calls", streaming(b"\x80\x04cos\nsystem\n\x8c\x04true\x85R.")
    yield "stream-that-calls-by-name", streaming(b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.")
    yield "stream-that-evaluates", streaming(b"\x80\x04cbuiltins\neval\n\x8c\x031+1\x85R.")
    yield "stream-without-stop", streaming(b"\x80\x04}")
    yield "stream-that-is-empty", streaming(b"")
    yield "stream-with-a-length-bomb", streaming(b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"ab.")
    yield "stream-of-two-values", streaming(b"\x80\x04]].")
    yield "stream-of-depth", streaming(b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".")
    yield "stream-that-is-text", streaming(b"graph():")
    yield "stream-missing", _without_stream()


def _without_stream() -> bytes:
    file = io.BytesIO()
    container.write(file, Header(1, 1, (), WRITER, "GraphModule"), [ARCHIVE.copy_of("document")])
    return file.getvalue()


def future() -> Iterator[tuple[str, bytes]]:
    newer = {"writer": {"fxarchive": "9.1.0"}, "what": ["is", "not", "known"]}
    yield "container-version-2", finished(b"", [], first=header_frame(newer, version=2))
    yield "container-version-0", finished(b"", [], first=header_frame(FIELDS, version=0))
    empty = {**packing.pack(empty_document()), "schema": 99}
    writer = Writer("9.1.0", "3.0.0", "3.20.0")
    yield "schema-99", holding(wire.dumps(empty), schema=99, min_reader=99, writer=writer)
    yield "feature-from-the-future", archive_of(small(), features=("from-the-future",), writer=writer)
    changed = {**FIELDS, "colour": "red"}
    yield "header-field-from-the-future", finished(b"", [], first=header_frame(dict(sorted(changed.items()))))
    history = [{"by": "0.3.0", "from": 1, "notes": [], "predecessor": bytes(32), "to": 3}]
    odd = dict(sorted({**FIELDS, "history": history}.items()))
    yield "history-that-ends-elsewhere", finished(b"", [], first=header_frame(odd))


def built() -> dict[str, bytes]:
    """Return every broken file by its name."""
    found: dict[str, bytes] = {}
    for group in (
        truncated,
        altered,
        others,
        bombs,
        hostile_pickles,
        hostile_documents,
        hostile_streams,
        future,
    ):
        for name, data in group():
            assert name not in found, name
            found[name] = data
    return found


def said(error: FxArchiveError | None) -> dict[str, str] | None:
    """Return the class and the text of an error, without what only this release supports."""
    if error is None:
        return None
    text = str(error)
    if isinstance(error, TooNew):
        text = text.replace(error.supported, "...")
    text = re.sub(r"(is invalid|is malformed) \(.*\)", r"\1 (...)", text)  # in the words of a library
    return {"error": type(error).__name__, "text": text}


def expected() -> dict[str, dict[str, str]]:
    """Return the error that each file must give, by its name."""
    found: dict[str, dict[str, str]] = json.loads(ERRORS.read_text("utf-8")) if ERRORS.exists() else {}
    return found


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    listed = expected()
    new: list[Path] = []
    for name, data in built().items():
        path = FOLDER / f"{name}.fxa"
        if not path.exists():
            path.write_bytes(data)
            new.append(path)
        error = said(verify(path).error)
        if error is None:
            raise SystemExit(f"{name} is not refused")
        listed.setdefault(name, error)
    ERRORS.write_text(json.dumps(dict(sorted(listed.items())), indent=1) + "\n", encoding="utf-8")
    append(HOME, new)
    print(f"{len(new)} new files; all {len(listed)} are refused")


if __name__ == "__main__":
    main()
