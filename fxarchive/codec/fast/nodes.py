"""Building fx nodes without `Graph.create_node`, which walks every argument as a pytree (two thirds of its time).

`append_node(graph)` returns the fast function where the running torch has the private names it needs and a trial
graph built by it equals one built by `create_node`; elsewhere it returns the official one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.fx import Graph, Node

Append = Callable[[str, Any, tuple[Any, ...], Any, str, Any], Node]
"""(op, target, args, kwargs, name, type) -> the node, appended to the graph."""


def append_node(graph: Graph) -> Append:
    """Return the quickest sound way to append nodes to ``graph``, which must have no owning module yet."""
    return _fast(graph) if fast_is_sound() else _official(graph)


def _official(graph: Graph) -> Append:
    def append(op: str, target: Any, args: tuple[Any, ...], kwargs: Any, name: str, type_expr: Any) -> Node:
        node = graph.create_node(op, target, args, kwargs, name, type_expr)
        if node.name != name:
            node.name = name
        return node

    return append


def _fast(graph: Graph) -> Append:
    private: Any = graph
    namespace = private._graph_namespace
    create_name, name_of = namespace.create_name, namespace._obj_to_name
    insert, table = private._insert, private._find_nodes_lookup_table.table

    def append(op: str, target: Any, args: tuple[Any, ...], kwargs: Any, name: str, type_expr: Any) -> Node:
        create_name(name, None)
        node = Node(graph, name, op, target, args, kwargs, type_expr)
        name_of[node] = name
        insert(node)
        table[op, target if op == "call_function" else None][node] = None
        private._len += 1
        return node

    return append


@cache
def fast_is_sound() -> bool:
    """Whether the fast way builds, on this torch, what `create_node` builds; tried once a process."""
    try:
        return _traits(_trial(_fast)) == _traits(_trial(_official))
    except Exception:  # whatever a future torch changes, the official way remains
        return False


def _trial(way: Callable[[Graph], Append]) -> Graph:
    graph = Graph()
    append = way(graph)
    empty = torch.fx.immutable_collections.immutable_dict()
    x = append("placeholder", "x", (), empty, "x", torch.Tensor)
    y = append("get_attr", "a.b", (), empty, "a_b_7", None)
    z = append("call_function", operator.add, (x, y), empty, "add", None)
    w = append("call_function", torch.relu, ([z, 1],), {"k": (y, slice(z, None, 2))}, "relu_3", None)
    v = append("call_method", "view", (w, -1), empty, "view", None)
    append("output", "output", ((v, [w, x]),), empty, "output", None)
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
