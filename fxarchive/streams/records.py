"""What an inert reading of a pickle stream yields.

None, bool, int, float, str, bytes, bytearray, tuple and list stand for themselves. A dict is `Pairs`, since its
keys may be records that have no hash; sets are `Set` and `FrozenSet`. What a pickle would look up is a `Name`, what it
would call is a `Call`, what it would ask its reader for is a `PersistentId`. One object of the stream is one
object here, so identity, sharing and cycles are as the writer had them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Name:
    """A module and a qualified name that the stream would import; they were not looked at."""

    __slots__ = ("module", "qualname")

    def __init__(self, module: str, qualname: str) -> None:
        self.module = module
        self.qualname = qualname

    def __str__(self) -> str:
        return f"{self.module}.{self.qualname}"

    def __repr__(self) -> str:
        return f"Name({str(self)!r})"


class Pairs:
    """A dict: keys and values in their order; a key may occur twice, and the last one counts."""

    __slots__ = ("items",)

    def __init__(self, items: list[tuple[Any, Any]] | None = None) -> None:
        self.items: list[tuple[Any, Any]] = [] if items is None else items

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"Pairs({len(self.items)})"

    def named(self) -> dict[str, Any]:
        """Return the entries whose keys are strings, as a dict."""
        return {key: value for key, value in self.items if type(key) is str}


class Set:
    """A set: its members in the order of the stream."""

    __slots__ = ("items",)

    def __init__(self, items: list[Any] | None = None) -> None:
        self.items: list[Any] = [] if items is None else items


class FrozenSet(Set):
    """A frozenset."""

    __slots__ = ()


class PersistentId:
    """Something that the stream's own reader would have been asked for."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


NOTHING: Any = type("Nothing", (), {"__slots__": (), "__repr__": lambda self: "NOTHING"})()
"""The state of a call that has none."""


class Call:
    """A call that the stream would make, and what it would do to the result.

    Attributes:
        function: what would be called: a `Name`, or another record.
        args: a tuple, or the record of one.
        kwargs: `Pairs` for the opcode with keyword arguments, else None.
        new: whether it makes an instance by ``cls.__new__``, without ``__init__``.
        state: what would be given to ``__setstate__`` or put into ``__dict__``; `NOTHING` if there is none.
        items: what would be appended.
        entries: keys and values that would be set.
    """

    __slots__ = ("args", "entries", "function", "items", "kwargs", "new", "state")

    def __init__(self, function: Any, args: Any, kwargs: Any = None, new: bool = False) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.new = new
        self.state: Any = NOTHING
        self.items: list[Any] = []
        self.entries: list[tuple[Any, Any]] = []

    @property
    def name(self) -> str:
        """The name of what would be called, or "" if it is not a plain name."""
        return str(self.function) if type(self.function) is Name else ""

    def fields(self) -> dict[str, Any]:
        """Return the attributes that the state would set: those of ``__dict__`` and of slots together."""
        state = self.state
        if type(state) is tuple and len(state) == 2:
            merged = {}
            for part in state:
                if type(part) is Pairs:
                    merged.update(part.named())
            return merged
        return state.named() if type(state) is Pairs else {}

    def __repr__(self) -> str:
        return f"Call({self.name or self.function!r})"
