"""What another torch makes of the calls of a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import fx

import fxarchive
from fxarchive import codec, releases
from fxarchive.adaptation import Adapted, adapt
from fxarchive.codec.running_torch import RunningTorch
from fxarchive.compatibility import ReleasedTorch, compatibility
from fxarchive.document import OPS, Document
from fxarchive.migrations.operators import OWN, REMEDIES, higher_order, remedy, upgraders
from fxarchive.migrations.operators.autograd import NAME as ACCUMULATE
from fxarchive.migrations.operators.autograd import NEW
from fxarchive.migrations.operators.calls import Call, Upgrader

from .corpus import files, operators
from .corpus.entries import ENTRIES

RELU = "aten::relu(Tensor self) -> Tensor"

WAIVED = {
    "torch 2.9 gave it other arguments and a second result": "torch 2.8 runs it on Apple's processors alone",
    **dict.fromkeys(
        [upgrader.why for upgrader in higher_order.UPGRADERS],
        "the running torch runs both forms: test_higher_order_forms",
    ),
}
"""Reasons of upgraders that no entry of the corpus shows, and why."""


@dataclass
class Imagined(RunningTorch):
    """The running torch with some operators of other schemas, or gone."""

    schemas: dict[str, str | None] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()

    def schema(self, name: str) -> str | None:
        return self.schemas[name] if name in self.schemas else super().schema(name)

    def has(self, kind: str, name: str) -> bool:
        return name not in self.gone and super().has(kind, name)


def document_of(build: Callable[[Any], Any]) -> Document:
    graph = fx.Graph()
    graph.output(build(graph))
    return codec.encode(fx.GraphModule(torch.nn.Module(), graph)).document


def called(graph: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
    return graph.call_function(target, args, kwargs)


def relu(graph: Any) -> Any:
    return called(graph, torch.ops.aten.relu.default, graph.placeholder("x"))


def test_nothing_changes_where_nothing_has_to() -> None:
    document = document_of(relu)
    assert adapt(document, RunningTorch()) == Adapted(document, (), frozenset(), (), ())


def test_the_document_is_left_as_it_is() -> None:
    build = ENTRIES["cholesky_operator"].built
    if not ENTRIES["cholesky_operator"].is_for(torch.__version__):
        pytest.skip("this torch cannot write it")
    document = codec.encode(build()[0]).document
    before = repr(document)
    assert adapt(document, ReleasedTorch("2.15", document)).changes
    assert repr(document) == before


def test_a_schema_that_takes_the_call_is_written_into_the_targets() -> None:
    document = document_of(relu)
    newer = "aten::relu(Tensor self, *, bool fast=False) -> Tensor"
    adapted = adapt(document, Imagined({"aten::relu": newer}))
    assert (adapted.changes, adapted.missing, adapted.incompatible) == ((), (), ())
    assert adapted.document["targets"][0][2] == newer
    assert adapted.document["graphs"] == document["graphs"]


def test_one_call_that_fits_and_one_that_does_not() -> None:
    def build(graph: Any) -> Any:
        x = graph.placeholder("x")
        return [
            called(graph, torch.ops.aten.softmax.int, x, 1),
            called(graph, torch.ops.aten.softmax.int, x, 1, torch.half),
        ]

    document = document_of(build)
    adapted = adapt(
        document, Imagined({"aten::softmax.int": "aten::softmax.int(Tensor self, int dim) -> Tensor"})
    )
    [problem] = adapted.incompatible
    assert problem.path == "aten::softmax.int"
    assert problem.why.startswith(
        "it does not take dtype; the archive has aten::softmax.int(Tensor self, int dim, Sc"
    )


def test_an_operator_that_is_passed_on_must_take_all_that_it_took() -> None:
    def build(graph: Any) -> Any:
        higher = torch.ops.higher_order.auto_functionalized
        return called(graph, higher, torch.ops.aten.relu.default, self=graph.placeholder("x"))

    document = document_of(build)
    fine = Imagined({"aten::relu": "aten::relu(Tensor self, bool fast=False) -> Tensor"})
    assert adapt(document, fine).incompatible == ()
    other = Imagined({"aten::relu": "aten::relu(Tensor self, bool fast) -> Tensor"})
    assert [problem.why.partition(";")[0] for problem in adapt(document, other).incompatible] == [
        "it now asks for fast"
    ]
    assert [problem.path for problem in adapt(document, Imagined({"aten::relu": None})).missing] == [
        "aten::relu"
    ]


@pytest.mark.skipif(RunningTorch().schema(ACCUMULATE) != NEW, reason="this torch has it in its old form")
def test_a_node_that_metadata_names_is_followed_to_its_number() -> None:
    def build(graph: Any) -> Any:
        x = graph.placeholder("x")
        first = called(graph, torch.ops.inductor.accumulate_grad_.default, x, x, x)
        second = called(graph, torch.ops.aten.relu.default, x)
        second.meta["of"] = [second, first]
        return second

    document = document_of(build)
    document["targets"] = [
        [kind, name, "inductor::accumulate_grad_(Tensor variable, Tensor new_grad) -> ()", *rest[1:]]
        if name == "inductor::accumulate_grad_" else [kind, name, *rest]
        for kind, name, *rest in document["targets"]
    ]  # fmt: skip
    record = document["graphs"][0]
    record["patterns"] = [[pattern[0][:2], pattern[1]] for pattern in record["patterns"]]
    record["operands"] = [1, 1, *record["operands"][3:]]
    adapted = adapt(document, RunningTorch())
    assert adapted.incompatible == ()
    text = repr(adapted.document)
    assert "['node', 0, 3]" in text
    assert "['node', 0, 2]" in text


def test_a_graph_behind_one_with_new_nodes_gets_new_targets_too() -> None:
    def older(name: str) -> Document:
        case = max(case for case in map(str, files.cases()) if case.endswith(f"torch-2.12.0/{name}"))
        return files.document_of(files.HOME / f"{case}.fxa")  # type: ignore[no-any-return]

    first, second = older("accumulated_gradient"), older("cholesky_operator")
    rows, texts = len(first["targets"]), len(first["texts"])
    graph = second["graphs"][0]
    graph["targets"] = [
        row + (rows if op == OPS.index("call_function") else texts)
        for op, row in zip(graph["ops"], graph["targets"], strict=True)
    ]
    both: Any = {**first, "targets": [*first["targets"], *second["targets"]]}
    both |= {"texts": [*first["texts"], *second["texts"]], "graphs": [*first["graphs"], graph]}
    adapted = adapt(both, ReleasedTorch("2.15", both))
    assert [change.now for change in adapted.changes] == [
        "inductor::accumulate_grad_",
        "aten::linalg_cholesky",
    ]
    call = adapted.document["graphs"][1]["targets"][1]
    assert adapted.document["targets"][call][1] == "aten::linalg_cholesky"


@pytest.mark.parametrize("release", releases.releases())
def test_the_same_operators_for_every_release(release: str) -> None:
    document = document_of(relu)
    assert compatibility(document, release).opens


def test_foreign_operators_are_taken_to_be_there() -> None:
    document = document_of(relu)
    document["targets"] = [["operator", "mine::relu", "mine::relu(Tensor x) -> Tensor", "mine.ops"]]
    found = compatibility(document, "2.9")
    assert (found.opens, found.foreign) == (True, ("mine::relu",))


# operator upgraders


def written_changes() -> dict[str, set[str]]:
    """Reason of each change that some release makes of some entry -> the names that were called."""
    found: dict[str, set[str]] = {}
    names = {"accumulated_gradient", "accumulated_gradient_given", *[case.name for case in operators.CHANGED]}
    for case in files.cases():
        if case.name not in names:
            continue
        document = files.document_of(case.archive)
        for release in releases.releases():
            answer = compatibility(document, release)
            assert answer.opens, (case, release, answer)
            for change in answer.changes:
                found.setdefault(change.why, set()).add(change.was)
    return found


def test_every_upgrader_has_an_entry_in_the_corpus_or_a_reason_not_to() -> None:
    found = written_changes()
    needed = {upgrader.why for upgrader in OWN if upgrader.rewrite is not None}
    assert needed - found.keys() - WAIVED.keys() == set()
    assert WAIVED.keys() & found.keys() == set()


@pytest.mark.parametrize("release", ["2.7", "2.10", "2.12", "2.14", "2.15"])
@pytest.mark.parametrize("name", ["cholesky_operator", "cholesky_upper", "cholesky_method", "cholesky_function",
                                  "qr_operator", "qr_complete", "qr_function", "cdist_keyword"])  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_numbers_stay_when_calls_are_rewritten(name: str, release: str) -> None:
    if not ENTRIES[name].is_for(torch.__version__):
        pytest.skip("this torch cannot run it")
    module, inputs = ENTRIES[name].built()
    expected = module(*inputs)
    document = codec.encode(module).document
    adapted = adapt(document, ReleasedTorch(release, document))
    if name == "cdist_keyword" and release in ("2.14", "2.15"):
        assert "grad_output" in repr(adapted.document["graphs"])
        return
    again = codec.decode(adapted.document, None)
    torch.testing.assert_close(again(*inputs), expected, rtol=0, atol=0)
    assert bool(adapted.changes) == (release in ("2.14", "2.15"))


@pytest.mark.skipif(RunningTorch.release == "2.8", reason="it has the operator, on Apple's processors alone")
def test_rms_norm_of_torch_2_8() -> None:
    document = document_of(lambda graph: called(graph, torch.ops.aten.relu.default, graph.placeholder("x")))
    document["targets"] = [
        ["operator", "aten::_fused_rms_norm",
         "aten::_fused_rms_norm(Tensor input, int normalized_shape_ndim, Tensor weight, float eps) -> Tensor", None]
    ]  # fmt: skip
    graph: Any = document["graphs"][0]
    graph.update(
        names="x\nw\nnorm\noutput", ops=bytes([0, 0, 2, 5]), pattern=[0, 0, 1, 2], operands=[2, 1, 1]
    )
    document["texts"] = ["x", "w", "output"]
    graph["targets"] = [0, 1, 0, 2]
    graph["patterns"] = [[[], []], [[["hole"], 1, ["hole"], 1e-5], []], [[["hole"]], []]]
    graph.update(layout=[0] * 4, layouts=[[]], keys=[], columns=[], types=[[], []])
    loaded = codec.decode(document, None)
    x, weight = torch.randn(3, 4), torch.randn(4)
    expected = torch.nn.functional.rms_norm(x, (4,), weight, 1e-5)
    assert torch.equal(loaded(x, weight), expected)
    assert [node.name for node in loaded.graph.nodes] == ["x", "w", "norm_0", "norm", "output"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("aten::sum.dim_DimnameList", "named tensors"),
        ("aten::zeros.names", "named tensors"),
        ("prepacked::linear_clamp_run", "prepacked"),
        ("symm_mem::_barrier", "running job"),
    ],
)
def test_families_that_nothing_replaces_have_a_remedy(name: str, text: str) -> None:
    assert text in str(remedy(name))
    assert releases.history(name)


def test_every_operator_that_is_gone_is_spoken_of() -> None:
    newest = len(releases.releases()) - 1
    gone = [
        name
        for name in releases._operators()
        if max(last for _, (_, last) in releases.history(name)) < newest
    ]
    assert len(gone) > 100
    silent = [name for name in gone if not remedy(name) and ("operator", name) not in upgraders()]
    assert silent == []
    assert len(REMEDIES) == 3


def test_what_nothing_replaces_is_an_error_with_the_remedy() -> None:
    graph: Any = fx.Graph()
    graph.output(graph.call_method("refine_names", (graph.placeholder("x"), "N")))
    document = codec.encode(fx.GraphModule(torch.nn.Module(), graph)).document
    answer = compatibility(document, "2.14")
    [problem] = answer.missing
    assert (problem.path, answer.opens) == ("refine_names", False)
    assert "capture the graph again with dimensions by number" in problem.why
    assert compatibility(document, "2.12").opens


def test_other_packages_bring_upgraders(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        def load(self) -> Any:
            return lambda: [
                Upgrader(
                    "function",
                    "torch.relu",
                    "ours",
                    lambda call: [Call("function", "torch.tanh", call.args)],
                    since="2.0",
                )
            ]

    monkeypatch.setattr("fxarchive.migrations.operators.entry_points", lambda group: [Point()])
    upgraders.cache_clear()
    try:
        data = fxarchive.dumps(fx.symbolic_trace(lambda x: torch.relu(x)))
        x = torch.randn(3)
        assert torch.equal(fxarchive.loads(data)(x), torch.tanh(x))
    finally:
        upgraders.cache_clear()
