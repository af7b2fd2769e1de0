"""Small records of torch: they come back as they were, or inert; and none does what a file says."""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import sys
import traceback
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch._guards import CompileId

import fxarchive
from fxarchive import codec
from fxarchive.audit import audit
from fxarchive.codec import fact_kinds
from fxarchive.codec.fact_kinds import DESCRIPTORS, KINDS, QUANTIZERS, SOURCES
from fxarchive.container import open_archive
from fxarchive.errors import FxArchiveError, InvalidDocument, UnsupportedValue
from fxarchive.inert import InertRecord

from ..compare import assert_same
from . import tables

source = importlib.import_module(SOURCES)
X = source.LocalSource("x", is_input=True)


def running(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def descriptors() -> list[Any]:
    """One record of every class that this torch has, with a record in it where there may be one."""
    module = running(DESCRIPTORS)
    if module is None:
        return []
    found = []
    values = {"idx": 3, "target": "layer.weight", "attr": "inner"}
    for name in sorted(name for name in dir(module) if name.endswith(("Input", "Output"))):
        cls = getattr(module, name)
        fields = [field.name for field in dataclasses.fields(cls)]
        if f"{DESCRIPTORS}.{name}" not in KINDS:
            assert fields == [], f"{name} is not abstract"
            continue
        nested = module.PlainAOTInput(1)
        if "output" in fields or (
            name.endswith("Output") and name not in ("GradAOTOutput", "InputMutationAOTOutput")
        ):
            nested = module.PlainAOTOutput(1)
        found.append(cls(**{field: values.get(field, nested) for field in fields}))
    found.append(module.SubclassGetAttrAOTInput(module.TangentAOTInput(module.PlainAOTOutput(0)), "inner"))
    return found


def plain_sources() -> list[Any]:
    """Sources that print a path of attributes and items."""
    module = source.AttrSource(X, "layers")
    return [
        X,
        source.LocalSource("args", is_input=True, dynamism=frozenset({"x"}), is_derefed_cell_contents=True),
        source.GlobalSource("weights"),
        module,
        source.GetItemSource(module, 0),
        source.DictGetItemSource(source.GlobalSource("table"), "key"),
        source.ParamBufferSource(source.GetItemSource(module, 1), "weight"),
        source.UnspecializedParamBufferSource(source.UnspecializedNNModuleSource(X), "_buffers"),
        source.NNModuleSource(X),
        source.TensorPropertySource(X, source.TensorProperty.SIZE, 0),
        source.TensorPropertySource(X, source.TensorProperty.STORAGE_OFFSET),
        source.GradSource(X),
        source.AttrSource(source.AttrSource(X, "__dict__"), "y"),
    ]


def other_sources() -> list[Any]:
    """Sources that print calls, or that print nothing."""
    return [
        source.CallFunctionNoArgsSource(source.GlobalSource("exit")),
        source.ConvertIntSource(X),
        source.FloatTensorSource(X),
        source.GlobalWeakRefSource("exit"),
        source.AttrSource(X, "__class__"),
        source.AttrSource(source.CallFunctionNoArgsSource(X), "y"),
        source.GlobalSource("a'] or exit() or G['b"),
    ]


def names_of(items: list[Any]) -> list[str]:
    return [type(item).__name__ for item in items]


def frames() -> traceback.StackSummary:
    stack = traceback.extract_stack(limit=3)
    stack[0].locals = {"x": "1"}
    return stack


def graph_arguments() -> list[Any]:
    builder = importlib.import_module("torch._dynamo.variables.builder")
    with torch._subclasses.fake_tensor.FakeTensorMode():
        fake = torch.empty(2, 3)
    real = torch.ones(2, 3)
    return [
        builder.GraphArg(X, real, False, fake),
        builder.GraphArg(
            source.GlobalSource("n"), real, True, fake, is_tensor=False, example_strong_ref=real
        ),
    ]


def reasons() -> list[Any]:
    graph = importlib.import_module("torch._dynamo.output_graph")
    before = list(graph.graph_break_reasons)
    made = [
        graph.GraphCompileReason("return_value", frames(), False),
        graph.GraphCompileReason("a break", [frames()[0]]),
    ]
    graph.graph_break_reasons[:] = before
    return made


VALUES: dict[str, Callable[[], list[Any]]] = {
    "descriptors": descriptors,
    "sources": plain_sources,
    "frames": lambda: [frames(), frames()[1]],
    "compile-ids": lambda: [
        CompileId(frame_id=1, frame_compile_id=2),
        CompileId(frame_id=None, frame_compile_id=None),
    ],
    "arguments": graph_arguments,
    "reasons": reasons,
    "partials": lambda: [
        functools.partial(torch.mul, 2, out=None),
        functools.partial(nn.Linear, 2, bias=False),
    ],
}


@pytest.mark.parametrize("name", VALUES)
def test_records_come_back(name: str) -> None:
    made = VALUES[name]()
    data = fxarchive.dumps(made)
    loaded = fxarchive.loads(data)
    assert_same(made, loaded)
    assert fxarchive.dumps(loaded) == data
    flag = (
        "partial-functions" if name == "partials" else "torch-facts"
    )  # in metadata it is one of these records
    assert open_archive(data).header.features == ((flag,) if made else ())


def test_torch_works_with_what_comes_back() -> None:
    made = plain_sources()
    loaded = tables.again(made)
    assert loaded == made
    assert [hash(each) for each in loaded] == [hash(each) for each in made]
    printed = [each.name() if callable(each.name) else each.name for each in loaded]
    assert printed == [each.name() if callable(each.name) else each.name for each in made]
    for mine, other in zip(descriptors(), tables.again(descriptors()), strict=True):
        assert mine == other
        assert hash(mine) == hash(other)
        assert mine.expr() == other.expr()
    stack = frames()
    assert tables.again([stack])[0].format() == stack.format()
    assert str(tables.again([CompileId(frame_id=1, frame_compile_id=2)])[0]) == "1/2"


def test_loading_a_reason_notes_nothing_in_torch() -> None:
    graph = importlib.import_module("torch._dynamo.output_graph")
    before = len(graph.graph_break_reasons)
    tables.again(reasons())
    assert len(graph.graph_break_reasons) == before


def test_the_tensors_of_the_caller_are_not_in_the_archive() -> None:
    data = fxarchive.dumps(graph_arguments()[1])
    assert b"float32" not in data
    loaded = fxarchive.loads(data)
    assert (loaded._example, loaded.example_strong_ref) == (None, None)


def test_equal_values_are_one_row_and_objects_have_one_each() -> None:
    module = [copy.deepcopy(plain_sources()) for _ in range(5)]
    document, _ = tables.encode(module)
    assert len(document["facts"]) == len({repr(row) for row in document["facts"]})
    loaded = tables.decode(document)
    assert all(one is other for one, other in zip(loaded[0], loaded[4], strict=True))
    first, second = reasons()[0], reasons()[0]
    again = tables.again([first, first, second])
    assert (again[0] is again[1], again[1] is again[2]) == (True, False)


@pytest.mark.parametrize("number", range(len(other_sources())), ids=names_of(other_sources()))
def test_a_source_that_is_more_than_a_path_stays_inert(number: int) -> None:
    made = other_sources()[number]
    data = fxarchive.dumps([made])
    (loaded,) = fxarchive.loads(data)
    assert type(loaded) is InertRecord
    assert loaded.kind == f"{SOURCES}.{type(made).__name__}"
    assert fxarchive.dumps([loaded]) == data
    assert {loaded: 1}[fxarchive.loads(data)[0]] == 1
    assert type(loaded.name) is str


def later(document: Any) -> None:
    """As a later torch would write it: a class that is not there yet, and a field more."""
    for row in document["facts"]:
        if row[1].endswith(".PlainAOTInput"):
            row[1] = f"{DESCRIPTORS}.FutureAOTInput"
        if row[1].endswith((".LocalSource", ".GraphCompileReason")):
            row[2] += ["future", True]


@pytest.mark.skipif(running(DESCRIPTORS) is None, reason="this torch has no descriptors")
def test_what_this_torch_lacks_comes_back_inert_and_is_saved_as_it_was() -> None:
    module = running(DESCRIPTORS)
    made = [module.GradAOTOutput(module.PlainAOTInput(1)), X, plain_sources()[4], reasons()[0], reasons()[0]]
    document, sections = tables.encode(made)
    later(document)
    loaded = tables.decode(document, sections)
    assert [type(each) for each in loaded] == [InertRecord] * 5
    assert loaded[0].grad_of.idx == 1
    assert loaded[3].reason == "return_value"
    assert loaded[3] != loaded[4]
    again, _ = tables.encode(loaded)
    assert again == document
    node_meta = fx.symbolic_trace(nn.ReLU())
    for node in node_meta.graph.nodes:
        node.meta["desc"] = loaded
    data = fxarchive.dumps(node_meta)
    assert fxarchive.dumps(fxarchive.loads(data)) == data


def annotated(quantizer: Any, observer: Any) -> fx.GraphModule:
    module = fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    x, linear, relu, _ = module.graph.nodes
    spec = quantizer.QuantizationSpec(
        torch.int8,
        observer,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_symmetric,
        is_dynamic=True,
    )
    fixed = quantizer.FixedQParamsQuantizationSpec(torch.uint8, 0.5, 3, 0, 255)
    shared = quantizer.SharedQuantizationSpec((x, linear))
    linear.meta["quantization_annotation"] = quantizer.QuantizationAnnotation(
        {x: spec}, fixed, True, _annotated=True
    )
    relu.meta["quantization_annotation"] = quantizer.QuantizationAnnotation({linear: shared}, spec)
    return module


@dataclasses.dataclass(eq=True, frozen=True)
class QuantizationSpec:
    dtype: Any
    observer_or_fake_quant_ctr: Any
    quant_min: int | None = None
    quant_max: int | None = None
    qscheme: Any = None
    ch_axis: int | None = None
    is_dynamic: bool = False


@dataclasses.dataclass(eq=True, frozen=True)
class FixedQParamsQuantizationSpec:
    dtype: Any
    scale: float
    zero_point: int
    quant_min: int | None = None
    quant_max: int | None = None


@dataclasses.dataclass(eq=True, frozen=True)
class SharedQuantizationSpec:
    edge_or_node: Any


@dataclasses.dataclass
class QuantizationAnnotation:
    input_qspec_map: dict[Any, Any] = dataclasses.field(default_factory=dict)
    output_qspec: Any = None
    allow_implicit_sharing: bool = True
    _annotated: bool = False


@pytest.fixture
def torchao(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of torchao's name with the classes of its quantizers."""
    module: Any = types.ModuleType(QUANTIZERS[1])
    for cls in (
        QuantizationSpec,
        FixedQParamsQuantizationSpec,
        SharedQuantizationSpec,
        QuantizationAnnotation,
    ):
        monkeypatch.setattr(cls, "__module__", QUANTIZERS[1])
        setattr(module, cls.__name__, cls)
    for name in (
        "torchao",
        "torchao.quantization",
        "torchao.quantization.pt2e",
        "torchao.quantization.pt2e.quantizer",
    ):
        if name not in sys.modules:
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, QUANTIZERS[1], module)
    return module


class Observer(torch.ao.quantization.observer.HistogramObserver):
    """One that no list names."""


OBSERVER = f"{__name__}.Observer"


def test_annotations_of_quantizers_come_back(torchao: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.ao.quantization.observer import HistogramObserver

    module = annotated(torchao, HistogramObserver.with_args(eps=2**-12))
    data = fxarchive.dumps(module)
    loaded = fxarchive.loads(data)
    assert_same(module, loaded)
    assert fxarchive.dumps(loaded) == data
    x, linear, *_ = loaded.graph.nodes
    spec = linear.meta["quantization_annotation"].input_qspec_map[x]
    assert type(spec.observer_or_fake_quant_ctr()) is HistogramObserver
    other = annotated(torchao, Observer.with_args(eps=2**-12))
    x, linear, *_ = fxarchive.loads(fxarchive.dumps(other)).graph.nodes
    spec = linear.meta["quantization_annotation"].input_qspec_map[x]
    assert str(spec.observer_or_fake_quant_ctr.p.func) == OBSERVER, "its class is not trusted"
    assert_same(other, fxarchive.loads(fxarchive.dumps(other), trust=[OBSERVER]))
    monkeypatch.delitem(sys.modules, QUANTIZERS[1])
    inert = fxarchive.loads(data)
    x, linear, *_ = inert.graph.nodes
    annotation = linear.meta["quantization_annotation"]
    assert type(annotation) is InertRecord
    assert annotation.input_qspec_map[x].quant_max == 127
    assert fxarchive.dumps(inert) == data


@pytest.mark.skipif(running(QUANTIZERS[0]) is None, reason="this torch has no quantizers of its own")
def test_annotations_of_the_quantizers_of_torch_come_back() -> None:
    observer = torch.ao.quantization.observer.HistogramObserver
    module = annotated(running(QUANTIZERS[0]), observer.with_args(eps=0.5))
    assert_same(module, fxarchive.loads(fxarchive.dumps(module)))


def test_contexts_that_dynamo_notes_for_the_bodies_of_autograd_functions_come_back() -> None:
    module = fx.symbolic_trace(nn.ReLU())
    nodes: list[Any] = list(module.graph.nodes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises against making one
        nodes[0].meta["example_value"] = torch.autograd.function.Function()
    nodes[1].meta["example_value"] = torch.autograd.function.FunctionCtx()
    data = fxarchive.dumps(module)
    loaded = fxarchive.loads(data)
    assert_same(module, loaded)
    assert fxarchive.dumps(loaded) == data
    nodes[1].meta["example_value"].mine = 1
    found: Any = list(fxarchive.loads(fxarchive.dumps(module)).graph.nodes)[1].meta["example_value"]
    assert (type(found), found.mine) == (InertRecord, 1)


def test_dynamo_sources_of_placeholders_come_back() -> None:
    module = fx.symbolic_trace(nn.ReLU())
    placeholder: Any = next(iter(module.graph.nodes))
    placeholder._dynamo_source = plain_sources()[6]
    loaded = fxarchive.loads(fxarchive.dumps(module))
    found: Any = next(iter(loaded.graph.nodes))
    assert found._dynamo_source == plain_sources()[6]
    placeholder._dynamo_source = None
    found = next(iter(fxarchive.loads(fxarchive.dumps(module)).graph.nodes))
    assert found._dynamo_source is None


def test_a_record_with_something_else_in_it_is_refused_at_every_place() -> None:
    bad = source.GetItemSource(X, object())
    with pytest.raises(UnsupportedValue, match="object cannot be kept") as caught:
        fxarchive.dumps({"a": bad, "b": [bad]})
    assert [problem.path for problem in caught.value.problems] == ["['a'].index", "['b'][0].index"]


def test_a_class_of_the_same_name_is_none_of_torch() -> None:
    Fake = dataclasses.make_dataclass("PlainAOTInput", ["idx"], frozen=True)
    Fake.__module__ = DESCRIPTORS
    with pytest.raises(UnsupportedValue, match="PlainAOTInput cannot be kept"):
        fxarchive.dumps([Fake(1)])


def document_of(name: str, fields: list[Any], form: str = "value") -> Any:
    document, _ = tables.encode([CompileId(frame_id=1, frame_compile_id=2)])
    document["facts"] = [[form, name, fields], *document["facts"]]
    document["root"] = ["fact", 0]
    return document


WRONG: dict[str, tuple[str, list[Any], str]] = {
    "type": (f"{DESCRIPTORS}.PlainAOTInput", ["idx", "0"], "value"),
    "boolean": (f"{DESCRIPTORS}.PlainAOTInput", ["idx", True], "value"),
    "nested": (f"{DESCRIPTORS}.ViewBaseAOTInput", ["base_of", 5], "value"),
    "other-nested": (f"{DESCRIPTORS}.ViewBaseAOTInput", ["base_of", ["fact", 1]], "value"),
    "itself": (f"{DESCRIPTORS}.ViewBaseAOTInput", ["base_of", ["fact", 0]], "value"),
    "no-row": (f"{DESCRIPTORS}.ViewBaseAOTInput", ["base_of", ["fact", 9]], "value"),
    "source": (f"{SOURCES}.AttrSource", ["base", ["fact", 1], "member", "y"], "value"),
    "frames": ("traceback.StackSummary", ["frames", ["list", [1]]], "object"),
    "frame": (
        "traceback.FrameSummary",
        ["filename", 1, "lineno", 1, "name", "f", "line", "", "locals", None],
        "value",
    ),
    "line": (
        "traceback.FrameSummary",
        ["filename", "f", "lineno", "1", "name", "f", "line", "", "locals", None],
        "value",
    ),
    "partial": ("functools.partial", ["func", 5, "args", ["tuple", []], "keywords", ["dict", []]], "value"),
    "reason": (
        "torch._dynamo.output_graph.GraphCompileReason",
        ["reason", 5, "user_stack", ["list", []]],
        "object",
    ),
    "argument": (
        "torch._dynamo.variables.builder.GraphArg",
        ["source", "x", "pass_arg_as_tensor", False, "fake_tensor", None],
        "object",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_records_that_torch_never_made_are_refused(name: str) -> None:
    kind, fields, form = WRONG[name]
    if running(kind.rpartition(".")[0]) is None:
        pytest.skip("this torch has no such records")
    document = document_of(kind, fields, form)
    audit(document, trust=(), features=("torch-facts",))
    with pytest.raises(InvalidDocument):
        codec.decode(document, tables.Bytes({}))


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("os.system", "value"),
        ("torch.nn.Linear", "object"),
        ("builtins.eval", "object"),
        (f"{DESCRIPTORS}.AOTInput", "value"),
        (f"{DESCRIPTORS}.PlainAOTInput", "object"),
        (f"{SOURCES}.dataclasses", "value"),
    ],
)
def test_a_name_that_is_not_listed_is_never_looked_up(kind: str, form: str) -> None:
    loaded = codec.decode(document_of(kind, ["idx", 1], form), tables.Bytes({}))
    assert type(loaded) is InertRecord
    assert (loaded.kind, loaded.fields) == (kind, {"idx": 1})


def test_a_partial_of_a_name_that_is_not_trusted_stays_inert() -> None:
    fields = ["func", ["name", "os.system"], "args", ["tuple", ["true"]], "keywords", ["dict", []]]
    loaded = codec.decode(document_of("functools.partial", fields), tables.Bytes({}))
    assert type(loaded) is InertRecord


@pytest.mark.parametrize(
    "row",
    [None, [], ["value", "x"], ["thing", "x", []], ["value", 5, []], ["value", "x", ["a"]], ["value", "x", [1, 2]],
     ["value", "x", ["a", 1, "a", 2]], ["value", "x", {}]],
)  # fmt: skip
def test_rows_of_another_form_are_refused(row: Any) -> None:
    document, _ = tables.encode([CompileId(frame_id=1, frame_compile_id=2)])
    document["facts"][0] = row
    with pytest.raises(InvalidDocument):
        audit(document, trust=(), features=("torch-facts",))


@pytest.mark.parametrize(
    "column",
    [
        None,
        [],
        [[0]],
        [[0], []],
        [[0, 0], [None, None]],
        [[9], [None]],
        [["0"], [None]],
        [[1, 0], [None, None]],
    ],
)
def test_columns_of_input_sources_of_another_form_are_refused(column: Any) -> None:
    module: Any = fx.symbolic_trace(nn.ReLU())
    next(iter(module.graph.nodes))._dynamo_source = X
    encoded = codec.encode(module)
    document: Any = encoded.document
    audit(document, trust=(), features=encoded.features)
    document["graphs"][0]["input_sources"] = column
    with pytest.raises(InvalidDocument):
        audit(document, trust=(), features=encoded.features)


def test_the_table_needs_its_feature() -> None:
    document, _ = tables.encode([X])
    with pytest.raises(InvalidDocument):
        audit(document, trust=())
    del document["facts"]
    with pytest.raises(FxArchiveError):
        codec.decode(document, tables.Bytes({}))


def test_the_closed_list_names_every_class_of_torch() -> None:
    module = running(DESCRIPTORS)
    abstract = {"AOTInput", "AOTOutput", "DifferentiableAOTInput", "DifferentiableAOTOutput"}
    found = {name for name in dir(module) if name.endswith(("AOTInput", "AOTOutput"))}
    assert found - abstract <= {name.rpartition(".")[2] for name in KINDS}
    own = [cls for cls in vars(source).values() if isinstance(cls, type) and cls.__module__ == SOURCES]
    found = {cls.__name__ for cls in own if issubclass(cls, torch._guards.Source)}
    assert found <= {name.rpartition(".")[2] for name in KINDS}
    assert fact_kinds.class_name(CompileId) in KINDS


def test_inert_records() -> None:
    record = InertRecord("a.B", {"x": 1, "y": [2]})
    assert (record.x, record.fields["y"]) == (1, [2])
    with pytest.raises(AttributeError):
        record.z  # noqa: B018
    assert copy.deepcopy(record) == record
    assert InertRecord("a.B", {"x": 1}) != InertRecord("a.C", {"x": 1})
    assert InertRecord("a.B", {}) != 5
    assert repr(InertRecord("a.B", {"x": 1}, version=3)) == "<a.B 3 x=1>"
    assert record.name == "<a.B x=1 y=[2]>"


@pytest.mark.parametrize(
    "make", [lambda: X, lambda: InertRecord("a.B", {}), lambda: InertRecord("a.B", {}, version=1)]
)
def test_records_are_no_arguments(make: Callable[[], Any]) -> None:
    module = fx.symbolic_trace(nn.ReLU())
    node = list(module.graph.nodes)[1]
    node.meta["held"] = make()
    encoded = codec.encode(module)
    document: Any = encoded.document
    document["graphs"][0]["patterns"][1][0].append(
        ["tuple", [document["graphs"][0]["columns"][-1][1][0], ["fact", 0]]]
    )
    with pytest.raises(InvalidDocument, match="cannot be an argument or a type of a node"):
        audit(document, trust=(), features=encoded.features)
    node.args = (node.args[0], make())
    with pytest.raises(UnsupportedValue, match="cannot be an argument of a node"):
        fxarchive.dumps(module)
