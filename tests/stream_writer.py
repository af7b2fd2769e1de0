"""Pickle streams from records: what `fxarchive.streams` reads, written back, so that tests can change a part."""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any

from fxarchive.streams import Call, FrozenSet, Name, Pairs, PersistentId, Set
from fxarchive.streams.records import NOTHING


def write(record: Any) -> bytes:
    """Return a stream of protocol 4 that says what ``record`` says, with its sharing and its cycles."""
    writer = _Writer()
    writer.put(record)
    return b"\x80\x04" + b"".join(writer.parts) + b"."


class _Writer:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.memo: dict[int, int] = {}
        self.alive: list[Any] = []

    def put(self, record: Any) -> None:
        if type(record) in (type(None), bool, int, float, str, bytes, bytearray):
            self.parts.append(_opcodes(record))
            return
        at = self.memo.get(id(record))
        if at is not None:
            self.parts.append(b"j" + struct.pack("<I", at))
            return
        _PUT[type(record)](self, record)
        if id(record) not in self.memo:
            self.remember(record)

    def remember(self, record: Any) -> None:
        self.memo[id(record)] = len(self.memo)
        self.alive.append(record)
        self.parts.append(b"\x94")

    def tuple(self, record: Any) -> None:
        self.parts.append(b"(")
        for item in record:
            self.put(item)
        self.parts.append(b"t")

    def list(self, record: Any) -> None:
        self.parts.append(b"]")
        self.remember(record)
        self.batch(record, b"e")

    def pairs(self, record: Any) -> None:
        self.parts.append(b"}")
        self.remember(record)
        self.batch([part for pair in record.items for part in pair], b"u")

    def set(self, record: Any) -> None:
        self.parts.append(b"\x8f")
        self.remember(record)
        self.batch(record.items, b"\x90")

    def frozenset(self, record: Any) -> None:
        self.parts.append(b"(")
        for item in record.items:
            self.put(item)
        self.parts.append(b"\x91")

    def batch(self, items: Any, end: bytes) -> None:
        self.parts.append(b"(")
        for item in items:
            self.put(item)
        self.parts.append(end)

    def name(self, record: Any) -> None:
        self.put(record.module)
        self.put(record.qualname)
        self.parts.append(b"\x93")

    def persistent(self, record: Any) -> None:
        self.put(record.value)
        self.parts.append(b"Q")

    def call(self, record: Any) -> None:
        self.put(record.function)
        self.put(record.args)
        if record.kwargs is not None:
            self.put(record.kwargs)
            self.parts.append(b"\x92")
        else:
            self.parts.append(b"\x81" if record.new else b"R")
        self.remember(record)
        if record.items:
            self.batch(record.items, b"e")
        if record.entries:
            self.batch([part for pair in record.entries for part in pair], b"u")
        if record.state is not NOTHING:
            self.put(record.state)
            self.parts.append(b"b")


def _opcodes(atom: Any) -> bytes:
    """Return the opcodes of an atom, without those that begin and end a stream, and without a memo."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 5 if type(atom) is bytearray else 4)
    pickler.fast = True
    pickler.dump(atom)
    data = file.getvalue()
    return data[11 if data[2:3] == b"\x95" else 2 : -1]


_PUT: dict[type, Any] = {
    tuple: _Writer.tuple,
    list: _Writer.list,
    Pairs: _Writer.pairs,
    Set: _Writer.set,
    FrozenSet: _Writer.frozenset,
    Name: _Writer.name,
    PersistentId: _Writer.persistent,
    Call: _Writer.call,
}
