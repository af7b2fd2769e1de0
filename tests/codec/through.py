"""The codec alone, without a file: encode, the wire form of the document, decode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from fxarchive import codec, wire


class Sections:
    """Gives each storage's bytes as memory of its own."""

    def __init__(self, storages: Mapping[str, Any]) -> None:
        self._storages = storages

    def writable(self, name: str) -> memoryview:
        content = torch.empty(0, dtype=torch.uint8).set_(self._storages[name])
        return memoryview(bytearray(content.numpy().tobytes()))


def through_the_codec(
    obj: Any, *, trust: tuple[str, ...] = (), change: Callable[[dict[str, Any]], None] | None = None
) -> Any:
    """Encode and decode `obj`; `change` may alter the document in between, as a hostile writer would."""
    encoded = codec.encode(obj)
    document = wire.loads(wire.dumps(encoded.document))
    if change is not None:
        change(document)
    return codec.decode(document, Sections(encoded.storages), trust=frozenset(trust))
