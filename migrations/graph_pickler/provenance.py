"""Node sources (``from_node``): columns of the table `sources`, behind the feature flag `node-sources`."""

from __future__ import annotations

import re
from typing import Any

from fxarchive.document import NODE_SOURCES
from fxarchive.migrations.graph_pickler.translation import (
    MAX_DEPTH,
    Table,
    Translation,
    Untranslatable,
    fields_of,
    sequence_of,
)
from fxarchive.streams import Call, Pairs

_SOURCE = "torch.fx.traceback.NodeSource"
_INFO = "torch.fx.traceback.NodeSource.NodeInfo"
_ACTION = "torch.fx.traceback.NodeSourceAction"

_COLUMNS = ("pass", "action", "graph", "name", "target", "count", "origins")
_ACTIONS = {"create": "create", "replace": "replace"}
"""Value of a NodeSourceAction -> its name in schema 2."""

STACKS = frozenset({"nn_module_stack", "fwd_nn_module_stack"})
"""Keys of metadata that hold stacks of modules."""

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""Where what a target prints says where in memory it was."""

_ADDRESS_KEY = re.compile(r"(\d{9,})(@\d+)?", re.ASCII)
"""A key that torch.export gives an entry of a stack: the address of the module, and which of its calls it is."""

_FIRST_ADDRESS = 10**14
"""Number that stands in place of the first address."""

MOST_SOURCES = 65_536
"""Sources that stand below one, those that occur again counted each time."""


class Sources:
    """The columns of `sources` while they grow, and what has a row."""

    def __init__(self, tr: Translation) -> None:
        self.tr = tr
        self.columns: dict[str, list[int]] = {name: [] for name in _COLUMNS}
        self.rows: dict[Any, int] = {}
        self.known: dict[int, int] = {}
        self.graphs: dict[int, int] = {}
        """Address of a graph in the writer's process -> its number."""
        self.sizes: list[int] = []

    def row(self, source: Any, depth: int = 0) -> int:
        """Return the row of a NodeSource."""
        row = self.known.get(id(source))
        if row is not None:
            return row
        if depth > MAX_DEPTH:
            raise Untranslatable.because(f"a chain of more than {MAX_DEPTH} node sources cannot be kept")
        fields = fields_of(source, _SOURCE)
        origins = tuple(
            [self.row(origin, depth + 1) for origin in sequence_of(fields.get("from_node") or ())]
        )
        actions = "+".join([_action(action) for action in sequence_of(fields.get("action") or ())])
        key = (fields.get("pass_name"), actions, _node(fields.get("node_info")), origins)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = self._add(*key)
        self.known[id(source)] = row
        return row

    def _add(self, pass_name: Any, actions: str, named: Any, origins: tuple[int, ...]) -> int:
        name, target, graph = ("", "", 0) if named is None else named
        if not (type(pass_name) is type(name) is type(target) is str and type(graph) is int):
            raise Untranslatable.because("a node source whose names are no strings cannot be kept")
        size = 1 + sum([self.sizes[origin] for origin in origins])
        if size > MOST_SOURCES:
            raise Untranslatable.because(f"a node source with {size} others below it cannot be kept")
        self.sizes.append(size)
        text, columns = self.tr.text, self.columns
        columns["pass"].append(text(pass_name))
        columns["action"].append(text(actions))
        columns["graph"].append(0 if named is None else 1 + self.graphs.setdefault(graph, len(self.graphs)))
        columns["name"].append(0 if named is None else text(name))
        columns["target"].append(0 if named is None else text(_ADDRESS.sub(" at 0x0", target)))
        columns["count"].append(len(origins))
        columns["origins"].extend(origins)
        return len(self.sizes) - 1


def numbered(tr: Translation, stack: Any) -> Any:
    """Return a stack of modules with the addresses among its keys numbered; the stack itself if there are none."""
    if type(stack) is not Pairs or not any([_is_address(key) for key, _ in stack]):
        return stack
    known: dict[int, Pairs] = tr.state.setdefault("numbered stacks", {})
    found = known.get(id(stack))
    if found is None:
        found = known[id(stack)] = Pairs([(_number(tr, key), value) for key, value in stack])
    return found


def _is_address(key: Any) -> bool:
    return type(key) is str and _ADDRESS_KEY.fullmatch(key) is not None


def _number(tr: Translation, key: Any) -> Any:
    if not _is_address(key):
        return key
    address, at, call = key.partition("@")
    numbers: dict[str, int] = tr.state.setdefault("addresses of modules", {})
    return f"{_FIRST_ADDRESS + numbers.setdefault(address, len(numbers))}{at}{call}"


def _action(record: Any) -> str:
    is_action = type(record) is Call and record.name == _ACTION and type(record.args) is tuple
    value = record.args[0] if is_action and len(record.args) == 1 else None
    if type(value) is not str or value not in _ACTIONS:
        raise Untranslatable.because("a node source with an action of its own cannot be kept")
    return _ACTIONS[value]


def _node(record: Any) -> Any:
    if record is None:
        return None
    fields = fields_of(record, _INFO)
    found = fields.get("name"), fields.get("target"), fields.get("graph_id")
    if not (type(found[0]) is type(found[1]) is str and type(found[2]) is int):
        raise Untranslatable.because("a node source whose names are no strings cannot be kept")
    return found


def _source(tr: Translation, call: Call) -> Any:
    sources = tr.state.get("sources")
    if sources is None:
        sources = tr.state["sources"] = Sources(tr)
    row = sources.row(call)
    tr.document["sources"] = sources.columns
    tr.features.add(NODE_SOURCES)
    return ["node_source", row]


CALLS: Table = {_SOURCE: _source}
