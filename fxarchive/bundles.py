"""What a file that was given for a stream of GraphPickler is instead, and the streams inside of other pickles.

Programs keep streams in pickles of their own (vLLM's caches hold dicts of them, and pickles of such dicts).
`streams_in` finds them and `stream_at` takes one out, by reading the pickles inertly: nothing in them is imported,
called or built.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fxarchive.errors import FxArchiveError
from fxarchive.migrations.graph_pickler.recognition import records
from fxarchive.streams import Call, Name, Pairs, Set, read

DEEPEST = 8
"""Pickles as bytes inside of one another that are looked into."""

MOST_STREAMS = 64
"""Streams that are looked for in one pickle."""

MOST_PLACES = 4096
"""Pickles that are looked at in one pickle, those that it refers to again counted again."""

Key = str | int
PICKLER = b"torch.fx._graph_pickler"

_TORCH_SAVE = (
    "it is a file of torch.save; load it with torch.load and save the graph in it with fxarchive.save"
)
_TORCH_EXPORT = "it is a file of torch.export.save; load it with torch.export.load and save what that gives"
_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd; decompress it first"),
    (b"\x1f\x8b", "it is compressed with gzip; decompress it first"),
    (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", _TORCH_SAVE),
    (b"\x93NUMPY", "it is an array of numpy; save it with fxarchive.save"),
)
"""How a file begins -> what it is, and what to do."""

_ARCHIVE = range(0x184D2A50, 0x184D2A60)
"""Magic numbers of frames that a reader of zstd skips: an archive begins with one."""


def other_kind(data: bytes) -> str | None:
    """Return what a file is that is no pickle of GraphPickler, and what to do with it; None if that is not known.

    >>> other_kind(b"PK\\x03\\x04 ... model/data.pkl ...")[:28]
    'it is a file of torch.save; '
    """
    if int.from_bytes(data[:4], "little") in _ARCHIVE:
        return "it is an archive already; load it with fxarchive.load"
    if data[:4] == b"PK\x03\x04":
        return _kind_of_zip(data)
    for magic, what in _KINDS:
        if data.startswith(magic):
            return what
    length = int.from_bytes(data[:8], "little")
    if data[8:9] == b"{" and 2 <= length <= len(data) - 8:
        return "it is a file of safetensors, which holds tensors and no graph"
    if data[:1] in (b"(", b"c", b"]", b"}", b"I", b"N") and data.rstrip(b"\n")[-1:] == b".":
        return "it may be a pickle of protocol 0 or 1, and GraphPickler writes protocol 4 or 5"
    if data[:64].lstrip()[:1] in (b"{", b"[", b"<"):
        return "it is text"
    return None


def _kind_of_zip(data: bytes) -> str:
    if b"/code/" in data and b"constants.pkl" in data:
        return (
            "it is a TorchScript file; export the model with torch.export and save that with fxarchive.save"
        )
    if b"exported_program.json" in data or b"archive_format" in data or b"models/model.json" in data:
        return _TORCH_EXPORT
    if b"data.pkl" in data:
        return _TORCH_SAVE
    return "it is a zip file; give the streams in it"


def streams_in(data: bytes) -> list[tuple[Key, ...]]:
    """Return where the streams of GraphPickler are in a pickle that another program wrote: keys and positions.

    Attributes of instances count by their name. A pickle inside of a pickle adds nothing to the path.

    >>> import pickle
    >>> streams_in(pickle.dumps({"graph": b"\\x80\\x04ctorch.fx._graph_pickler\\nx\\n.", "other": b"x"}))
    [('graph',)]
    """
    if PICKLER not in data:
        return []
    return [path for path, held in _found(data) if PICKLER in held][:MOST_STREAMS]


def stream_at(data: bytes, path: Sequence[Key]) -> bytes:
    """Return the stream at a path that `streams_in` gives, or another pickle that is there as bytes.

    Raises:
        ValueError: there is none; it names those that there are.
    """
    for found, held in _found(data):
        if found == tuple(path):
            return held
    others = "; ".join(map(shown, streams_in(data))) or "none"
    raise ValueError(f"at is {shown(path)}, and there is no stream there; there are: {others}.")


def shown(path: Sequence[Key]) -> str:
    """Return how Python would reach something.

    >>> shown(("state", 0))
    "['state'][0]"
    """
    return "".join([f"[{key!r:.80}]" for key in path]) or "the root"


def _found(data: bytes, depth: int = 0) -> Iterator[tuple[tuple[Key, ...], bytes]]:
    """Yield pickles that a pickle holds as bytes, with their paths; of one that holds others, these instead."""
    left = MOST_PLACES
    try:
        root = read(data)
    except FxArchiveError:
        return
    if depth and _names_pickler(root):
        return  # a stream: the bytes in it are storages of tensors
    inside: dict[int, list[tuple[tuple[Key, ...], bytes]]] = {}
    for below, record in _bytes_in(root):
        found = inside.get(id(record))
        if found is None:  # bytes that a pickle refers to a thousand times are looked into once
            held = bytes(record)
            deeper = _found(held, depth + 1) if held[:1] == b"\x80" and depth < DEEPEST else iter(())
            found = inside[id(record)] = list(deeper) or ([((), held)] if held[:1] == b"\x80" else [])
        for step, held in found:
            left -= 1
            if left < 0:
                return
            yield (*below, *step), held


def _names_pickler(root: Any) -> bool:
    """Whether a pickle itself, and not only bytes in it, names what GraphPickler makes."""
    return any(type(record) is Name and record.module == PICKLER.decode() for record in records(root))


def _bytes_in(root: Any) -> Iterator[tuple[tuple[Key, ...], bytes | bytearray]]:
    """Yield the bytes in a pickle, each container once, in the order of the pickle."""
    pending: list[tuple[tuple[Key, ...], Any]] = [((), root)]
    seen: set[int] = set()
    while pending:
        path, record = pending.pop()
        kind = type(record)
        if kind in (bytes, bytearray):
            yield path, record
            continue
        if kind not in _CONTAINERS or id(record) in seen or len(path) > 64:
            continue
        seen.add(id(record))
        pending += reversed([((*path, *step), part) for step, part in _parts(record)])


_CONTAINERS = (tuple, list, Pairs, Call, Set)


def _parts(record: Any) -> Iterator[tuple[tuple[Key, ...], Any]]:
    """Yield the parts of a container with the step that leads to each."""
    if type(record) is Pairs:
        for key, value in record:
            yield ((key,) if type(key) in (str, int) else ()), value
    elif type(record) is Call:
        yield (), record.state
        if type(record.function) is not Name or record.args:
            yield (), record.args
        for at, item in enumerate(record.items):
            yield (at,), item
        yield from (((key,) if type(key) in (str, int) else (), value) for key, value in record.entries)
    else:
        items = record.items if type(record) is Set else record
        for at, item in enumerate(items):
            yield (at,), item
