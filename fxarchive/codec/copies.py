"""Making the same value again and again: decode once, then copy what can change and reuse what cannot.

Metadata repeats (a module stack, the shape of a tensor) and so do the arguments of calls. Each use needs
containers of its own, and nothing else about it has to be decoded again. `repeats` bounds how much there is of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fxarchive import repeats
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.operators import decode_class
from fxarchive.document import Value
from fxarchive.repeats import are_constant, is_constant

Make = Callable[[], Any]

CONSTANT_TAGS = repeats.CONSTANT_TAGS
"""Tags of values of which one object can stand wherever they occur."""


def copies(dec: Decoder, values: list[Value], rows: list[int]) -> list[Any]:
    """Return the objects of ``values`` in ``rows``, a fresh one for each row where it can change."""
    made: dict[int, Any] = {}
    makers: dict[int, Make] = {}
    decode = dec.value
    for row, uses in Counter(rows).items():
        value = values[row]
        if uses == 1 or is_constant(value):
            made[row] = decode(value)
        else:
            makers[row] = maker(dec, value)
    if not makers:
        return list(map(made.__getitem__, rows))
    if not made:
        return [make() for make in map(makers.__getitem__, rows)]
    return [makers[row]() if row in makers else made[row] for row in rows]


def maker(dec: Decoder, value: Value) -> Make:
    """Return a function that makes the object of ``value``, a fresh one at each call where it can change."""
    if is_constant(value):
        constant = dec.value(value)
        return lambda: constant
    tag = value[0]
    if tag in repeats.COPIED_TAGS and are_constant(value[1]):
        copy: Make = dec.value(value).copy
        return copy
    if tag == "tuple":
        return _filled(dec, value[1], dec.value(value), tuple)
    if tag == "list":
        return _filled(dec, value[1], dec.value(value), list)
    if tag == "named":
        cls = decode_class(dec, value[1])
        first = dec.value(value)  # checks that the class takes these items
        if not hasattr(cls, "n_fields"):
            return _filled(dec, value[2], first, partial(tuple.__new__, cls))
    return lambda: dec.value(value)


def _filled(dec: Decoder, items: list[Value], first: Sequence[Any], finish: Callable[[Any], Any]) -> Make:
    """Make sequences like ``first``, with its constant items and others that are made at each call."""
    makers = [(at, maker(dec, item)) for at, item in enumerate(items) if not is_constant(item)]
    parts = list(first)
    if len(makers) == 1:
        ((at, make_one),) = makers
        before, after = tuple(parts[:at]), tuple(parts[at + 1 :])
        return lambda: finish((*before, make_one(), *after))

    def make() -> Any:
        fresh = parts.copy()
        for at, each in makers:
            fresh[at] = each()
        return finish(fresh)

    return make
