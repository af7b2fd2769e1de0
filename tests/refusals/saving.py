"""What `save` refuses; in the message PATH: WHY stands below the sentence."""

from __future__ import annotations

import datetime
import enum
import functools
import typing
import weakref
import zoneinfo
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo
from torch.fx.traceback import NodeSource
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils import _pytree as pytree

import fxarchive

from . import case, graph, operator_graph, save


class Colour(enum.Flag):
    RED = 1
    BLUE = 2


class OwnTensor(torch.Tensor):
    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return NotImplemented


class NotBuilt(TwoTensor):  # type: ignore[misc]
    @staticmethod
    def __tensor_unflatten__(inner: Any, context: Any, size: Any, stride: Any) -> Any:
        raise ValueError("no")


def not_built() -> torch.Tensor:
    made: torch.Tensor = NotBuilt(torch.ones(2), torch.ones(2))
    return made


def on_its_way() -> torch.Tensor:
    from torch.distributed._functional_collectives import AsyncCollectiveTensor

    return AsyncCollectiveTensor(torch.ones(2))


def inferred() -> torch.Tensor:
    with torch.inference_mode():
        made: torch.Tensor = TwoTensor(torch.ones(2), torch.ones(2))
    return made


def with_attributes() -> Any:
    made = functools.partial(torch.relu)
    made.name = "mine"  # type: ignore[attr-defined]
    return made


def calling_compiled_code() -> fx.GraphModule:
    from torch._higher_order_ops.aoti_call_delegate import aoti_call_delegate

    made = fx.Graph()
    made.output(made.call_function(aoti_call_delegate, (made.placeholder("x"),) * 2))
    return fx.GraphModule(nn.Module(), made)


def reading_a_computed_attribute() -> fx.Graph:
    made = fx.Graph()
    made.call_function(getattr, (made.placeholder("x"), made.placeholder("name")))
    return made


def calling_an_odd_method() -> fx.Graph:
    made = fx.Graph()
    made.call_method("a b", (made.placeholder("x"),))
    return made


class OwnGraphModule(fx.GraphModule):
    def more(self) -> None:
        pass


class OwnArray(numpy.ndarray[Any, Any]):
    pass


def sharing_a_part() -> list[Any]:
    array = numpy.arange(9)
    return [torch.from_numpy(array[1:]), array]


class WithState(nn.Module):
    def __getstate__(self) -> Any:
        return {}


class WithSlots(nn.Module):
    __slots__ = ("held",)


def unsupported(title: str, make: Callable[[], Any], path: str, /, **places: Any) -> None:
    options = places.pop("options", {})
    case(title, save(make, **options), path=path, **places)


def edited_graph(change: Callable[[fx.GraphModule], Any]) -> Callable[[], Any]:
    def make() -> Any:
        module = graph()
        change(module)
        return module

    return make


def of_tensor(change: Callable[[torch.Tensor], Any]) -> Callable[[], Any]:
    return lambda: [change(torch.ones(2, 2))]


def of_fake(make: Callable[[], Any]) -> Callable[[], Any]:
    def made() -> Any:
        with FakeTensorMode():
            return [make()]

    return made


def hooked(tensor: Any) -> Any:
    tensor.requires_grad_().register_hook(lambda grad: grad)
    return tensor


def shrunk(tensor: torch.Tensor) -> torch.Tensor:
    tensor.untyped_storage().resize_(8)
    return tensor


def deep() -> Any:
    value: Any = 1
    for _ in range(200):
        value = [value]
    return value


def erased() -> Any:
    module = graph()
    node = next(iter(reversed(module.graph.nodes)))
    module.graph.erase_node(node)
    return [module, node]


def out_of_order() -> Any:
    module = graph()
    first, *_, last = module.graph.nodes
    last.append(first)
    return module


def hook_of_module() -> Any:
    module = nn.Linear(1, 1)
    module.register_forward_hook(lambda *args: None)
    return module


def parametrized() -> Any:
    return nn.utils.parametrizations.orthogonal(nn.Linear(2, 2))


def captured_by_vmap() -> Any:
    caught: list[torch.Tensor] = []
    torch.func.vmap(lambda x: caught.append(x) or x)(torch.ones(2, 2))
    return caught


class Reduces:
    def __reduce__(self) -> Any:
        return (Reduces, ())


class Shadowed:
    def method(self) -> None:
        pass


def shadowed() -> Any:
    made = Shadowed()
    vars(made)["method"] = 1
    return made


def with_an_instance() -> Any:
    module = fx.symbolic_trace(nn.ReLU())
    x, relu, _ = module.graph.nodes
    relu.args = (x, Shadowed())
    return module


def compiled() -> Any:
    from torch._inductor.output_code import OutputCode

    class OwnCode(OutputCode):
        pass

    OwnCode.__qualname__ = "OwnCode"
    return [OwnCode.__new__(OwnCode)]


THIS, PATH = __name__, f"{type(Path()).__module__}.{type(Path()).__qualname__}"
unsupported("value", lambda: {"file": object()}, "['file']", kind="builtins.object")
unsupported("own-pickling", lambda: [Reduces()], "[0]", kind=f"{THIS}.Reduces", method="Reduces.__reduce__")
unsupported("field-over-method", lambda: [shadowed()], "[0].method", member="Shadowed.method")
unsupported("instance-as-argument", with_an_instance, "graph.relu.args[1]", cls="Shadowed")
unsupported("time-zone", lambda: [datetime.time(1, tzinfo=zoneinfo.ZoneInfo("UTC"))], "[0]", cls="ZoneInfo")
unsupported("compiled", compiled, "[0]", kind=f"{THIS}.OwnCode")
unsupported("sealed-artefact", lambda: [fxarchive.SealedArtefact("kernel", 3, {})], "[0]", kind="'kernel'")
case(
    "filtered-operator",
    lambda folder: fxarchive.GraphPickler.dumps([torch.ops.prims.add.default]),
    path="[0]",
    name="torch.ops.prims.add.default",
)
case(
    "raw-node",
    lambda folder: fxarchive.GraphPickler.dumps([next(iter(graph().graph.nodes))]),
    path="[0]",
    node="input_1",
)
unsupported("nested-value", deep, "[0]" * 128)
unsupported("nested-tree-spec", lambda: [torch.utils._pytree.tree_flatten(deep())[1]], "[0]")
unsupported("lambda", lambda: [lambda: 1], "[0]")
unsupported("factory", lambda: [defaultdict(lambda: 1)], "[0]")
unsupported("flags", lambda: [Colour.RED | Colour.BLUE], "[0]")
unsupported("weak-reference", lambda: [weakref.ref(deep)], "[0]")
_FIELDS = numpy.zeros(2, "i4,f4")
unsupported("array-class", lambda: [numpy.ones(2).view(OwnArray)], "[0]", kind=f"{__name__}.OwnArray")
unsupported("array-masked", lambda: [numpy.ma.array([1], mask=[1])], "[0]")
unsupported("array-objects", lambda: [numpy.array([None])], "[0]")
unsupported("array-fields", lambda: [_FIELDS], "[0]", dtype=str(_FIELDS.dtype))
unsupported("array-dtype", lambda: [numpy.zeros(2, "V3")], "[0]", dtype="|V3")
unsupported("array-dtype-metadata", lambda: [numpy.zeros(2, numpy.dtype("f4", metadata={"a": 1}))], "[0]")
unsupported(
    "array-overlap",
    lambda: [numpy.lib.stride_tricks.sliding_window_view(numpy.ones(9, "?"), 3)],
    "[0]",
    dtype="bool",
)
unsupported("array-bools", lambda: [numpy.frombuffer(bytes([1, 2]), "?")], "[0]")
unsupported("array-characters", lambda: [numpy.frombuffer(bytes([255] * 4), "<U1")], "[0]")
unsupported("array-memory", sharing_a_part, "[1]")
unsupported("annotation", lambda: [typing.TypeVar("T")], "[0]")
unsupported("computed-attribute", reading_a_computed_attribute, "getattr_1")
unsupported("name-to-save", calling_an_odd_method, "graph 0, a method call", name="'a b'")
unsupported(
    "tensor-subclass",
    lambda: [torch.Tensor._make_wrapper_subclass(OwnTensor, (2,))],  # type: ignore[attr-defined]
    "[0]",
    kind=f"{THIS}.OwnTensor",
)
unsupported("subclass-that-does-not-build", lambda: [not_built()], "[0]", reason="no")
unsupported("live-tensor", lambda: [on_its_way()], "[0]")
unsupported(
    "script-object",
    lambda: [torch.classes.profiling._ScriptProfile()],
    "[0]",
    kind="profiling._ScriptProfile",
)
unsupported("inference-subclass", lambda: [inferred()], "[0]")
unsupported("partial-with-attributes", lambda: [with_attributes()], "[0]")
unsupported("partial-of-an-object", lambda: [functools.partial(nn.ReLU())], "[0]", kind="ReLU")
unsupported("process-bound-operator", lambda: calling_compiled_code(), "graph.aoti_call_delegate.target")
unsupported("tensor-with-history", of_tensor(lambda t: t.requires_grad_() * 2), "[0]")
unsupported("tensor-with-hooks", of_tensor(hooked), "[0]")
unsupported("nested-tensor", lambda: [torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])], "[0]")
unsupported("mkldnn-tensor", of_tensor(lambda t: t.to_mkldnn()), "[0]")
unsupported("transformed-tensor", lambda: [torch._to_functional_tensor(torch.ones(2))], "[0]")
unsupported("zeros-without-storage", lambda: [torch._efficientzerotensor(2)], "[0]")
unsupported("storage-too-small", of_tensor(shrunk), "[0]", bytes=8, needed=16)
unsupported(
    "quantized-without-weights",
    lambda: [torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)],
    "[0]",
    options={"weights": "omit"},
)
unsupported("fake-with-hooks", of_fake(lambda: hooked(torch.ones(2))), "[0]")
unsupported(
    "script-module",
    lambda: torch.jit.script(nn.ReLU()),
    "the object",
    kind="torch.jit._script.RecursiveScriptModule",
)
unsupported("compiled-module", lambda: torch.compile(nn.ReLU()), "the object")
unsupported("parametrized-module", parametrized, "the object")
unsupported("module-with-state", WithState, "the object", method="WithState.__getstate__")
unsupported("module-with-slots", WithSlots, "the object", kind="WithSlots")


@case("module-hook")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = hook_of_module()
    (key,) = module._forward_hooks
    places = {"path": f"_forward_hooks[{key}]", "hook": "hook_of_module.<locals>.<lambda>"}
    return lambda: fxarchive.dumps(module), places


unsupported(
    "graph-module-subclass",
    lambda: OwnGraphModule(nn.Module(), operator_graph().graph),
    "the object",
    kind=f"{THIS}.OwnGraphModule",
)
unsupported("no-graph", edited_graph(lambda m: m.__dict__.pop("_graph")), "graph")
unsupported(
    "forward-replaced", edited_graph(lambda m: setattr(type(m), "forward", lambda self, x: x)), "forward"
)
unsupported(
    "codegen",
    edited_graph(lambda m: m.graph.set_codegen(type("Own", (fx.graph.CodeGen,), {})())),
    "graph.codegen",
    kind="Own",
)
unsupported(
    "code-transformer",
    edited_graph(lambda m: setattr(m.graph._codegen, "_body_transformer", lambda body: body)),
    "graph.codegen",
)
unsupported("erased-node", erased, "[1]", node="output")
unsupported("order-of-nodes", out_of_order, "graph._0.args[0]", node="input_1")
unsupported(
    "metadata",
    edited_graph(lambda m: next(iter(m.graph.nodes)).meta.update(file=object())),
    "graph.input_1.meta['file']",
    kind="builtins.object",
)


def sourced(*levels: int) -> NodeSource:
    """A source with as many copies of the next one below it as each level says."""
    made = NodeSource(None, "p")
    for count in levels:
        above = NodeSource(None, "p")
        above.from_node = [made] * count
        made = above
    return made


def source_with(**changed: Any) -> Callable[[], Any]:
    def make() -> Any:
        made = NodeSource(None, "p")
        vars(made).update(changed)
        return [made]

    return make


def with_argument(value: Any) -> fx.GraphModule:
    made = operator_graph()
    list(made.graph.nodes)[1].args = ([value],)
    return made


unsupported(
    "record-as-argument",
    lambda: with_argument(NodeSource(None, "p")),
    "graph.relu_default.args[0][0]",
    kind="NodeSource",
)
unsupported("module-as-argument", lambda: with_argument(nn.Linear(2, 2)), "graph.relu_default", kind="module")


def default_beside_a_spec() -> fx.GraphModule:
    module = fx.symbolic_trace(nn.ReLU())
    spec: Any = pytree.tree_structure(((1,), {}))
    module.graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(["input"], spec, None)))  # type: ignore[arg-type]
    module.recompile()
    next(iter(module.graph.nodes)).args = (1,)
    return module


unsupported("default-beside-spec", default_beside_a_spec, "graph.codegen", node="input_1")
unsupported("spec-of-a-defaultdict", lambda: [pytree.tree_structure(defaultdict(Colour, a=1))], "[0]")
unsupported("node-source", source_with(more=1), "[0]", kind="NodeSource")
unsupported("node-source-name", source_with(pass_name=None), "[0]")
unsupported("node-source-action", source_with(action=["create"]), "[0]")
unsupported("node-source-chain", lambda: [sourced(*[1] * 200)], "[0]")
unsupported("node-source-bush", lambda: [sourced(*[2] * 16)], "[0]", count=2**17 - 1)


class Thing:
    def __init__(self, held: Any = None) -> None:
        self.held = held


TAG = "mylib.Thing"


def registered(title: str, make: Callable[[], Any], path: str, encode: Callable[[Any], Any]) -> None:
    @case(title)
    def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        def act() -> Any:
            fxarchive.register(Thing, tag=TAG, encode=encode, decode=lambda held, version: Thing(held))
            try:
                return fxarchive.dumps(make())
            finally:
                fxarchive.unregister(TAG)

        return act, {"path": path, "tag": TAG}


def raising(*args: Any) -> Any:
    raise ValueError("no")


def ring_of_things() -> Any:
    thing = Thing()
    thing.held = [thing]
    return [thing]


registered("extension-encoder", lambda: [Thing()], "[0]", raising)
registered("extension-of-itself", ring_of_things, f"[0].<{TAG}>[0]", lambda thing: thing.held)
registered("extension-too-deep", lambda: [Thing(deep())], "[0]", lambda thing: thing.held)


def registering(title: str, /, *times: dict[str, Any], **places: Any) -> None:
    @case(title)
    def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        def act() -> None:
            try:
                for options in times:
                    cls = options.pop("cls", Thing)
                    fxarchive.register(cls, **{"tag": TAG, "encode": raising, "decode": raising, **options})
            finally:
                with suppress(KeyError):
                    fxarchive.unregister(TAG)

        return act, places


registering("extension-tag", {"tag": "Thing"})
registering("extension-version", {"version": 0}, tag=TAG)
registering("registered-twice", {}, {"tag": "mylib.Other"}, tag=TAG, kind=f"{THIS}.Thing")
registering("register-arguments", {"cls": "Thing"})


def loading(title: str, version: int, decode: Callable[..., Any] | None, **places: Any) -> None:
    @case(title)
    def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        fxarchive.register(Thing, tag=TAG, version=version, encode=lambda thing: 1, decode=raising)
        data = fxarchive.dumps([Thing()])
        fxarchive.unregister(TAG)

        def act() -> Any:
            if decode is not None:
                fxarchive.register(Thing, tag=TAG, encode=raising, decode=decode)
            try:
                return fxarchive.loads(data)
            finally:
                with suppress(KeyError):
                    fxarchive.unregister(TAG)

        return act, {"tag": TAG, **places}


loading("unregistered", 1, None, package="mylib")
loading("newer-extension", 2, raising, package="mylib")
loading("extension-decoder", 1, raising)
case("user-metadata", save(lambda: [1], metadata={"file": Path("x")}), kind=PATH)
case("artefact-kind", lambda folder: fxarchive.Artefact("two words", b""))
case("artefact-kind-type", lambda folder: fxarchive.Artefact(1, b""))  # type: ignore[arg-type]
case("artefact-data", lambda folder: fxarchive.Artefact("kernel", "text"))  # type: ignore[arg-type]
case("artefact-info", lambda folder: fxarchive.Artefact("kernel", b"", {"x": object()}))
