"""The state of one decoding: the document that was read, and the objects that rows already became."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fxarchive.document import FEATURES, Document, Value
from fxarchive.errors import InvalidDocument


class Sections(Protocol):
    """Where the bytes of storages come from."""

    def writable(self, name: str) -> memoryview:
        """Return the section's bytes as private writable memory (a copy-on-write mapping, or a copy)."""

    def read(self, name: str) -> bytes:
        """Return the section's bytes, checked against their digest."""


class Decoder:
    """The document, and what its rows became; each row becomes one object, so sharing comes back."""

    def __init__(
        self,
        document: Document,
        sections: Sections,
        decode: Mapping[str, Callable[[Decoder, Any], Any]],
        *,
        features: frozenset[str] = FEATURES,
        trust: frozenset[str] = frozenset(),
        device: Any = None,
        fake_mode: Any = None,
    ) -> None:
        self.document = document
        self.sections = sections
        self.features = features
        """Feature flags of the archive."""
        self.trust = trust
        self.device = device
        """Where real tensors go, a `torch.device`, or None for where they were."""
        self.fake_mode = fake_mode
        """The FakeTensorMode that FakeTensors join; None until one is needed."""
        self.objects: dict[str, dict[int, Any]] = {"storages": {}, "tensors": {}}
        """Table -> row -> the object that it became, which is never None."""
        self.nodes: dict[int, list[Any]] = {}
        """Row of a graph -> its nodes in order."""
        self.holes: Any = None
        """(nodes so far, distances) while the arguments of a node are decoded."""
        self.state: dict[str, Any] = {}
        """What a family keeps for itself while it decodes."""
        self._decode = decode
        self._queue: deque[Callable[[], None]] = deque()
        self._last: deque[Callable[[], None]] = deque()

    def value(self, value: Value) -> Any:
        """Return the object that the plain value stands for."""
        if type(value) is not list:
            return value
        return self._decode[value[0]](self, value)

    def items(self, values: list[Value]) -> list[Any]:
        """Return the objects that each of the plain values stands for."""
        decode = self._decode
        return [v if type(v) is not list else decode[v[0]](self, v) for v in values]

    def row(self, table: str, row: Any, build: Callable[[Any], Any]) -> Any:
        """Return the object of ``row`` in ``table``, built by ``build(entry)`` the first time."""
        known = self.objects.setdefault(table, {})
        found = known.get(row) if type(row) is int else None
        if found is None:
            found = known[row] = build(self.entry(table, row))
        return found

    def entry(self, table: str, row: Any) -> Any:
        """Return ``table[row]``, or raise `InvalidDocument` if there is no such row."""
        entries: list[Any] = self.document[table]  # type: ignore[literal-required]
        if type(row) is not int or not 0 <= row < len(entries):
            raise InvalidDocument(f"table {table}", f"there is no row {row!r}")
        return entries[row]

    def require(self, flag: str, where: str) -> None:
        """Raise `InvalidDocument` if the archive does not name a feature flag that something in it needs."""
        if flag not in self.features:
            raise InvalidDocument(where, f"the archive does not name the feature flag {flag!r} that it needs")

    def later(self, work: Callable[[], None]) -> None:
        """Do ``work`` after what is at hand: fill an object that others already refer to."""
        self._queue.append(work)

    def last(self, work: Callable[[], None]) -> None:
        """Do ``work`` when everything else is there, metadata included."""
        self._last.append(work)

    def run(self) -> None:
        """Do everything that was put off."""
        while self._queue or self._last:
            (self._queue or self._last).popleft()()

    def forget(self) -> None:
        """Let go of everything, so that nothing of it waits for the garbage collector."""
        self.objects.clear()
        self.nodes.clear()
        self.state.clear()
        self._queue.clear()
        self._last.clear()
