"""What `save` refuses; in the message PATH: WHY stands below the sentence."""

from __future__ import annotations

import enum
import functools
import typing
import weakref
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal import torchbind_impls
from torch.testing._internal.two_tensor import TwoTensor

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


def of_torchbind() -> Any:
    torchbind_impls.load_torchbind_test_lib()
    return torch.classes._TorchScriptTesting._ReLUClass()


def inferred() -> torch.Tensor:
    with torch.inference_mode():
        made: torch.Tensor = TwoTensor(torch.ones(2), torch.ones(2))
    return made


def with_attributes() -> Any:
    made = functools.partial(torch.relu)
    made.name = "mine"  # type: ignore[attr-defined]
    return made


def calling_compiled_code() -> fx.GraphModule:
    made = fx.Graph()
    made.output(made.call_function(torch.ops.higher_order.inductor_compiled_code, (made.placeholder("x"),)))
    return fx.GraphModule(nn.Module(), made)


class OwnGraphModule(fx.GraphModule):
    def more(self) -> None:
        pass


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


THIS, PATH = __name__, f"{type(Path()).__module__}.{type(Path()).__qualname__}"
unsupported("value", lambda: {"file": Path("x")}, "['file']", kind=PATH)
unsupported("nested-value", deep, "[0]" * 128)
unsupported("nested-tree-spec", lambda: [torch.utils._pytree.tree_flatten(deep())[1]], "[0]")
unsupported("lambda", lambda: [lambda: 1], "[0]")
unsupported("factory", lambda: [defaultdict(lambda: 1)], "[0]")
unsupported("flags", lambda: [Colour.RED | Colour.BLUE], "[0]")
unsupported("weak-reference", lambda: [weakref.ref(deep)], "[0]")
unsupported("annotation", lambda: [typing.TypeVar("T")], "[0]")
unsupported(
    "tensor-subclass",
    lambda: [torch.Tensor._make_wrapper_subclass(OwnTensor, (2,))],  # type: ignore[attr-defined]
    "[0]",
    kind=f"{THIS}.OwnTensor",
)
unsupported("subclass-that-does-not-build", lambda: [not_built()], "[0]", reason="no")
unsupported("live-tensor", lambda: [on_its_way()], "[0]")
unsupported("script-object", lambda: [of_torchbind()], "[0]", kind="_TorchScriptTesting._ReLUClass")
unsupported("inference-subclass", lambda: [inferred()], "[0]")
unsupported("partial-with-attributes", lambda: [with_attributes()], "[0]")
unsupported("partial-of-an-object", lambda: [functools.partial(nn.ReLU())], "[0]", kind="ReLU")
unsupported("process-bound-operator", lambda: calling_compiled_code(), "graph.inductor_compiled_code.target")
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
    edited_graph(lambda m: next(iter(m.graph.nodes)).meta.update(file=Path("x"))),
    "graph.input_1.meta['file']",
    kind=PATH,
)
case("user-metadata", save(lambda: [1], metadata={"file": Path("x")}), kind=PATH)
