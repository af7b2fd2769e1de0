"""What `describe` and `summarise` say of documents made by hand."""

from __future__ import annotations

import copy
from typing import Any

import msgpack
import pytest

from fxarchive.document import empty_document
from fxarchive.errors import InvalidDocument
from fxarchive.nodes import Calls
from fxarchive.ports import Port
from fxarchive.summary import MOST_CALLS, MOST_PORTS, describe, summarise
from fxarchive.weights import Weight
from tests.documents import HOLE, graph, small


def test_counts_of_a_small_document() -> None:
    found = describe(small())
    assert (found.nodes, found.graphs, found.modules, found.tensors, found.storages) == (7, 1, 2, 3, 3)
    assert found.opcodes == {
        "placeholder": 1, "get_attr": 1, "call_function": 2, "call_method": 1, "call_module": 1, "output": 1
    }  # fmt: skip
    assert (found.parameters, found.buffers, found.fake_tensors) == (6, 2048, 3)
    assert found.weight_bytes == 24 + 4096 + 16
    assert list(found.classes.items()) == [
        ("torch.fx.graph_module.GraphModule", 1),
        ("torch.nn.modules.linear.Linear", 1),
    ]


def test_calls_are_named_as_torch_prints_them_and_modules_by_their_class() -> None:
    found = describe(small())
    assert found.calls == (
        Calls("operator", "aten.add.Tensor", 1),
        Calls("operator", "mine.relu.default", 1),
        Calls("method", "tanh", 1),
        Calls("module", "torch.nn.modules.linear.Linear", 1),
    )
    assert found.operators == 4


def test_frequent_calls_come_first() -> None:
    document = small()
    document["graphs"].append(graph("a b c", [2, 2, 2], [1, 1, 1], [[[], []]] * 3, []))
    assert describe(document).calls[0] == Calls("operator", "mine.relu.default", 4)


def test_what_loading_asks_for() -> None:
    found = describe(small())
    assert found.trust == ("mine.Block", "mine.helper")
    assert found.namespaces == ("aten", "mine")
    assert found.imports == ("mine", "mine.ops")


def test_inputs_and_outputs_come_from_metadata() -> None:
    found = describe(small())
    assert found.inputs == (Port("x", "f32[2, 3]", "float32", (2, 3), "cpu"),)
    assert found.outputs == (
        Port("add", "f32[2, 3]", "float32", (2, 3), "cpu"),
        Port("relu", "i64[7]@cuda:1", "int64", (7,), "cuda:1"),
        Port("", "None"),
    )


def test_a_returned_value_that_holds_nodes_is_shown_with_their_names() -> None:
    held = ["tuple", [["slice", [None, HOLE, 1]], ["dict", [["tuple", [HOLE]], HOLE]], None]]
    calls = [[[], []], [[], []], [[held], []]]
    document = empty_document()
    document["texts"] = ["x", "y", "output"]
    document["graphs"] = [graph("x y output", [0, 0, 5], [0, 1, 2], calls, [2, 2, 1])]
    assert [(port.name, port.text) for port in describe(document).outputs] == [
        ("", "slice(None, x, 1)"), ("y", ""), ("", "None")
    ]  # fmt: skip


def test_inputs_and_outputs_come_from_examples_where_there_is_no_metadata() -> None:
    document = small()
    document["graphs"][0].update(layouts=[[]], layout=[0] * 7, keys=[], columns=[])
    outputs = ["tuple", [["tuple", [["tensor", 2], 4]], None]]
    document["examples"] = ["tuple", [["tuple", [["tensor", 1]]], ["dict", []], outputs]]
    found = describe(document)
    assert found.inputs == (Port("x", "bf16[2048]@cuda:0", "bfloat16", (2048,), "cuda:0"),)
    assert [port.text for port in found.outputs] == ["i64[2]", "4", "None"]
    assert found.examples is True


def test_inputs_without_any_description_show_their_default() -> None:
    document = small()
    document["graphs"][0].update(layouts=[[]], layout=[0] * 7, keys=[], columns=[])
    document["graphs"][0]["patterns"][0] = [["sum"], []]
    assert describe(document).inputs == (Port("x", "'sum' by default"),)
    document["graphs"][0]["patterns"][0] = [[], []]
    assert describe(document).inputs == (Port("x", ""),)


def test_tensor_metadata_of_a_shape_pass_describes_a_value() -> None:
    document = small()
    document["targets"].append(["class", "torch.fx.passes.shape_prop.TensorMetadata"])
    shape = [
        "named",
        5,
        [["size", [4, 5]], ["dtype", "float16"], True, ["tuple", [5, 1]], None, False, ["dict", []]],
    ]
    document["values"] = [shape]
    document["graphs"][0].update(
        keys=["tensor_meta"], layouts=[[], [0]], layout=[1, 0, 0, 0, 0, 0, 0], columns=[["value", [0]]]
    )
    assert describe(document).inputs == (Port("x", "f16[4, 5]", "float16", (4, 5), None),)


def test_weights_are_sorted_and_named() -> None:
    document = small()
    document["examples"] = ["tuple", [["tuple", [["tensor", 2]]], ["dict", []], None]]
    found = describe(document)
    assert found.weights == (
        Weight("storages/1", 4096, "cuda:0", ("table",), False),
        Weight(None, 24, "cpu", ("lin.weight",), False),
        Weight(None, 16, "cpu", (), True),
    )
    assert found.weight_bytes == 4096 + 24  # examples are no weights


def test_sparse_tensors_have_the_dtype_of_their_values_and_all_their_storages() -> None:
    document = small()
    document["tensors"].append({"layout": "sparse_coo", "size": [9, 9], "indices": 2, "values": 1})
    document["modules"][0]["buffers"] = ["table", ["tensor", 3], True]
    found = describe(document)
    assert found.buffers == 81
    assert [weight.names for weight in found.weights] == [("table",), ("lin.weight",), ("table",)]


def test_a_string_in_an_argument_is_no_operand() -> None:
    document = small()
    document["graphs"][0]["patterns"][3] = [[HOLE, ["tuple", ["hole", "fake"]]], []]
    assert [port.name for port in describe(document).outputs] == ["add", "relu", ""]


def test_a_tree_has_no_inputs_unless_it_holds_one_graph() -> None:
    document = small()
    document["root"] = ["dict", ["only", ["module", 0]]]
    assert [port.name for port in describe(document).inputs] == ["x"]
    document["graphs"].append(graph("", [], [], [], []))
    assert describe(document).inputs == ()
    assert describe(empty_document()).outputs == ()


def test_summary_is_plain_and_short_however_large_the_graph_is() -> None:
    document = small()
    many = 500
    document["targets"] += [["function", f"torch.f{number}"] for number in range(many)]
    names = " ".join([f"{'n' * 300}{number}" for number in range(many)])
    wide = graph(names, [0] * many, [0] * many, [[[], []]] * many, [])
    document["graphs"][0] = {**wide, "ops": bytes([0, 2] * (many // 2)), "targets": [0, 9] * (many // 2)}
    found = summarise(document)
    assert len(found["inputs"]) == MOST_PORTS
    assert len(found["calls"]) <= MOST_CALLS
    without_trust = {key: value for key, value in found.items() if key != "trust"}
    assert len(msgpack.packb(without_trust)) < 4096
    assert len(found["trust"]) >= 2


def test_summary_does_not_change_the_document() -> None:
    document = small()
    before = copy.deepcopy(document)
    summarise(document)
    assert document == before


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("root",), ["module", 9]),
        (("root",), ["module", "0"]),
        (("targets",), [[]]),
        (("graphs", 0, "ops"), "text"),
        (("graphs", 0, "names"), "one"),
        (("graphs", 0, "targets"), [99] * 7),
        (("graphs", 0, "targets"), [-1] * 7),
        (("graphs", 0, "operands"), [1]),
        (("graphs", 0, "operands"), [2, 1, 1, 1, 1, 4, 77]),
        (("graphs", 0, "pattern"), [55] * 7),
        (("graphs", 0, "columns"), []),
        (("graphs", 0, "columns"), [["fake", []], ["plain", []]]),
        (("graphs", 0, "layouts"), None),
        (("fakes",), {"description": [9, 9, 9]}),
        (("fakes",), []),
        (("descriptions",), [[], []]),
        (("modules", 0, "modules"), ["lin"]),
        (("modules", 0, "modules"), ["lin", 77]),
        (("modules", 1, "klass"), 77),
        (("modules", 1, "parameters"), ["weight", ["tensor", 50]]),
        (("modules", 1, "parameters"), ["weight", [[], {}]]),
        (("storages", 0), {}),
        (("tensors", 0), []),
        (("examples",), ["tuple", [1]]),
    ],
)
def test_whatever_does_not_fit_the_schema_is_one_error(path: tuple[Any, ...], value: Any) -> None:
    document = small()
    held = document
    for step in path[:-1]:
        held = held[step]
    held[path[-1]] = value
    with pytest.raises(InvalidDocument):
        describe(document)


def test_references_in_circles_end() -> None:
    document = small()
    document["shared"] = [["list", [["shared", 0]]]]
    document["values"] = [["tuple", [["value", 0], ["value", 0]]]]
    document["modules"][1]["modules"] = ["up", 0, "self", 1]
    document["graphs"][0]["patterns"][6] = [[["tuple", [["shared", 0], ["value", 0], HOLE, HOLE]]], []]
    found = describe(document)
    assert [port.name for port in found.outputs] == ["", "", "add", "relu"]
    for port in found.outputs[:2]:
        assert "…" in port.text
        assert len(port.text) <= 200
