"""Encodes and decodes one value with all families, through the bytes of the wire, without a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fxarchive import wire
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.families import DECODE, ENCODE, ENCODE_WHERE
from fxarchive.codec.running_torch import resolve_targets
from fxarchive.codec.storages import chunks
from fxarchive.errors import UnsupportedValue


class Bytes:
    """Sections in memory; `held` counts nothing and hides nothing, so tests can look at it."""

    def __init__(self, held: Mapping[str, bytes]) -> None:
        self.held = dict(held)

    def writable(self, name: str) -> memoryview:
        return memoryview(bytearray(self.held[name]))


def encode(value: Any, *, omit_weights: bool = False) -> tuple[Any, Bytes]:
    """Return the document whose root is `value`, and its sections."""
    enc = Encoder(ENCODE, ENCODE_WHERE, omit_weights=omit_weights)
    try:
        enc.document["root"] = enc.value(value)
    except Refused as refused:
        raise UnsupportedValue(refused.problems) from None
    enc.run()
    document = wire.loads(wire.dumps(enc.document))
    return document, Bytes({name: b"".join(chunks(storage)) for name, storage in enc.storages.items()})


def decode(document: Any, sections: Any = None, **options: Any) -> Any:
    """Return the root of `document`."""
    dec = Decoder(document, Bytes({}) if sections is None else sections, DECODE, **options)
    resolve_targets(dec, "")
    root = dec.value(document["root"])
    dec.run()
    return root


def again(value: Any, **options: Any) -> Any:
    """Return `value` as it comes back."""
    return decode(*encode(value, **options))
