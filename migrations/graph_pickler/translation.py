"""The state of one translation: the tables of the document under construction, and what has a row already.

A stream is translated in the order in which fxarchive itself would walk the object that the stream stands for, so the
document is the one that saving that object gives. Families (`values`, `targets`, `tensors`, ...) each list what they
take in constants, which `families` merges:

* ``CALLS``: qualified name of what a pickle would call -> function of (translation, call) returning a plain value;
* ``KINDS``: type of a record -> function of (translation, record).

A value that cannot be translated raises `Untranslatable`. Containers catch it, prepend their own step to the
paths and go on, so that one error names every offending value.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fxarchive.errors import Problem, TooLarge, UnsupportedValue, shortened
from fxarchive.streams import Bounds, Call, Name, Pairs

MAX_DEPTH = 128
"""Levels of nested containers that a value of schema 2 may have."""

TEXT_LENGTH = 48
"""Strings of this many characters or more become rows of `texts`."""

BYTES_A_VALUE = 2
LEAST_VALUES = 500_000
"""How many values a document may have: a stream can refer to one tuple many times, and tuples are written out."""

BYTES_A_BYTE = 8
LEAST_BYTES = 1_048_576
"""Bytes and characters that a document may have: a stream can refer to one long string many times."""

LONGEST_PATH = 200
"""Characters of the path of an offending item."""

NOTED = 8
"""Places that a note names."""

Table = dict[str, Callable[["Translation", Any], Any]]


class Untranslatable(Exception):
    """Values that cannot be translated, with their paths below the point where this was raised."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__()
        self.problems = list(problems)

    @classmethod
    def because(cls, why: str) -> Untranslatable:
        """Refuse the value at hand itself."""
        return cls([Problem("", why)])

    def below(self, step: str) -> list[Problem]:
        """Return the problems with ``step`` put before each path."""
        return [Problem(step + path, why) for path, why in self.problems]


class Live:
    """A record in metadata that is no metadata: functions in it are there to be called."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Translation:
    """Tables under construction, and the memory of what already has a row.

    Args:
        document: an empty document of schema 2.
        calls: name of a call -> what translates it.
        kinds: type of a record -> what translates it.
        size: bytes of the stream; they bound its storages.
        weight: what of them bounds the document, as `weight_of` says.
        releases: the torch releases that may have written the stream.
        leave_out: entries of metadata and attributes to leave out, as they are found in `dropped`.
    """

    def __init__(
        self,
        document: dict[str, Any],
        calls: Table,
        kinds: dict[type, Callable[[Translation, Any], Any]],
        *,
        size: int,
        weight: int,
        releases: Any,
        leave_out: frozenset[tuple[Any, ...]] = frozenset(),
    ) -> None:
        self.document = document
        self.features: set[str] = set()
        self.sections: dict[str, bytes] = {}
        self.notes: dict[str, list[str]] = {}
        """What a note says -> the places that it is about."""
        self.releases = releases
        self.leave_out = leave_out
        self.dropped: dict[tuple[Any, ...], list[Problem]] = {}
        self.problems: list[Problem] = []
        self.path = ""
        self.inert = False
        """Whether metadata is being translated, where classes and functions are names."""
        self.operands: Any = None
        """Nodes of the graph whose arguments are being translated (`graphs.Operands`), else None."""
        self.numbers: dict[int, dict[int, int]] = {}
        """Id of the record of a graph -> id of the record of a node -> its number."""
        self.values: dict[bytes, int] = {}
        """Bytes of a metadata value -> its row in `values`."""
        self.state: dict[str, Any] = {}
        """What a family keeps for itself."""
        self.bounds = Bounds()
        self.size = size
        self.weight = weight
        self._calls = calls
        self._kinds = kinds
        self._left = self._most = max(LEAST_VALUES, weight // BYTES_A_VALUE)
        self._steps: list[tuple[Callable[[int], str], list[Any]]] = []
        self._containers: dict[int, list[Any]] = {}
        self._rows: dict[tuple[str, Any], int] = {}
        self._queue: deque[tuple[str, Callable[[], None]]] = deque()
        self._finish: list[Callable[[], None]] = []
        self._alive: list[Any] = []

    # values

    def value(self, value: Any) -> Any:
        """Return the plain value that stands for a record; raise `Untranslatable` if nothing can."""
        self._left -= 1
        if self._left < 0:
            raise TooLarge("The number of values of the document", self._most + 1, self._most)
        kind = type(value)
        if kind is Call:
            translate = self._calls.get(value.name)
            if translate is None:
                translate = self._kinds[Call]
            return translate(self, value)
        if kind is Live:
            with self.metadata(inert=False):
                return self.value(value.value)
        translate = self._kinds.get(kind)
        if translate is None:
            raise Untranslatable.because(f"a {kind.__name__} cannot stand here")
        return translate(self, value)

    def items(self, items: Sequence[Any], step: Callable[[int], str] = "[{}]".format) -> list[Any]:
        """Translate each of ``items``; ``step`` names the place of item i in a path."""
        problems: list[Problem] = []
        out: list[Any] = []
        if len(self._steps) >= MAX_DEPTH:
            raise Untranslatable.because(f"it is nested more than {MAX_DEPTH} containers deep")
        self._steps.append((step, out))
        try:
            for i, item in enumerate(items):
                try:
                    out.append(self.value(item))
                except Untranslatable as refused:
                    problems += refused.below(step(i))
                    out.append(None)  # keeps the count, from which `here` tells the place
        finally:
            self._steps.pop()
        if problems:
            raise Untranslatable(problems)
        return out

    def here(self) -> str:
        """Return the path of the value at hand, for work on it that is put off."""
        return self.path + "".join([step(len(done)) for step, done in self._steps])

    def container(self, record: Any, tag: str, fill: Callable[[list[Any]], None]) -> Any:
        """Translate a container that can change, once, however many places refer to it.

        ``fill`` appends what follows the tag to the list it is given. A second reference turns the first
        into a row of `shared`, in place; so does a reference from inside (a cycle).
        """
        if self.operands is not None:  # arguments of nodes are values
            unshared: list[Any] = [tag]
            fill(unshared)
            return unshared
        first = self._containers.get(id(record))
        if first is None:
            tagged: list[Any] = [tag]
            self._containers[id(record)] = tagged
            body: list[Any] = []
            try:
                fill(body)
            except Untranslatable:
                del self._containers[id(record)]  # so that each place that holds the container is named
                raise
            if tagged[0] == "shared":
                self.document["shared"][tagged[1]].extend(body)
                return list(tagged)
            tagged.extend(body)
            return tagged
        if first[0] != "shared":
            self.document["shared"].append(list(first))
            first[:] = ["shared", len(self.document["shared"]) - 1]
        return list(first)

    @contextmanager
    def metadata(self, inert: bool = True) -> Iterator[None]:
        """Translate metadata within this context: classes and functions in it become inert names."""
        before, self.inert = self.inert, inert
        try:
            yield
        finally:
            self.inert = before

    # tables

    def row(self, table: str, key: Any) -> int | None:
        """Return the row that ``key`` has in ``table``, or None; keys are hashable and name one row each."""
        return self._rows.get((table, key))

    def add(self, table: str, key: Any, entry: Any) -> int:
        """Append ``entry`` to ``table`` under ``key`` and return its row number."""
        rows: list[Any] = self.document[table]
        rows.append(entry)
        self._rows[table, key] = len(rows) - 1
        return len(rows) - 1

    def keep_alive(self, record: Any) -> None:
        """Hold on to a record made during the translation, whose id is a key."""
        self._alive.append(record)

    def take_back(self, table: str, row: int) -> Any:
        """Take the last row of ``table`` back and return it; its key has no row any more."""
        for key, found in self._rows.items():
            if found == row and key[0] == table:
                del self._rows[key]
                break
        return self.document[table].pop()

    def forget(self, table: str, key: Any) -> None:
        """Let ``key`` have no row in ``table`` any more; the row itself stays."""
        self._rows.pop((table, key), None)

    def text(self, text: str) -> int:
        """Return the row of ``text`` in `texts`."""
        row = self._rows.get(("texts", text))
        return self.add("texts", text, text) if row is None else row

    def check_size(self, count: int) -> None:
        """Raise `TooLarge` if the document has more bytes and characters than a stream of this size stands for."""
        most = LEAST_BYTES + BYTES_A_BYTE * self.weight
        if count > most:
            raise TooLarge("The size of the document", count, most)

    # what could not be kept

    def note(self, what: str, place: str = "") -> None:
        """Note what the stream did not say, or what of it has no place in schema 2."""
        places = self.notes.setdefault(what, [])
        if place and place not in places and len(places) <= NOTED:
            places.append(place)

    def all_notes(self) -> tuple[str, ...]:
        """Return the notes as sentences."""
        return tuple([_sentence(what, places) for what, places in self.notes.items()])

    # work that is put off

    def later(self, path: str, work: Callable[[], None]) -> None:
        """Do ``work`` after what is at hand; an `Untranslatable` from it is reported below ``path``."""
        self._queue.append((path, work))

    def at_end(self, work: Callable[[], None]) -> None:
        """Do ``work`` when every value is translated (and every shared container is known)."""
        self._finish.append(work)

    def run(self) -> None:
        """Do everything that was put off; raise `UnsupportedValue` with all that cannot be translated."""
        while self._queue:
            path, work = self._queue.popleft()
            self.path = path
            try:
                work()
            except Untranslatable as refused:
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


def _sentence(what: str, places: list[str]) -> str:
    if not places:
        return f"{what}."
    more = ", ..." if len(places) > NOTED else ""
    return f"{what}: {', '.join(places[:NOTED])}{more}."


def is_name(record: Any, name: str) -> bool:
    """Whether a record is the name ``name``."""
    return type(record) is Name and str(record) == name


def fields_of(record: Any, name: str) -> dict[str, Any]:
    """Return the attributes of an instance of the class ``name``.

    Raises:
        Untranslatable: the record is of something else.
    """
    if type(record) is not Call or record.name != name:
        raise Untranslatable.because(
            f"a {name.rpartition('.')[2]} is expected here and there is {shown(record)}"
        )
    return record.fields()


def pairs_of(record: Any) -> list[tuple[Any, Any]]:
    """Return the keys and values of a dict, or of a call that makes one; of equal keys the last counts.

    Raises:
        Untranslatable: the record is of something else.
    """
    if type(record) is Pairs:
        return list(merged(record.items))
    if type(record) is Call and record.name in DICTS:
        given: list[tuple[Any, Any]] = []
        if record.name != "collections.defaultdict" and sequence_of(record.args):
            first = record.args[0]
            if type(first) is Pairs:
                given += first.items
            else:
                for pair in sequence_of(first):
                    key, value = sequence_of(pair, 2)
                    given.append((key, value))
        return list(merged(given + record.entries))
    raise Untranslatable.because(f"a dict is expected here and there is {shown(record)}")


DICTS = frozenset(
    {
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.Counter",
        "torch.fx.immutable_collections.immutable_dict",
        "builtins.dict",
    }
)
"""Calls that make a dict."""


def merged(pairs: list[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """Yield ``pairs``; of those with equal keys, where the keys are atoms, the first place and the last value."""
    last: dict[Any, Any] = {}
    for key, value in pairs:
        last[_key(key)] = (key, value)
    yield from last.values()


def _key(key: Any) -> Any:
    return (
        (str, key)
        if type(key) is str
        else (type(key), key)
        if type(key) in (int, float, bool, bytes)
        else id(key)
    )


def sequence_of(record: Any, length: int | None = None) -> tuple[Any, ...]:
    """Return the items of a tuple or list of that length.

    Raises:
        Untranslatable: the record is of something else.
    """
    if type(record) in (tuple, list) and length in (None, len(record)):
        return tuple(record)
    expected = "a list" if length is None else f"a list of {length}"
    raise Untranslatable.because(f"{expected} is expected here and there is {shown(record)}")


def shown(record: Any) -> str:
    """Return what an error calls a record."""
    if type(record) is Call:
        return f"a {record.name}" if record.name else "a call"
    if type(record) is Name:
        return str(record)
    return f"a {type(record).__name__}"
