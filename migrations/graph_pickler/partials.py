"""`functools.partial`: in metadata a fact whose function is a name, elsewhere a function that must be found."""

from __future__ import annotations

from typing import Any

from fxarchive.document import PARTIAL_FUNCTIONS
from fxarchive.migrations.graph_pickler import facts
from fxarchive.migrations.graph_pickler.translation import (
    Table,
    Translation,
    Untranslatable,
)
from fxarchive.streams import Call


def _partial(tr: Translation, call: Call) -> Any:
    if tr.inert:
        return facts.fact(tr, call)
    function, args, keywords = facts.partial_of(call)
    names = [name for name, _ in keywords]
    values = [value for _, value in keywords]
    count = len(args)
    with tr.metadata(inert=False):
        tagged, *items = tr.items(
            (function, *args, *values),
            lambda i: (
                ".func" if i == 0 else f".args[{i - 1}]" if i <= count else f".{names[i - count - 1]!s:.80}"
            ),
        )
    if type(tagged) is not list or tagged[0] != "target":
        raise Untranslatable.because("a functools.partial is kept only of a function with a name")
    tr.features.add(PARTIAL_FUNCTIONS)
    pairs = zip(names, items[count:], strict=True)
    return ["partial", tagged, items[:count], [part for pair in pairs for part in pair]]


CALLS: Table = {"functools.partial": _partial}
