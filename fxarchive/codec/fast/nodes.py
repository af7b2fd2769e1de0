"""Building fx nodes without `Graph.create_node`, which walks every argument as a pytree (two thirds of its time).

`build_nodes` takes the quickest way that builds, on the running torch, what `create_node` builds: each way is tried
once a process on a small graph, and one that fails or differs is not used.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import repeat
from typing import Any, NamedTuple

import torch
from torch.fx import Graph, Node
from torch.fx.immutable_collections import immutable_dict

Arguments = Callable[[list[Node]], Iterator[tuple[tuple[Any, ...], Any]]]
"""The list of the nodes so far -> args and kwargs of each node in turn; each is asked for when those before it are in
the list."""


class Rows(NamedTuple):
    """What nodes are made of, an entry for each."""

    ops: list[str]
    names: list[str]
    targets: list[Any]
    types: Iterable[Any]
    arguments: Arguments


Way = Callable[[Graph, Rows], list[Node]]


def build_nodes(graph: Graph, rows: Rows) -> list[Node]:
    """Append nodes to ``graph``, which must be new and have no owning module, in the quickest sound way."""
    return _quickest()(graph, rows)


@cache
def _quickest() -> Way:
    expected = _traits(_trial(official))
    for way in (bare, constructed):
        try:
            if _traits(_trial(way)) == expected:
                return way
        except Exception:  # whatever another torch names differently, the official way remains
            continue
    return official


def official(graph: Graph, rows: Rows) -> list[Node]:
    """The public way."""
    nodes: list[Node] = []
    for op, name, target, kind, (args, kwargs) in zip(*rows[:4], rows.arguments(nodes), strict=True):
        node = graph.create_node(op, target, args, kwargs, name, kind)
        if node.name != name:
            node.name = name
        nodes.append(node)
    return nodes


def constructed(graph: Graph, rows: Rows) -> list[Node]:
    """The node's own constructor, with the graph's records filled in bulk."""
    nodes: list[Node] = []
    for op, name, target, kind, (args, kwargs) in zip(*rows[:4], rows.arguments(nodes), strict=True):
        node = Node(graph, name, op, target, args, kwargs, kind)
        graph._insert(node)
        nodes.append(node)
    _fill_records(graph, nodes, rows)
    return nodes


def bare(graph: Graph, rows: Rows) -> list[Node]:
    """The constructor's two parts in C (torch 2.10 and later), the first and the graph's records in bulk."""
    initialize: Any = torch._C._NodeBase.__init__
    set_arguments: Any = torch._C._NodeBase._update_args_kwargs
    insert: Any = graph._root._prepend
    made: list[Any] = list(map(Node.__new__, repeat(Node, len(rows.names))))
    _run(map(initialize, made, repeat(graph), rows.names, rows.ops, rows.targets, rows.types))
    nodes: list[Node] = []
    for node, (args, kwargs) in zip(made, rows.arguments(nodes), strict=True):
        set_arguments(node, args, kwargs)
        nodes.append(node)
    _run(map(insert, nodes))
    _fill_records(graph, nodes, rows)
    return nodes


def _run(calls: Iterator[Any]) -> None:
    deque(calls, maxlen=0)


def _fill_records(graph: Any, nodes: list[Node], rows: Rows) -> None:
    """Fill what `create_node` records of each node in its graph."""
    names = rows.names
    namespace = graph._graph_namespace
    namespace._obj_to_name.update(zip(nodes, names, strict=True))
    namespace._used_names.update(names)
    namespace._base_count.update(_last_numbers(names))
    graph._len += len(nodes)
    alike: dict[Any, tuple[Any, list[Node]]] = {}
    for node, op, target in zip(nodes, rows.ops, rows.targets, strict=True):
        is_call = op == "call_function"
        key = id(target) if is_call else op
        same = alike.get(key)
        if same is None:
            same = alike[key] = (op, target if is_call else None), []
        same[1].append(node)
    table = graph._find_nodes_lookup_table.table
    for key, nodes_of_key in alike.values():
        table[key].update(dict.fromkeys(nodes_of_key))


def _last_numbers(names: list[str]) -> dict[str, int]:
    """Return base of a name -> its last number, or 0 if no name has one, as torch counts them for new names."""
    last: dict[str, int] = {}
    bare: list[str] = []
    for name in reversed(names):
        # as `torch.fx.graph._name_regex` takes a name apart
        base, _, number = name.rpartition("_")
        if not (base and number.isdecimal()):
            bare.append(name)
        elif base not in last:
            last[base] = int(number)
    return {**dict.fromkeys(bare, 0), **last}


def _trial(way: Way) -> Graph:
    empty: Any = immutable_dict()

    def arguments(nodes: list[Node]) -> Iterator[tuple[tuple[Any, ...], Any]]:
        yield (), empty
        yield (), empty
        x, y = nodes
        yield (x, y), empty
        (*_, z) = nodes
        yield ([z, 1],), {"k": (y, slice(z, None, 2))}
        (*_, w) = nodes
        yield (w, -1), empty
        (*_, v) = nodes
        yield (w, w), empty
        (*_, u) = nodes
        yield ((v, [u, x]),), empty

    functions = ["call_function", "call_function", "call_method", "call_function"]
    graph = Graph()
    way(
        graph,
        Rows(
            ["placeholder", "get_attr", *functions, "output"],
            ["x", "a_b_7", "add", "relu_3", "view", "add_12_3", "output"],
            ["x", "a.b", operator.add, torch.relu, "view", operator.add, "output"],
            [torch.Tensor, *[None] * 6],
            arguments,
        ),
    )
    return graph


def _traits(graph: Graph) -> Any:
    private: Any = graph
    namespace = private._graph_namespace
    nodes = [
        (n.op, n.name, str(n.target), str(n.args), str(n.kwargs), type(n.args), type(n.kwargs), n.type, str(n.meta),
         list(map(str, n.all_input_nodes)), list(map(str, n.users)), str(n.prev), str(n.next))
        for n in graph.nodes
    ]  # fmt: skip
    table = {str(k): list(map(str, v)) for k, v in private._find_nodes_lookup_table.table.items()}
    names = (
        {str(k): v for k, v in namespace._obj_to_name.items()},
        namespace._used_names,
        namespace._base_count,
    )
    ordered = [a < b for a in graph.nodes for b in graph.nodes]
    graph.lint()
    first = next(iter(graph.nodes))
    later = graph.create_node("call_function", operator.add, (first, first), {})
    return nodes, table, names, ordered, len(graph.nodes), later.name, str(graph.python_code("self").src)
