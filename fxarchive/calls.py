"""Calls in a graph's columns: read out as plain calls, and replaced by others, on plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

from fxarchive.document import OPS, Graph
from fxarchive.errors import InvalidDocument
from fxarchive.migrations.operators.calls import Call, Kind, Operand, Result

CALL_FUNCTION = OPS.index("call_function")
HOLE = ["hole"]


class Calls:
    """The calls of one graph.

    Args:
        graph: a record of the table `graphs`, its columns unpacked.
        where: names the graph in errors.
    """

    def __init__(self, graph: Graph, where: str) -> None:
        self.graph = graph
        self.where = where
        self._holes = [_count_holes(pattern) for pattern in graph["patterns"]]
        counts = [self._holes[pattern] for pattern in graph["pattern"]]
        self._starts = [0, *accumulate(counts)]
        if self._starts[-1] != len(graph["operands"]) or len(counts) != len(graph["ops"]):
            raise InvalidDocument(where, "its columns do not fit together")

    def read(
        self,
        number: int,
        kind: Kind,
        name: str,
        used: bool = True,
        items: Mapping[int, bool] | None = None,
    ) -> Call:
        """Return the call that node ``number`` makes; its target is said by ``kind`` and ``name``."""
        args, pairs = self.graph["patterns"][self.graph["pattern"][number]]
        distances = iter(self.graph["operands"][self._starts[number] : self._starts[number + 1]])
        found = [_filled(value, lambda: Operand(number - next(distances))) for value in [*args, *pairs[1::2]]]
        return Call(
            kind,
            name,
            tuple(found[: len(args)]),
            dict(zip(pairs[::2], found[len(args) :], strict=True)),
            used,
            items,
        )

    def items(self, number: int, getitems: Set[int]) -> dict[int, bool] | None:
        """Return place of each item taken of node ``number`` -> whether it is used; None if a node uses the whole.

        Args:
            number: the node.
            getitems: rows of `targets` that are `operator.getitem`.
        """
        found: dict[int, bool] = {}
        for user in self._users.get(number, ()):
            taken = self.read(user, "function", "")
            takes = self.graph["ops"][user] == CALL_FUNCTION and self.graph["targets"][user] in getitems
            if not takes or taken.args[:1] != (Operand(number),) or type(taken.argument(1, "b")) is not int:
                return None
            place = taken.argument(1, "b")
            found[place] = found.get(place, False) or user in self._users
        return found

    @cached_property
    def _users(self) -> dict[int, list[int]]:
        """Return number of each node that is used -> the nodes that use it."""
        users: dict[int, list[int]] = {}
        for user, (start, end) in enumerate(pairwise(self._starts)):
            for distance in self.graph["operands"][start:end]:
                users.setdefault(user - distance, []).append(user)
        return users

    def users(self) -> set[int]:
        """Return the numbers of the nodes whose result some node uses."""
        return set(self._users)

    def replaced(
        self, calls: Mapping[int, list[Call]], target: Callable[[Call], tuple[int, int]]
    ) -> tuple[Graph, list[int]]:
        """Return the graph with other calls in the place of some nodes, and where each node went.

        Args:
            calls: node number -> the calls that take its place; the last takes its name and its metadata, those
                before it become nodes of their own.
            target: call -> its opcode as a number and its row in `targets` or `texts`.

        Returns:
            The graph and, for each node of the old one, its number in the new one.
        """
        old = self.graph
        names = old["names"].split("\n")
        taken = set(names)
        places: list[int] = []
        at = 0
        for number in range(len(old["ops"])):
            at += len(calls.get(number, (0,)))
            places.append(at - 1)
        made = _Columns(old)
        layouts = [list(layout) for layout in old["layouts"]]
        for number, name in enumerate(names):
            if number not in calls:
                call = self.read(number, "function", "")
                key = (old["ops"][number], old["targets"][number])
                made.add(name, key, call, places, old["layout"][number])
                continue
            steps: list[int] = []
            for step, call in enumerate(calls[number]):
                last = step == len(calls[number]) - 1
                if not last and [] not in layouts:
                    layouts.append([])
                made.add(
                    name if last else _fresh(f"{name}_{step}", taken),
                    target(call),
                    call,
                    places,
                    old["layout"][number] if last else layouts.index([]),
                    steps,
                )
                steps.append(len(made.names) - 1)
        return made.graph(old, layouts, places), places


class _Columns:
    """The columns that are written anew."""

    def __init__(self, old: Graph) -> None:
        self.names: list[str] = []
        self._ops = bytearray()
        self._targets: list[int] = []
        self._patterns: list[Any] = []
        self._rows: dict[str, int] = {}
        self._pattern: list[int] = []
        self._operands: list[int] = []
        self._layout: list[int] = []

    def add(
        self,
        name: str,
        target: tuple[int, int],
        call: Call,
        places: list[int],
        layout: int,
        steps: Iterable[int] = (),
    ) -> None:
        here, made = len(self.names), list(steps)

        def emptied(value: Any) -> Any:
            if isinstance(value, Operand):
                self._operands.append(here - places[value.number])
                return HOLE
            if isinstance(value, Result):
                self._operands.append(here - made[value.step])
                return HOLE
            return [emptied(item) for item in value] if type(value) is list else value

        pattern = [
            [emptied(value) for value in call.args],
            [part for key, value in call.kwargs.items() for part in (key, emptied(value))],
        ]
        key = repr(pattern)
        if key not in self._rows:
            self._rows[key] = len(self._patterns)
            self._patterns.append(pattern)
        self.names.append(name)
        self._ops.append(target[0])
        self._targets.append(target[1])
        self._pattern.append(self._rows[key])
        self._layout.append(layout)

    def graph(self, old: Graph, layouts: list[list[int]], places: list[int]) -> Graph:
        numbers, values = old["types"]
        changed: Any = {
            "names": "\n".join(self.names),
            "ops": bytes(self._ops),
            "targets": self._targets,
            "patterns": self._patterns,
            "pattern": self._pattern,
            "operands": self._operands,
            "types": [[places[number] for number in numbers], values],
            "layouts": layouts,
            "layout": self._layout,
        }
        return {**old, **changed}


def _count_holes(value: Any) -> int:
    if type(value) is not list:
        return 0
    return 1 if value == HOLE else sum([_count_holes(item) for item in value])


def _filled(value: Any, take: Callable[[], Operand]) -> Any:
    if type(value) is not list:
        return value
    return take() if value == HOLE else [_filled(item, take) for item in value]


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
