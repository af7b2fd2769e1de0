"""Values with symbols in them to documents and back, through the bytes of the wire."""

from __future__ import annotations

from typing import Any

import sympy

from fxarchive import wire
from fxarchive.codec import symbols
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.families import DECODE, ENCODE, ENCODE_WHERE
from fxarchive.errors import UnsupportedValue

from .tables import Bytes


def encode(value: Any) -> Any:
    """Return the document whose root is `value`."""
    enc = Encoder({**ENCODE, **symbols.ENCODE}, [*symbols.ENCODE_WHERE, *ENCODE_WHERE])
    try:
        enc.document["root"] = enc.value(value)
    except Refused as refused:
        raise UnsupportedValue(refused.problems) from None
    enc.run()
    assert ("symbolic" in enc.document) == ("symbolic-shapes" in enc.features)
    return wire.loads(wire.dumps(enc.document))


def decode(document: Any, fake_mode: Any = None) -> Any:
    """Return the root of `document`."""
    dec = Decoder(document, Bytes({}), {**DECODE, **symbols.DECODE}, fake_mode=fake_mode)
    root = dec.value(document["root"])
    dec.run()
    return root


def again(value: Any, fake_mode: Any = None) -> Any:
    """Return `value` as it comes back."""
    return decode(encode(value), fake_mode)


def of_rows(
    *rows: list[Any], symbols: tuple[Any, ...] = (["s0", {"integer": True, "positive": True}],)
) -> Any:
    """A document whose root is the expression in the last of `rows`."""
    document = encode(sympy.Integer(5))
    document["symbolic"] = {"symbols": list(symbols), "expressions": list(rows), "environments": []}
    document["root"] = ["expression", len(rows) - 1]
    return document
