"""Values of every kind that the hand-written graphs lack; each function makes the root of one entry.

They run under every supported torch, so what a release lacks is looked up and left out. `torch.manual_seed(0)` was
called before each.
"""

from __future__ import annotations

import functools
import math
import operator
import struct
import traceback
import typing
import warnings
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Optional, Union

import numpy
import torch
from torch import fx, nn
from torch._guards import TracingContext, tracing
from torch._library.fake_class_registry import FakeScriptObject
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.fx.immutable_collections import immutable_dict, immutable_list
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import create_selective_checkpoint_contexts

import fxarchive
from fxarchive import Artefact, ArtefactCall
from fxarchive.codec.training_modes import METHODS, Missing

from ..material import configs
from ..material.models import Point

LONG = "a stack trace, or another text that repeats and is long enough for a row of its own; "


def atoms() -> Any:
    """None, numbers to the last bit, strings, bytes."""
    nan = struct.unpack("<d", bytes.fromhex("0100000000fcffff"[:16]))[0]
    return {
        "constants": [None, True, False, ..., NotImplemented],
        "ints": [0, -1, 255, 256, 65536, 2**31, -(2**31) - 1, 2**63, -(2**64), 3**500],
        "floats": [0.0, -0.0, 1.5, 5e-324, math.pi, math.inf, -math.inf, math.nan, nan],
        "complex": [complex(0.0, -0.0), complex(math.nan, 2.5)],
        "strings": ["", "plain", "naïve ∑ 😀", "line\nbreak", "\x00", LONG, LONG],
        "bytes": [b"", bytes(range(256)), bytearray(b"mutable")],
        "slices": [slice(None), slice(1, None, -2), slice((1,), "x", [2.5])],
        "ranges": [range(0), range(5), range(10, -10, -3)],
    }


def containers() -> Any:
    """Containers, with members that two places share, and one that holds itself."""
    both: list[Any] = [1, {"two": 2}]
    ring: list[Any] = ["ring"]
    ring.append({"again": ring})
    return {
        "tuples": ((), (1,), (1, (2, (3,)))),
        "lists": [[], [[], [None]]],
        "dicts": {
            1: "int",
            (2, "b"): "tuple",
            None: "none",
            2.5: "float",
            b"k": "bytes",
            frozenset({1}): "set",
        },
        "sets": [set(), {3, 1, 2}, frozenset({"b", "a"})],
        "ordered": OrderedDict([("z", 1), ("a", OrderedDict())]),
        "default": [defaultdict(list, a=[1]), defaultdict(None, b=2), defaultdict(int)],
        "counters": [Counter("aab"), Counter()],
        "deques": [deque([1, 2]), deque([3], maxlen=5)],
        "sizes": [torch.Size([]), torch.Size([2, 3])],
        "immutable": [immutable_list([1, immutable_list()]), immutable_dict({"k": immutable_dict()})],
        "named": [Point(1, [2]), torch.return_types.max((torch.tensor([1.0]), torch.tensor([0])))],
        "shared": [both, both, (both,)],
        "ring": ring,
    }


def constants_of_torch() -> Any:
    """Constants that every release has, a generator, enums, specs of trees, annotations, names, weak references."""
    tree = {"a": [1, (2, None)], "b": OrderedDict(c=3), "d": defaultdict(list, e=[4]), "f": Point(5, 6)}
    generator = torch.Generator().manual_seed(5)
    torch.rand(3, generator=generator)
    weight = torch.ones(2)
    return {
        "dtypes": [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64, torch.qint8],
        "devices": [
            torch.device("cpu"),
            torch.device("cuda", 1),
            torch.device("meta"),
            torch.device("mps:0"),
        ],
        "layouts": [torch.strided, torch.sparse_coo, torch.sparse_bsr],
        "formats": [torch.contiguous_format, torch.channels_last, torch.preserve_format],
        "qschemes": [torch.per_tensor_affine, torch.per_channel_affine_float_qparams],
        "generators": [generator, generator],
        "enums": [torch.nn.attention.SDPBackend.MATH],
        "specs": [pytree.tree_flatten(tree)[1], pytree.tree_flatten(1)[1]],
        "annotations": [
            Optional[torch.Tensor],  # noqa: UP045
            Union[int, str, None],  # noqa: UP007
            int | None,
            list[int],
            tuple[torch.Tensor, ...],
            typing.Callable,
            typing.List,  # noqa: UP006
        ],
        "classes": [torch.Tensor, int, nn.Linear],
        "functions": [torch.relu, operator.add, math.sqrt, torch.nn.functional.gelu, torch.Tensor.add_],
        "operators": [torch.ops.aten.add, torch.ops.aten.relu.default, torch.ops.higher_order.cond],
        "weak": [weight, weakref.ref(weight), weakref.ref(nn.Linear(1, 1))],
    }


def _of_dtype(dtype: torch.dtype) -> torch.Tensor:
    """A tensor with another byte wherever the dtype has room for one."""
    tensor = torch.empty((3, 4), dtype=dtype)
    raw = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
    raw.copy_(torch.arange(raw.numel()) % (2 if dtype is torch.bool else 251))
    return tensor


DTYPES = frozenset(
    """
    bfloat16 bits16 bits1x8 bits2x4 bits4x2 bits8 bool complex128 complex32 complex64 float16 float32 float64
    float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu int1 int16 int2 int3 int32 int4
    int5 int6 int64 int7 int8 uint1 uint16 uint2 uint3 uint32 uint4 uint5 uint6 uint64 uint7 uint8
    """.split()  # noqa: SIM905
)
"""Names of the dtypes of torch 2.7, quantized ones apart."""


def dtypes() -> Any:
    """A tensor of every dtype that torch 2.7 had."""
    return {name: _of_dtype(getattr(torch, name)) for name in sorted(DTYPES)}


def newer_dtypes() -> Any:
    """A tensor of every dtype that came after torch 2.7."""
    found = {}
    for name, dtype in sorted(vars(torch).items()):
        known = name in DTYPES or "qint" in name or "quint" in name
        if isinstance(dtype, torch.dtype) and str(dtype) == f"torch.{name}" and not known:
            found[name] = _of_dtype(dtype)
    return found


def strided_tensors() -> Any:
    """Views and aliases of one storage, parameters that are tied, tensors of other kinds over a storage."""
    base = torch.arange(60.0).view(3, 4, 5)
    weight = nn.Parameter(torch.randn(4, 3))
    number = torch.randn(3, 2, dtype=torch.complex64)
    graded = torch.ones(3, requires_grad=True)
    graded.grad = torch.arange(3.0)
    noted = nn.Parameter(torch.ones(2), requires_grad=False)
    noted.note = {"axis": (1, 2), "self": noted}  # type: ignore[attr-defined]
    with torch.inference_mode():
        inference = torch.ones(3)
    return {
        "base": base,
        "views": [base.transpose(0, 2), base[1:, ::2, 1], base[:, :1, :1].expand(3, 7, 9), base[:, 4:]],
        "overlapping": base.as_strided((5, 5), (1, 2), 3),
        "scalar": base[2, 3, 4],
        "channels_last": torch.randn(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "tied": [weight, weight, nn.Parameter(weight), weight.detach().t()],
        "buffer": nn.Buffer(torch.ones(2), persistent=False),
        "lazy_bits": [number, number.conj(), number.conj().imag, number.mH],
        "grad": graded,
        "attributes": noted,
        "inference": inference,
        "meta": torch.empty(10**12, 3, device="meta"),
        "large": torch.arange(1000, dtype=torch.int16),
    }


def sparse_tensors() -> Any:
    """Every sparse layout."""
    indices, held = torch.tensor([[0, 1, 1], [2, 0, 0]]), torch.randn(3, 5)
    coo = torch.sparse_coo_tensor(indices, held, (3, 4, 5), check_invariants=True)
    # not coo.coalesce(), which leaves bytes of its storage as they were
    sorted_coo = torch.sparse_coo_tensor(
        indices[:, :2].clone(), held[:2].clone(), (3, 4, 5), is_coalesced=True, check_invariants=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the compressed layouts a beta
        dense = torch.randn(4, 6)
        return {
            "coo": [coo, sorted_coo, nn.Parameter(coo), coo.to("meta")],
            "empty": torch.sparse_coo_tensor(size=(3, 4), check_invariants=True),
            "csr": dense.to_sparse_csr(),
            "csc": dense.to_sparse_csc(),
            "bsr": dense.to_sparse_bsr((2, 3)),
            "bsc": dense.to_sparse_bsc((2, 3)),
        }


def quantized_tensors() -> Any:
    """Quantized tensors of every scheme and dtype."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and still in old graphs
        values, scales = torch.randn(3, 4), torch.tensor([0.1, 0.2, 0.3])
        zeros = torch.tensor([0, -1, 2])
        return {
            "per_tensor": [
                torch.quantize_per_tensor(values, 0.1, 7, dtype)
                for dtype in (torch.quint8, torch.qint8, torch.qint32)
            ],
            "view": torch.quantize_per_tensor(values, 0.1, 7, torch.quint8).t()[1:],
            "per_channel": torch.quantize_per_channel(values, scales, zeros, 0, torch.qint8),
            "float_qparams": torch.quantize_per_channel(
                values, scales, torch.tensor([0.5, 1.5, 2.0]), 0, torch.quint8
            ),
        }


def rare_tensors() -> Any:
    """Tensors that hardly anything can be done with: uninitialized ones, and several numbers in a byte."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values, scales = torch.randn(3, 4), torch.full((3,), 0.3)
        return {
            "uninitialized": [UninitializedParameter(dtype=torch.float64), UninitializedBuffer()],
            "packed": [
                torch.quantize_per_channel(values, scales, torch.zeros(3), 0, dtype)
                for dtype in (torch.quint4x2, torch.quint2x4)
            ],
        }


def fake_tensors() -> Any:
    """FakeTensors: sizes, strides, devices, views, aliases, gradients, layouts, constants."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        base = torch.empty(4, 6)
        leaf = torch.empty(3, 4, requires_grad=True)
        computed = leaf * 2
        number = torch.empty(4, 2, dtype=torch.complex64)
        found: dict[str, Any] = {
            "sizes": [torch.empty(size) for size in ((), (0,), (2, 0, 4), (5, 6, 7), (5, 6, 7))],
            "channels_last": torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last),
            "devices": [torch.empty(3, device=device) for device in ("cpu", "meta", "cuda:1")],
            "views": [base, base.t(), base[1:, ::2], base.view(torch.int32), base.detach()],
            "history": [leaf, computed, computed.view(12), leaf.detach()],
            "bits": [number, number.conj(), number.conj().imag],
            "slices": [torch.empty(20)[10:].detach(), torch.empty(8, 8).t()],
            "constants": [torch.tensor(5), torch.tensor([2.5])],
        }
    found["parameter"] = mode.from_tensor(nn.Parameter(torch.ones(2)))
    found["sparse"] = [mode.from_tensor(torch.eye(4).to_sparse())]
    return found


def zero_tensors() -> Any:
    """FakeTensors that are zeros without elements, of known and of symbolic sizes, and one that is none."""
    mode = FakeTensorMode(shape_env=ShapeEnv())
    usual = mode.from_tensor(torch.empty(5, 7))
    with mode:
        whole, ragged = torch._efficientzerotensor((4, 6)), torch._efficientzerotensor(usual.shape)
        number = torch._efficientzerotensor((4, 2), dtype=torch.complex64)
        return {
            "sizes": [torch._efficientzerotensor(size) for size in ((), (0, 2), (3,), (3,))],
            "views": [whole, whole.t(), whole[1:, ::2], whole[2:].detach()],
            "bits": [number, number.conj(), number.conj().imag],
            "gradient": torch._efficientzerotensor((3,)).requires_grad_(),
            "symbolic": [ragged, ragged.t(), ragged[1:].detach(), usual],
        }


def modules() -> Any:
    """Modules without a graph: shared ones, containers, lists of parameters, flags, buffers, attributes."""
    shared = nn.Linear(2, 2)
    root = nn.Module()
    root.one, root.two = shared, shared
    root.tower = nn.ModuleDict(
        {"a": nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2)), "b": nn.ModuleList()}
    )
    root.list = nn.ParameterList([torch.zeros(2), shared.weight])
    root.rnn = nn.LSTM(2, 3, num_layers=2, bidirectional=True).eval()
    root.attention = nn.MultiheadAttention(4, 2)
    root.register_buffer("kept", torch.arange(4.0))
    root.register_buffer("lost", root.kept[1:3], persistent=False)
    root.register_buffer("none", None)
    root.register_parameter("missing", None)
    root.limits = {"low": -1.5, "high": (2, [3.0])}
    return root


def metadata() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    """Metadata of every kind that nodes have, with nodes, graphs and modules in it."""

    def function(x: torch.Tensor) -> Any:
        return torch.relu(x).sum() + x.ndim

    module = fx.symbolic_trace(function)
    mode = FakeTensorMode()
    x, relu, *others = module.graph.nodes
    relu.type = torch.Tensor
    stack = OrderedDict([("L__self___relu", ("L['self'].relu", nn.ReLU)), ("other", ("", "no class"))])
    for number, node in enumerate(module.graph.nodes):
        node.meta["stack_trace"] = LONG
        node.meta["nn_module_stack"] = OrderedDict(stack)
        node.meta["number"] = number
    with mode:
        relu.meta["val"] = torch.empty(3)
        others[0].meta["val"] = [torch.empty(()), None, 2]
    relu.meta.update(
        source_fn_stack=[("relu", torch.relu), ("op", torch.ops.aten.relu.default)],
        weak=weakref.ref(x),
        shape=torch.Size([3]),
        original=relu,
        tensor=torch.ones(2),
        module=nn.ReLU(),
        graph=module.graph,
    )
    x.meta[3] = {"a key that is no string": slice(0, 2)}
    module.meta["shared"] = relu.meta["source_fn_stack"]
    module.recompile()  # the type of a node is part of the source
    return module, (torch.randn(3),)


def calls() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    """Every kind of target: an operator, a packet, a higher-order operator, a function, a method, a module."""
    true, false = fx.symbolic_trace(lambda x: (x.sin(),)), fx.symbolic_trace(lambda x: (x.cos(),))
    root = nn.ModuleDict({"true": true, "false": false, "act": nn.Tanh()})
    root.scale = nn.Parameter(torch.full((3,), 0.5))
    graph = fx.Graph()
    x = graph.placeholder("x")
    added = graph.call_function(torch.ops.aten.add.Tensor, (x, 1), {"alpha": 2})
    packed = graph.call_function(torch.ops.aten.mul, (added, 0.5))
    positive = graph.call_function(operator.gt, (graph.call_method("sum", (packed,)), 0.0))
    branches = (graph.get_attr("true"), graph.get_attr("false"))
    chosen = graph.call_function(torch.ops.higher_order.cond, (positive, *branches, (packed,)))
    first = graph.call_function(operator.getitem, (chosen, 0))
    scaled = graph.call_function(torch.mul, (graph.call_module("act", (first,)), graph.get_attr("scale")))
    cut = graph.call_function(operator.getitem, (scaled, slice(0, graph.call_method("size", (x, 0)), None)))
    graph.output((cut, {"list": [first, None]}))
    return fx.GraphModule(root, graph, class_name="Calls"), (torch.randn(3),)


def symbolic_graph() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    """make_fx with symbolic shapes: SymInts, SymBools, symbolic FakeTensors, views, unbacked numbers."""
    from torch.fx.experimental.proxy_tensor import make_fx

    def function(x: torch.Tensor, y: torch.Tensor) -> Any:
        n = x.sum().item()
        torch._check(n >= 0)
        torch._check(n <= y.shape[0])
        flat = y.reshape(-1)
        return n * y.shape[0], flat[flat.shape[0] // 2 :], y.expand(3, -1, -1), y.numel() * 2

    inputs = (torch.ones(4, dtype=torch.int64), torch.randn(9, 3))
    return make_fx(function, tracing_mode="symbolic")(*inputs), inputs


def shape_environments() -> Any:
    """Shape environments with guards, replacements, unbacked symbols and floats; expressions, ranges, key paths."""
    from torch.utils._sympy.value_ranges import ValueRanges

    from ..codec import symbolic_cases

    found: dict[str, Any] = {}
    for name, make in symbolic_cases.CASES.items():
        with suppress(TypeError):  # torch 2.7 lacks a setting that one of them has
            found[name] = make().plain()
    a = found["plain"][1]["a"]
    found["expressions"] = [a.node.expr, (a * 2 + 1).node.expr, a.node.expr > 3]
    found["ranges"] = [ValueRanges(0, 5), a.node.shape_env.var_to_range[a.node.expr]]
    found["paths"] = [pytree.SequenceKey(1), pytree.MappingKey(("a", 2)), pytree.GetAttrKey("x")]
    return found


def records() -> Any:
    """Instances of classes, and values of the standard library."""
    return {"instances": configs.instances(), "standard": configs.STANDARD}


def artefacts() -> Any:
    """Compiled artefacts, one in two places, and a graph that calls it."""
    kernel = Artefact("mylib.kernel", bytes(range(256)) * 3, {"device": "sm_90", "flags": ["-O3", None, 2.5]})
    graph = fx.Graph()
    graph.output(graph.call_function(ArtefactCall(kernel), (graph.placeholder("x"),)))
    return {
        "first": kernel,
        "again": [kernel],
        "empty": Artefact("mylib.cache", b""),
        "calls": fx.GraphModule(nn.Module(), graph),
    }


def contexts() -> Any:
    """A tracing context with all that is kept of one."""
    context: Any = TracingContext(None)
    layer = nn.Linear(2, 2)
    context.module_context.nn_modules = {"layer": layer}
    context.frame_summary_stack = [
        traceback.FrameSummary("model.py", 7, "forward", lookup_line=False, line="return x")
    ]
    with tracing(context):
        TracingContext.set_current_loc("model.py", 8, "forward")
    context.aot_graph_name = ["model__0_forward_1"]
    context.params_flat = [layer.weight, layer.bias]
    context.output_strides = [(2, 1), None]
    return context


def node_sources() -> Any:
    """Where nodes come from: chains that share their ends, sources of several graphs, and one without a node."""
    from torch.fx.traceback import NodeSource, NodeSourceAction

    graph, later = fx.symbolic_trace(nn.ReLU()).graph, fx.symbolic_trace(nn.Tanh()).graph
    x, relu, _ = graph.nodes
    relu.meta["from_node"] = [NodeSource(x, "first pass", NodeSourceAction.CREATE)]
    both = [NodeSourceAction.CREATE, NodeSourceAction.REPLACE]
    for node in later.nodes:
        node.meta["from_node"] = [NodeSource(relu, "second pass", both), NodeSource(None, "a pass alone")]
    return fx.GraphModule(nn.Module(), later), later.find_nodes(op="output")[0].meta["from_node"][0]


def torch_facts() -> Any:
    """Small records of torch: sources, ids, reasons, frames, partials, descriptors where this torch has them."""
    from torch._dynamo import source
    from torch._dynamo.output_graph import GraphCompileReason
    from torch._dynamo.variables.builder import GraphArg
    from torch._guards import CompileId
    from torch._subclasses.fake_tensor import FakeTensorMode

    module = fx.symbolic_trace(nn.ReLU())
    x, relu, _ = module.graph.nodes
    with FakeTensorMode():
        fake = torch.empty(2, 3)
    place = source.GetItemSource(source.AttrSource(source.LocalSource("self", is_input=True), "layers"), 0)
    held: Any = x
    held._dynamo_source = source.ParamBufferSource(place, "weight")
    x.meta["grapharg"] = GraphArg(held._dynamo_source, None, False, fake)
    frame = traceback.FrameSummary("model.py", 7, "forward", lookup_line=False, line="return self.act(x)")
    frames = traceback.StackSummary()
    frames.append(frame)
    relu.meta["partial"] = functools.partial(torch.clamp, min=0)
    relu.meta["size"] = source.TensorPropertySource(place, source.TensorProperty.SIZE, 0)
    called = f"{source.__name__}.CallFunctionNoArgsSource"  # what prints a call comes back inert
    relu.meta["call"] = fxarchive.InertRecord(called, {"base": place})
    relu.meta["later"] = fxarchive.InertRecord("torch.later.Fact", {"idx": 1})
    with suppress(ImportError):  # torch 2.9 and later
        from torch._functorch._aot_autograd import descriptors

        output = descriptors.PlainAOTOutput(0)
        relu.meta["desc"] = [descriptors.TangentAOTInput(output), descriptors.ParamAOTInput("a.weight"), None]
    module.meta["dynamo_compile_id"] = CompileId(frame_id=1, frame_compile_id=2)
    module.compile_subgraph_reason = GraphCompileReason("return_value", frames, False)
    module.__name__ = "body"
    return module


def tensors_around_tensors() -> Any:
    """Subclasses that unwrap, real, fake and trained; jagged tensors; what torch.func leaves in metadata."""
    values = torch.arange(6.0).reshape(2, 3)
    pair = TwoTensor(values, values + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ragged = torch.nested.nested_tensor([torch.ones(2, 4), torch.zeros(3, 4)], layout=torch.jagged)
    return {
        "pair": [pair, pair, TwoTensor(pair, pair)],
        "trained": nn.Parameter(TwoTensor(values + 2, values + 3)),
        "fake": FakeTensorMode().from_tensor(pair),
        "ragged": [ragged, ragged.shape],
        "vmap": torch._C._functorch._add_batch_dim(values, 1, 1),
    }


def placements() -> Any:
    """Where the parts of tensors lie on a mesh of processes; meshes themselves need processes that are in them."""
    from torch.distributed.tensor import Partial, Replicate, Shard
    from torch.distributed.tensor._dtensor_spec import TensorMeta
    from torch.distributed.tensor.placement_types import _StridedShard

    return {
        "placements": (Shard(0), Shard(-1), Replicate(), Partial(), Partial("avg")),
        "strided": [_StridedShard(1, split_factor=2)],
        "meta": TensorMeta(torch.Size([4, 6]), (6, 1), torch.bfloat16),
    }


def traced_jagged_tensors() -> Any:
    """Fake jagged tensors, two of one ragged size and two of others, real ones beside them, and a graph over such."""
    mode = FakeTensorMode(shape_env=ShapeEnv())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = torch.nested.nested_tensor([torch.ones(2, 4), torch.zeros(3, 4)], layout=torch.jagged)
        second = torch.nested.nested_tensor([torch.ones(1, 4), torch.zeros(3, 4)], layout=torch.jagged)
        traced = [mode.from_tensor(each) for each in (first, first * 2, second)]
        graph = make_fx(lambda x: (x * 2).sin(), tracing_mode="symbolic")(first)
    with mode:
        traced.append(traced[0] + traced[1])
        traced.append(traced[2].transpose(1, 2))
        offsets = torch.empty(3, dtype=torch.int64)
        traced.append(torch.nested.nested_tensor_from_jagged(torch.empty(5, 4), offsets))
    return {
        "real": [first, second],
        "traced": traced,
        "sizes": [each.shape for each in traced],
        "parts": [traced[0].values(), traced[0].offsets(), offsets],
        "graph": graph,
    }


def arrays_of_numpy() -> Any:
    """Arrays of every dtype and order, views of one memory, one that a tensor shares, read-only and repeated ones."""
    base = numpy.arange(60, dtype="<f4").reshape(3, 4, 5)
    fixed = numpy.array([1.5, -0.0, math.nan])
    fixed.flags.writeable = False
    tensor = torch.arange(6.0)
    node = fx.Graph().placeholder("x")
    node.meta["custom"] = {"scales": base}
    return {
        "dtypes": [
            numpy.frombuffer(bytes(range(1, 49)), dtype)
            for dtype in (
                *("|i1", "|u1", "<i2", ">i4", "<i8", ">u2", "<u4", "<u8", "<f2", ">f4", "<f8", "<c8", ">c16"),
                *("|S3", "<M8[ns]", ">m8[25s]"),
            )
        ],
        "texts": [numpy.array([True, False]), numpy.array([b"ab", b"c"]), numpy.array(["añ", "c😀"])],
        "views": [base, base[1:, ::-2, 1], base.T, base],
        "fortran": numpy.asfortranarray(numpy.arange(6, dtype="<i8").reshape(2, 3)),
        "repeated": numpy.broadcast_to(numpy.float64(2.5), (1000, 1000)),
        "empty": [numpy.empty((0, 3)), numpy.array(7, "<i8")],
        "readonly": fixed,
        "tensor": [tensor, tensor[2:4].numpy()],
        "large": numpy.arange(1000, dtype=">i2"),
        "graph": node.graph,
    }


def regions() -> Any:
    """Graphs with subgraphs under higher-order operators, the functions these call, and a fake of an object."""
    body = fx.symbolic_trace(lambda x: (torch.sigmoid(x) + 1,))
    body.meta["_checkpoint_context_fn"] = functools.partial(
        create_selective_checkpoint_contexts, [torch.ops.aten.mm.default]
    )
    graph = fx.Graph()
    x = graph.placeholder("x")
    part = graph.create_node("get_attr", "body")
    first = graph.call_function(
        torch.ops.higher_order.tag_activation_checkpoint, (part, x), {"use_reentrant": False}
    )
    second = graph.call_function(torch.ops.higher_order.wrap, (part, first))
    second.meta["val"] = FakeScriptObject(None, "__torch__.torch.classes.mylib.Queue", None)
    graph.output(second)
    return fx.GraphModule({"body": body}, graph)


def registered_values() -> Any:
    """Values of other packages, as a process without these packages has them."""
    module = fx.symbolic_trace(nn.ReLU())
    tile = fxarchive.InertRecord(
        "mylib.Tile", {"value": {"rows": 2, "scale": torch.ones(2)}}, version=3, shared=True
    )
    for node in module.graph.nodes:
        node.meta["tile"] = tile
    return module


def training_modes() -> Any:
    """Graphs whose `train` and `eval` quantization took over, as a process without its package has them."""
    modules = [fx.symbolic_trace(nn.Linear(2, 2)) for _ in range(2)]
    for module, kind in zip(modules, ("refuse", "rewrite"), strict=True):
        vars(module).update(dict.fromkeys(METHODS, Missing("torchao", kind)))
    return modules


VALUES: tuple[Callable[[], Any], ...] = (
    atoms,
    containers,
    constants_of_torch,
    dtypes,
    newer_dtypes,
    strided_tensors,
    sparse_tensors,
    quantized_tensors,
    rare_tensors,
    fake_tensors,
    zero_tensors,
    modules,
    shape_environments,
    node_sources,
    torch_facts,
    tensors_around_tensors,
    traced_jagged_tensors,
    arrays_of_numpy,
    placements,
    regions,
    registered_values,
    records,
    artefacts,
    contexts,
    training_modes,
)
"""What makes the root of an entry."""

GRAPHS: tuple[Callable[[], tuple[fx.GraphModule, tuple[Any, ...]]], ...] = (metadata, calls, symbolic_graph)
"""What makes a graph and the inputs to call it with."""
