"""The state of a pickle machine that looks nothing up: stack, memo, and the bytes that it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from fxarchive.errors import BadStream
from fxarchive.streams.bounds import Bounds
from fxarchive.streams.records import Call, Name

PROTOCOLS = range(2, 6)
"""Protocols that are read: GraphPickler writes 4 or 5, torch.save 2."""


Made: TypeAlias = Callable[[Call], Any]


class Machine:
    """The state of a pickle machine while one stream is read."""

    __slots__ = ("at", "bounds", "data", "end", "made", "marks", "memo", "names", "stack", "where")

    def __init__(self, data: bytes, where: str, bounds: Bounds, made: Made | None) -> None:
        self.data = data
        self.end = len(data)
        self.at = 0
        self.where = where
        self.bounds = bounds
        self.made = made
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.names: dict[tuple[str, str], Name] = {}

    def fail(self, reason: str) -> BadStream:
        return BadStream(self.where, f"{reason} (byte {self.at})")

    def take(self, count: int) -> bytes:
        start = self.at
        if count > self.end - start:
            raise self.fail(f"it announces {count} bytes and {self.end - start} follow")
        self.at = start + count
        return self.data[start : start + count]

    def line(self) -> str:
        stop = self.data.find(b"\n", self.at, self.at + 4096)
        if stop < 0:
            raise self.fail("a line of text has no end")
        text = self.data[self.at : stop]
        self.at = stop + 1
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError:
            raise self.fail("a name is not UTF-8") from None

    def pop(self) -> Any:
        if not self.stack:
            raise self.fail("it takes more from the stack than it put there")
        return self.stack.pop()

    def top(self) -> Any:
        if not self.stack:
            raise self.fail("it takes more from the stack than it put there")
        return self.stack[-1]

    def to_mark(self) -> list[Any]:
        if not self.marks:
            raise self.fail("it ends a group that it did not begin")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def name(self, module: Any, qualname: Any) -> Name:
        if type(module) is not str or type(qualname) is not str:
            raise self.fail("it names a thing by something other than two strings")
        found = self.names.get((module, qualname))
        if found is None:
            found = self.names[module, qualname] = Name(module, qualname)
        return found
