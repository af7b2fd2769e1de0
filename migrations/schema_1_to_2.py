"""torch's own GraphPickler stream becomes the first document of fxarchive.

The stream is read inertly (`fxarchive.streams`): nothing in it is imported or called. What the stream says is
translated family by family (`fxarchive.migrations.graph_pickler`); what has no place in schema 2 and is not needed to
compute (metadata, attributes) is left out with a note, anything else is an error that names it.
"""

from __future__ import annotations

from typing import Any

from fxarchive.errors import Problem, UnsupportedValue
from fxarchive.migrations.content import Content
from fxarchive.migrations.graph_pickler import recognition
from fxarchive.migrations.graph_pickler.dill import read_stream
from fxarchive.migrations.graph_pickler.families import CALLS, KINDS
from fxarchive.migrations.graph_pickler.translation import Translation, Untranslatable
from fxarchive.streams import OPCODES, Bounds, weight_of

SOURCE = 1

PASSES = 16
"""Translations at most: each leaves out what the one before could not translate."""

LEFT_OUT = "Left out, since {}"


def upgrade(content: Content) -> Content:
    """Return the document of schema 2 that a stream stands for.

    Args:
        content: of schema 1; its document is the bytes of the stream.

    Raises:
        BadStream: it is no pickle that can be read.
        TooLarge: it is over a bound.
        UnsupportedValue: something that the graph needs cannot be translated; every place is named.
    """
    size = len(content.document)
    weight = weight_of(size, content.stored)
    root = read_stream(content.document, bounds=Bounds(opcodes=min(OPCODES, weight)))
    releases = recognition.given(content.torch) or recognition.recognise(root)
    leave_out: frozenset[tuple[Any, ...]] = frozenset()
    left: dict[str, list[str]] = {}
    for _ in range(PASSES):
        tr = Translation(
            empty_document(),
            CALLS,
            KINDS,
            size=size,
            weight=weight,
            releases=releases,
            leave_out=leave_out,
        )
        _translate(tr, root)
        if not tr.dropped:
            tr.check_size(extent(tr.document))
            for what, places in left.items():
                for place in places:
                    tr.note(LEFT_OUT.format(what), place)
            return Content(2, tr.document, frozenset(tr.features), tr.sections, tr.all_notes(), content.torch)
        # what was translated before it was refused left rows behind, so the whole is translated without it
        leave_out |= frozenset(tr.dropped)
        for problems in tr.dropped.values():
            for path, why in problems:
                left.setdefault(why, []).append(path.lstrip("."))
    raise UnsupportedValue([Problem("the object", "what has to be left out of it does not end")])


def downgrade(content: Content) -> Content:
    """Raise, since there is no way back: a GraphPickler stream is code of one release of torch.

    Raises:
        UnsupportedValue: always.
    """
    raise UnsupportedValue(
        [
            Problem(
                "the document",
                "schema 1 is a stream of torch's GraphPickler, which only torch itself writes; load the archive and "
                "use torch.fx._graph_pickler.GraphPickler",
            )
        ]
    )


def _translate(tr: Translation, root: Any) -> None:
    try:
        tr.document["root"] = tr.value(root)
    except Untranslatable as refused:
        tr.problems += refused.problems
    tr.run()


def extent(document: Any) -> int:
    """Return how many bytes and characters stand in a document, each as often as it is written.

    >>> extent({"a": ["xyz", b"12", 300, None]})
    7
    """
    found = 0
    pending = [document]
    while pending:
        value = pending.pop()
        kind = type(value)
        if kind is list:
            pending += value
        elif kind is dict:
            pending += value
            pending += value.values()
        elif kind is str or kind is bytes:
            found += len(value)
        elif kind is int:
            found += value.bit_length() >> 3
    return found


def empty_document() -> dict[str, Any]:
    """Return a document of schema 2 with no rows."""
    return {
        "schema": 2,
        "root": None,
        "examples": None,
        "shared": [],
        "values": [],
        "texts": [],
        "targets": [],
        "graphs": [],
        "modules": [],
        "tensors": [],
        "storages": [],
        "fakes": {},
        "descriptions": [],
    }
