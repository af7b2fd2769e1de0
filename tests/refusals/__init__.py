"""What provokes each row of `spec/refusals.md`: `reading` and `saving` add to `CASES`."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx, nn

import fxarchive
from fxarchive import container, packing, wire
from fxarchive.document import DOCUMENT
from fxarchive.reading import read_document

Case = Callable[[Path, pytest.MonkeyPatch], tuple[Callable[[], Any], dict[str, Any]]]
"""Given a folder: what to call, and what stands in the places of the message."""

CASES: dict[str, Case] = {}


def case(title: str, act: Callable[..., Any] | None = None, /, **places: Any) -> Any:
    """Add a case: ``act`` takes the folder; without it, decorate a function that returns act and places."""
    if act is None:
        return lambda prepared: _add(title, prepared)
    return _add(title, lambda folder, monkeypatch: (lambda: act(folder), places))


def _add(title: str, prepared: Case) -> Case:
    assert title not in CASES, f"{title} has two cases"
    CASES[title] = prepared
    return prepared


def graph() -> fx.GraphModule:
    return fx.symbolic_trace(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))


def operator_graph() -> fx.GraphModule:
    made = fx.Graph()
    made.output(made.call_function(torch.ops.aten.relu.default, (made.placeholder("x"),)))
    return fx.GraphModule(nn.Module(), made)


Bytes = bytes | Callable[[], bytes]
"""An archive, or what makes it when its case is run."""


def edited(make: Callable[[], Any], change: Callable[[Any], Any], **options: Any) -> Callable[[], bytes]:
    """What makes the archive of an object, with ``change`` done to its document."""
    return lambda: _edited(make(), change, options)


def _edited(obj: Any, change: Callable[[Any], Any], options: dict[str, Any]) -> bytes:
    archive = container.open_archive(fxarchive.dumps(obj, **options))
    document = read_document(archive)
    change(document)
    payload = wire.dumps(packing.pack(document))
    sections = [container.NewSection(DOCUMENT, "zstd", len(payload), [payload])]
    for name, section in archive.sections.items():
        if name != DOCUMENT:
            sections.append(container.NewSection(name, section.codec, section.size, [archive.read(name)]))
    stream = io.BytesIO()
    container.write(stream, archive.header, sections)
    return stream.getvalue()


def altered(data: bytes, section: str) -> bytes:
    """``data`` with one bit in the middle of a section flipped."""
    start, size = container.open_archive(data).sections[section].extents[0]
    at = start + size // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def put(place: int, *part: Any) -> Callable[[Any], None]:
    """A change of the first row of `targets`."""

    def change(document: Any) -> None:
        document["targets"][0][place:] = part

    return change


def loads(data: Bytes, **options: Any) -> Callable[[Path], Any]:
    return lambda folder: fxarchive.loads(made(data), **options)


def made(data: Bytes) -> bytes:
    return data() if callable(data) else data


def save(make: Callable[[], Any], **options: Any) -> Callable[[Path], Any]:
    return lambda folder: fxarchive.dumps(make(), **options)


def saved(make: Callable[[], Any], **options: Any) -> Callable[[], bytes]:
    return lambda: fxarchive.dumps(make(), **options)
