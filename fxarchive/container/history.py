"""The history of an archive: which schemas it was brought from and to, and by what, oldest first."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_KEYS = ("by", "from", "notes", "predecessor", "to")
_PRINTABLE = re.compile(r"[ -~]{0,100}")


class Change(NamedTuple):
    """One time that an archive was rewritten in another schema.

    source, target: the schemas before and after. by: the release of fxarchive that did it, printable ASCII of at
    most 100 characters. predecessor: identity of the archive that it was, in hexadecimal. notes: what could not
    be kept, or was not known, a sentence each.
    """

    source: int
    target: int
    by: str
    predecessor: str
    notes: tuple[str, ...] = ()


def packed(history: tuple[Change, ...]) -> list[dict[str, Any]]:
    """Return a history as plain values of the header map.

    Raises:
        ValueError: a predecessor is not hexadecimal.
    """
    return [
        {
            "by": change.by,
            "from": change.source,
            "notes": list(change.notes),
            "predecessor": bytes.fromhex(change.predecessor),
            "to": change.target,
        }
        for change in history
    ]


def unpacked(values: list[dict[str, Any]]) -> tuple[Change, ...]:
    """Return the history of plain values that break no rule."""
    return tuple(
        [
            Change(value["from"], value["to"], value["by"], value["predecessor"].hex(), tuple(value["notes"]))
            for value in values
        ]
    )


def broken_rule(values: Any, schema: int, most_schema: int) -> str | None:
    """The first rule of a history, a plain value, that ``values`` breaks in an archive of ``schema``."""
    if type(values) is not list or not values:
        return "history must be a list that is not empty"
    for value in values:
        if type(value) is not dict or tuple(sorted(value)) != _KEYS:
            return f"each entry of history must be a map with the keys {', '.join(_KEYS)} and no other"
        ends = value["from"], value["to"]
        if not all(type(end) is int and 1 <= end <= most_schema for end in ends) or ends[0] == ends[1]:
            return f"from and to in history must be two ints from 1 to {most_schema}"
        if type(value["by"]) is not str or not _PRINTABLE.fullmatch(value["by"]):
            return "by in history must be printable ASCII of at most 100 characters"
        if type(value["predecessor"]) is not bytes or len(value["predecessor"]) != 32:
            return "predecessor in history must be 32 bytes"
        if type(value["notes"]) is not list or not all(type(note) is str for note in value["notes"]):
            return "notes in history must be a list of text"
    starts = [*[value["from"] for value in values[1:]], schema]
    if [value["to"] for value in values] != starts:
        return "each entry of history must end where the next one, or the archive, is"
    return None
