"""Graphs and nodes: order, names, arguments, types, metadata, codegen."""

from __future__ import annotations

import gc
import operator
import typing
import weakref
from typing import Any

import pytest
import torch
from torch import fx
from torch.fx.graph import CodeGen, _PyTreeCodeGen, _PyTreeInfo
from torch.utils import _pytree as pytree

import fxarchive
from fxarchive import codec
from fxarchive.codec.fast import nodes as fast_nodes
from fxarchive.errors import UnsupportedValue

from ..compare import assert_same


def through(graph: Any) -> Any:
    data = fxarchive.dumps(graph)
    loaded = fxarchive.loads(data)
    assert fxarchive.dumps(loaded) == data
    return loaded


def small_graph() -> fx.Graph:
    graph = fx.Graph()
    x = graph.placeholder("x", torch.Tensor)
    y = graph.placeholder("y", default_value=2.5)
    added = graph.call_function(torch.add, (x, y), {"alpha": 2})
    graph.output(graph.call_method("relu", (added,)))
    return graph


def test_nothing_of_an_encoding_waits_for_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Any]] = []

    class Watched(codec.Encoder):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            made.append(weakref.ref(self))

    monkeypatch.setattr(codec, "Encoder", Watched)
    module = fx.GraphModule({}, small_graph())
    gc.disable()
    try:
        codec.encode(module)
        assert [encoder() for encoder in made] == [None]
    finally:
        gc.enable()


def test_a_bare_graph_comes_back() -> None:
    graph = small_graph()
    assert_same(graph, through([graph])[0])


def test_new_nodes_get_the_names_they_would_have_got() -> None:
    graph = small_graph()
    loaded = through([graph])[0]
    for each in (graph, loaded):
        first = next(iter(each.nodes))
        with each.inserting_after(first):
            each.call_function(torch.add, (first, 1))
            each.call_function(torch.mul, (first, 1))
    assert_same(graph, loaded)
    loaded.lint()


ARGUMENTS: list[Any] = [
    lambda x, y: ((), {}),
    lambda x, y: ((x,), {}),
    lambda x, y: ((x, x, y, x), {}),
    lambda x, y: ((x, [y, [x, 1]], (y,), {"k": (x, None)}), {"out": y, "n": [1, 2]}),
    lambda x, y: ((slice(x, None, y), slice(1, 2)), {}),
    lambda x, y: ((1, 1.0, True, 0.0, -0.0, float("nan"), float("-inf"), 2**70, 1j, "s", None, ...), {}),
    lambda x, y: ((torch.float16, torch.device("cuda:1"), torch.strided, torch.channels_last), {}),
    lambda x, y: ((torch.Size([1, 2]), range(3), b"bytes", torch.ops.aten.add.Tensor, torch.relu), {}),
    lambda x, y: (([], (), {}), {"a": [], "b": ()}),
]


@pytest.mark.parametrize("make", ARGUMENTS)
def test_arguments_come_back(make: Any) -> None:
    graph = fx.Graph()
    x, y = graph.placeholder("x"), graph.placeholder("y")
    args, kwargs = make(x, y)
    graph.output(graph.create_node("call_function", operator.add, args, kwargs))
    assert_same(graph, through([graph])[0])


def test_equal_numbers_of_other_types_are_different_patterns() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    for number in (1, 1.0, True, 0, -0.0, 0.0, False):
        graph.call_function(torch.add, (x, number))
    graph.output(x)
    loaded = through([graph])[0]
    assert [str(n.args) for n in graph.nodes] == [str(n.args) for n in loaded.nodes]
    assert_same(graph, loaded)


def test_types_of_nodes_come_back() -> None:
    graph = fx.Graph()
    x = graph.create_node("placeholder", "x", type_expr=typing.Optional[torch.Tensor])  # noqa: UP045
    y = graph.create_node("call_function", len, (x,), type_expr=int)
    graph.create_node("output", "output", ((x, y),), type_expr=tuple[torch.Tensor, int])
    gm = fx.GraphModule({}, graph)
    loaded = through(gm)
    assert_same(gm, loaded)
    assert "typing" not in str(loaded.code) or loaded.code == gm.code


def test_metadata_of_every_shape_comes_back() -> None:
    graph = small_graph()
    shared = {"note": ["a"]}
    for i, node in enumerate(graph.nodes):
        node.meta["seq_nr"] = i
        if i % 2:
            node.meta = {
                "custom": {"tag": [1, {"deep": (i // 3,)}]},
                "seq_nr": i,
                5: "a key that is no string",
            }
        node.meta["shared"] = shared
        node.meta["nn_module_stack"] = {
            "L['self']": ("self", torch.nn.Linear),
            "x": ("self.x", torch.nn.ReLU),
        }
        node.meta["stack_trace"] = 'File "model.py", line 3, in forward\n    return x + y\n'
        node.meta["first"] = next(iter(graph.nodes))
        node.meta["original_aten"] = torch.ops.aten.add.Tensor
    loaded = through([graph])[0]
    assert_same(graph, loaded)
    stacks = [node.meta["nn_module_stack"] for node in loaded.nodes]
    assert stacks[0] == stacks[1]
    assert stacks[0] is not stacks[1]
    stacks[0].clear()
    assert stacks[1], "equal metadata of two nodes is stored once and must come back as two objects"
    assert len({id(node.meta["shared"]) for node in loaded.nodes}) == 1


class Block(torch.nn.Module):
    pass


def test_classes_of_the_user_in_metadata_are_names_until_trusted() -> None:
    graph = small_graph()
    for node in graph.nodes:
        node.meta["nn_module_stack"] = {"b": ("b", Block)}
    data = fxarchive.dumps([graph])
    name = next(iter(fxarchive.loads(data)[0].nodes)).meta["nn_module_stack"]["b"][1]
    assert type(name) is fxarchive.QualifiedName
    assert name == f"{__name__}.Block"
    trusted = fxarchive.loads(data, trust=[f"{__name__}.Block"])[0]
    assert next(iter(trusted.nodes)).meta["nn_module_stack"]["b"][1] is Block


def test_metadata_can_be_dropped_and_is_reported() -> None:
    gm = fx.GraphModule({}, small_graph())
    first, second = list(gm.graph.nodes)[:2]
    first.meta = {"good": 1, "bad": object(), "also": 2}
    second.meta = {"bad": [1, object()]}
    with pytest.raises(UnsupportedValue) as caught:
        fxarchive.dumps(gm)
    paths = ["graph.x.meta['bad']", "graph.y.meta['bad'][1]"]
    assert [problem.path for problem in caught.value.problems] == paths
    encoded = codec.encode(gm, drop=True)
    assert [problem.path for problem in encoded.dropped] == paths
    loaded = fxarchive.loads(fxarchive.dumps(gm, on_unsupported="drop"))
    assert [node.meta for node in loaded.graph.nodes][:2] == [{"good": 1, "also": 2}, {}]


def test_drop_leaves_nothing_of_what_was_dropped() -> None:
    gm = fx.GraphModule({}, small_graph())
    next(iter(gm.graph.nodes)).meta = {"bad": [torch.zeros(1000), object()]}
    assert codec.encode(gm, drop=True).document["tensors"] == []


def test_drop_is_for_metadata_only() -> None:
    gm = fx.GraphModule({}, small_graph())
    gm.note = object()
    next(iter(gm.graph.nodes)).meta = {"bad": object()}
    with pytest.raises(UnsupportedValue) as caught:
        fxarchive.dumps(gm, on_unsupported="drop")
    assert [problem.path for problem in caught.value.problems] == ["note"]


def test_pytree_codegen_comes_back() -> None:
    graph = fx.Graph()
    a, b, c = (graph.placeholder(name) for name in "abc")
    graph.output((graph.call_function(torch.add, (a, b)), c))
    _, in_spec = pytree.tree_flatten((((1, 2),), {"key": 3}))
    _, out_spec = pytree.tree_flatten({"sum": 1, "rest": [2]})
    graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(["pair", "key"], in_spec, out_spec)))
    gm = fx.GraphModule({}, graph)
    loaded = through(gm)
    assert_same(gm, loaded)
    one = torch.ones(2)
    assert_same(gm((one, one), key=one), loaded((one, one), key=one))


def test_codegens_that_hold_code_are_refused() -> None:
    graph = small_graph()
    graph.on_generate_code(lambda current: lambda code: code)
    with pytest.raises(UnsupportedValue, match="transforms the generated code"):
        fxarchive.dumps([graph])

    class Own(CodeGen):
        pass

    graph = small_graph()
    graph.set_codegen(Own())
    with pytest.raises(UnsupportedValue, match="set_codegen"):
        fxarchive.dumps([graph])


def test_an_argument_must_be_an_earlier_node_of_the_graph() -> None:
    graph = small_graph()
    nodes = list(graph.nodes)
    nodes[2].args = (nodes[0], nodes[3])
    with pytest.raises(UnsupportedValue) as caught:
        fxarchive.dumps([graph])
    assert caught.value.problems[0].path == "[0].add.args[1]"
    other = small_graph()
    nodes[2].args = (nodes[0], next(iter(other.nodes)))
    with pytest.raises(UnsupportedValue, match="not an earlier node of the same graph"):
        fxarchive.dumps([graph])


def test_nodes_outside_graphs_bring_their_graph() -> None:
    graph = small_graph()
    second = list(graph.nodes)[1]
    loaded = through({"node": second})["node"]
    assert loaded.name == "y"
    assert_same(graph, loaded.graph)


def test_a_graph_longer_than_the_recursion_limit_loads() -> None:
    graph = fx.Graph()
    node = graph.placeholder("x")
    for _ in range(5000):
        node = graph.call_function(torch.neg, (node,))
    graph.output(node)
    assert_same(graph, fxarchive.loads(fxarchive.dumps([graph]))[0])


@pytest.mark.parametrize("way", [fast_nodes.official, fast_nodes.constructed, fast_nodes.bare])
def test_every_way_of_building_nodes_gives_the_same(
    way: fast_nodes.Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way is fast_nodes.bare and not hasattr(torch._C._NodeBase, "_prepend"):
        pytest.skip("this torch has no node in C")
    gm = fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()))
    data = fxarchive.dumps(gm)
    monkeypatch.setattr("fxarchive.codec.graphs.build_nodes", way)
    assert_same(gm, fxarchive.loads(data))


def test_a_way_that_fails_or_differs_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: fx.Graph, rows: fast_nodes.Rows) -> list[fx.Node]:
        raise AttributeError("a private name that is gone")

    def different(graph: fx.Graph, rows: fast_nodes.Rows) -> list[fx.Node]:
        nodes = fast_nodes.constructed(graph, rows)
        graph._graph_namespace._used_names.clear()
        return nodes

    monkeypatch.setattr(fast_nodes, "bare", broken)
    monkeypatch.setattr(fast_nodes, "constructed", different)
    assert fast_nodes._quickest.__wrapped__() is fast_nodes.official


def test_the_shortcut_is_sound_on_this_torch() -> None:
    in_c = hasattr(torch._C._NodeBase, "_prepend")
    assert fast_nodes._quickest.__wrapped__() is (fast_nodes.bare if in_c else fast_nodes.constructed)


def test_types_that_are_texts_come_back_as_one_text() -> None:
    """As modules with ``from __future__ import annotations`` have them; torch 2.7 wants equal ones to be one object."""

    def function(x, y):  # type: ignore[no-untyped-def]
        return x + y

    function.__annotations__.update(x="torch.Tensor", y="torch.Tensor")
    module = fx.symbolic_trace(function)
    loaded = fxarchive.loads(fxarchive.dumps(module))
    first, second, *_ = loaded.graph.nodes
    assert (first.type, second.type) == ("torch.Tensor", "torch.Tensor")
    assert first.type is second.type
    assert torch.equal(loaded(torch.ones(2), torch.ones(2)), torch.full((2,), 2.0))
