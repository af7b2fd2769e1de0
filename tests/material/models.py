"""Hand-written graphs, each with kinds of value that the operator and module databases do not have.

`graphs()` yields them all. `gpt` and `chain` are also the material of the benchmarks and the demo.
"""

from __future__ import annotations

import math
import operator
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.passes.fake_tensor_prop import FakeTensorProp
from torch.fx.passes.shape_prop import ShapeProp

Example = tuple[str, fx.GraphModule, tuple[Any, ...]]
Point = namedtuple("Point", ["x", "y"])


def graphs() -> Iterator[Example]:
    """Yield (name, graph module, inputs to call it with) for every builder of this file."""
    for build in BUILDERS:
        torch.manual_seed(0)
        yield build.__name__, *build()


# --- networks ---


class Residual(nn.Module):
    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        same = stride == 1 and channels == out
        self.down = (
            None
            if same
            else nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        )

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.down is None else self.down(x)))


class ResNet(nn.Module):
    """The layout of ResNet-18: `width` channels in the first stage (64 in the paper), `blocks` a stage."""

    def __init__(self, width: int = 8, blocks: int = 1, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        stages = []
        for stage in range(4):
            out = width * 2**stage
            before = width if stage == 0 else out // 2
            stages += [
                Residual(before, out, 1 if stage == 0 else 2),
                *(Residual(out, out) for _ in range(blocks - 1)),
            ]
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(width * 8, classes)

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(self.stages(self.stem(x))), 1))


class Block(nn.Module):
    def __init__(self, n_embd: int, n_head: int, block_size: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.ln_1, self.ln_2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.c_attn, self.c_proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.c_fc, self.c_out = nn.Linear(n_embd, 4 * n_embd), nn.Linear(4 * n_embd, n_embd)
        self.register_buffer("bias", torch.ones(block_size, block_size).tril().bool(), persistent=False)

    def forward(self, x):
        q, k, v = self.c_attn(self.ln_1(x)).chunk(3, dim=-1)
        batch, length, width = x.size(0), x.size(1), x.size(2)
        q, k, v = (
            t.view(batch, length, self.n_head, width // self.n_head).transpose(1, 2) for t in (q, k, v)
        )
        scores = q @ k.transpose(-2, -1) * (1.0 / math.sqrt(self.c_proj.in_features // self.n_head))
        scores = scores.masked_fill(~self.bias[:length, :length], float("-inf"))
        mixed = (F.softmax(scores, dim=-1) @ v).transpose(1, 2).reshape(batch, length, width)
        x = x + self.c_proj(mixed)
        return x + self.c_out(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class GPT(nn.Module):
    """A decoder laid out as GPT-2; n_layer=12, n_embd=768, n_head=12 has its 124 million parameters."""

    def __init__(self, n_layer: int, n_embd: int, n_head: int, vocabulary: int, block_size: int) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocabulary, n_embd)
        self.wpe = nn.Embedding(block_size, n_embd)
        self.h = nn.ModuleList(Block(n_embd, n_head, block_size) for _ in range(n_layer))
        self.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight
        self.register_buffer("positions", torch.arange(block_size))

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(self.positions[: tokens.size(1)])
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class BufferTracer(fx.Tracer):
    """Reads of buffers become nodes, so that they can be sliced by a traced length."""

    proxy_buffer_attributes = True


def gpt(
    n_layer: int = 2,
    n_embd: int = 32,
    n_head: int | None = None,
    vocabulary: int = 50257,
    block_size: int = 1024,
) -> fx.GraphModule:
    """A GPT-2-like decoder under symbolic_trace, with tied weights and a slice that holds a node.

    Args:
        n_layer, n_embd, n_head: depth, width, heads (n_embd // 64, at least 1, unless given); 12 and 768 make
            GPT-2 small with 124 million parameters.
        vocabulary, block_size: rows of the token and position embeddings.
    """
    heads = n_head or max(1, n_embd // 64)
    model = GPT(n_layer, n_embd, heads, vocabulary, block_size).eval()
    return fx.GraphModule(model, BufferTracer().trace(model), class_name="GPT")


def resnet(width: int = 8, blocks: int = 1) -> tuple[fx.GraphModule, tuple[Any, ...]]:
    """A ResNet under symbolic_trace in eval mode; width 64 and 2 blocks are ResNet-18."""
    return fx.symbolic_trace(ResNet(width, blocks).eval()), (torch.randn(2, 3, 32, 32),)


def chain(n_nodes: int, *, fake_meta: bool = False) -> fx.GraphModule:
    """A graph of `n_nodes` relu, add and mul nodes between one placeholder and the output.

    Args:
        n_nodes: how many calls.
        fake_meta: give each node but the output a FakeTensor `val` of its own, with its own storage.
    """
    graph = fx.Graph()
    x = before = graph.placeholder("x")
    create, calls = graph.create_node, (torch.relu, operator.add, torch.mul)
    for i in range(n_nodes):
        function = calls[i % 3]
        before, x = x, create("call_function", function, (x,) if i % 3 == 0 else (x, before))
    graph.output(x)
    if fake_meta:
        make = _fake_maker()
        for node in graph.nodes:
            if node.op != "output":
                node.meta["val"] = make()
    return fx.GraphModule(nn.Module(), graph)


def _fake_maker() -> Callable[[], FakeTensor]:
    """Make equal FakeTensors without the cost of their constructor, each with a storage of its own."""
    cpu = torch.device("cpu")
    first = FakeTensor(FakeTensorMode(), torch.empty(4, 8, device="meta"), cpu)
    subclass, state = torch.Tensor._make_subclass, vars(first)

    def make() -> FakeTensor:
        meta = torch.empty(4, 8, device="meta")
        fake = subclass(FakeTensor, meta, False, dispatch_device=True, device_for_backend_keys=cpu)
        torch._C._set_throw_on_mutable_data_ptr(fake)
        fake.__dict__.update(state)
        return fake

    return make


# --- kinds of value ---


def tied_decoder() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    return gpt(2, 32, 4, vocabulary=61, block_size=16), (torch.randint(0, 61, (2, 9)),)


def resnet_train_shapes() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    """Training flags that differ between modules, and `tensor_meta` with strides and memory formats."""
    module = fx.symbolic_trace(ResNet().to(memory_format=torch.channels_last).train())
    module.stages.eval()
    inputs = (torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last),)
    ShapeProp(module).propagate(*inputs)
    module.meta["note"] = {"shared": [1, 2], 3: "three"}
    return module, inputs


def fake_propagated() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    """FakeTensor values, views and in-place operations among them, with one mode."""

    def function(x):
        y = x.view(-1)
        y.mul_(2.0)
        z = y[2:5].add_(1)
        return x.transpose(0, 1), z, torch.view_as_complex(x.reshape(-1, 2).clone()).conj()

    module = fx.symbolic_trace(function)
    inputs = (torch.randn(4, 6),)
    FakeTensorProp(module).propagate(*inputs)
    return module, tuple(x.clone() for x in inputs)


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.again = self.linear
        self.tower = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Sequential(nn.Dropout(0.5), nn.Tanh())})
        self.scale = nn.Parameter(torch.ones(4), requires_grad=False)
        self.list = nn.ParameterList([torch.zeros(4), torch.ones(4)])
        self.register_buffer("whole", torch.arange(8.0))
        self.register_buffer("part", self.whole[2:6], persistent=False)
        self.register_buffer("none", None)
        self.limits = {"low": -1.5, "high": (2, [3.0])}

    def forward(self, x: torch.Tensor, factor: float = 2.0, *, mode: str = "sum") -> dict[str, Any]:
        y = self.again(self.linear(x)) * self.scale + self.part
        y = self.tower["b"](self.tower["a"](y)).clamp(min=self.limits["low"]).permute(1, 0)
        return {
            "sum": y.sum(dim=0, keepdim=True),
            "list": [y.shape[0], y + self.list[1].unsqueeze(1)],
            "given": (factor, mode),
        }


def mixed_calls() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    """All node kinds, defaults, annotations, shared modules, views among buffers, a buffer that is None."""
    return fx.symbolic_trace(Mixed().eval()), (torch.randn(3, 4),)


def pytree_inputs() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    """A codegen with pytree specs: dict, OrderedDict, list, tuple and None in, a named tuple out."""

    def function(pair, named, rest):
        return Point(pair[0] + named["b"]["c"], [named["a"] * 2, (pair[1],)])

    concrete = {
        "pair": (fx.PH, fx.PH),
        "named": {"a": fx.PH, "b": OrderedDict(c=fx.PH)},
        "rest": None,
    }
    x, y, z, w = (torch.randn(2) for _ in range(4))
    module = fx.symbolic_trace(function, concrete_args=concrete)
    return module, ((x, y), {"a": z, "b": OrderedDict(c=w)}, None)


def constants() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    """Constants of every kind that a node may hold."""
    graph = fx.Graph()
    x = graph.placeholder("x", type_expr=torch.Tensor)
    call = graph.call_function
    filled = call(
        torch.full, ((2, 3), float("-inf")), {"dtype": torch.float64, "device": torch.device("cpu")}
    )
    nan = call(torch.full, ([2, 3], math.nan), {"layout": torch.strided, "requires_grad": False})
    turned = call(torch.mul, (x, complex(0.0, -1.5)))
    small = call(operator.mul, (x, -0.0))
    large = call(operator.add, (2**80, -1))
    cut = call(operator.getitem, (x, (slice(None, None, 2), Ellipsis, None, slice(0, 3, None))))
    packed = graph.call_method(
        "to", (x,), {"dtype": torch.bfloat16, "memory_format": torch.contiguous_format}
    )
    size = call(operator.getitem, (graph.call_method("size", (cut,)), 0))
    sliced = call(operator.getitem, (x, slice(0, size, None)))
    text = call(getattr, (x, "ndim"))
    joined = call(torch.cat, ([cut, cut],), {"dim": 0})
    graph.output(
        (filled, nan, turned, small, large, [sliced, joined], {"packed": packed, "ndim": text}, range(3))
    )
    return fx.GraphModule(nn.Module(), graph, class_name="Constants"), (torch.randn(4, 3),)


def nested_graph_modules() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    """A GraphModule called by a GraphModule, twice under two names, the inner one with its own metadata."""
    inner = fx.symbolic_trace(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    inner.meta["depth"] = 1
    root = nn.Module()
    root.first, root.second = inner, inner
    root.third = fx.symbolic_trace(nn.Sigmoid())
    graph = fx.Graph()
    x = graph.placeholder("x")
    for name in ("first", "second", "third"):
        x = graph.call_module(name, (x,))
    graph.output(x)
    return fx.GraphModule(root, graph, class_name="Outer"), (torch.randn(2, 3),)


def custom_operator() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    """An operator registered by this file with torch.library."""
    return make_fx(lambda x: scaled_sin(x, 2.0) + 1, tracing_mode="fake")(torch.randn(3)), (torch.randn(3),)


@torch.library.custom_op("fxarchive_tests::scaled_sin", mutates_args=())
def scaled_sin(x: torch.Tensor, scale: float) -> torch.Tensor:
    return x.sin() * scale


@scaled_sin.register_fake
def _(x: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.empty_like(x)


def in_place_and_random() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    """make_fx before dispatch: composite operators, in-place ones, a random one."""

    def function(x, y):
        z = x.clone()
        z.add_(y).relu_()
        z[0] = 1.0
        return F.dropout(z, 0.5, True), F.linear(z, y)

    inputs = (torch.randn(3, 3), torch.randn(3, 3))
    return make_fx(function, tracing_mode="fake", pre_dispatch=True)(*inputs), inputs


def _captured(function: Callable[..., Any], *inputs: Any) -> fx.GraphModule:
    """What Dynamo hands to a backend."""
    found: list[fx.GraphModule] = []

    def backend(module: fx.GraphModule, _: Any) -> Callable[..., Any]:
        found.append(module)
        return module.forward

    torch._dynamo.reset()
    torch.compile(function, backend=backend, fullgraph=True, dynamic=False)(*inputs)
    torch._dynamo.reset()
    # what belongs to one compilation in one process, not to the graph
    found[0].meta.pop("dynamo_compile_id", None)
    for name in ("compile_subgraph_reason", "_param_name_to_source"):
        vars(found[0]).pop(name, None)
    return found[0]


def dynamo_autocast() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    def function(x, y):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            z = x @ y
        with torch.no_grad():
            return z.float().sin_() + torch.ones(3, 3, dtype=torch.float32)[0, :]

    inputs = (torch.randn(3, 3), torch.randn(3, 3))
    return _captured(function, *inputs), inputs


def dynamo_module() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    """A module under Dynamo: parameters are inputs or attributes, with stacks and sources in the metadata."""
    block = Block(16, 2, 8).eval()
    module = _captured(block, torch.randn(2, 5, 16))
    names = dict(block.named_parameters()) | dict(block.named_buffers())
    x = torch.randn(2, 5, 16)
    return module, tuple(
        _dynamo_input(node, names, x) for node in module.graph.nodes if node.op == "placeholder"
    )


def _dynamo_input(node: fx.Node, tensors: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    name = str(node.target)
    matches = [
        t for key, t in tensors.items() if key.replace(".", "_modules_") in name.replace("__", "_").lower()
    ]
    shape = node.meta["example_value"].shape
    return next((t for t in matches if t.shape == shape), x if shape == x.shape else torch.ones(shape))


def exported() -> tuple[fx.GraphModule, tuple[Any, ...]]:
    """The graph module of an ExportedProgram with static shapes: weights are inputs."""
    program = torch.export.export(Block(16, 2, 8).eval(), (torch.randn(2, 5, 16),), strict=False)
    held = {**program.state_dict, **program.constants}
    specs = program.graph_signature.input_specs
    x = torch.randn(2, 5, 16)
    return program.graph_module, tuple(held[spec.target] if spec.target else x for spec in specs)


BUILDERS: tuple[Callable[[], tuple[fx.GraphModule, tuple[Any, ...]]], ...] = (
    resnet,
    tied_decoder,
    resnet_train_shapes,
    fake_propagated,
    mixed_calls,
    pytree_inputs,
    constants,
    nested_graph_modules,
    custom_operator,
    in_place_and_random,
    dynamo_autocast,
    dynamo_module,
    exported,
)
