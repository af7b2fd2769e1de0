"""The state of one encoding: the tables that grow, and what has a row already.

Families (`values`, `operators`, `tensors`, `modules`, `graphs`) hold the mirrored ``encode_x`` / ``decode_x`` pairs;
each lists what it takes in three constants, which `families` merges:

* ``ENCODE``: exact type -> function of (encoder, value) returning a plain value;
* ``ENCODE_WHERE``: (predicate, function) pairs, tried in order for types that are not listed exactly;
* ``DECODE``: tag -> function of (decoder, tagged value) returning the object.

An encoder function that meets a value which cannot be kept raises `Refused`. Containers catch it, prepend
their own step to the paths and go on, so that one error names every offending value.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fxarchive.codec.filters import KEEP_ALL, Filters
from fxarchive.document import Document, Value, empty_document
from fxarchive.errors import Problem, UnsupportedValue, shortened

MAX_DEPTH = 128
"""Levels of nested containers that a value may have (spec/limits.md)."""

LONGEST_PATH = 400
"""Characters of a path in an error message."""

TEXT_LENGTH = 48
"""Strings of this many characters or more become rows of `texts`, since long strings repeat (stack traces)."""

ATOMS = frozenset({type(None), bool, int, float, bytes})
"""Types whose values stand for themselves, like short strings."""


class Refused(Exception):
    """Values that cannot be kept, with their paths below the point where this was raised."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__()
        self.problems = list(problems)

    @classmethod
    def because(cls, why: str) -> Refused:
        """Refuse the value at hand itself."""
        return cls([Problem("", why)])

    def below(self, step: str) -> list[Problem]:
        """Return the problems with ``step`` put before each path."""
        return [Problem(step + path, why) for path, why in self.problems]


class Encoder:
    """Tables under construction, and the memory of what already has a row.

    Objects are kept alive while the encoder lives, so that an `id` names one object. Modules and graphs get
    their row number when they are first met and are filled later from a queue, so that no nesting of modules
    is too deep.
    """

    def __init__(
        self,
        encode: dict[type, Callable[[Encoder, Any], Value]],
        encode_where: Sequence[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]],
        *,
        omit_weights: bool = False,
        drop: bool = False,
        leave_out: frozenset[tuple[int, int, int]] = frozenset(),
        filters: Filters = KEEP_ALL,
    ) -> None:
        self.document: Document = empty_document()
        self.features: set[str] = set()
        self.omit_weights = omit_weights
        self.drop = drop
        """Whether metadata that is refused is noted in `dropped` instead of being a problem."""
        self.leave_out = leave_out
        """Metadata entries to leave out: (graph row, node number, place in the node's metadata), or
        (`graph_modules.MODULE_META`, module row, place in the module's metadata)."""
        self.filters = filters
        self.dropped: dict[tuple[int, int, int], list[Problem]] = {}
        """Metadata entries that were refused, and why."""
        self.storages: dict[str, Any] = {}
        """Section name -> storage whose bytes go there."""
        self.extras: dict[str, bytes] = {}
        """Section name -> bytes that go there as they are."""
        self.problems: list[Problem] = []
        self.path = ""
        """Where the work at hand stands below the root."""
        self.keep = False
        """Whether tensors keep their bytes even where weights are left out: no state dict holds these."""
        self.in_module = False
        """Whether what a module holds is being encoded."""
        self.inert = False
        """Whether metadata is being encoded, where classes and functions are kept as names."""
        self.operands: Any = None
        """Nodes met so far while the arguments of one node are encoded (`patterns.Operands`), else None."""
        self.numbers: dict[int, dict[Any, int]] = {}
        """Id of a graph -> node -> its number."""
        self.symbolic: dict[int, list[Value]] = {}
        """Id of the node of a symbolic number -> the value that the number became; the node is kept alive."""
        self.values: dict[bytes, int] = {}
        """Bytes of a metadata value -> its row in `values`."""
        self.state: dict[str, Any] = {}
        """What a family keeps for itself while it encodes."""
        self.orders: dict[int, bytes] = {}
        """Id of a member of a set -> the bytes that it is sorted by: sets in sets would be encoded without end."""
        self._encode = dict(encode)
        self._encode_where = list(encode_where)
        self._steps: list[tuple[Callable[[int], str], list[Value]]] = []
        self._containers: dict[int, list[Any]] = {}
        self._rows: dict[tuple[str, Any], int] = {}
        self._texts: dict[str, int] = {}
        self._alive: list[Any] = []
        self._queue: deque[tuple[str, Callable[[], None]]] = deque()
        self._finish: list[Callable[[], None]] = []

    # values

    def value(self, value: Any) -> Value:
        """Return the plain value that stands for ``value``; raise `Refused` if nothing can."""
        encode = self._encode.get(type(value))
        if encode is None:
            encode = self._find(value)
        return encode(self, value)

    def _find(self, value: Any) -> Callable[[Encoder, Any], Value]:
        for accepts, encode in self._encode_where:
            if accepts(value):
                if isinstance(value, tuple):  # named tuples are many, and each is what its class is
                    self._encode[type(value)] = encode
                return encode
        kind = type(value)
        raise Refused.because(
            f"a {kind.__module__}.{kind.__qualname__} cannot be kept; remove it, or say how with fxarchive.register"
        )

    def items(self, items: Sequence[Any], step: Callable[[int], str] = "[{}]".format) -> list[Value]:
        """Encode each of ``items``; ``step`` names the place of item i in a path."""
        self._check_depth()
        if ATOMS.issuperset(map(type, items)):
            return list(items)
        problems: list[Problem] = []
        out: list[Value] = []
        add, find = out.append, self._encode.get
        self._steps.append((step, out))
        try:
            for item in items:
                kind = type(item)
                if kind in ATOMS or (kind is str and len(item) < TEXT_LENGTH):
                    add(item)
                    continue
                try:
                    encode = find(kind)
                    add(self.value(item) if encode is None else encode(self, item))
                except Refused as refused:
                    problems += refused.below(step(len(out)))
                    add(None)  # keeps the count, from which `here` tells the place
        finally:
            self._steps.pop()
        if problems:
            raise Refused(problems)
        return out

    def refuse_argument(self, value: Any) -> None:
        """Raise `Refused` if arguments of a node are being encoded: fx would write ``repr(value)`` into source."""
        if self.operands is not None:
            raise Refused.because(
                f"a {type(value).__qualname__} cannot be an argument of a node; keep it in the node's metadata"
            )

    def _check_depth(self) -> None:
        if len(self._steps) >= MAX_DEPTH:
            raise Refused.because(f"it is nested more than {MAX_DEPTH} containers deep")

    def is_inside(self) -> bool:
        """Whether the value at hand is part of another, or of the arguments of a node."""
        return bool(self._steps) or self.operands is not None

    def here(self) -> str:
        """Return the path of the value at hand, for work on it that is put off."""
        return self.path + "".join([step(len(done)) for step, done in self._steps])

    def container(self, value: Any, tag: str, contents: Callable[[Encoder, Any], Sequence[Any]]) -> Value:
        """Encode a container that can change, once, however many places refer to it.

        ``contents`` returns what follows the tag. A second reference turns the first into a row of `shared`, in
        place; so does a reference from inside (a cycle).
        """
        if self.operands is not None:  # arguments of nodes are values; fx copies them freely
            return [tag, *contents(self, value)]
        first = self._containers.get(id(value))
        if first is None:
            tagged: list[Any] = [tag]
            self._containers[id(value)] = tagged
            self._alive.append(value)
            try:
                body = contents(self, value)
            except Refused:
                del self._containers[id(value)]  # so that each place that holds the container is named
                raise
            if tagged[0] == "shared":
                self.document["shared"][tagged[1]].extend(body)
                return list(tagged)
            tagged += body
            return tagged
        if first[0] != "shared":
            self.document["shared"].append(list(first))
            first[:] = ["shared", len(self.document["shared"]) - 1]
        return list(first)

    @contextmanager
    def metadata(self, inert: bool = True) -> Iterator[None]:
        """Encode metadata within this context: classes and functions in it become inert names."""
        before, self.inert = self.inert, inert
        try:
            with self.keeping():
                yield
        finally:
            self.inert = before

    @contextmanager
    def module(self) -> Iterator[None]:
        """Encode within this context what a module holds."""
        self.in_module = True
        try:
            yield
        finally:
            self.in_module = False

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Encode within this context what no state dict holds: its tensors keep their bytes."""
        before, self.keep = self.keep, True
        try:
            yield
        finally:
            self.keep = before

    # tables

    def row(self, table: str, key: Any) -> int | None:
        """Return the row that ``key`` has in ``table``, or None; keys are hashable and name one row each."""
        return self._rows.get((table, key))

    def add(self, table: str, key: Any, entry: Any) -> int:
        """Append ``entry`` to ``table`` under ``key`` and return its row number."""
        rows: list[Any] = self.document[table]  # type: ignore[literal-required]
        rows.append(entry)
        self._rows[table, key] = len(rows) - 1
        return len(rows) - 1

    def forget(self, table: str, key: Any) -> None:
        """Take back the row of ``key``, whose entry was refused."""
        del self._rows[table, key]

    def alone(self, value: Any) -> tuple[Value, Document]:
        """Encode ``value`` as if it were all there is: what then stands for it depends on nothing else.

        Raises:
            Refused: it cannot be kept.
        """
        self._check_depth()
        other = Encoder(self._encode, self._encode_where, omit_weights=True)
        other.orders = self.orders
        other._steps = [*self._steps, ("{}".format, [])]  # it stands as deep there as here
        return other.value(value), other.document

    def text(self, text: str) -> int:
        """Return the row of ``text`` in `texts`."""
        row = self._texts.get(text)
        if row is None:
            row = self._texts[text] = len(self._texts)
            self.document["texts"].append(text)
        return row

    def keep_alive(self, value: Any) -> None:
        """Hold ``value`` until the encoding ends, so that its `id` is not used again."""
        self._alive.append(value)

    # work that is put off

    def later(self, path: str, work: Callable[[], None]) -> None:
        """Do ``work`` after what is at hand; a `Refused` from it is reported below ``path``."""
        self._queue.append((path, work))

    def at_end(self, work: Callable[[], None]) -> None:
        """Do ``work`` when every value is encoded (and every shared container is known)."""
        self._finish.append(work)

    def run(self) -> None:
        """Do everything that was put off; raise `UnsupportedValue` with all that was refused."""
        while self._queue:
            path, work = self._queue.popleft()
            self.path = path
            try:
                work()
            except Refused as refused:
                self.problems += refused.below(path)
        if self.problems:
            raise UnsupportedValue(
                [
                    Problem(shortened(path.lstrip("."), LONGEST_PATH) or "the object", why)
                    for path, why in self.problems
                ]
            )
        for work in self._finish:
            work()

    def let_go(self) -> None:
        """Forget all but the document and what goes beside it, so that nothing waits for the collector."""
        for held in (
            self.state,
            self.numbers,
            self.symbolic,
            self._containers,
            self._rows,
            self._alive,
            self._finish,
        ):
            held.clear()
        self._queue.clear()
