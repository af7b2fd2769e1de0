"""How much a wire form unfolds to, counted before anything of it is unfolded.

Columns compress by thousands where rows repeat, and a byte of a column can stand for a row of many entries. So what
comes out is bounded by itself: in values, which take some 30 bytes of memory each, and in characters.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from fxarchive.errors import TooLarge
from fxarchive.packing.numbers import unpack_numbers
from fxarchive.packing.rows import CONSTANT, DICT, HOLE, LIST
from fxarchive.packing.strings import unpack_strings

LIST_VALUES, DICT_VALUES = 2, 4
"""What a list or a dict counts beside its entries."""

DIGITS = 11
"""Characters of the number in the longest counted string, with what stands before it."""


class Room:
    """What is left of the values and characters that one document may unfold to.

    Each method takes a packed part, and counts what unpacking it makes.
    """

    def __init__(self, values: int = sys.maxsize, characters: int = sys.maxsize) -> None:
        """Begin with room for so many values and characters."""
        self._values = self._values_left = values
        self._characters = self._characters_left = characters

    @property
    def used(self) -> tuple[int, int]:
        """Values and characters that were counted."""
        return self._values - self._values_left, self._characters - self._characters_left

    def numbers(self, packed: Any) -> None:
        """Count a column of numbers. Raises as `rows`."""
        self.take(values=_count(packed))

    def strings(self, packed: Any) -> None:
        """Count a column of strings. Raises as `rows`."""
        lengths, rests = packed
        self.numbers(lengths)
        written = len(rests) if type(rests) is str else sum(map(len, rests))
        self.take(characters=sum(unpack_numbers(lengths)) + written)

    def names(self, packed: Any, suggested: list[str]) -> None:
        """Count the names of nodes. Raises as `rows`."""
        self.strings(packed[0])
        self._counted(suggested, unpack_strings(packed[0]), packed[1], packed[2])

    def rows(self, packed: Any) -> None:
        """Count a table of rows.

        Raises:
            TooLarge: there is no room for what it unfolds to.
            ValueError, TypeError, LookupError: it is not what `pack_rows` returns.
        """
        forms, picks, columns = packed
        self.numbers(picks)
        counts = Counter(unpack_numbers(picks))
        for number, (form, held) in enumerate(zip(forms, columns, strict=True)):
            if held:
                self.take(values=counts[number] * _entries(form))
            for column in held:
                self._column(column)

    def _column(self, packed: Any) -> None:
        if type(packed) is bytes:
            self.numbers(packed)
        elif len(packed) == 3:
            self.strings(packed[0])
            self._counted([], unpack_strings(packed[0]), packed[1], packed[2])
        elif len(packed) == 1 or packed[1] is not None:
            self.strings(packed[0])
            self.numbers(packed[1] if len(packed) > 1 else b"")

    def _counted(self, suggested: list[str], bases: list[str], picks: Any, steps: Any) -> None:
        """Count strings that are a base each and a number: picks name the base, of nodes from 1 on."""
        self.numbers(picks)
        self.numbers(steps)
        lengths = list(map(len, bases))
        if suggested:
            chosen = [
                lengths[pick - 1] if pick else len(stem)
                for pick, stem in zip(unpack_numbers(picks), suggested, strict=True)
            ]
        else:
            chosen = [lengths[pick] for pick in unpack_numbers(picks)]
        self.take(characters=sum(chosen) + DIGITS * len(chosen))

    def take(self, values: int = 0, characters: int = 0) -> None:
        """Count so many. Raises TooLarge where there is no room for them."""
        self._values_left -= values
        self._characters_left -= characters
        if self._values_left < 0:
            raise TooLarge("The number of values of the document", self.used[0], self._values)
        if self._characters_left < 0:
            raise TooLarge("The number of characters of the document", self.used[1], self._characters)


class _Endless(Room):
    """Room for everything, where nobody counts."""

    def numbers(self, packed: Any) -> None:
        pass

    strings = rows = numbers

    def names(self, packed: Any, suggested: list[str]) -> None:
        pass


ENDLESS = _Endless()


def _count(packed: Any) -> int:
    """How many numbers a column has."""
    if type(packed) is not bytes:
        raise TypeError("a column of numbers is not bytes")
    return (len(packed) - 1) // max(1, packed[0] & 0x0F) if packed else 0


def _entries(form: Any) -> int:
    """What one row of a form counts beside what stands in its columns."""
    if type(form) is not list or form[0] in (HOLE, CONSTANT):
        return 0
    if form[0] not in (LIST, DICT):
        raise ValueError("a form is of no known kind")
    own = LIST_VALUES if form[0] == LIST else DICT_VALUES
    return own + len(form) - 1 + sum([_entries(part) for part in form[1 + form[0] :: 1 + form[0]]])
