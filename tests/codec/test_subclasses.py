"""Tensors around tensors come back: subclasses that unwrap, plain subclasses, jagged tensors, torch.func wrappers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing._internal.two_tensor import TwoTensor

import fxarchive
from fxarchive import codec
from fxarchive.errors import ForbiddenName, InvalidDocument, UnsupportedValue, UntrustedNames

from ..compare import assert_same
from ..material import capture
from .round_trip import problems_of_round_trip
from .through import through_the_codec

A = torch.arange(6.0).reshape(2, 3)


class Meters(torch.Tensor):
    """A subclass that adds a method only."""

    def in_feet(self) -> torch.Tensor:
        return self * 3.28084


class Scaled(torch.Tensor):
    """A subclass of a user: values and a scale, and a context."""

    builds = 0

    @staticmethod
    def __new__(cls, values: torch.Tensor, scale: torch.Tensor, note: str) -> Any:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, values.shape, dtype=torch.float32, requires_grad=values.requires_grad
        )

    def __init__(self, values: torch.Tensor, scale: torch.Tensor, note: str) -> None:
        self.values_of, self.scale, self.note = values, scale, note

    def __tensor_flatten__(self) -> Any:
        return ["values_of", "scale"], {"note": self.note, "parts": (1, [2.5])}

    @classmethod
    def __tensor_unflatten__(cls, inner: Any, context: Any, size: Any, stride: Any) -> Any:
        Scaled.builds += 1
        assert context["parts"] == (1, [2.5])
        return cls(inner["values_of"], inner["scale"], context["note"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        flat = [x.values_of * x.scale if isinstance(x, Scaled) else x for x in args]
        return func(*flat, **(kwargs or {}))


class Opaque(torch.Tensor):
    """A subclass that dispatches and does not unwrap."""

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return NotImplemented


SCALED, METERS = f"{__name__}.Scaled", f"{__name__}.Meters"


def two() -> Any:
    return TwoTensor(A.clone(), A + 1)


def scaled() -> Any:
    return Scaled(A.clone(), torch.tensor(2.0), "x" * 60)


def jagged(**options: Any) -> torch.Tensor:
    parts = [torch.ones(2, 4), torch.zeros(3, 4)]
    return torch.nested.nested_tensor(parts, layout=torch.jagged, **options)


# subclasses that unwrap


def test_subclasses_come_back_with_identity_and_sharing() -> None:
    tensor = two()
    again = through_the_codec([tensor, tensor, tensor.a, A.view(6)])
    assert_same([tensor, tensor, tensor.a, A.view(6)], again)
    assert again[0] is again[1]
    assert again[0].a is again[2]
    assert torch.equal((again[0] * 2).b, (tensor * 2).b)


def test_subclasses_inside_of_each_other_come_back() -> None:
    tensor = TwoTensor(two(), TwoTensor(A + 3, two()).b + 0)
    assert_same(tensor, through_the_codec(tensor))


@pytest.mark.parametrize("requires_grad", [True, False])
def test_parameters_of_subclasses_come_back(requires_grad: bool) -> None:
    module = nn.Linear(3, 2)
    module.weight = nn.Parameter(two(), requires_grad)
    module.weight.grad = two() if requires_grad else None
    again = through_the_codec(module)
    assert_same(module, again)
    assert isinstance(again.weight, nn.Parameter)
    assert type(again.weight) is TwoTensor


def test_what_was_set_on_a_subclass_comes_back() -> None:
    tensor = two()
    tensor.note = {"key": [tensor]}
    again = through_the_codec(tensor)
    assert again.note["key"][0] is again


def test_a_class_of_the_user_must_be_trusted_and_is_called_only_then() -> None:
    data = fxarchive.dumps([scaled()])
    before = Scaled.builds
    with pytest.raises(UntrustedNames) as raised:
        fxarchive.loads(data)
    assert raised.value.names == (SCALED,)
    assert Scaled.builds == before
    again = fxarchive.loads(data, trust=[SCALED])
    assert Scaled.builds == before + 1
    assert_same([scaled()], again)
    assert torch.equal(again[0] + 1, scaled() + 1)
    assert fxarchive.dumps(again) == data


def test_only_archives_with_subclasses_carry_the_flag() -> None:
    assert codec.encode([two()]).features == {"tensor-subclasses"}
    assert codec.encode([A, nn.Parameter(A)]).features == frozenset()


# FakeTensors inside


def fakes(value: torch.Tensor, **options: Any) -> Any:
    return FakeTensorMode(**options).from_tensor(value)


def test_fake_subclasses_come_back() -> None:
    leaf, trained = fakes(two()), fakes(nn.Parameter(two()))
    values = [leaf, leaf.a, trained]
    again = through_the_codec(values)
    assert_same(values, again)
    assert type(again[0].a) is FakeTensor


def test_computed_fake_subclasses_come_back_computed() -> None:
    computed = fakes(nn.Parameter(two())) * 2
    assert computed.requires_grad
    assert not computed.is_leaf
    again = through_the_codec(computed)
    assert_same(computed, again)
    with pytest.raises(RuntimeError, match="has no history to go back through"):
        again.sum().backward()


def test_symbolic_sizes_of_subclasses_come_back() -> None:
    module = make_fx(lambda x: x.sin() + 1, tracing_mode="symbolic")(A)
    values = [node.meta["val"] for node in module.graph.nodes if "val" in node.meta]
    module.meta["pairs"] = [TwoTensor(value, value) for value in values]
    again = through_the_codec(module)
    assert_same(module, again)
    assert type(again.meta["pairs"][0].shape[0]) is torch.SymInt


# plain subclasses


def test_plain_subclasses_come_back() -> None:
    tensor, trained = A.clone().as_subclass(Meters), nn.Parameter(A.clone().as_subclass(Meters))
    tensor.unit = "m"
    values = [tensor, trained, tensor.as_subclass(torch.Tensor).view(6)]
    again = through_the_codec(values, trust=(METERS,))
    assert_same(values, again)
    assert again[0].untyped_storage().data_ptr() == again[2].untyped_storage().data_ptr()
    assert torch.equal(again[0].in_feet(), tensor.in_feet())
    with pytest.raises(UntrustedNames):
        through_the_codec(tensor)


# jagged tensors


def handed_over(function: Callable[..., Any], *inputs: torch.Tensor) -> tuple[GraphModule, Any, Any]:
    """The graph that dynamo hands to a backend for ``function``, its inputs, and what the function returns."""
    found: list[tuple[GraphModule, Any]] = []

    def keep(module: GraphModule, examples: Any) -> Any:
        found.append((module, examples))
        return module.forward

    torch._dynamo.reset()
    result = torch.compile(function, backend=keep)(*inputs)
    ((graph, examples),) = found
    return graph, examples, result


@pytest.mark.filterwarnings("ignore")
def test_a_graph_of_a_jagged_input_is_kept() -> None:
    graph, examples, result = handed_over(lambda x: (x * 2).sin().sum(), jagged())
    again = fxarchive.loads(fxarchive.dumps(graph))
    assert_same(graph, again)
    assert torch.equal(again(*examples)[0], result)


@pytest.mark.filterwarnings("ignore")
def test_a_graph_that_makes_a_jagged_tensor_is_kept() -> None:
    def make(values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        return torch.nested.nested_tensor_from_jagged(values, offsets) * 2

    graph, examples, result = handed_over(make, torch.randn(5, 4), torch.tensor([0, 2, 5]))
    again = fxarchive.loads(fxarchive.dumps(graph))
    assert_same(graph, again)
    assert torch.equal(again(*examples)[0].values(), result.values())


def with_cache() -> torch.Tensor:
    tensor = jagged()
    tensor._get_max_seqlen()  # type: ignore[attr-defined]
    tensor._get_min_seqlen()  # type: ignore[attr-defined]
    return tensor


JAGGED: dict[str, Callable[[], Any]] = {
    "contiguous": jagged,
    "trained": lambda: jagged(requires_grad=True),
    "with lengths": lambda: torch.nested.nested_tensor_from_jagged(
        torch.ones(8, 4), torch.tensor([0, 2, 5, 8]), lengths=torch.tensor([1, 2, 3])
    ),
    "with its extremes": with_cache,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", JAGGED.values(), ids=JAGGED)
def test_jagged_tensors_come_back(make: Callable[[], Any]) -> None:
    tensor, other = make(), jagged()
    values = [tensor, tensor.detach() * 2, other, tensor.shape, other.shape[1]]
    again = through_the_codec(values)
    assert_same(values, again)
    assert again[0].shape == again[1].shape == again[3]
    assert again[0].shape[1] != other.shape[1]
    assert again[2].shape[1] == again[4]
    for before, after in zip(tensor.unbind(), again[0].unbind(), strict=True):
        assert torch.equal(before, after)
    assert torch.equal((again[0] + again[1]).values(), (tensor + tensor.detach() * 2).values())


def test_a_second_save_of_jagged_tensors_is_the_same() -> None:
    data = fxarchive.dumps([jagged(), jagged()])
    assert fxarchive.dumps(fxarchive.loads(data)) == data


# what torch.func leaves behind

FUNC = {
    "vmap of grad": lambda x: torch.func.vmap(torch.func.grad(lambda y: (y.sin() * y).sum()))(x),
    "hessian": lambda x: torch.func.hessian(lambda y: (y**3).sum())(x[0]),
    "jvp": lambda x: torch.func.jvp(torch.sin, (x,), (x,)),
    "vjp": lambda x: torch.func.vjp(torch.sin, x)[1](x),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("function", FUNC.values(), ids=FUNC)
def test_graphs_of_torch_func_come_back(function: Callable[[Any], Any]) -> None:
    (found,) = capture.captured("torch.func", function, (A + 1,), ("compile",))
    assert isinstance(found, capture.Captured), found
    assert problems_of_round_trip(found.name, found.graph_module, found.inputs) == []
    assert "tensor-subclasses" in codec.encode(found.graph_module).features


def test_a_transform_that_is_going_on_is_refused() -> None:
    def inside(x: torch.Tensor) -> torch.Tensor:
        with pytest.raises(UnsupportedValue, match="save outside of it"):
            fxarchive.dumps(x)
        return x.sum()

    torch.func.grad(inside)(A)


# what is refused


def test_a_class_that_does_not_unwrap_is_refused() -> None:
    opaque = torch.Tensor._make_wrapper_subclass(Opaque, (2,))  # type: ignore[attr-defined]
    with pytest.raises(UnsupportedValue, match="give the class __tensor_flatten__ and __tensor_unflatten__"):
        fxarchive.dumps(opaque)


def test_history_hooks_and_inference_are_refused() -> None:
    trained = nn.Parameter(two())
    hooked = nn.Parameter(two())
    hooked.register_hook(lambda grad: grad)
    with torch.inference_mode():
        inference = two()
    for tensor, why in (
        (trained * 2, r"use \.detach\(\)"),
        (hooked, "hooks are code"),
        (inference, "inference"),
    ):
        with pytest.raises(UnsupportedValue, match=why):
            fxarchive.dumps(tensor)


@pytest.mark.filterwarnings("ignore")
def test_tensors_that_live_in_a_process_are_refused() -> None:
    from torch._subclasses.functional_tensor import FunctionalTensor, FunctionalTensorMode

    with FunctionalTensorMode():
        functional = FunctionalTensor.to_functional(A)
    with pytest.raises(UnsupportedValue, match="functionalization"):
        fxarchive.dumps(functional)
    collectives = pytest.importorskip("torch.distributed._functional_collectives")
    with pytest.raises(UnsupportedValue, match=r"call its wait\(\) first"):
        fxarchive.dumps(collectives.AsyncCollectiveTensor(A))


def local() -> Any:
    class Local(TwoTensor):  # type: ignore[misc]
        pass

    return Local(A, A)


def test_a_local_class_is_refused() -> None:
    with pytest.raises(UnsupportedValue, match="Local"):
        fxarchive.dumps(local())


# hostile rows

Change = Callable[[dict[str, Any]], None]


def put(**fields: Any) -> Change:
    return lambda document: document["subclasses"][0].update(copy.deepcopy(fields))


def without(name: str) -> Change:
    return lambda document: document["subclasses"][0].pop(name) and None


def itself(document: dict[str, Any]) -> None:
    document["subclasses"][0]["inner"][0] = ["subclass", 0]


def deep(document: dict[str, Any]) -> None:
    rows = document["subclasses"]
    for row in range(1, 40):
        rows.append({**rows[0], "inner": [["subclass", row - 1], ["subclass", row - 1]]})
    document["root"] = ["subclass", 39]


def another_class(name: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        document["targets"].append(["class", name])
        document["subclasses"][0]["class"] = len(document["targets"]) - 1

    return change


HOSTILE: dict[str, Change] = {
    "no table": lambda document: document.pop("subclasses") and None,
    "a table of another kind": lambda document: document.update(subclasses={}),
    "a row of another kind": lambda document: document["subclasses"].__setitem__(0, [1]),
    "no such row": lambda document: document.update(root=["subclass", 5]),
    "an unknown kind": put(kind="eval"),
    "a kind that is no string": put(kind=["unwrapped"]),
    "another kind": put(kind="batched"),
    "an unknown field": put(mode=1),
    "a field too few": without("context"),
    "a class that is a module": another_class("torch.nn.modules.linear.Linear"),
    "a class that is no tensor": another_class("builtins.dict"),
    "a class of plain tensors": another_class("torch.Tensor"),
    "a class of FakeTensors": another_class("torch._subclasses.fake_tensor.FakeTensor"),
    "a class that does not unwrap": another_class("torch.nn.parameter.Parameter"),
    "a name too few": put(names=["a"]),
    "a name twice": put(names=["a", "a"]),
    "a name that is no string": put(names=["a", 1]),
    "other names": put(names=["a", "c"]),
    "an inner tensor too few": put(inner=[["tensor", 0]]),
    "no inner tensors": put(inner=[], names=[]),
    "an inner number": put(inner=[1, 2]),
    "an inner module": put(inner=[["module", 0], ["module", 0]]),
    "itself inside": itself,
    "too deep": deep,
    "a context that its class refuses": put(context=["dict", []]),
    "a negative size": put(size=[-2, 3]),
    "a size that is text": put(size=["2", 3]),
    "a size that is a value": put(size=[["tuple", []], 3]),
    "a size too few": put(size=[2]),
    "huge": put(size=[2**62, 2**62], stride=[1, 1]),
    "too many sizes": put(size=[1] * 2000, stride=[1] * 2000),
    "a flag that is a number": put(requires_grad=1),
    "computed without a gradient": put(computed=True),
    "computed and real": put(computed=True, requires_grad=True),
    "an attribute of its class": put(attributes=["a", 1]),
    "a special attribute": put(attributes=["__class__", 1]),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_hostile_rows_are_refused(change: Change) -> None:
    with pytest.raises(InvalidDocument):
        through_the_codec(two(), change=change)


@pytest.mark.parametrize("name", ["__class__", "a b", "class", "", "a.b"])
def test_names_of_inner_tensors_are_identifiers(name: str) -> None:
    with pytest.raises(ForbiddenName):
        through_the_codec(two(), change=put(names=["a", name]))


@pytest.mark.parametrize(
    "fields", [{"dim": 2}, {"dim": -1}, {"level": 0}, {"level": 64}, {"level": "1"}, {"inner": []}]
)
def test_hostile_wrappers_are_refused(fields: dict[str, Any]) -> None:
    batched = torch._C._functorch._add_batch_dim(A, 0, 1)
    assert_same([batched], through_the_codec([batched]))
    with pytest.raises(InvalidDocument):
        through_the_codec([batched], change=put(**fields))


@pytest.mark.parametrize(
    "tagged",
    [["nested_int", -1, 1], ["nested_int", 0, 0], ["nested_int", True, 1], ["nested_int", 0, "1"], ["nested_int", 0],
     ["dim_range", "0", 1, 2], ["dim_range", 0, 1.5, 2], ["dim_range", 0]],
)  # fmt: skip
def test_hostile_nested_integers_are_refused(tagged: Any) -> None:
    with pytest.raises(InvalidDocument):
        through_the_codec([1], change=lambda document: document.update(root=tagged))


def test_loading_a_graph_of_subclasses_changes_nothing_outside() -> None:
    def count(module: GraphModule) -> int:
        return torch.nested._internal.nested_tensor._tensor_id_counter  # type: ignore[attr-defined,no-any-return]

    module = make_fx(lambda x: x + 1)(A)
    before = count(module)
    through_the_codec(module)
    assert count(module) == before
