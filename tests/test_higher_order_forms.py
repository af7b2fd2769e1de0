"""Calls of higher-order operators in the forms of other releases: rewritten, they compute the same, or are refused."""

from __future__ import annotations

import functools
import io
import operator
from contextlib import redirect_stdout
from typing import Any

import pytest
import torch
from torch import fx, nn

import fxarchive
from fxarchive import codec, releases
from fxarchive.adaptation import Adapted, adapt
from fxarchive.codec import arguments
from fxarchive.codec.running_torch import RunningTorch
from fxarchive.compatibility import ReleasedTorch, compatibility
from fxarchive.document import Document
from fxarchive.errors import IncompatibleOperator
from fxarchive.migrations.operators.calls import Call, Unportable
from fxarchive.migrations.operators.higher_order import UPGRADERS
from fxarchive.migrations.operators.higher_order import _renamed as rename

from .material import capture, higher_order

RELEASE = releases.number_of(RunningTorch.release)


def adapted_for(release: str, document: Document, writer: str = "") -> Adapted:
    return adapt(document, ReleasedTorch(release, document), writer)


def calls_of(document: Document, name: str) -> list[Any]:
    """The call patterns of the graphs that call the operator, where it has a target."""
    rows = {row for row, record in enumerate(document["targets"]) if record[:2] == ["higher_order", name]}
    return [
        graph["patterns"][pattern]
        for graph in document["graphs"]
        for op, target, pattern in zip(graph["ops"], graph["targets"], graph["pattern"], strict=True)
        if op == 2 and target in rows
    ]


@functools.cache
def graph_of(program: str, way: str) -> capture.Captured:
    found = next(each for each in higher_order.graphs_of(program) if each.name.endswith(way))
    if isinstance(found, capture.Refused):
        pytest.skip(f"this torch does not capture it: {found.reason}")
    return found


def outputs(module: fx.GraphModule, inputs: Any) -> tuple[Any, str]:
    """What a call gives and prints."""
    text = io.StringIO()
    torch.manual_seed(0)
    with redirect_stdout(text):
        found = module(*capture.copied(inputs))
    return found, text.getvalue()


def assert_runs_alike(found: capture.Captured, document: Document) -> None:
    (expected, printed), (actual, text) = (
        outputs(module, found.inputs) for module in (found.graph_module, codec.decode(document, None))
    )
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    assert text == printed


@pytest.mark.filterwarnings("ignore")
def test_operands_of_a_subgraph_in_both_forms() -> None:
    found = graph_of("invoke_subgraph_twice", "compile")
    document = codec.encode(found.graph_module).document
    old, new = (adapted_for(release, document) for release in ("2.7", "2.8"))
    assert [pattern[0][2:] for pattern in calls_of(old.document, "invoke_subgraph")] == [
        [["tuple", [["hole"], ["hole"]]]]
    ] * 2
    assert [pattern[0][2:] for pattern in calls_of(new.document, "invoke_subgraph")] == [
        [["hole"], ["hole"]]
    ] * 2
    other = old if RELEASE >= (2, 8) else new
    assert len(other.changes) == 2
    assert_runs_alike(found, other.document)
    assert adapt(other.document, RunningTorch()).document["graphs"] == document["graphs"]


@pytest.mark.filterwarnings("ignore")
def test_a_graph_that_ignores_the_largest_scores_opens_where_there_are_none() -> None:
    found = graph_of("flex_attention_with_blocks", "make_fx real")
    document = codec.encode(found.graph_module).document
    adapted = adapted_for("2.8", document)
    if RELEASE >= (2, 9):
        assert [change.why for change in adapted.changes] == ["before torch 2.9 it has two results"]
    assert_runs_alike(found, adapted.document)


def calling(
    name: str, *args: Any, places: tuple[int | None, ...] = (None,), used: bool = True, **kwargs: Any
) -> fx.GraphModule:
    """A graph that uses these results of a call of an operator, or all of it in one piece for None."""
    graph = fx.Graph()
    call = graph.call_function(getattr(torch.ops.higher_order, name), (graph.placeholder("x"), *args), kwargs)
    taken = [
        call if place is None else graph.call_function(operator.getitem, (call, place)) for place in places
    ]
    graph.output(tuple(taken) if used else ())
    return fx.GraphModule(nn.Module(), graph)


def flex_document(*places: int | None, used: bool = True) -> Document:
    """The document of a graph that uses these results of flex_attention."""
    return codec.encode(calling("flex_attention", places=places, used=used)).document


def test_a_graph_that_uses_the_largest_scores_needs_the_release_that_has_them() -> None:
    for places in [(2,), (0, 1, 2), (None,), (0, -1)]:
        document = flex_document(*places)
        [problem] = compatibility(document, "2.8").incompatible
        assert problem.path == "flex_attention"
        assert problem.why.endswith("which the graph uses; load with torch 2.9 or later")
        assert compatibility(document, "2.9").opens
    for document in (flex_document(0, 1), flex_document(0, 1, 2, used=False), flex_document()):
        assert compatibility(document, "2.8").opens


def test_a_graph_that_takes_no_more_than_two_results_stays_as_it_is() -> None:
    for document in (flex_document(0, 1), flex_document(0), flex_document()):
        assert adapted_for("2.8", document).changes == ()
    [change] = adapted_for("2.8", flex_document(0, 1, 2, used=False)).changes
    assert change.why == "before torch 2.9 it has two results"


def test_the_gradient_of_the_logarithms_is_a_tensor_before_torch_2_11() -> None:
    graph = fx.Graph()
    inputs = [graph.placeholder(f"x{number}") for number in range(6)]
    backward = torch.ops.higher_order.flex_attention_backward
    graph.output(
        (graph.call_function(backward, (*inputs, None)), graph.call_function(backward, (*inputs, inputs[0])))
    )
    document = codec.encode(fx.GraphModule(nn.Module(), graph)).document
    adapted = adapted_for("2.10", document)
    assert [change.node for change in adapted.changes] == ["flex_attention_backward"]
    graph = codec.decode(adapted.document, None).graph
    first, second = [node for node in graph.nodes if str(node.target) == "flex_attention_backward"]
    zeros = first.args[6]
    assert (zeros.target, zeros.args) == (torch.ops.aten.zeros_like.default, (first.args[4],))
    assert second.args[6] is second.args[0]
    assert adapted_for("2.11", document).changes == ()


@pytest.mark.skipif(RELEASE < (2, 11), reason="its print takes no values by place")
@pytest.mark.parametrize("way", ["make_fx real", "aot"])
@pytest.mark.filterwarnings("ignore")
def test_what_is_printed_stays(way: str) -> None:
    found = graph_of("printed", way)
    document = codec.encode(found.graph_module).document
    adapted = adapted_for("2.10", document)
    assert [change.why for change in adapted.changes] == ["before torch 2.11 it takes values by name alone"]
    assert "value {value_0} {name}" in repr(adapted.document["graphs"])
    assert_runs_alike(found, adapted.document)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("{}", (1,)),
        ("{{}} {1!r:>{0}} {name:5}{{", (7, "a")),
        ("{:>{}} {}", ("a", 4, 5)),
        ("{0.real} {1[1]}", (2, "ab")),
        ("none", (1,)),
    ],
)
def test_formats_keep_what_they_print(text: str, values: tuple[Any, ...]) -> None:
    names = [f"v{number}" for number in range(len(values))]
    named = rename(text, names).format(name="x", **dict(zip(names, values, strict=True)))
    assert named == text.format(*values, name="x")


def test_a_name_that_is_taken_is_not_given_again() -> None:
    call = Call("higher_order", "print", ("{} {value_0}", 1), {"value_0": 2})
    [upgrader] = [each for each in UPGRADERS if each.name == "print"]
    assert upgrader.rewrite is not None
    assert upgrader.rewrite(call) == [
        Call("higher_order", "print", ("{value_0_} {value_0}",), {"value_0_": 1, "value_0": 2})
    ]
    with pytest.raises(Unportable, match="does not fit its values"):
        upgrader.rewrite(Call("higher_order", "print", ("{} {}", 1)))


def test_bodies_with_a_context_open_in_their_releases_alone() -> None:
    applied = torch.ops.higher_order.autograd_function_apply
    old = {"args_tensor_mask": [True], "non_differentiable_idx": []}
    new = {"saved_for_backward_idx": [], "non_differentiable_idx": []}
    for kwargs, opens, refuses in ((old, "2.10", "2.11"), (new, "2.11", "2.10")):
        graph = fx.Graph()
        graph.output(graph.call_function(applied, (graph.placeholder("x"),), kwargs))
        document = codec.encode(fx.GraphModule(nn.Module(), graph)).document
        assert compatibility(document, opens).opens
        [problem] = compatibility(document, refuses).incompatible
        assert problem.why.endswith(f"load with torch {opens} or {'earlier' if kwargs is old else 'later'}")
    graph = fx.Graph()
    graph.output(graph.call_function(applied, (graph.placeholder("x"),), new | {"dirty_idx": [0]}))
    document = codec.encode(fx.GraphModule(nn.Module(), graph)).document
    assert "load with torch 2.13 or later" in str(compatibility(document, "2.12").incompatible)
    assert compatibility(document, "2.13").opens


def test_a_load_refuses_instead_of_failing_when_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"args_tensor_mask": [True], "non_differentiable_idx": []} if RELEASE >= (2, 11) else {}
    graph = fx.Graph()
    graph.output(
        graph.call_function(torch.ops.higher_order.autograd_function_apply, (graph.placeholder("x"),), other)
    )
    module = fx.GraphModule(nn.Module(), graph)
    for writer in ("", "2.7 to 2.15", "2.10.0" if other else "2.11.0"):
        monkeypatch.setattr(arguments, "torch_release", lambda writer=writer: writer)
        data = fxarchive.dumps(module)
        with pytest.raises(
            IncompatibleOperator, match=r"autograd_function_apply: .* load with torch 2.1[01] or "
        ):
            fxarchive.loads(data)
        assert not fxarchive.compat(io.BytesIO(data), torch="running")[0].opens


# the torch that wrote the archive


@pytest.mark.parametrize(
    ("name", "args", "more"),
    [
        ("flex_attention", (), {}),
        ("flex_attention", (), {"places": (0, -1)}),
        ("flex_attention_backward", (None,) * 6, {}),
        ("invoke_subgraph", ("name", (1, 2)), {}),
        ("invoke_subgraph", ("name", 1, 2), {}),
        ("print", (1,), {}),
        ("autograd_function_apply", (), {}),
        ("autograd_function_apply", (), {"args_tensor_mask": [True]}),
        ("autograd_function_apply", (), {"dirty_idx": [0]}),
    ],
)
def test_a_graph_stays_as_it_is_where_its_writer_has_the_form(
    name: str, args: tuple[Any, ...], more: dict[str, Any]
) -> None:
    if not hasattr(torch.ops.higher_order, name):
        pytest.skip("this torch does not have it")
    module = calling(name, *args, **more)
    document = codec.encode(module).document
    for release in releases.releases():
        if ReleasedTorch(release, document).has("higher_order", name):
            adapted = adapted_for(release, document, f"{release}.1+cpu")
            assert adapted == Adapted(document, (), frozenset(), (), ())
    data = fxarchive.dumps(module)
    assert fxarchive.compat(io.BytesIO(data), torch="running")[0].opens
    assert fxarchive.dumps(fxarchive.loads(data)) == data


def test_what_a_release_wrote_is_in_its_form_whatever_it_looks_like() -> None:
    whole = flex_document(None)
    for writer, release in (("2.7.1", "2.8"), ("2.9.0", "2.15"), ("2.15.0", "2.9")):
        assert adapted_for(release, whole, writer).changes == ()
    [problem] = adapted_for("2.8", whole, "2.9.0").incompatible
    assert problem.why.endswith("which the graph uses; load with torch 2.9 or later")
    bodies = codec.encode(calling("autograd_function_apply")).document
    assert adapted_for("2.7", bodies, "2.10.0").incompatible == ()
    assert adapted_for("2.7", bodies, "2.11.0").incompatible != ()


@pytest.mark.parametrize(("place", "expected"), [(None, (1, 2)), (-1, 2)])
def test_all_results_of_attention_of_old_graphs_are_two(place: int | None, expected: Any) -> None:
    document = flex_document(place)
    for writer in ("", "2.9.0", "2.7 to 2.15"):
        assert adapted_for("2.9", document, writer).changes == ()
    adapted = adapted_for("2.9", document, "2.8.0")
    assert [change.why for change in adapted.changes] == ["torch 2.9 gives a third result"]
    module = codec.decode(adapted.document, None)
    call = next(node for node in module.graph.nodes if str(node.target) == "flex_attention")
    call.target, call.args = three_results, ()
    module.recompile()
    assert module(None) == (expected,)
    for document in (flex_document(0, 1), flex_document(1), flex_document()):
        assert adapted_for("2.9", document, "2.8.0").changes == ()


def three_results() -> tuple[int, int, int]:
    return 1, 2, 3


def test_a_graph_that_is_saved_again_is_one_of_the_torch_that_saved_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = calling("flex_attention", places=(0, 1))
    monkeypatch.setattr(arguments, "torch_release", lambda: "2.8.0")
    data = fxarchive.dumps(module)
    monkeypatch.undo()
    again = fxarchive.dumps(fxarchive.loads(data))
    torches = [fxarchive.inspect(io.BytesIO(each)).writer.torch for each in (data, again)]
    assert torches == ["2.8.0", torch.__version__]
