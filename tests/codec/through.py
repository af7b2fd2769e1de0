"""The codec alone, without a file: encode, the wire form of the document, decode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from fxarchive import codec, wire


class Sections:
    """Gives each storage's bytes as memory of its own."""

    def __init__(self, storages: Mapping[str, Any], extras: Mapping[str, bytes] | None = None) -> None:
        self._storages = storages
        self._extras = extras or {}

    def writable(self, name: str) -> memoryview:
        content = torch.empty(0, dtype=torch.uint8).set_(self._storages[name])
        return memoryview(bytearray(content.numpy().tobytes()))

    def read(self, name: str) -> bytes:
        return self._extras[name]


def through_the_codec(
    obj: Any, *, trust: tuple[str, ...] = (), change: Callable[[dict[str, Any]], None] | None = None
) -> Any:
    """Encode and decode `obj`; `change` may alter the document in between, as a hostile writer would."""
    encoded = codec.encode(obj)
    document = wire.loads(wire.dumps(encoded.document))
    if change is not None:
        change(document)
    return codec.decode(document, Sections(encoded.storages, encoded.extras), trust=frozenset(trust))
