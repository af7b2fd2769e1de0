"""Metadata that is equal on many nodes is encoded once, and still each value comes back as it was, down to the types in
it and to which of its containers are one object."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import fx
from torch.fx.passes.shape_prop import TensorMetadata

import fxarchive
from fxarchive.codec import families
from fxarchive.codec.containers import encode_named


def graph_with(key: str, values: list[Any]) -> fx.GraphModule:
    """Return a chain of calls, one for each of ``values``, which it has under ``key`` of its metadata."""
    graph = fx.Graph()
    last = graph.placeholder("x")
    for value in values:
        last = graph.call_function(torch.relu, (last,))
        last.meta[key] = value
    graph.output(last)
    return fx.GraphModule(torch.nn.Module(), graph)


def through(key: str, values: list[Any]) -> list[Any]:
    loaded = fxarchive.loads(fxarchive.dumps(graph_with(key, values)))
    return [node.meta[key] for node in loaded.graph.nodes if node.op == "call_function"]


def facts(qparams: dict[str, Any], **changed: Any) -> TensorMetadata:
    held = {
        "shape": torch.Size([2, 1]), "dtype": torch.float32, "requires_grad": True, "stride": (1, 1),
        "memory_format": torch.contiguous_format, "is_quantized": False, "qparams": qparams,
    }  # fmt: skip
    return TensorMetadata(**{**held, **changed})


def test_stacks_keep_which_of_them_are_one_object() -> None:
    one = {"L['self']": ("", "mod.Net"), "blocks.0": ("blocks.0", "mod.Block")}
    other = dict(one)
    first, second, third = through("nn_module_stack", [one, other, one])
    assert first == second == third == one
    assert first is third
    assert first is not second


def test_stacks_that_only_compare_equal_are_not_taken_for_each_other() -> None:
    stacks = [{"a": ("", 1)}, {"a": ("", True)}, {"a": ("", 1.0)}, {"a": ("", "1")}]
    found = through("nn_module_stack", stacks)
    assert [repr(stack) for stack in found] == [repr(stack) for stack in stacks]


def test_lists_in_equal_stacks_stay_apart() -> None:
    inner = ["shared"]
    first, second, third = through("nn_module_stack", [{"a": inner}, {"a": ["shared"]}, {"a": inner}])
    assert first["a"] is third["a"]
    assert first["a"] == second["a"]
    assert first["a"] is not second["a"]


def test_addresses_in_equal_stacks_are_numbered_alike() -> None:
    stacks = [{"140000000000016": ("", "mod.Net"), "140000000000032@1": ("a", "mod.A")} for _ in range(3)]
    found = through("nn_module_stack", [*stacks, stacks[0]])
    assert [list(stack) for stack in found] == [["100000000000000", "100000000000001@1"]] * 4
    assert found[0] is found[3]
    assert found[0] is not found[1]


def test_tensor_metadata_keeps_which_dicts_are_one_object() -> None:
    shared: dict[str, Any] = {}
    found = through(
        "tensor_meta", [facts({}), facts(shared), facts({}), facts(shared), facts({"scale": 0.5})]
    )
    assert [value.qparams for value in found] == [{}, {}, {}, {}, {"scale": 0.5}]
    assert found[1].qparams is found[3].qparams
    assert len({id(value.qparams) for value in found}) == 4


def test_tensor_metadata_that_only_compares_equal_is_not_taken_for_another() -> None:
    values = [
        facts({}),
        facts({}, requires_grad=1),
        facts({}, shape=(2, 1)),
        facts({}, stride=(True, 1)),
        facts({}, stride=[1, 1]),
        facts({}, memory_format=None),
        facts({}, dtype=torch.float64),
        facts({}),
    ]
    found = through("tensor_meta", values)
    assert [repr(value) for value in found] == [repr(value) for value in values]
    assert [type(value.shape) for value in found] == [type(value.shape) for value in values]


def test_a_refused_dict_in_equal_tensor_metadata_is_named() -> None:
    with pytest.raises(fxarchive.UnsupportedValue) as caught:
        through("tensor_meta", [facts({}), facts({"why": object()})])
    assert [problem.path for problem in caught.value.problems] == [
        "graph.relu_1.meta['tensor_meta'].qparams['why']"
    ]


def test_the_bytes_are_those_of_any_named_tuple(monkeypatch: pytest.MonkeyPatch) -> None:
    shared: dict[str, Any] = {}
    values = [facts({}), facts(shared), facts({}, stride=[1, 1]), facts(shared), facts({}, shape=(2, 1))] * 2
    quick = fxarchive.dumps(graph_with("tensor_meta", values))
    monkeypatch.setitem(families.ENCODE, TensorMetadata, encode_named)
    assert fxarchive.dumps(graph_with("tensor_meta", values)) == quick


def test_symbolic_tensor_metadata_keeps_its_sizes_and_its_dicts() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (torch.relu(x) + 1).relu().transpose(0, 1)

    sizes = {0: torch.export.Dim("a", min=2, max=9), 1: torch.export.Dim("b", min=2, max=9)}
    program = torch.export.export(Net(), (torch.ones(3, 4),), dynamic_shapes=(sizes,), strict=False)
    shown = [
        (node.name, repr(node.meta.get("tensor_meta")), repr(node.meta["val"]))
        for node in program.graph.nodes
        if node.op != "output"
    ]
    loaded = fxarchive.loads(fxarchive.dumps(program.graph_module))
    nodes = [node for node in loaded.graph.nodes if node.op != "output"]
    assert [
        (node.name, repr(node.meta.get("tensor_meta")), repr(node.meta["val"])) for node in nodes
    ] == shown
    noted = [node.meta["tensor_meta"] for node in nodes if "tensor_meta" in node.meta]
    assert len({id(value.qparams) for value in noted}) == len(noted) > 2


def test_symbolic_bytes_are_those_of_any_named_tuple(monkeypatch: pytest.MonkeyPatch) -> None:
    net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Tanh(), torch.nn.ReLU())
    sizes = {0: torch.export.Dim("a", min=2, max=9)}
    program = torch.export.export(net, (torch.ones(3, 4),), dynamic_shapes=(sizes,), strict=False)
    quick = fxarchive.dumps(program.graph_module)
    monkeypatch.setitem(families.ENCODE, TensorMetadata, encode_named)
    assert fxarchive.dumps(program.graph_module) == quick
