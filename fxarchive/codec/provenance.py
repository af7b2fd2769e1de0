"""Node sources: which node of an earlier graph a node was made from, and by which pass (``from_node``).

A `torch.fx.traceback.NodeSource` never changes once it is made, and passes copy whole chains of them from node to
node. So sources are values: equal ones are one row of the table `sources` and come back as one object. A row refers
to earlier rows only. The graph in a source is an address of the process; here it is a number, counted from 0 in the
order in which graphs are met; the address in what a target prints is 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch.fx.traceback import NodeSource, NodeSourceAction

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import MAX_DEPTH, Encoder, Refused
from fxarchive.document import NODE_SOURCES, SOURCE_COLUMNS, Value
from fxarchive.errors import InvalidDocument

MOST_SOURCES = 65_536
"""Sources that stand below one source, those that occur again counted each time: torch expands them to print them."""

_FIELDS = frozenset({"pass_name", "action", "from_node", "node_info", "_action_string", "_dict"})
"""What a NodeSource holds; the last two are caches (torch 2.9 and later)."""

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""Where what a target prints says where in memory it was."""

_ACTIONS = {action.name.lower(): action for action in NodeSourceAction}
_REMEDY = "delete node.meta['from_node']"


# encoding


class _Table:
    """The columns of `sources` while they grow, and what has a row."""

    def __init__(self) -> None:
        self.columns: dict[str, list[int]] = {name: [] for name in SOURCE_COLUMNS}
        self.rows: dict[Any, int] = {}
        self.known: dict[int, int] = {}
        """Id of a source -> its row; the encoder keeps the source alive."""
        self.graphs: dict[int, int] = {}
        """Address of a graph -> its number."""
        self.actions: dict[tuple[int, ...], str] = {}
        """Ids of actions -> what is stored for them."""
        self.heads: dict[tuple[str, str], tuple[int, int]] = {}
        """A pass and actions, of which there are few -> their rows in `texts`."""
        self.sizes: list[int] = []
        """Sources at and below each row."""


def encode_source(enc: Encoder, source: NodeSource) -> Value:
    enc.refuse_argument(source)
    table = enc.state.get("sources")
    if table is None:
        table = enc.state["sources"] = _Table()
    row = _row(enc, table, source, 0)
    if "sources" not in enc.document:
        document: dict[str, Any] = enc.document  # type: ignore[assignment]
        document["sources"] = table.columns
        enc.features.add(NODE_SOURCES)
    return ["node_source", row]


def _row(enc: Encoder, table: _Table, source: Any, depth: int) -> int:
    row = table.known.get(id(source))
    if row is not None:
        return row
    if depth > MAX_DEPTH:
        raise Refused.because(f"a chain of more than {MAX_DEPTH} node sources cannot be kept; {_REMEDY}")
    if type(source) is not NodeSource or not _FIELDS.issuperset(vars(source)):
        raise Refused.because(
            f"a {type(source).__qualname__} that holds more than torch gives it cannot be kept; {_REMEDY}"
        )
    held = vars(source)
    origins, info = held["from_node"], held["node_info"]
    below = tuple([_row(enc, table, origin, depth + 1) for origin in origins]) if origins else ()
    named = None if info is None else (info.name, info.target, info.graph_id)
    key = (held["pass_name"], _name_of_actions(table, held["action"]), named, below)
    row = table.rows.get(key)
    if row is None:
        row = table.rows[key] = _add(enc, table, key)
    enc.keep_alive(source)
    table.known[id(source)] = row
    return row


def _name_of_actions(table: _Table, actions: list[Any]) -> str:
    ids = tuple(map(id, actions))  # of members of an enum, which are there for ever
    found = table.actions.get(ids)
    if found is None:
        if not all([type(action) is NodeSourceAction for action in actions]):
            raise Refused.because(f"a node source with an action of its own cannot be kept; {_REMEDY}")
        found = table.actions[ids] = "+".join([action.name for action in actions]).lower()
    return found


def _add(enc: Encoder, table: _Table, key: Any) -> int:
    pass_name, actions, named, origins = key
    name, target, graph = ("", "", 0) if named is None else named
    if not (type(pass_name) is type(name) is type(target) is str and type(graph) is int):
        raise Refused.because(f"a node source whose names are no strings cannot be kept; {_REMEDY}")
    size = 1 + sum([table.sizes[origin] for origin in origins])
    if size > MOST_SOURCES:
        raise Refused.because(f"a node source with {size} others below it cannot be kept; {_REMEDY}")
    table.sizes.append(size)
    columns, text = table.columns, enc.text
    head = table.heads.get((pass_name, actions))
    if head is None:
        head = table.heads[pass_name, actions] = text(pass_name), text(actions)
    columns["pass"].append(head[0])
    columns["action"].append(head[1])
    columns["graph"].append(0 if named is None else 1 + table.graphs.setdefault(graph, len(table.graphs)))
    columns["name"].append(0 if named is None else text(name))
    if " at 0x" in target:  # quick, since hardly any says where it was
        target = _ADDRESS.sub(" at 0x0", target)
    columns["target"].append(0 if named is None else text(target))
    columns["count"].append(len(origins))
    columns["origins"].extend(origins)
    return len(table.sizes) - 1


# decoding


def decode_source(dec: Decoder, tagged: Value) -> NodeSource:
    sources: list[NodeSource] | None = dec.state.get("sources")
    if sources is None:
        sources = dec.state["sources"] = _built(dec)
    row = tagged[1]
    if type(row) is not int or not 0 <= row < len(sources):
        raise InvalidDocument("table sources", f"there is no row {row!r:.40}")
    return sources[row]


def _built(dec: Decoder) -> list[NodeSource]:
    """Make every source, in the order of the rows; `audit` has checked that the columns fit each other."""
    document: Any = dec.document
    columns, texts = document.get("sources"), document["texts"]
    if columns is None:
        raise InvalidDocument("table sources", "there is none")
    actions = {row: _actions(texts[row]) for row in set(columns["action"])}
    origins_of_all = columns["origins"]
    built: list[NodeSource] = []
    sizes: list[int] = []
    levels: list[int] = []
    start = 0
    rows = zip(*[columns[name] for name in SOURCE_COLUMNS if name != "origins"], strict=True)
    for row, (pass_name, action, graph, name, target, count) in enumerate(rows):
        source = NodeSource(None, texts[pass_name], actions[action].copy())
        if graph:
            source.node_info = NodeSource.NodeInfo(texts[name], texts[target], graph - 1)
        size, level = 1, 0
        if count:
            origins = origins_of_all[start : start + count]
            start += count
            if max(origins, default=0) >= row:
                raise InvalidDocument(
                    f"row {row} of sources", "it comes from a source that is not an earlier row"
                )
            source.from_node = [built[origin] for origin in origins]
            size += sum([sizes[origin] for origin in origins])
            level += max([levels[origin] for origin in origins], default=0) + 1
            if size > MOST_SOURCES or level > MAX_DEPTH:
                raise InvalidDocument(f"row {row} of sources", "more sources stand below it than may")
        built.append(source)
        sizes.append(size)
        levels.append(level)
    if start != len(columns["origins"]):
        raise InvalidDocument("table sources", "its columns differ in length")
    return built


def _actions(text: str) -> list[NodeSourceAction]:
    names = text.split("+") if text else []
    unknown = [name for name in names if name not in _ACTIONS]
    if unknown:
        raise InvalidDocument("table sources", f"{unknown[0]!r:.40} is not what a pass does to a node")
    return [_ACTIONS[name] for name in names]


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {NodeSource: encode_source}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = []
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"node_source": decode_source}
