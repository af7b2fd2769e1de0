"""The comparer must see every single change, and none where there is none."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import math
import operator
import pathlib
import struct
import traceback
import types
import typing
import uuid
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
import sympy
import torch
from torch import fx, nn
from torch._guards import TracingContext
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.fx.immutable_collections import immutable_dict, immutable_list
from torch.utils import _pytree as pytree
from torch.utils._sympy.singleton_int import SingletonInt

from fxarchive.codec.fast import shape_env_names as names

from .compare import assert_same, differences
from .material import models

Point = collections.namedtuple("Point", ["x", "y"])
Pixel = collections.namedtuple("Pixel", ["x", "y"])


class Color(enum.Enum):
    RED = 1
    ALSO = 2


class Marked(list):  # type: ignore[type-arg]
    """A list that can carry attributes."""


class QualifiedName(str):
    """Stands for `fxarchive.QualifiedName`, which the comparer knows by its name alone."""


@dataclasses.dataclass
class Record:
    name: str
    items: list[int]


class Plain:
    def __init__(self, value: object) -> None:
        self.value = value


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


# --- pairs of values that differ in one thing ---


def odd_nan() -> float:
    return float(struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0])


def shared(same: bool) -> list[list[int]]:
    first = [1]
    return [first, first if same else [1]]


def cyclic(depth: int) -> list[Any]:
    items: list[Any] = []
    inner: list[Any] = items
    for _ in range(depth):
        inner.append([])
        inner = inner[0]
    inner.append(items)
    return items


def marked(note: str) -> Marked:
    items = Marked([1])
    items.note = note  # type: ignore[attr-defined]
    return items


def referred(strong: bool) -> list[Any]:
    x, y = nn.ReLU(), nn.ReLU()
    return [x, y, weakref.ref(x if strong else y)]


def viewed(together: bool) -> list[Any]:
    """An array and a part of it, or a copy of that part."""
    array = numpy.zeros(4)
    return [array, array[2:] if together else array[2:].copy()]


def bound(first: bool) -> list[Any]:
    x, y = Plain(1), Plain(1)
    return [x, y, (x if first else y).__init__]  # type: ignore[misc]


def context(**fields: Any) -> TracingContext:
    made = TracingContext(None)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


VALUES: dict[str, tuple[Any, Any]] = {
    "int": (1, 2),
    "int and bool": (1, True),
    "int and float": (1, 1.0),
    "zero signs": (0.0, -0.0),
    "nan payload": (math.nan, odd_nan()),
    "complex part signs": (complex(0.0, -0.0), complex(0.0, 0.0)),
    "str and bytes": ("a", b"a"),
    "str class": ("a", QualifiedName("a")),
    "None and nothing": ([None], []),
    "tuple and list": ((1,), [1]),
    "tuple and Size": ((1,), torch.Size([1])),
    "list and immutable_list": ([1], immutable_list([1])),
    "dict and immutable_dict": ({"a": 1}, immutable_dict({"a": 1})),
    "dict and OrderedDict": ({"a": 1}, collections.OrderedDict(a=1)),
    "dict order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "dict key type": ({1: "a"}, {True: "a"}),
    "dict value deep": ({"a": [(1, {2: 3})]}, {"a": [(1, {2: 4})]}),
    "default factory": (collections.defaultdict(list), collections.defaultdict(dict)),
    "deque length": (collections.deque([1], 2), collections.deque([1], 3)),
    "set item": ({1, 2}, {1, 3}),
    "set item type": ({1}, {True}),
    "set subset": ({1, 2}, {1}),
    "frozenset zero signs": (frozenset([0.0]), frozenset([-0.0])),
    "named tuple class": (Point(1, 2), Pixel(1, 2)),
    "named tuple item": (Point(1, 2), Point(1, 3)),
    "decimal digits": (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
    "decimal nans": (decimal.Decimal("sNaN1"), decimal.Decimal("sNaN2")),
    "path": (pathlib.Path("a"), pathlib.Path("b")),
    "path of another system": (pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("a")),
    "fold": (datetime.time(1, fold=0), datetime.time(1, fold=1)),
    "zone": (datetime.time(1), datetime.time(1, tzinfo=datetime.timezone.utc)),
    "fraction": (fractions.Fraction(1, 2), fractions.Fraction(1, 3)),
    "uuid": (uuid.UUID(int=1), uuid.UUID(int=2)),
    "uuid safety": (uuid.UUID(int=1), uuid.UUID(int=1, is_safe=uuid.SafeUUID.safe)),
    "namespace": (types.SimpleNamespace(a=1), types.SimpleNamespace(a=2)),
    "slot that is not set": (Slotted(1), Slotted.__new__(Slotted)),
    **{
        f"context {name}": (context(), context(**{name: value}))
        for name, value in {
            "loc_in_frame": ("a.py", 1, "f"),
            "aot_graph_name": ["a"],
            "params_flat": [1],
            "output_strides": [None],
            "frame_summary_stack": [traceback.FrameSummary("a.py", 1, "f")],
            "fake_mode": FakeTensorMode(),
        }.items()
    },
    "slice": (slice(1, 2), slice(1, 2, 1)),
    "range": (range(3), range(0, 4, 1)),
    "enum": (Color.RED, Color.ALSO),
    "function": (torch.relu, torch.sigmoid),
    "function of the same name": (torch.add, operator.add),
    "function of a partial": (functools.partial(torch.add, 1), functools.partial(torch.sub, 1)),
    "argument of a partial": (functools.partial(torch.add, 1), functools.partial(torch.add, True)),
    "keyword of a partial": (functools.partial(torch.add, alpha=1), functools.partial(torch.add, alpha=2)),
    "higher-order operator": (torch.ops.higher_order.cond, torch.ops.higher_order.while_loop),
    "operator overload": (torch.ops.aten.add.Tensor, torch.ops.aten.add.Scalar),
    "packet and overload": (torch.ops.aten.add, torch.ops.aten.add.Tensor),
    "class": (nn.ReLU, nn.ReLU6),
    "class and its name outside metadata": (nn.ReLU, QualifiedName("torch.nn.modules.activation.ReLU")),
    "typing": (typing.Optional[int], typing.Optional[str]),  # noqa: UP045
    "generic alias": (list[int], list[str]),
    "dtype": (torch.float16, torch.bfloat16),
    "device": (torch.device("cuda", 0), torch.device("cuda", 1)),
    "device index": (torch.device("cpu"), torch.device("cpu", 0)),
    "layout": (torch.strided, torch.sparse_coo),
    "memory format": (torch.channels_last, torch.contiguous_format),
    "qscheme": (torch.per_tensor_affine, torch.per_channel_affine),
    "dataclass field": (Record("a", [1]), Record("a", [2])),
    "attribute": (Plain(1), Plain(2)),
    "slot": (Slotted(1), Slotted(2)),
    "attribute of a list": (marked("a"), marked("b")),
    "opaque object": (object(), object()),
    "shared, then not": (shared(True), shared(False)),
    "not shared, then shared": (shared(False), shared(True)),
    "cycle length": (cyclic(2), cyclic(3)),
    "weak reference target": (referred(True), referred(False)),
    "method owner": (bound(True), bound(False)),
    "array dtype": (numpy.zeros(2, "f4"), numpy.zeros(2, "i4")),
    "array bits": (numpy.zeros(2), -numpy.zeros(2)),
    "array order": (numpy.zeros((2, 2), order="C"), numpy.zeros((2, 2), order="F")),
    "array read-only": (numpy.zeros(2), numpy.broadcast_to(numpy.zeros(2), (2,))),
    "arrays over one memory": (viewed(True), viewed(False)),
    "arrays of their own": (viewed(False), viewed(True)),
    "symbol assumptions": (sympy.Symbol("s0", integer=True), sympy.Symbol("s0", integer=True, positive=True)),
    "spec child": (pytree.tree_structure([1, 2]), pytree.tree_structure([1, [2]])),
    "spec keys": (pytree.tree_structure({"a": 1}), pytree.tree_structure({"b": 1})),
    "spec class": (pytree.tree_structure(Point(1, 2)), pytree.tree_structure(Pixel(1, 2))),
    "generator": (torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_that_differ(name: str) -> None:
    left, right = VALUES[name]
    assert differences(left, right), "left to right"
    assert differences(right, left), "right to left"
    assert differences(left, left) == []
    assert differences(right, right) == []


def real(change: Callable[[torch.Tensor], Any] | None = None) -> Any:
    tensor = torch.arange(12.0).reshape(3, 4)
    return tensor if change is None else change(tensor)


def patched(tensor: torch.Tensor, bits: int) -> torch.Tensor:
    tensor.view(torch.int32)[1, 1] = bits
    return tensor


def noted(tensor: torch.Tensor) -> torch.Tensor:
    tensor.note = "kept"  # type: ignore[attr-defined]
    return tensor


def graded(tensor: torch.Tensor) -> torch.Tensor:
    tensor.grad = torch.ones_like(tensor)
    return tensor


def sparse(indices: list[int], *, coalesced: bool = True) -> torch.Tensor:
    made = torch.sparse_coo_tensor([indices], [1.0, 2.0], (4,), check_invariants=True)
    return made.coalesce() if coalesced else made


def compressed(columns: list[int]) -> torch.Tensor:
    return torch.sparse_compressed_tensor([0, 1, 2], columns, [1.0, 2.0], (2, 2), layout=torch.sparse_csr)


def per_channel(scale: float) -> torch.Tensor:
    scales, zeros = torch.tensor([scale, 1.0, 1.0]), torch.zeros(3, dtype=torch.long)
    return torch.quantize_per_channel(torch.ones(3, 4), scales, zeros, 0, torch.qint8)


def tensors() -> dict[str, tuple[Any, Any]]:
    base = real()
    whole = torch.arange(24.0)
    other_whole = torch.arange(24.0)
    return {
        "value": (base, real(lambda t: patched(t, 0x40A00001))),
        "nan payload of an element": (patched(real(), 0x7FC00000), patched(real(), 0x7FC00001)),
        "dtype": (base, real(torch.Tensor.int)),
        "shape": (base, real(lambda t: t.reshape(4, 3))),
        "rank": (base, real(lambda t: t.reshape(12))),
        "stride": (torch.zeros(3, 4), torch.zeros(4, 3).t()),
        "offset": (whole[:4].zero_(), whole[1:5]),
        "storage size": (torch.zeros(4), torch.zeros(8)[:4]),
        "bytes outside of the view": (torch.tensor([0.0, 1.0])[:1], torch.tensor([0.0, 2.0])[:1]),
        "requires_grad": (base, real(lambda t: t.requires_grad_())),
        "is_leaf": (real(lambda t: t.requires_grad_()), real(lambda t: t.requires_grad_() * 1)),
        "Parameter": (base, nn.Parameter(real(), requires_grad=False)),
        "attribute": (base, real(noted)),
        "grad": (base, real(graded)),
        "conj": (torch.ones(2, dtype=torch.cfloat), torch.ones(2, dtype=torch.cfloat).conj()),
        "neg": (torch.zeros(2), torch._neg_view(torch.zeros(2))),
        "device": (torch.empty(2, device="meta"), torch.zeros(2)),
        "meta stride": (torch.empty(2, 2, device="meta"), torch.empty(2, 2, device="meta").t()),
        "layout": (sparse([0, 1]), torch.tensor([1.0, 2.0, 0.0, 0.0])),
        "sparse indices": (sparse([0, 1]), sparse([0, 2])),
        "coalesced": (sparse([0, 1]), sparse([0, 1], coalesced=False)),
        "compressed columns": (compressed([0, 1]), compressed([1, 0])),
        "scale": tuple(torch.quantize_per_tensor(torch.ones(2), s, 0, torch.qint8) for s in (1.0, 0.5)),
        "zero point": tuple(torch.quantize_per_tensor(torch.zeros(2), 1.0, z, torch.quint8) for z in (0, 1)),
        "channel scales": (per_channel(1.0), per_channel(2.0)),
        "one storage": ([whole[:3], whole[3:6]], [whole[:3], other_whole[3:6]]),
        "two storages": ([whole[:3], other_whole[3:6]], [whole[:3], whole[3:6]]),
        "one object": ([base, base], [base, base.detach()]),
        "shared with a later view": ([whole, whole.view(4, 6)], [whole, other_whole.view(4, 6)]),
    }


def test_the_order_of_what_is_assumed_of_a_symbol_is_no_difference() -> None:
    make: Any = sympy.Symbol.__xnew__  # past the cache, in which the first one stands for both
    left = make(sympy.Symbol, "first", integer=True, positive=True)
    right = make(sympy.Symbol, "first", positive=True, integer=True)
    assert sympy.srepr(left) != sympy.srepr(right)
    assert differences(left + 1, right + 1) == []


def test_inference_mode_differs() -> None:
    with torch.inference_mode():
        made = torch.zeros(2)
    assert differences(torch.zeros(2), made)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("number", range(29))
def test_tensors_that_differ(number: int) -> None:
    found = list(tensors().items())
    assert len(found) == 29
    name, (left, right) = found[number]
    assert differences(left, right), name
    assert differences(right, left), name
    assert differences(left, left) == [], name
    if name not in NO_DEEPCOPY:
        assert differences(left, copy.deepcopy(left)) == [], name


# torch's deepcopy refuses compressed tensors and tensors with a history.
NO_DEEPCOPY = {"compressed columns"}


# --- FakeTensors and symbolic numbers ---


def fakes(change: str = "") -> list[Any]:
    """A parameter, a view of it, a scalar with a constant and a tensor on another device, under one mode."""
    mode = FakeTensorMode()
    shape = (3, 5) if change == "shape" else (3, 4)
    with mode:
        x = torch.empty(shape, dtype=torch.half if change == "dtype" else torch.float, device="cuda")
        if change == "stride":
            x = torch.empty(4, 3, device="cuda").t()
        if change == "requires_grad":
            x.requires_grad_()
        whole = torch.empty(24 if change == "storage size" else 12)
        y = whole.clone()[2:6] if change == "storage" else whole[2:6]
        if change == "offset":
            y = whole[3:7]
        if change == "base":
            y = y.detach()
        z = torch.ones(2, dtype=torch.cfloat)
        w = torch.empty(2, device="cpu" if change == "device" else "cuda")
    if change == "constant":
        z.constant = torch.ones(2, dtype=torch.cfloat)
    if change == "zeros":
        with mode:
            w = torch._efficientzerotensor((2,), device="cuda")
    if change == "attribute":
        w._dynamo_dynamic_indices = {0}
    return [x, whole, y, z.conj() if change == "conj" else z, w]


CHANGES_OF_FAKES = (
    *("shape", "dtype", "stride", "requires_grad", "storage size", "storage", "offset", "base", "device"),
    *("constant", "attribute", "conj", "zeros"),
)


@pytest.mark.parametrize("change", CHANGES_OF_FAKES)
def test_fakes_that_differ(change: str) -> None:
    assert differences(fakes(), fakes()) == []
    assert differences(fakes(change), fakes(change)) == []
    assert differences(fakes(), fakes(change))
    assert differences(fakes(change), fakes())


def test_fakes_of_several_modes_may_come_back_under_one_and_not_the_reverse() -> None:
    one, two = FakeTensorMode(), FakeTensorMode()
    alone = [mode.from_tensor(torch.empty(2)) for mode in (one, one)]
    apart = [mode.from_tensor(torch.empty(2)) for mode in (one, two)]
    assert differences(apart, alone) == []
    assert differences(apart, apart) == []
    assert differences(alone, apart)


def test_a_fake_is_not_a_meta_tensor() -> None:
    fake = FakeTensorMode().from_tensor(torch.empty(2, device="meta"))
    assert differences(fake, torch.empty(2, device="meta"))


def symbolic(name: str = "s0", hint: int | None = 5, change: str = "") -> list[Any]:
    env, other = ShapeEnv(), ShapeEnv()
    s = sympy.Symbol(name, integer=True, positive=True)
    for each in (env, other):
        each.var_to_range[s] = each._default_value_range()
    first = env.create_symintnode(s, hint=hint)
    second = (other if change == "env" else env).create_symintnode(
        s + 1 if change == "expr" else s * 2, hint=hint
    )
    if change == "range":
        env.var_to_range[s] = type(env.var_to_range[s])(2, 7)
    return [first, second]


@pytest.mark.parametrize(
    "changed", [{"name": "s1"}, {"hint": 6}, {"change": "env"}, {"change": "expr"}, {"change": "range"}]
)
def test_symbolic_numbers_that_differ(changed: dict[str, Any]) -> None:
    assert differences(symbolic(), symbolic()) == []
    assert differences(symbolic(), symbolic(**changed))


def ragged(change: str = "") -> list[Any]:
    """Two fake jagged tensors of one ragged size, and an environment that knows it."""
    mode = FakeTensorMode(shape_env=ShapeEnv())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        real = torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)], layout=torch.jagged)
        x, y = mode.from_tensor(real), mode.from_tensor(real * 2)
    hints = names.hints(mode.shape_env)
    symbol = x.shape[1].node._expr
    if change == "coefficient":
        hints[symbol] = SingletonInt(hints[symbol]._val, coeff=2)
    if change == "identity":
        hints[symbol] = SingletonInt(hints[symbol]._val + 100, coeff=1)
    if change == "offsets":
        x.offsets().nested_int_memo = None
    if change == "number":
        hints[symbol] = sympy.Integer(5)
    return [x, y]


@pytest.mark.parametrize("change", ["coefficient", "identity", "offsets", "number"])
def test_fake_jagged_tensors_that_differ(change: str) -> None:
    assert differences(ragged(), ragged()) == []
    assert differences(ragged(), ragged(change))
    assert differences(ragged(change), ragged())


def test_only_what_views_a_jagged_tensor_may_come_back_as_no_view() -> None:
    x = ragged()[0]
    with x._values.fake_mode:
        values = (x * 2).values()
        plain = x._values * 2
        part = plain.view(-1)
    assert values._is_view()
    assert differences(values, values.data) == []
    assert differences(part, part.data)


# --- graphs and modules ---


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.tied = nn.Linear(2, 2)
        self.tied.weight = self.linear.weight
        self.again = self.linear
        self.register_buffer("kept", torch.zeros(2))
        self.register_buffer("dropped", torch.ones(2), persistent=False)

    def forward(self, x: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
        y = self.tied(self.again(self.linear(x))) + self.kept
        return torch.add(y.relu(), self.dropped, alpha=2) * scale


def graph_module() -> fx.GraphModule:
    torch.manual_seed(0)
    module = fx.symbolic_trace(Inner())
    mode = FakeTensorMode()
    stack = ["shared"]
    for node in module.graph.nodes:
        node.meta["val"] = mode.from_tensor(torch.empty(2, 2))
        node.meta["stack"] = stack
        node.meta["class"] = nn.ReLU
    module.meta["made"] = 1
    module.note = {"a": [1, 2]}
    module.register_buffer("late", torch.ones(2), persistent=False)
    return module


def node_of(module: fx.GraphModule, name: str) -> fx.Node:
    return next(node for node in module.graph.nodes if node.name == name)


def rename(m: fx.GraphModule) -> None:
    node_of(m, "relu").name = "renamed"


def swap_nodes(m: fx.GraphModule) -> None:
    node_of(m, "kept").append(node_of(m, "dropped"))


def change_op(m: fx.GraphModule) -> None:
    node_of(m, "relu").op = "call_function"


def untie(m: fx.GraphModule) -> None:
    m.tied.weight = nn.Parameter(m.tied.weight.detach().clone())


def separate(m: fx.GraphModule) -> None:
    m.again = copy.deepcopy(m.linear)


def reorder_parameters(m: fx.GraphModule) -> None:
    m.linear._parameters = dict(reversed(m.linear._parameters.items()))


def persist(m: fx.GraphModule) -> None:
    m._non_persistent_buffers_set.clear()


def use_pytree(m: fx.GraphModule) -> None:
    spec = pytree.tree_structure(((1, 2), {}))
    info = fx.graph._PyTreeInfo(["x", "scale"], spec, pytree.tree_structure(1))
    m.graph.set_codegen(fx.graph._PyTreeCodeGen(info))


def change_meta_order(m: fx.GraphModule) -> None:
    node = node_of(m, "relu")
    node.meta = dict(reversed(node.meta.items()))


def forget_in_table(m: fx.GraphModule) -> None:
    m.graph._find_nodes_lookup_table.remove(node_of(m, "relu"))


def steal(m: fx.GraphModule) -> None:
    fx.GraphModule(m, m.graph, class_name=type(m).__name__).graph = m.graph
    m.graph._owning_module = None


def freeze(m: fx.GraphModule) -> None:
    m.linear.weight.requires_grad_(False)


def set_item(owner: str, key: str, value: Any) -> Callable[[fx.GraphModule], None]:
    return lambda m: node_of(m, owner).meta.__setitem__(key, value)


def set_attribute(path: str, value: Any) -> Callable[[fx.GraphModule], None]:
    *owners, last = path.split(".")
    return lambda m: setattr(operator.attrgetter(".".join(owners))(m) if owners else m, last, value)


def set_on_node(name: str, attribute: str, value: Any) -> Callable[[fx.GraphModule], None]:
    return lambda m: setattr(node_of(m, name), attribute, value)


MUTATIONS: dict[str, Callable[[fx.GraphModule], Any]] = {
    "node name": rename,
    "node order": swap_nodes,
    "node op": change_op,
    "one node more": lambda m: m.graph.placeholder("extra"),
    "one node less": lambda m: m.graph.erase_node(node_of(m, "output")),
    "target": set_on_node("add_1", "target", torch.sub),
    "method": set_on_node("relu", "target", "sigmoid"),
    "argument": lambda m: node_of(m, "mul").update_arg(1, 3.0),
    "argument type": lambda m: node_of(m, "scale").update_arg(0, 2),
    "argument node": lambda m: node_of(m, "tied").update_arg(0, node_of(m, "linear")),
    "keyword": lambda m: node_of(m, "add_1").update_kwarg("alpha", 2.0),
    "keyword order": set_on_node("mul", "kwargs", {"a": 1}),
    "node type": set_on_node("relu", "type", torch.Tensor),
    "output type": set_on_node("output", "type", None),
    "metadata value": set_item("relu", "class", nn.ReLU6),
    "metadata key": set_item("relu", "more", None),
    "metadata missing": lambda m: node_of(m, "relu").meta.pop("val"),
    "metadata order": change_meta_order,
    "metadata no longer shared": set_item("relu", "stack", ["shared"]),
    "fake of another node": lambda m: set_item("relu", "val", node_of(m, "add").meta["val"])(m),
    "fake of another mode": set_item("relu", "val", FakeTensorMode().from_tensor(torch.empty(2, 2))),
    "class name": lambda m: setattr(type(m), "__name__", "Other"),
    "code": lambda m: setattr(m, "_code", m._code + "\n"),
    "codegen": use_pytree,
    "module metadata": lambda m: m.meta.update(made=2),
    "module metadata key": lambda m: m.meta.update(more=1),
    "training": set_attribute("training", False),
    "training of a child": set_attribute("linear.training", False),
    "plain attribute": lambda m: m.note["a"].append(3),
    "new attribute": set_attribute("extra", 1),
    "child attribute": set_attribute("linear.in_features", 3),
    "child class": set_attribute("again", nn.Identity()),
    "child missing": lambda m: m._modules.pop("tied"),
    "parameter bits": lambda m: m.linear.bias.data.neg_(),
    "parameter frozen": freeze,
    "parameter order": reorder_parameters,
    "parameter to None": set_attribute("linear.bias", None),
    "buffer value": lambda m: m.kept.add_(1),
    "buffer persistence": persist,
    "untied weight": untie,
    "unshared module": separate,
    "hook": lambda m: m.linear.register_forward_hook(print),
    "users": lambda m: node_of(m, "relu").users.clear(),
    "lookup table": forget_in_table,
    "owner of the graph": steal,
    "names in use": lambda m: m.graph._graph_namespace._used_names.discard("relu"),
    "order key": lambda m: setattr(node_of(m, "relu"), "_sort_key", (-1,)),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_one_mutation_of_a_graph_module(name: str) -> None:
    changed = graph_module()
    MUTATIONS[name](changed)
    assert differences(graph_module(), changed), name
    assert differences(changed, changed) == [] or name in ("order key", "users")


def test_the_same_graph_module() -> None:
    module = graph_module()
    assert_same(module, module)
    assert_same(module, graph_module())
    module = fx.GraphModule(Inner(), fx.Tracer().trace(Inner()))
    assert_same(module, copy.deepcopy(module))
    assert_same(module.graph, copy.deepcopy(module.graph))


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.parametrize("build", models.BUILDERS, ids=lambda build: build.__name__)
def test_a_model_and_its_copy(build: Callable[[], tuple[fx.GraphModule, Any]]) -> None:
    module, _ = build()
    assert_same(module, module)
    copied = copy.deepcopy(module)
    # deepcopy gives every GraphModule the class name "GraphModule" and drops what it does not know of.
    found = differences(module.graph, copied.graph)
    assert [line for line in found if "names not in use" not in line] == []


def test_a_class_name_stands_for_its_class_in_metadata_alone() -> None:
    module, named, wrong, plain = (graph_module() for _ in range(4))
    spelled = "torch.nn.modules.activation.ReLU"
    for other, value in (
        (named, QualifiedName(spelled)),
        (wrong, QualifiedName(spelled + "6")),
        (plain, spelled),
    ):
        for node in other.graph.nodes:
            node.meta["class"] = value
    assert differences(module, named) == []
    assert differences(module, wrong)
    assert differences(module, plain)
    assert differences(named, module), "the class may become a name, a name never a class"


def test_a_copy_of_an_operator_counts_in_metadata_alone() -> None:
    operator_copy = copy.copy(torch.ops.aten.relu.default)
    module, copied, other = (graph_module() for _ in range(3))
    for each, value in (
        (module, operator_copy),
        (copied, torch.ops.aten.relu.default),
        (other, torch.ops.aten.relu_.default),
    ):
        for node in each.graph.nodes:
            node.meta["original_aten"] = value
    assert differences(module, copied) == []
    assert differences(module, other)
    assert differences([operator_copy], [torch.ops.aten.relu.default])


def test_nodes_may_part_with_a_dict_of_metadata_and_never_share_one() -> None:
    shared, apart = graph_module(), graph_module()
    held: dict[str, int] = {"key": 1}
    for node in shared.graph.nodes:
        node.meta = held
    for node in apart.graph.nodes:
        node.meta = dict(held)
    assert differences(shared, apart) == []
    assert differences(apart, shared)


def provenance(same: bool) -> Iterator[Any]:
    graph = fx.symbolic_trace(nn.ReLU()).graph
    other = fx.symbolic_trace(nn.ReLU()).graph
    for each in (graph, graph if same else other):
        yield fx.traceback.NodeSource(next(iter(each.nodes)), "pass")


def test_provenance_keeps_which_graph_and_not_its_address() -> None:
    kept = [list(provenance(True)), list(provenance(True)), list(provenance(False))]
    assert differences(kept[0], kept[1]) == []
    assert differences(kept[0], kept[2])


@pytest.mark.parametrize("name", ["pass_name", "action", "from_node", "node_info"])
def test_provenance_that_differs(name: str) -> None:
    (source, _), (other, more) = provenance(True), provenance(True)
    assert differences(source, other) == []
    actions = [fx.traceback.NodeSourceAction.REPLACE]
    changed = {"pass_name": "x", "action": actions, "from_node": [more], "node_info": None}
    setattr(other, name, changed[name])
    assert differences(source, other)


def test_an_operator_in_metadata_may_be_a_copy_of_itself() -> None:
    def module(operator: Any) -> fx.GraphModule:
        made = fx.symbolic_trace(nn.ReLU())
        for node in made.graph.nodes:
            node.meta["original_aten"] = operator
        return made

    relu, tanh = torch.ops.aten.relu.default, torch.ops.aten.tanh.default
    assert differences(module(copy.copy(relu)), module(relu)) == []
    assert differences(module(relu), module(tanh))
    assert differences([copy.copy(relu)], [relu])


def test_depth_and_length_do_not_matter() -> None:
    def deep(end: int) -> list[Any]:
        value: list[Any] = [end]
        for _ in range(100_000):
            value = [value]
        return value

    left, right, other = deep(1), deep(1), deep(2)
    assert differences(left, right) == []
    assert len(differences(left, other)) == 1
    for value in (left, right, other):
        while isinstance(value[0], list):
            value[:] = value[0]


def test_the_path_leads_to_the_value() -> None:
    changed = graph_module()
    node_of(changed, "add_1").update_kwarg("alpha", 3)
    changed.recompile()
    paths = [line.split(": expected")[0] for line in differences(graph_module(), changed)]
    assert "value.graph node 9 add_1.kwargs['alpha']" in paths
    with pytest.raises(AssertionError, match=r"kwargs\['alpha'\]: expected 2, got 3"):
        assert_same(graph_module(), changed)


@pytest.mark.slow
def test_a_long_graph() -> None:
    module = models.chain(100_000, fake_meta=True)
    assert differences(module, module) == []
