"""The same code with torch's GraphPickler and with fxarchive's, over every shape of input that torch's takes."""

from __future__ import annotations

import collections
import dataclasses
import inspect
import io
import operator
import pickle
import subprocess
import sys
import traceback
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import _graph_pickler as torchs
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import fxarchive
from fxarchive import pickler as ours
from fxarchive.errors import (
    FakeModeConflict,
    NotAnArchive,
    TruncatedArchive,
    UnsupportedValue,
    UntrustedNames,
)
from fxarchive.limits import Limits

from .compare import assert_same, differences
from .material.configs import TRUST, CompileConfig, Key, Level, Mode, Shape

RELEASE = tuple(map(int, torch.__version__.split(".")[:2]))
HAS_OPTIONS = hasattr(torchs, "Options")


def mode() -> FakeTensorMode:
    return FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)


def of_torch(**fields: Any) -> Any:
    """torch's options, with those of ``fields`` that its release has; 2.7 has none at all."""
    if not HAS_OPTIONS:
        return None
    known = {field.name for field in dataclasses.fields(torchs.Options)}
    return torchs.Options(**{name: value for name, value in fields.items() if name in known})


def through_torchs(obj: Any, **fields: Any) -> Any:
    options = of_torch(**fields)
    data = torchs.GraphPickler.dumps(obj, *([] if options is None else [options]))
    loaded = torchs.GraphPickler.loads(data, mode())
    for module in loaded.modules() if isinstance(loaded, nn.Module) else ():
        if isinstance(module, fx.GraphModule):
            module.recompile()
    return loaded


def through_ours(obj: Any, **fields: Any) -> Any:
    data = ours.GraphPickler.dumps(obj, ours.Options(**fields))
    loaded = ours.GraphPickler.loads(data, mode(), trust=TRUST)
    assert ours.GraphPickler.dumps(loaded, ours.Options(**fields)) == data
    return loaded


# every shape of input: what torch's gives back, ours gives back too, and more exactly


def traced(function: Callable[..., Any], *inputs: torch.Tensor, tracing_mode: str = "real") -> fx.GraphModule:
    return make_fx(function, tracing_mode=tracing_mode)(*inputs)


def symbolic() -> fx.GraphModule:
    return traced(lambda x: x.reshape(-1)[: x.shape[0]] * 2, torch.randn(5, 3), tracing_mode="symbolic")


def fakes() -> list[Any]:
    with mode() as fake_mode:
        plain = torch.empty(2, 3, device="cuda", dtype=torch.bfloat16)
        cut = torch.empty_strided((2, 2), (1, 4), requires_grad=True)
    dynamic = fake_mode.from_tensor(torch.empty(6, 3))
    return [plain, plain, cut, dynamic]


def sizes() -> list[Any]:
    fake = mode().from_tensor(torch.empty(6, 3))
    return [fake.shape[0], fake.shape[0] * 2 + fake.shape[1], fake.shape]


def nested() -> fx.GraphModule:
    true, false = fx.symbolic_trace(lambda x: (x.sin(),)), fx.symbolic_trace(lambda x: (x.cos(),))
    graph = fx.Graph()
    x = graph.placeholder("x")
    chosen = graph.call_function(
        torch.ops.higher_order.cond,
        (
            graph.call_function(torch.ops.aten.any.default, (x,)),
            graph.get_attr("true"),
            graph.get_attr("false"),
            (x,),
        ),
    )
    graph.output(graph.call_function(operator.getitem, (chosen, 0)))
    return fx.GraphModule(nn.ModuleDict({"true": true, "false": false}), graph)


def module_with_parameters() -> fx.GraphModule:
    torch.manual_seed(0)
    return fx.symbolic_trace(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU()).eval())


def with_metadata() -> fx.GraphModule:
    module = traced(lambda x: (x + 1).relu(), torch.randn(3), tracing_mode="fake")
    for node in module.graph.nodes:
        node.meta |= {
            "stack_trace": "File model.py, line 3",
            "seq_nr": 7,
            "custom": {"a": [1, {"b": ("c", None)}]},
        }
        node.meta["original_aten"] = torch.ops.aten.add.Tensor
    module.meta["note"] = {"k": [1.5]}
    return module


def context() -> TracingContext:
    made: Any = TracingContext(mode())
    made.frame_summary_stack = [traceback.FrameSummary("m.py", 3, "f", lookup_line=False, line="x")]
    with tracing(made):
        TracingContext.set_current_loc("m.py", 4, "g")
    made.aot_graph_name = ["a"]
    made.params_flat = [nn.Parameter(torch.ones(2))]
    made.params_flat_unwrap_subclasses = [1]
    made.params_unwrapped_to_flat_index = [0]
    made.output_strides = [(2, 1), None]
    made.force_unspec_int_unbacked_size_like = True
    return made


INPUTS: dict[str, Callable[[], Any]] = {
    "atoms": lambda: [
        None,
        True,
        -3,
        2**70,
        1.5,
        float("inf"),
        1j,
        "é",
        b"\x00",
        ...,
        slice(1, None, 2),
        range(3),
    ],
    "containers": lambda: {
        "tuple": (1, (2,)),
        "list": [[]],
        "set": {1, 2},
        "frozen": frozenset({"a"}),
        (1, 2): {None: 0},
        "ordered": collections.OrderedDict(a=1),
        "default": collections.defaultdict(list, a=[1]),
        "deque": collections.deque([1], maxlen=2),
        "size": torch.Size([2, 3]),
        "bytes": bytearray(b"a"),
    },
    "constants": lambda: [torch.float8_e4m3fn, torch.device("cuda", 1), torch.strided, torch.channels_last],
    "named tuples and enums": lambda: [Shape(1, 2), Mode.EXACT, Level.PIECEWISE],
    "dataclasses": lambda: {
        "config": CompileConfig(sizes=[1, 2]),
        "key": Key("a", Shape(1)),
        Key("b", Shape(2)): 1,
    },
    "shared": lambda: (lambda both: [both, both])([1, {}]),
    "tensors": lambda: [
        torch.arange(6.0).reshape(2, 3),
        nn.Parameter(torch.ones(2)),
        torch.tensor(1, dtype=torch.int8),
    ],
    "fakes": fakes,
    "sizes": sizes,
    "shape environment": lambda: [mode().from_tensor(torch.empty(6, 3)).shape[0].node.shape_env],
    "operators": lambda: [torch.ops.aten.add.Tensor, torch.ops.aten.relu.default, torch.ops.aten.mul],
    "functions": lambda: [torch.relu, operator.add, len, torch.nn.functional.gelu, torch.Tensor, int, Key],
    "graph": lambda: traced(lambda x: torch.add(x, 1).sin(), torch.ones(3)),
    "parameters": module_with_parameters,
    "symbolic graph": symbolic,
    "subgraphs": nested,
    "metadata": with_metadata,
    "tree": lambda: {"graph": module_with_parameters(), "inputs": fakes()[:1], "config": CompileConfig()},
}
"""What torch's takes on every release, or fails for reasons of its own."""

ADDED_LATER: dict[str, tuple[tuple[int, int], Callable[[], Any]]] = {
    "higher-order operators": (
        (2, 8),
        lambda: [torch.ops.higher_order.cond, torch.ops.higher_order.while_loop],
    ),
    "torch-numpy": ((2, 8), lambda: [torch._numpy.sin, torch._numpy.concatenate]),
    "weak references": ((2, 12), lambda: (lambda x: [x, weakref.ref(x)])(nn.Parameter(torch.ones(2)))),
    "context": ((2, 7), context),
}


def functions_of(name: str) -> Any:
    return INPUTS[name]() if name in INPUTS else ADDED_LATER[name][1]()


def dropped_by_torch(difference: str) -> bool:
    """Whether it is one of what torch's own does not give back."""
    return any(
        [
            part in difference
            for part in (
                ".training", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "_version",
                "shape_env", "fake_mode",
            )
        ]
    )  # fmt: skip


@pytest.mark.parametrize("name", [*INPUTS, *ADDED_LATER])
@pytest.mark.filterwarnings("ignore")
def test_what_torchs_takes_ours_takes(name: str) -> None:
    obj = functions_of(name)
    loaded = through_ours(obj, ops_filter=None, node_metadata_key_filter=None)
    assert differences(obj, loaded) == []


@pytest.mark.parametrize("name", [*INPUTS, *ADDED_LATER])
@pytest.mark.filterwarnings("ignore")
def test_what_torchs_gives_back_ours_gives_back(name: str) -> None:
    since = ADDED_LATER.get(name, ((2, 10), None))[0]
    if since > RELEASE or (name == "torch-numpy" and RELEASE < (2, 10)):
        pytest.skip(f"torch {torch.__version__} cannot take it")
    obj = functions_of(name)
    expected = through_torchs(obj, ops_filter=None, node_metadata_key_filter=None)
    found = through_ours(obj, ops_filter=None, node_metadata_key_filter=None)
    assert type(found) is type(expected) or isinstance(found, fx.GraphModule)
    lines = differences(plain_view(expected), plain_view(found))
    assert [line for line in lines if not dropped_by_torch(line)] == []


def plain_view(value: Any) -> Any:
    """What both must agree on: text of graphs, descriptions of fakes and symbols, everything else as it is."""
    if isinstance(value, fx.GraphModule):
        nodes = [
            (node.op, node.name, str(node.target), str(node.args), str(node.kwargs), {
                key: plain_view(held) for key, held in node.meta.items()
            })
            for node in value.graph.nodes
        ]  # fmt: skip
        state = {key: tensor.detach() for key, tensor in value.state_dict().items()}
        return [value.code, nodes, state, plain_view(value.meta)]
    if isinstance(value, FakeTensor):
        return [
            str(value.shape),
            str(value.stride()),
            value.dtype,
            value.device,
            value.requires_grad,
            value.layout,
        ]
    if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
        return [type(value), str(value), value.node.hint]
    if isinstance(value, ShapeEnv):
        return [str(value.var_to_range), str(value.replacements)]
    if isinstance(value, weakref.ref):
        return value()
    if isinstance(value, torch.Size):
        return [str(size) for size in value]
    if isinstance(value, dict):
        return {key: plain_view(held) for key, held in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [plain_view(held) for held in value]
    return value


@pytest.mark.filterwarnings("ignore")
def test_what_torchs_cannot_take_ours_takes() -> None:
    """Found in torch 2.13: floats and truth values of symbols, dead references, fakes that are views."""
    fake_mode = mode()
    fake = fake_mode.from_tensor(torch.empty(6, 3))
    with fake_mode:
        view = fake.t()[1:]
    obj = [torch.sym_float(fake.shape[0]), fake.shape[0] > 7, fake, view]
    loaded = through_ours(obj)
    assert_same(obj, loaded)


# options


@pytest.fixture(params=["ours", "torch's"])
def pickler(request: pytest.FixtureRequest) -> Any:
    """A module with GraphPickler and Options: the one or the other."""
    if request.param == "torch's" and RELEASE < (2, 12):
        pytest.skip(f"torch {torch.__version__} has fewer options")
    return ours if request.param == "ours" else torchs


def test_the_options_have_torchs_names_and_defaults(pickler: Any) -> None:
    fields = {field.name: field.default for field in dataclasses.fields(pickler.Options)}
    assert list(fields) == ["ops_filter", "node_metadata_key_filter", "ignore_raw_node"]
    names = [
        "torch.ops.aten.add.Tensor",
        "torch.ops.fbgemm.x",
        "torch.ops.prims.add.default",
        "torch.ops.mylib.f",
    ]
    assert [fields["ops_filter"](name) for name in names] == [True, True, False, False]
    keys = ["val", "stack_trace", "nn_module_stack", "source_fn_stack", "fwd_source_fn_stack"]
    assert [fields["node_metadata_key_filter"](key) for key in keys] == [True, True, False, False, False]
    assert fields["ignore_raw_node"] is False
    assert pickler._ops_filter_safe is fields["ops_filter"]
    assert pickler._node_metadata_key_filter_safe is fields["node_metadata_key_filter"]


@pytest.mark.skipif(RELEASE < (2, 12), reason="torch's had fewer arguments")
@pytest.mark.parametrize("name", ["__init__", "dumps", "loads", "debug_dumps"])
def test_the_methods_have_torchs_arguments(name: str) -> None:
    mine, others = (
        list(inspect.signature(getattr(each.GraphPickler, name)).parameters.values())
        for each in (ours, torchs)
    )
    assert [(p.name, p.kind, p.default) for p in mine][: len(others)] == [
        (p.name, p.kind, p.default) for p in others
    ]
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in mine[len(others) :])


def prims() -> fx.GraphModule:
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_function(torch.ops.prims.add.default, (x, x)))
    return fx.GraphModule(nn.Module(), graph)


def in_metadata() -> fx.GraphModule:
    module = traced(torch.relu, torch.ones(1))
    for node in module.graph.nodes:
        node.meta = {"original_aten": torch.ops.prims.add.default}
    return module


@pytest.mark.parametrize(
    "make", [prims, in_metadata, lambda: [torch.ops.prims.add], lambda: {"op": torch.ops.prims.add.default}]
)
def test_an_operator_that_the_filter_refuses(pickler: Any, make: Callable[[], Any]) -> None:
    from torch._inductor.codecache import BypassFxGraphCache

    with pytest.raises(BypassFxGraphCache, match=r"torch\.ops\.prims\.add") as caught:
        pickler.GraphPickler.dumps(make())
    if pickler is ours:
        assert type(caught.value) is ours.FilteredOperator
        assert isinstance(caught.value, UnsupportedValue)
        assert caught.value.problems[0].why.startswith("ops_filter refuses the operator torch.ops.prims.add")
        assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems
    seen: list[str] = []
    options = pickler.Options(ops_filter=lambda name: not seen.append(name))  # type: ignore[func-returns-value]
    assert pickler.GraphPickler.dumps(make(), options)
    assert any([name.startswith("torch.ops.prims.add") for name in seen])
    assert pickler.GraphPickler.dumps(make(), pickler.Options(ops_filter=None))


def test_functions_and_higher_order_operators_are_not_filtered(pickler: Any) -> None:
    options = pickler.Options(ops_filter=lambda name: False)
    assert pickler.GraphPickler.dumps([torch.relu, torch.ops.higher_order.cond, operator.add], options)


def test_keys_of_metadata_are_filtered(pickler: Any) -> None:
    module = with_metadata()
    for node in module.graph.nodes:
        node.meta["nn_module_stack"] = {"a": ("b", "c")}
    graph = fx.Graph()
    graph.output(graph.get_attr("inner"))
    outer = fx.GraphModule(nn.ModuleDict({"inner": module}), graph)

    def keys(options: Any) -> set[str]:
        data = pickler.GraphPickler.dumps(outer, options)
        loaded = pickler.GraphPickler.loads(data, mode())
        return {key for node in loaded.get_submodule("inner").graph.nodes for key in node.meta}

    kept = {key for node in module.graph.nodes for key in node.meta}
    assert keys(None) == kept - {"nn_module_stack"}
    assert keys(pickler.Options(node_metadata_key_filter=None)) == kept
    assert keys(pickler.Options(node_metadata_key_filter=lambda key: key == "seq_nr")) == {"seq_nr"}


def test_a_raw_node_is_refused_or_none(pickler: Any) -> None:
    module = traced(torch.relu, torch.ones(1))
    node = next(iter(module.graph.nodes))
    node.meta["other"] = [node]
    for obj in (node, [node], {"node": node}, module):
        with pytest.raises((AssertionError, UnsupportedValue)):
            pickler.GraphPickler.dumps(obj)
    options = pickler.Options(ignore_raw_node=True)
    data = pickler.GraphPickler.dumps([node, module], options)
    first, loaded = pickler.GraphPickler.loads(data, mode())
    assert first is None
    assert next(iter(loaded.graph.nodes)).meta["other"] == [None]


def test_torchs_own_options_will_do() -> None:
    if HAS_OPTIONS:
        assert ours.GraphPickler.dumps(prims(), of_torch(ops_filter=None))
        with pytest.raises(UnsupportedValue):
            ours.GraphPickler.dumps(prims(), of_torch())


def test_an_instance_writes_to_a_file(pickler: Any) -> None:
    stream = io.BytesIO()
    pickler.GraphPickler(stream, pickler.Options(ops_filter=None)).dump([1, {"a": 2}])
    assert pickler.GraphPickler.loads(stream.getvalue(), mode()) == [1, {"a": 2}]


class Opaque:
    def __reduce__(self) -> Any:
        raise TypeError("never")


def test_debug_dumps_names_the_first_that_is_refused(
    pickler: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    debug = pickler.GraphPickler.debug_dumps
    assert debug({"fine": [1, 2]}) is None
    assert "root['bad'][1]" in debug({"fine": 1, "bad": [1, Opaque()]})
    assert capsys.readouterr().out
    debug([Opaque()], verbose=False, max_depth=5, max_iter_items=5)
    assert not capsys.readouterr().out
    assert debug(Opaque(), None, verbose=False).startswith("root")


# what is better than torch's


def test_a_loaded_module_can_be_called() -> None:
    module, x = module_with_parameters(), torch.randn(2, 3)
    assert_same(module(x), ours.GraphPickler.loads(ours.GraphPickler.dumps(module), mode())(x))


def test_fakes_and_symbols_join_the_callers_mode() -> None:
    callers = mode()
    data = ours.GraphPickler.dumps([*fakes(), *sizes()[:1]])
    loaded = ours.GraphPickler.loads(data, callers)
    assert {id(found.fake_mode) for found in loaded[:4]} == {id(callers)}
    assert loaded[4].node.shape_env is callers.shape_env
    with pytest.raises(FakeModeConflict):
        ours.GraphPickler.loads(data, FakeTensorMode())
    assert ours.GraphPickler.loads(data, None)[0].fake_mode is not None


def test_what_dumps_writes_is_an_archive() -> None:
    module = module_with_parameters()
    data = ours.GraphPickler.dumps(module, ours.Options(node_metadata_key_filter=None))
    assert_same(module, fxarchive.loads(data))
    assert fxarchive.inspect(io.BytesIO(data)).contents.graphs == 1
    assert_same(module, ours.GraphPickler.loads(fxarchive.dumps(module), mode()))
    assert ours.GraphPickler.loads(bytearray(data), mode()) is not None


def test_names_outside_the_list_need_trust() -> None:
    data = ours.GraphPickler.dumps({"config": CompileConfig()})
    with pytest.raises(UntrustedNames, match="CompileConfig"):
        ours.GraphPickler.loads(data, mode())
    assert ours.GraphPickler.loads(data, mode(), trust=TRUST)["config"] == CompileConfig()


def test_a_stream_of_torchs_is_refused_with_the_remedy() -> None:
    with pytest.raises(NotAnArchive, match="fxarchive adopt"):
        ours.GraphPickler.loads(torchs.GraphPickler.dumps([1]), mode())
    with pytest.raises(NotAnArchive, match="starts with"):
        ours.GraphPickler.loads(b"something else", mode())
    with pytest.raises(TruncatedArchive):
        ours.GraphPickler.loads(ours.GraphPickler.dumps([1])[:60], mode())


def test_limits_are_kept() -> None:
    with pytest.raises(fxarchive.TooLarge):
        ours.GraphPickler.loads(ours.GraphPickler.dumps([1]), mode(), limits=Limits(header_bytes=10))


def test_the_class_has_a_public_name() -> None:
    assert fxarchive.GraphPickler is ours.GraphPickler
    with pytest.raises(AttributeError):
        _ = ours.nothing


# as compilers of serving systems use it: captured in a backend, kept with its inputs and a configuration


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)
        self.config = CompileConfig()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(self.up(x).relu()) * x.shape[0]


READER = """
import sys, torch
from fxarchive.pickler import GraphPickler
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from tests.material import configs

with open(sys.argv[1], "rb") as file:
    kept = GraphPickler.loads(file.read(), FakeTensorMode(shape_env=ShapeEnv()), trust=configs.TRUST)
assert kept["config"] == configs.CompileConfig(sizes=[1, 2, 4]), kept["config"]
fakes = [value for value in kept["inputs"] if isinstance(value, FakeTensor)]
assert [str(fake.shape) for fake in fakes] == kept["shapes"], fakes
assert {id(fake.fake_mode) for fake in fakes} == {id(kept["context"].fake_mode)}
inputs = torch.load(sys.argv[2])
for args, expected in inputs:
    (found,) = kept["graph"](*args)
    assert torch.equal(found, expected)
print("served", kept["prefix"], len(inputs))
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_graph_captured_in_a_backend_is_served_by_another_process(tmp_path: Path) -> None:
    captured: list[tuple[fx.GraphModule, list[Any], bytes]] = []

    def backend(module: fx.GraphModule, inputs: list[Any]) -> Any:
        fake_mode = torch._guards.detect_fake_mode(inputs)
        assert fake_mode is not None
        fakes = [node.meta["example_value"] for node in module.graph.nodes if node.op == "placeholder"]
        tree = {
            "graph": module,
            "context": TracingContext.get(),
            "inputs": fakes,
            "shapes": [str(fake.shape) for fake in fakes if isinstance(fake, torch.Tensor)],
            "config": CompileConfig(sizes=[1, 2, 4]),
            "prefix": "backbone",
        }
        options = ours.Options(ops_filter=None, node_metadata_key_filter=None)
        captured.append((module, inputs, ours.GraphPickler.dumps(tree, options)))
        return module.forward

    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Model()
    torch.compile(model, backend=backend, dynamic=True)(torch.randn(3, 4))
    (module, inputs, data) = captured[0]
    archive, numbers = tmp_path / "graph.fxa", tmp_path / "numbers.pt"
    archive.write_bytes(data)
    calls = []
    for batch in (3, 5):
        args = [
            torch.randn(batch, 4) if isinstance(value, torch.Tensor) and value.shape[1:] == (4,) and
            not isinstance(value, nn.Parameter) else batch if isinstance(value, torch.SymInt) else value
            for value in inputs
        ]  # fmt: skip
        calls.append((args, module(*args)[0].detach()))
    torch.save(calls, numbers)
    with pytest.raises(UntrustedNames):
        ours.GraphPickler.loads(data, mode())
    found = subprocess.run(
        [sys.executable, "-c", READER, str(archive), str(numbers)],
        capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout == "served backbone 2\n"
