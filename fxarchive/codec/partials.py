"""`functools.partial`: a function that is listed or trusted, and arguments that are values.

Nothing is called when one is made. It needs the feature flag "partial-functions".
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fxarchive.codec import facts
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.document import PARTIAL_FUNCTIONS, Value
from fxarchive.errors import InvalidDocument
from fxarchive.trust import is_plain_value


def encode_partial(enc: Encoder, value: functools.partial[Any]) -> Value:
    """Return ``["partial", function, [arguments], [keyword, value, ...]]``.

    In metadata, where nothing is called, it is a record of torch (`facts`) whose names need not be found.

    Raises:
        Refused: something in it holds code, or its function is not one that a load can find.
    """
    if enc.inert:
        return facts.encode_fact(enc, value)
    if vars(value):
        raise Refused.because("a functools.partial with attributes cannot be kept; take them away")
    names, count = list(value.keywords), len(value.args)
    with enc.metadata(inert=False):
        function, *values = enc.items(
            (value.func, *value.args, *value.keywords.values()),
            lambda i: ".func" if i == 0 else f".args[{i - 1}]" if i <= count else f".{names[i - count - 1]}",
        )
    if type(function) is not list or function[0] != "target":
        raise Refused.because(
            f"a functools.partial of a {type(value.func).__qualname__} cannot be kept; use a function"
        )
    enc.features.add(PARTIAL_FUNCTIONS)
    pairs = zip(names, values[count:], strict=True)
    return ["partial", function, values[:count], [part for pair in pairs for part in pair]]


def decode_partial(dec: Decoder, tagged: Value) -> functools.partial[Any]:
    """Return the partial function; it is not called."""
    _, target, values, flat = tagged
    if type(target) is not list or not target or target[0] != "target":
        raise InvalidDocument("a partial", "its function is not a row of targets")
    names = flat[::2]
    if len(flat) % 2 or not all(type(name) is str for name in names):
        raise InvalidDocument("a partial", "its keywords are not pairs of name and value")
    function = dec.value(target)
    kind, name = dec.document["targets"][target[1]][:2]
    if not is_plain_value(kind, name):
        raise InvalidDocument("a partial", f"{name} is called directly or not at all")
    return functools.partial(
        function, *dec.items(values), **dict(zip(names, dec.items(flat[1::2]), strict=True))
    )


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {functools.partial: encode_partial}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = []
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"partial": decode_partial}
