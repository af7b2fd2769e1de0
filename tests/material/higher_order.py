"""Programs with the higher-order operators that hop_db lacks, and how each of them is captured.

They follow torch's own tests of each operator; `PROGRAMS` says which ways of `capture.WAYS` torch can take.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch._higher_order_ops.invoke_subgraph import mark_compile_region
from torch.utils import checkpoint as checkpoints

from fxarchive.codec.running_torch import RunningTorch

from .capture import Captured, Refused, captured, copied

EAGER = ("make_fx real", "make_fx fake", "make_fx symbolic", "export")
COMPILED = ("compile", "compile dynamic")
TRAINED = ("compile", "aot", "aot dynamic")


@dataclass(frozen=True)
class Program:
    """A function, its inputs, the ways in which torch captures it, and what a load must trust."""

    operator: str
    """Name of the higher-order operator that the graphs call."""
    make: Callable[[], tuple[Callable[..., Any], tuple[Any, ...]]]
    ways: tuple[str, ...]
    runs: bool = True
    """Whether the graphs can be called by themselves."""
    trust: tuple[str, ...] = ()
    before_v2: bool = False
    """Whether operators that mutate become auto_functionalized, as before its second version."""


PROGRAMS: dict[str, Program] = {}


def program(operator: str, *ways: str, **options: Any) -> Any:
    """Add the decorated function, which returns a function and its inputs, to `PROGRAMS`."""

    def add(make: Callable[[], Any]) -> Callable[[], Any]:
        PROGRAMS[make.__name__] = Program(operator, make, ways, **options)
        return make

    return add


def x(*size: int, grad: bool = False) -> torch.Tensor:
    """Numbers from 0.1 up that are no round ones."""
    size = size or (3, 4)
    count = torch.Size(size).numel()
    return (torch.arange(count, dtype=torch.float32).reshape(size) / 7 + 0.1).requires_grad_(grad)


def graphs_of(name: str) -> Iterator[Captured | Refused]:
    """Capture one of `PROGRAMS` in each of its ways."""
    found = PROGRAMS[name]
    from torch._inductor import config

    function, args = found.make()
    with config.patch(enable_auto_functionalized_v2=not found.before_v2):
        yield from captured(name, function, args, found.ways)


# control flow


@program("associative_scan", "make_fx real", "make_fx symbolic")
def associative_scan() -> Any:
    from torch._higher_order_ops.associative_scan import associative_scan_op

    def function(a: torch.Tensor, b: torch.Tensor) -> Any:
        def combine(c: Any, d: Any, e: Any, f: Any) -> Any:
            return [c * e, d + f]

        return associative_scan_op(combine, [a, b], ())

    return function, (x(4, 3), x(4, 3) + 1)


@program("cond", "make_fx real", "export", *COMPILED, "aot")
def cond_with_free_variables() -> Any:
    weight = x(4, 4)

    def function(a: torch.Tensor) -> Any:
        def inner(a: torch.Tensor) -> torch.Tensor:
            return torch.cond(a.sum() > 100, lambda a: a @ weight, lambda a: a - 1, (a,))

        return torch.cond(a.mean() > 0, inner, lambda a: a * weight[0], (a,))

    return function, (x(),)


MAPS_TREES = RunningTorch.release != "2.7"
"""Whether dynamo maps over trees, and not over one tensor alone."""


@program("map_impl", "make_fx real", "make_fx symbolic", *(COMPILED if MAPS_TREES else ()))
def map_over_trees() -> Any:
    from functorch.experimental.control_flow import map as map_over

    def function(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> Any:
        def body(each: Any, c: torch.Tensor) -> Any:
            return {"sum": each["a"] + each["b"][0], "product": [each["a"] * c]}

        return map_over(body, {"a": a, "b": [b]}, c)

    return function, (x(3, 2), x(3, 2) + 1, x(2))


@mark_compile_region  # type: ignore[untyped-decorator]
def layer(a: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """What is compiled once and called twice."""
    return torch.relu(a @ weight) + 1


@program("invoke_subgraph", "compile", "aot", "export")
def invoke_subgraph_twice() -> Any:
    def function(a: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> Any:
        return layer(layer(a, first), second)

    return function, (x(4, 4), x(4, 4, grad=True), x(4, 4, grad=True))


@program("flex_attention", "compile", "make_fx real")
def flex_attention_with_blocks() -> Any:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    mask = create_block_mask(lambda b, h, q, k: q >= k, 1, 1, 128, 128, device="cpu")
    bias = x(2)

    def function(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Any:
        return flex_attention(
            q, k, v, score_mod=lambda s, b, h, m, n: s + bias[h] * (m - n), block_mask=mask, scale=0.5
        )

    return function, tuple(x(1, 2, 128, 16) / (1000 + i) for i in range(3))


# regions of modes


@program("wrap_with_set_grad_enabled", "export")
def region_without_gradients() -> Any:
    def function(a: torch.Tensor) -> Any:
        with torch.no_grad():
            b = a.sin()
        return b + a

    return function, (x(),)


@program("wrap_with_autocast", "export")
def region_of_autocast() -> Any:
    def function(a: torch.Tensor) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            b = a @ a
        return b + 1

    return function, (x(4, 4),)


@program("wrap", "compile", "compile dynamic")
def wrapped_region() -> Any:
    from torch._higher_order_ops.wrap import wrap

    return lambda a, b: wrap(lambda a, b: a.sin() + b, a, b), (x(), x())


@program("hints_wrapper", "compile", "aot", "export")
def hinted_region() -> Any:
    from torch._higher_order_ops.hints_wrap import hints_wrapper

    def function(a: torch.Tensor, b: torch.Tensor) -> Any:
        return hints_wrapper(lambda a, b: a + b, (a, b), {}, hints={"outer": True, "size": 3})

    return function, (x(), x())


@program("strict_mode", "make_fx real", "make_fx symbolic", "compile", "export")
def strict_region() -> Any:
    from torch._higher_order_ops.strict_mode import strict_mode

    return lambda a: strict_mode(lambda a: (a.sin() + 1,), (a,)), (x(),)


@program("out_dtype", "make_fx real", "export", *COMPILED)
def other_accumulator() -> Any:
    from torch._higher_order_ops.out_dtype import out_dtype

    integers = torch.randint(-128, 127, (5, 5), dtype=torch.int8)
    return lambda a: out_dtype(torch.ops.aten.mm.default, torch.int32, a, integers.t()), (integers,)


@program("foreach_map", "compile", "aot")
def foreach_map_of_add() -> Any:
    from torch._higher_order_ops.foreach_map import foreach_map

    return lambda a, b: foreach_map(torch.add, [a, b], [b, a]), (x(), x() + 1)


@program("print", *EAGER, "compile", "aot")
def printed() -> Any:
    by_place = RunningTorch.release != "2.10"  # where it is new and takes values by name alone

    def function(a: torch.Tensor) -> Any:
        if by_place:
            torch._higher_order_ops.print("value {} {name}", 1, name=2)
        else:
            torch._higher_order_ops.print("value {name}", name=2)
        return a + 1

    return function, (x(),)


@program("dynamo_bypassing_wrapper", "compile", trust=(f"{__name__}.calls_it",))
def bypassed() -> Any:
    from torch._higher_order_ops.wrap import dynamo_bypassing_wrapper

    return lambda a: dynamo_bypassing_wrapper(calls_it, lambda a: a.sin() * 2, a), (x(),)


def calls_it(function: Callable[..., Any]) -> Callable[..., Any]:
    """A wrapper of dynamo_bypassing_wrapper at module level."""
    return function


# checkpoints


def region(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """What the checkpoints below go around."""
    return torch.sigmoid(torch.nn.functional.dropout(a @ b, 0.5)) * 2


@program("tag_activation_checkpoint", *TRAINED)
def checkpointed() -> Any:
    def function(a: torch.Tensor, b: torch.Tensor) -> Any:
        return checkpoints.checkpoint(region, a, b, use_reentrant=False, preserve_rng_state=True)

    return function, (x(4, 4, grad=True), x(4, 4, grad=True))


@program("tag_activation_checkpoint", *TRAINED)
def checkpointed_by_operators() -> Any:
    contexts = functools.partial(
        checkpoints.create_selective_checkpoint_contexts, [torch.ops.aten.mm.default]
    )

    def function(a: torch.Tensor, b: torch.Tensor) -> Any:
        return checkpoints.checkpoint(region, a, b, use_reentrant=False, context_fn=contexts)

    return function, (x(4, 4, grad=True), x(4, 4, grad=True))


# autograd


class Cube(torch.autograd.Function):
    """A function with a backward of its own."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.save_for_backward(a)
        ctx.factor = factor
        return a**3 * factor

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        (a,) = ctx.saved_tensors
        return 3 * a**2 * grad * ctx.factor, None


@program("autograd_function_apply", *TRAINED)
def autograd_function() -> Any:
    return lambda a: Cube.apply(a, 2.0) + 1, (x(grad=True),)


@program("run_and_save_rng_state", "make_fx fake", "make_fx symbolic", runs=False)
def random_state_that_is_saved() -> Any:
    from torch._prims.rng_prims import run_and_save_rng_state

    def function(a: torch.Tensor) -> Any:
        return run_and_save_rng_state(torch.ops.aten.native_dropout.default, a, 0.5, True)

    return function, (x(),)


@program("run_with_rng_state", "make_fx real", "make_fx fake")
def random_state_that_is_set() -> Any:
    from torch._prims.rng_prims import run_with_rng_state

    def function(state: torch.Tensor, a: torch.Tensor) -> Any:
        return run_with_rng_state(state, torch.ops.aten.native_dropout.default, a, 0.5, True)

    return function, (torch.get_rng_state(), x())


# operators that change their arguments, and effects


@functools.cache
def library() -> Any:
    """Operators of a namespace of their own: one that mutates, one on lists, and one with an effect."""
    made = torch.library.Library("fxarchive_higher_order", "FRAGMENT")
    made.define("scale_(Tensor(a!) x, float by, Tensor? extra=None) -> ()")
    made.define("add_all_(Tensor(a!)[] xs, Tensor y) -> Tensor")
    made.define("note(Tensor x, str text) -> Tensor")
    made.impl("scale_", _scale, "CompositeExplicitAutograd")
    made.impl("add_all_", _add_all, "CompositeExplicitAutograd")
    made.impl("note", lambda a, text: a.clone(), "CompositeExplicitAutograd")
    torch.library.register_fake("fxarchive_higher_order::scale_", lambda a, by, extra=None: None, lib=made)
    torch.library.register_fake("fxarchive_higher_order::add_all_", lambda xs, y: y.clone(), lib=made)
    torch.library.register_fake("fxarchive_higher_order::note", lambda a, text: torch.empty_like(a), lib=made)
    from torch._higher_order_ops.effects import _EffectType, _register_effectful_op

    _register_effectful_op(torch.ops.fxarchive_higher_order.note.default, _EffectType.ORDERED)
    return made


def _scale(a: torch.Tensor, by: float, extra: torch.Tensor | None = None) -> None:
    a.mul_(by)


def _add_all(xs: list[torch.Tensor], y: torch.Tensor) -> torch.Tensor:
    for each in xs:
        each.add_(y)
    return y.clone()


@program("auto_functionalized_v2", "aot", "aot dynamic", "export")
def mutates_a_view() -> Any:
    library()

    def function(a: torch.Tensor) -> Any:
        b = a.clone()
        torch.ops.fxarchive_higher_order.scale_(b[1:], 2.0)
        torch.ops.fxarchive_higher_order.scale_(b.t(), 3.0, a)
        return b

    return function, (x(4, 4),)


@program("auto_functionalized_v2", "aot", "aot dynamic")
def mutates_a_list() -> Any:
    library()

    def function(a: torch.Tensor) -> Any:
        b = a + 1
        return torch.ops.fxarchive_higher_order.add_all_([b[0], b[2], b[1:, 2]], a[0, 0]), b

    return function, (x(4, 4),)


@program("auto_functionalized", "aot", before_v2=True)
def mutates_as_before() -> Any:
    library()

    def function(a: torch.Tensor) -> Any:
        b = a.clone()
        torch.ops.fxarchive_higher_order.scale_(b, 2.0)
        return b

    return function, (x(),)


@program("with_effects", "aot", "export")
def effects() -> Any:
    library()

    def function(a: torch.Tensor) -> Any:
        b = torch.ops.fxarchive_higher_order.note(a, "first")
        return torch.ops.fxarchive_higher_order.note(b + 1, "second") * 2

    return function, (x(),)


# graphs that only passes make


def region_graph() -> fx.GraphModule:
    """A body for the graphs below."""
    return fx.symbolic_trace(lambda a, b: (torch.sigmoid(a) * b,))


class LoweredBackendModule(nn.Module):
    """As executorch's class, which the operator knows by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.original_module = region_graph()

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> Any:
        return self.original_module(a, b)


def calling(operator: Any, body: Any, args: Callable[[Any, Any, Any], Any], **kwargs: Any) -> fx.GraphModule:
    """Return a graph that calls ``operator`` with a body and two inputs, as ``args`` orders them."""
    graph = fx.Graph()
    inputs = [graph.placeholder(name) for name in ("a", "b")]
    graph.output(graph.call_function(operator, args(graph.create_node("get_attr", "body"), *inputs), kwargs))
    return fx.GraphModule({"body": body}, graph)


def made() -> Iterator[tuple[str, Captured, tuple[str, ...]]]:
    """Yield the operator, a graph made by hand as passes make it, and what a load must trust."""
    from torch._higher_order_ops.executorch_call_delegate import executorch_call_delegate
    from torch._higher_order_ops.run_const_graph import run_const_graph
    from torch._higher_order_ops.wrap import wrap_activation_checkpoint

    a, b = x(), x() + 1
    lowered = f"{__name__}.LoweredBackendModule"
    for name, module, trust in (
        (
            "wrap_activation_checkpoint",
            calling(
                wrap_activation_checkpoint,
                region_graph(),
                lambda *args: args,
                use_reentrant=False,
                preserve_rng_state=False,
            ),
            (),
        ),
        (
            "run_const_graph",
            calling(run_const_graph, region_graph(), lambda body, a, b: (body, (a, b))),
            (),
        ),
        (
            "executorch_call_delegate",
            calling(executorch_call_delegate, LoweredBackendModule(), lambda *args: args),
            (lowered,),
        ),
        (
            "_export_tracepoint",
            calling(
                torch.ops.higher_order._export_tracepoint,
                region_graph(),
                lambda body, a, b: (a, b),
                kind="module_call_inputs",
                path="layers.0",
            ),
            (),
        ),
    ):
        yield name, Captured(name, module, copied((a, b))), trust
