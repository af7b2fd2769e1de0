"""The operators of an archive as another torch has them: which calls fit, which are rewritten, which cannot be.

It works on plain data, so that `load` (against the running torch) and ``fxarchive compat`` (against the tables of a
release) come to the same result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fxarchive import releases
from fxarchive.binding import Unbound, bind
from fxarchive.calls import CALL_FUNCTION, Calls
from fxarchive.document import OPS, Document, Graph
from fxarchive.errors import Problem
from fxarchive.migrations.operators import methods, remedy, upgraders
from fxarchive.migrations.operators.calls import Call, Kind, Operand, Unportable, Upgrader
from fxarchive.schemas import parse
from fxarchive.tables import lists_in

CALL_METHOD = OPS.index("call_method")

WRAPPER = "with_effects"
"""The higher-order operator that calls another operator, which it is given, with the arguments that follow."""


class Torch(Protocol):
    """What a torch has."""

    release: str
    """Such as ``2.13``."""

    def schema(self, name: str) -> str | None:
        """Return the schema of ``namespace::operator.overload``, or None where it is missing."""

    def has(self, kind: Kind, name: str) -> bool:
        """Whether it has the operator packet, function, higher-order operator or tensor method, or cannot tell."""

    def has_value(self, name: str) -> bool:
        """Whether it has a value that some release has: a constant, a function of expressions (`demands`)."""

    def remedy(self, record: list[Any]) -> str:
        """Return what to do about a row of `targets` that it lacks."""


@dataclass(frozen=True)
class Change:
    """A call that another torch takes in another form.

    Attributes:
        graph: row of the graph.
        node: name of the node.
        was, now: names of what is called; equal where only the arguments changed.
        why: a phrase.
    """

    graph: int
    node: str
    was: str
    now: str
    why: str


@dataclass(frozen=True)
class Adapted:
    """A document for another torch.

    Attributes:
        document: the document with every call that could be rewritten in its new form.
        changes: what was rewritten.
        retired: rows of `targets` that nothing uses any longer.
        missing: operators and functions that this torch lacks and nothing replaces, with the remedy.
        incompatible: operators whose calls this torch does not take, with the reason.
    """

    document: Document
    changes: tuple[Change, ...]
    retired: frozenset[int]
    missing: tuple[Problem, ...]
    incompatible: tuple[Problem, ...]


def adapt(document: Document, torch: Torch, writer: str = "") -> Adapted:
    """Return the document with its calls as ``torch`` takes them.

    Args:
        document: an audited document; it is left as it is.
        torch: what the torch has that shall run it.
        writer: the torch that wrote it, such as ``2.9.1``, as its archive says: calls of higher-order operators, which
            have no schema, are in its form. Where it is no release, the form is told from the call, as far as it shows.

    Raises:
        InvalidDocument: columns of a graph do not fit together.
    """
    return _Adaptation(document, torch, writer).run()


class _Adaptation:
    """One run of `adapt`."""

    def __init__(self, document: Document, torch: Torch, writer: str) -> None:
        self.torch = torch
        self.targets = [list(record) for record in document["targets"]]
        self.texts = list(document["texts"])
        self.document: Document = {**document, "targets": self.targets, "texts": self.texts}
        self.changes: list[Change] = []
        self.problems: dict[tuple[Kind, str], str] = {}
        self.missing: set[tuple[Kind, str]] = set()
        self._number = releases.number_of(torch.release)
        self._writer = _release(writer)
        self._rows: dict[tuple[str, str], int] = {
            (kind, name): row for row, (kind, name, *_) in enumerate(self.targets) if kind == "higher_order"
        }
        self._wrappers = {row for (_, name), row in self._rows.items() if name == WRAPPER}
        self._getitems = {
            row for row, record in enumerate(self.targets) if record[:2] == ["function", "operator.getitem"]
        }
        self._moved: dict[int, list[int]] = {}
        """Row of a graph that has new nodes -> where each of its nodes went."""

    def run(self) -> Adapted:
        suspects = {row: kind for row, record in enumerate(self.targets) if (kind := self._suspect(record))}
        graphs = list(self.document["graphs"])
        for row, graph in enumerate(graphs):
            graphs[row] = self._graph(row, graph, suspects)
        self.document = {**self.document, "graphs": graphs}
        retired = self._settle(suspects)
        if self._moved:
            self.document = _renumbered(self.document, self._moved)
        sort = sorted(self.problems.items())
        return Adapted(
            self.document,
            tuple(self.changes),
            retired,
            tuple([Problem(name, why) for (kind, name), why in sort if (kind, name) in self.missing]),
            tuple([Problem(name, why) for (kind, name), why in sort if (kind, name) not in self.missing]),
        )

    def _suspect(self, record: list[Any]) -> Kind | None:
        """Return the kind of a target that this torch may not take as it is."""
        kind, name = record[0], record[1]
        if kind == "operator":
            return None if self.torch.schema(name) == record[2] else "operator"
        if kind in ("class", "artefact"):
            return None
        return None if self.torch.has(kind, name) and not self._raises(kind, name) else kind

    def _raises(self, kind: Kind, name: str) -> bool:
        return any(self._differs(found) for found in upgraders().get((kind, name), ()))

    def _differs(self, upgrader: Upgrader) -> bool:
        """Whether this torch is one of those for which ``upgrader`` says that what it rewrites raises.

        Calls of higher-order operators are in the form of the torch that wrote them, where that is known.
        """
        since, before = _release(upgrader.since), _release(upgrader.before)
        written = self._writer if upgrader.kind == "higher_order" else None
        if written is None:
            late = since is not None and since <= self._number
            early = before is not None and self._number < before
            return upgrader.shows and (late or early)
        late = since is not None and written < since <= self._number
        early = before is not None and self._number < before <= written
        return late or early

    def _graph(self, row: int, graph: Graph, suspects: Mapping[int, Kind]) -> Graph:
        wrappers = self._wrappers if "higher_order" in suspects.values() else ()
        numbers = [
            number
            for number, (op, target) in enumerate(zip(graph["ops"], graph["targets"], strict=True))
            if (op == CALL_FUNCTION and (target in suspects or target in wrappers))
            or (op == CALL_METHOD and self._old_method(target))
        ]
        if not numbers:
            return graph
        calls = Calls(graph, f"graph {row}")
        used = calls.users()
        names = graph["names"].split("\n")
        replaced: dict[int, list[Call]] = {}
        for number in numbers:
            target = graph["targets"][number]
            method = graph["ops"][number] == CALL_METHOD
            kind: Kind = "method" if method else suspects.get(target, "higher_order")
            name = self.texts[target] if method else self.targets[target][1]
            schema = self.targets[target][2] if kind == "operator" else None
            items = calls.items(number, self._getitems) if kind == "higher_order" else None
            call = calls.read(number, kind, name, number in used, items)
            try:
                new, why = self._rewritten(call, schema)
            except Unportable as error:
                self._refuse(kind, name, str(error))
                continue
            if new != [call]:
                replaced[number] = new
                self.changes.append(Change(row, names[number], name, new[-1].name, why))
        if not replaced:
            return graph
        result, places = calls.replaced(replaced, self._place)
        if len(result["ops"]) != len(graph["ops"]):
            self._moved[row] = places
        return result

    def _old_method(self, text: int) -> bool:
        name = self.texts[text]
        return name in methods() and (self._raises("method", name) or not self.torch.has("method", name))

    def _rewritten(self, call: Call, schema: str | None) -> tuple[list[Call], str]:
        """Return what replaces a call, and why; the call itself where it fits."""
        reason = None
        if schema is not None:
            running = self.torch.schema(call.name)
            if running is not None:
                try:
                    bound = bind(call.args, call.kwargs, schema, running)
                    return [
                        Call(call.kind, call.name, bound.args, bound.kwargs, call.used)
                    ], "its arguments changed"
                except Unbound as error:
                    reason = f"{error}; the archive has {schema} and this torch has {running}"
        if call.kind == "higher_order" and self.torch.has(call.kind, call.name):
            return self._in_its_form(call)
        for upgrader in upgraders().get((call.kind, call.name), ()):
            if upgrader.schemas and schema not in upgrader.schemas:
                continue
            if upgrader.rewrite is None:
                raise Unportable(upgrader.why)
            new = upgrader.rewrite(call)
            if all(self._takes(step) for step in new):
                return new, upgrader.why
        raise Unportable(reason or self._remedy(call.kind, call.name))

    def _in_its_form(self, call: Call) -> tuple[list[Call], str]:
        """Return a call of a higher-order operator in the form that this torch takes."""
        for upgrader in upgraders().get((call.kind, call.name), ()):
            if self._differs(upgrader) and upgrader.rewrite is not None:
                new = upgrader.rewrite(call)
                if new != [call]:
                    return new, upgrader.why
        if call.name == WRAPPER and len(call.args) > 1:
            return self._wrapped_in_its_form(call)
        return [call], ""

    def _wrapped_in_its_form(self, call: Call) -> tuple[list[Call], str]:
        """Rewrite what `WRAPPER` calls for its second argument, where that is a higher-order operator."""
        token, called, *args = call.args
        if type(called) is not list or called[0] != "target" or called[1] not in self._rows.values():
            return [call], ""
        inner = Call("higher_order", self.targets[called[1]][1], tuple(args), call.kwargs)
        new, why = self._in_its_form(inner)
        if len(new) > 1:
            raise Unportable(f"{why}, which {WRAPPER} cannot call; load with the release that wrote it")
        if new == [inner]:
            return [call], ""
        return [Call(call.kind, call.name, (token, called, *new[0].args), new[0].kwargs)], why

    def _takes(self, call: Call) -> bool:
        if call.kind == "operator":
            return self.torch.schema(call.name) is not None
        return self.torch.has(call.kind, call.name) and not self._raises(call.kind, call.name)

    def _refuse(self, kind: Kind, name: str, why: str) -> None:
        self.problems.setdefault((kind, name), why)
        if not (self.torch.schema(name) is not None if kind == "operator" else self.torch.has(kind, name)):
            self.missing.add((kind, name))

    def _remedy(self, kind: Kind, name: str) -> str:
        found = remedy(name)
        if found is None and kind == "method":
            found = "load with a release that has it"
        if found is None:
            found = self.torch.remedy(self._written(kind, name))
        return found

    def _written(self, kind: Kind, name: str) -> list[Any]:
        return next(record for record in self.targets if record[:2] == [kind, name])

    def _place(self, call: Call) -> tuple[int, int]:
        """Return opcode and row of the target of a call."""
        if call.kind == "method":
            self.texts.append(call.name)
            return CALL_METHOD, len(self.texts) - 1
        key = (call.kind, call.name)
        if key not in self._rows:
            self._rows[key] = len(self.targets)
            self.targets.append(self._record(call))
        return CALL_FUNCTION, self._rows[key]

    def _record(self, call: Call) -> list[Any]:
        if call.kind == "operator":
            return ["operator", call.name, self.torch.schema(call.name), None]
        return [call.kind, call.name] if call.kind == "function" else [call.kind, call.name, None]

    def _settle(self, suspects: Mapping[int, Kind]) -> frozenset[int]:
        """Give the suspects that still are used the schema of this torch, or note that it lacks them."""
        called = {
            target
            for graph in self.document["graphs"]
            for op, target in zip(graph["ops"], graph["targets"], strict=True)
            if op == CALL_FUNCTION
        }
        retired = set()
        mentioned = _mentioned(self.document, suspects.keys())
        for row, kind in suspects.items():
            name = self.targets[row][1]
            if (kind, name) in self.problems:
                continue
            if row in mentioned:  # passed on as a value: whoever calls it may pass anything
                self._settle_value(row, kind, name)
            elif row not in called:
                retired.add(row)
            elif kind == "operator":
                self.targets[row][2] = self.torch.schema(name)
        return frozenset(retired)

    def _settle_value(self, row: int, kind: Kind, name: str) -> None:
        if kind == "higher_order" and self.torch.has(kind, name):
            return
        running = self.torch.schema(name) if kind == "operator" else None
        if running is None:
            self._refuse(kind, name, self._remedy(kind, name))
            return
        written = self.targets[row][2]
        try:
            old = parse(written)
            everything = {argument.name: Operand(0) for argument in old.arguments if argument.default is None}
            bind((), everything, written, running)
        except (ValueError, Unbound) as error:
            self._refuse(kind, name, f"{error}; the archive has {written} and this torch has {running}")
            return
        self.targets[row][2] = running


def _release(version: str | None) -> tuple[int, int] | None:
    """Return the release of a version of torch, and None for what is none: of a stream that was adopted, 2.7 to 2.8."""
    try:
        return releases.number_of(version or "")
    except ValueError:
        return None


def _renumbered(document: Document, moved: Mapping[int, list[int]]) -> Document:
    """Let every mention of a node of a graph follow it to its new number."""

    def followed(value: Any) -> Any:
        if type(value) is dict:
            return {key: followed(item) for key, item in value.items()}
        if type(value) is not list:
            return value
        if len(value) == 3 and value[0] == "node" and type(value[2]) is int and value[1] in moved:
            return ["node", value[1], moved[value[1]][value[2]]]
        return [followed(item) for item in value]

    result: Document = followed(document)
    return result


def releases_with(operator: str) -> str | None:
    """Return the releases that have an operator, as the tables know it, for people; None if they do not.

    >>> releases_with("aten::cholesky")
    'torch 2.7 to 2.13'
    """
    spans = [span for _, span in releases.history(operator)]
    known = releases.releases()
    return f"torch {known[spans[0][0]]} to {known[spans[-1][1]]}" if spans else None


def _mentioned(document: Document, rows: Collection[int]) -> set[int]:
    """Return which of the rows of `targets` stand somewhere as a value."""
    found: set[int] = set()
    for value in lists_in(document):
        if value[0] == "target" and len(value) == 2:
            payloads = value[1] if type(value[1]) is list else [value[1]]
            found.update([row for row in payloads if type(row) is int and row in rows])
    return found
