"""Building fx nodes without `Graph.create_node`, which walks every argument as a pytree (two thirds of its time).

`node_builder(graph)` returns the quickest way that builds, on the running torch, what `create_node` builds: each way
is tried once a process on a small graph, and one that fails or differs is not used.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch.fx import Graph, Node
from torch.fx.immutable_collections import immutable_dict

Append = Callable[[str, Any, tuple[Any, ...], Any, str, Any], Node]
"""(op, target, args, kwargs, name, type) -> the node, appended to the graph."""


class NodeBuilder(NamedTuple):
    """How to append nodes to one graph."""

    append: Append
    finish: Callable[[list[Node]], None]
    """To be called once with all nodes in order, when the last is appended."""


Way = Callable[[Graph], NodeBuilder]


def node_builder(graph: Graph) -> NodeBuilder:
    """Return the quickest sound way to append nodes to ``graph``, which must be new and have no owning
    module."""
    return _quickest()(graph)


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


def official(graph: Graph) -> NodeBuilder:
    """The public way."""

    def append(op: str, target: Any, args: tuple[Any, ...], kwargs: Any, name: str, type_expr: Any) -> Node:
        node = graph.create_node(op, target, args, kwargs, name, type_expr)
        if node.name != name:
            node.name = name
        return node

    return NodeBuilder(append, lambda nodes: None)


def constructed(graph: Graph) -> NodeBuilder:
    """The node's own constructor, with the graph's records filled in bulk."""
    insert = graph._insert

    def append(op: str, target: Any, args: tuple[Any, ...], kwargs: Any, name: str, type_expr: Any) -> Node:
        node = Node(graph, name, op, target, args, kwargs, type_expr)
        insert(node)
        return node

    return NodeBuilder(append, lambda nodes: _fill_records(graph, nodes))


def bare(graph: Graph) -> NodeBuilder:
    """The constructor's two parts in C (torch 2.10 and later), with the graph's records filled in bulk."""
    new: Any = Node.__new__
    initialize: Any = torch._C._NodeBase.__init__
    set_arguments: Any = torch._C._NodeBase._update_args_kwargs
    insert: Any = graph._root._prepend

    def append(op: str, target: Any, args: tuple[Any, ...], kwargs: Any, name: str, type_expr: Any) -> Node:
        node = new(Node)
        initialize(node, graph, name, op, target, type_expr)
        set_arguments(node, args, kwargs)
        insert(node)
        return node  # type: ignore[no-any-return]

    return NodeBuilder(append, lambda nodes: _fill_records(graph, nodes))


def _fill_records(graph: Any, nodes: list[Node]) -> None:
    """Fill what `create_node` records of each node in its graph."""
    names = [node.name for node in nodes]
    namespace = graph._graph_namespace
    namespace._obj_to_name.update(zip(nodes, names, strict=True))
    namespace._used_names.update(names)
    namespace._base_count.update(_last_numbers(names))
    graph._len += len(nodes)
    alike: dict[Any, tuple[Any, list[Node]]] = {}
    for node in nodes:
        op = node.op
        target = node.target if op == "call_function" else None
        key = op, id(target)
        same = alike.get(key)
        if same is None:
            same = alike[key] = (op, target), []
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
    graph = Graph()
    append, finish = way(graph)
    empty: Any = immutable_dict()
    x = append("placeholder", "x", (), empty, "x", torch.Tensor)
    y = append("get_attr", "a.b", (), empty, "a_b_7", None)
    z = append("call_function", operator.add, (x, y), empty, "add", None)
    w = append("call_function", torch.relu, ([z, 1],), {"k": (y, slice(z, None, 2))}, "relu_3", None)
    v = append("call_method", "view", (w, -1), empty, "view", None)
    u = append("call_function", operator.add, (w, w), empty, "add_12_3", None)
    o = append("output", "output", ((v, [u, x]),), empty, "output", None)
    finish([x, y, z, w, v, u, o])
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
