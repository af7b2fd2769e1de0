"""A torch.compile backend that saves and loads every graph it is handed, and runs what came back.

Graphs are saved where compilers save them: inside of dynamo, with its FakeTensorMode and its tracing context in
place. The programs compute what they compute with torch's own "eager" and "aot_eager" backends, down to bits,
gradients included.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from functorch.compile import min_cut_rematerialization_partition
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch._guards import TracingContext, detect_fake_mode
from torch.fx import GraphModule
from torch.nn import functional as F
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

import fxarchive

from .compare import assert_same, differences

pytestmark = pytest.mark.usefixtures("fresh_dynamo")


# programs


class Network(nn.Module):
    """Convolution, running statistics, a buffer that is written, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.out = nn.Linear(4, 5)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(self.norm(self.convolution(x))).mean((2, 3))
        self.calls.add_(1)
        return F.dropout(self.out(hidden), 0.3, self.training), hidden.sum()


class Language(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.1)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.layer(self.words(tokens))
        return hidden @ self.words.weight.t()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.mix = nn.Linear(8, 24)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.mix(self.words(tokens)).chunk(3, -1)
        return torch.softmax(query @ key.transpose(-1, -2), -1) @ value


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(checkpoint(lambda y: torch.relu(self.first(y)), x, use_reentrant=False)).sum()


class Exponential(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * gradients[0] * x.exp()


def in_place(x: Tensor, y: Tensor) -> Tensor:
    x.add_(1)
    flat = x.view(-1)
    flat.mul_(2)
    y[0] = 5
    return flat + y.sum()


def breaks(x: Tensor) -> Tensor:
    y = x.sin()
    torch._dynamo.graph_break()
    z = y.cos() * 2
    return z + 1 if z.sum() > 0 else z - 1


def random_numbers(x: Tensor) -> Tensor:
    return (
        F.dropout(x, 0.5)
        + torch.rand_like(x)
        + torch.randn(x.shape) * torch.bernoulli(torch.full_like(x, 0.5))
    )


def autocast(x: Tensor, weight: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return (x @ weight).relu().float() + x.sum()


def without_gradients(x: Tensor) -> Tensor:
    with torch.no_grad():
        fixed = x * 2
    with torch.enable_grad():
        return fixed + x * x


def views(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    top, rest = x[:2], x[2:]
    return top.t(), rest.unsqueeze(0).expand(3, -1, -1), x.diagonal()


def aliased(x: Tensor, y: Tensor) -> Tensor:
    x.mul_(2)
    return x + y


def written_views(x: Tensor, y: Tensor) -> Tensor:
    x.add_(1)
    return x.sum() * y


def containers(inputs: dict[str, Any]) -> dict[str, Any]:
    first, (second, third) = inputs["x"], inputs["more"]
    return {"sum": first + second, "list": [third, (first * third,)], "same": first}


def numbers(x: Tensor, count: int, scale: float) -> Tensor:
    return x.repeat(count) * scale + count


def shapes(x: Tensor) -> Tensor:
    rows, columns = x.shape
    return x.reshape(columns, rows)[: columns // 2] * rows + torch.arange(rows)


def kinds(x: Tensor) -> tuple[Tensor, ...]:
    return (
        x.to(torch.float64).sum(),
        (x > 0) & (x < 1),
        x.to(torch.int32) // 2,
        torch.view_as_real(torch.complex(x, x)),
    )


WEIGHT = torch.full((3,), 2.0)


def captured(x: Tensor, weight: Tensor = WEIGHT) -> Tensor:
    shift = torch.ones(3)

    def inner(y: Tensor) -> Tensor:
        return y * weight + shift

    return inner(x) + inner(x + 1)


def duplicated(x: Tensor) -> Tensor:
    return aliased(x, x)


@dataclass(frozen=True)
class Program:
    """One program: a function or a module, and inputs of the calls, one after another."""

    make: Callable[[], Callable[..., Any]]
    calls: list[tuple[Any, ...]]
    dynamic: bool | None = field(default=None)
    graphs: int = 1
    """Graphs that dynamo hands over at least."""


def _needing(*shape: int) -> Tensor:
    return torch.randn(*shape, requires_grad=True)


def _function(function: Callable[..., Any], *calls: tuple[Any, ...], **more: Any) -> Program:
    return Program(lambda: function, list(calls), **more)


def _programs() -> dict[str, Program]:
    torch.manual_seed(0)
    base = torch.randn(6)
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6]])
    return {
        "network-training": Program(Network, [(torch.randn(2, 3, 6, 6),), (torch.randn(2, 3, 6, 6),)]),
        "network-inference": Program(lambda: Network().eval(), [(torch.randn(2, 3, 6, 6),)]),
        "language-training": Program(Language, [(tokens,)]),
        "attention-dynamic": Program(Attention, [(tokens,), (tokens[:, :2],)], dynamic=True),
        "checkpointed": Program(Checkpointed, [(_needing(2, 8),)]),
        "own-gradient": _function(lambda x: Exponential.apply(x).sum(), (_needing(3),)),
        "in-place": _function(in_place, (torch.randn(2, 3), torch.randn(2))),
        "in-place-dynamic": _function(in_place, (torch.randn(2, 3), torch.randn(2)), dynamic=True),
        "breaks": _function(breaks, (_needing(3),), graphs=3),
        "random-numbers": _function(random_numbers, (_needing(3, 4),)),
        "autocast": _function(autocast, (_needing(2, 3), _needing(3, 4))),
        "without-gradients": _function(without_gradients, (_needing(3),)),
        "views": _function(views, (_needing(4, 4),)),
        "one-tensor-twice": _function(duplicated, (torch.randn(3),)),
        "overlapping-inputs": _function(written_views, (base[:4], base[2:]), graphs=1),
        "containers": _function(containers, ({"x": _needing(2), "more": (torch.ones(2), _needing(2))},)),
        "numbers": _function(numbers, (torch.randn(3), 2, 0.5), (torch.randn(3), 4, 1.5), dynamic=True),
        "shapes": _function(shapes, (_needing(4, 6),), (_needing(3, 8),), (_needing(5, 2),), dynamic=True),
        "shapes-automatic": _function(shapes, (torch.randn(4, 6),), (torch.randn(3, 8),), graphs=2),
        "kinds": _function(kinds, (torch.randn(4),)),
        "captured": _function(captured, (_needing(3),)),
    }


PROGRAMS = _programs()
WITH_BODIES = {"checkpointed", "own-gradient"}
"""Programs with higher-order operators: dynamo lets a placeholder of a body and of its caller share a metadata dict."""


# backends


class Reloading:
    """Saves and loads graphs; ``live`` lets what is loaded join the FakeTensorMode of the compilation."""

    def __init__(self, *, live: bool = False, strict: bool = False) -> None:
        self.live = live
        self.strict = strict
        self.graphs: list[GraphModule] = []

    def reload(self, module: GraphModule, inputs: Any) -> GraphModule:
        data = fxarchive.dumps(module)
        mode = detect_fake_mode(inputs)
        assert mode is not None, "no FakeTensorMode of a compilation is in place"
        loaded: GraphModule = fxarchive.loads(data, fake_mode=mode if self.live else None)
        assert fxarchive.dumps(loaded) == data
        if self.strict:
            assert_same(module, loaded)
        self.graphs.append(loaded)
        return loaded

    def dynamo(self, module: GraphModule, inputs: Any) -> Any:
        return self.reload(module, inputs)

    def autograd(self, module: GraphModule, inputs: Any, **options: Any) -> Any:
        """Compile forward and backward, each reloaded, from a graph that was reloaded."""
        half = lambda module, inputs: self.reload(module, inputs).forward  # noqa: E731
        return aot_autograd(fw_compiler=half, bw_compiler=half, **options)(
            self.reload(module, inputs), inputs
        )


def results(program: Program, backend: Any) -> list[Any]:
    """Run the program, and return outputs, inputs as they are then, all gradients and buffers."""
    torch._dynamo.reset()
    torch.manual_seed(7)
    made = program.make()
    compiled = torch.compile(made, backend=backend, dynamic=program.dynamic)
    found: list[Any] = []
    for inputs in program.calls:
        own = _copied(inputs)
        torch.manual_seed(8)
        outputs = compiled(*own)
        wanting = [
            out for out in pytree.tree_leaves(outputs) if isinstance(out, Tensor) and out.requires_grad
        ]
        if wanting:
            sum([out.real.sum() for out in wanting]).backward()  # type: ignore[union-attr]
        leaves = [leaf for leaf in pytree.tree_leaves(own) if isinstance(leaf, Tensor)]
        found.append([_plain(outputs), _plain(leaves), [_plain(leaf.grad) for leaf in leaves]])
    if isinstance(made, nn.Module):
        found.append([_plain(dict(made.named_buffers())), [_plain(each.grad) for each in made.parameters()]])
    return found


def _copied(inputs: Any) -> Any:
    """Copy inputs with the storages that they share."""
    storages: dict[int, Tensor] = {}

    def copy(tensor: Tensor) -> Tensor:
        key = tensor.untyped_storage().data_ptr()
        if key not in storages:
            storages[key] = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage().clone())
        view = storages[key].as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
        return view.clone().requires_grad_() if tensor.requires_grad else view

    with torch.no_grad():
        return pytree.tree_map_only(Tensor, copy, inputs)


def _plain(value: Any) -> Any:
    return pytree.tree_map_only(Tensor, lambda tensor: tensor.detach().clone(), value)


@functools.cache
def expected(name: str, backend: str) -> list[Any]:
    """What torch's own backend gives."""
    return results(PROGRAMS[name], backend)


@pytest.mark.parametrize("name", PROGRAMS)
def test_graphs_of_dynamo(name: str) -> None:
    reloading = Reloading(strict=name not in WITH_BODIES)
    assert differences(expected(name, "eager"), results(PROGRAMS[name], reloading.dynamo)) == []
    assert len(reloading.graphs) >= PROGRAMS[name].graphs


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_graphs_of_dynamo_and_both_graphs_of_autograd(name: str) -> None:
    reloading = Reloading()
    assert differences(expected(name, "aot_eager"), results(PROGRAMS[name], reloading.autograd)) == []
    assert len(reloading.graphs) > PROGRAMS[name].graphs


@pytest.mark.parametrize("name", ["network-training", "shapes", "in-place-dynamic", "random-numbers"])
def test_loaded_graphs_may_join_the_mode_of_the_compilation(name: str) -> None:
    reloading = Reloading(live=True)
    assert differences(expected(name, "aot_eager"), results(PROGRAMS[name], reloading.autograd)) == []


@pytest.mark.parametrize("name", ["language-training", "checkpointed"])
def test_recomputed_activations(name: str) -> None:
    cut = functools.partial(aot_autograd, partition_fn=min_cut_rematerialization_partition)
    same = lambda module, inputs: module.forward  # noqa: E731
    whole = results(PROGRAMS[name], cut(fw_compiler=same, bw_compiler=same))
    reloading = Reloading()
    backend = functools.partial(reloading.autograd, partition_fn=min_cut_rematerialization_partition)
    assert differences(whole, results(PROGRAMS[name], backend)) == []


def test_metadata_of_every_stage_is_kept() -> None:
    seen: set[str] = set()
    reloading = Reloading(strict=True)
    results(PROGRAMS["network-training"], reloading.autograd)
    for module in reloading.graphs:
        for node in module.graph.nodes:
            seen.update(map(str, node.meta))
    assert seen >= {
        "example_value", "val", "stack_trace", "nn_module_stack", "source_fn_stack", "fwd_source_fn_stack",
        "fwd_nn_module_stack", "original_aten", "seq_nr", "tensor_meta", "from_node", "grapharg", "tensor_dict",
    }  # fmt: skip
    first = reloading.graphs[0]
    assert str(first.meta["dynamo_compile_id"]).endswith("/0")
    assert first.compile_subgraph_reason.reason == "return_value"
    assert all(hasattr(node, "_dynamo_source") for node in first.graph.find_nodes(op="placeholder"))


def test_a_graph_is_saved_in_its_tracing_context() -> None:
    saved: list[tuple[bytes, bool]] = []

    def backend(module: GraphModule, inputs: Any) -> Any:
        context = TracingContext.try_get()
        assert context is not None
        assert context.fake_mode is not None
        with context.fake_mode:
            saved.append((fxarchive.dumps(module), True))
            fxarchive.loads(saved[0][0])
        saved.append((fxarchive.dumps(module), False))
        return module

    results(PROGRAMS["shapes"], backend)
    assert len({data for data, _ in saved[:2]}) == 1


def test_what_was_saved_in_a_backend_runs_later() -> None:
    reloading = Reloading()
    results(PROGRAMS["attention-dynamic"], reloading.dynamo)
    data = fxarchive.dumps(reloading.graphs[0])
    torch._dynamo.reset()
    module = Attention()
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    loaded = fxarchive.loads(data)
    tokens = torch.tensor([[1, 2, 3, 4], [4, 5, 6, 7], [1, 1, 1, 1]])
    inputs: list[Any] = []
    for node in loaded.graph.find_nodes(op="placeholder"):
        source = str(_name(node._dynamo_source))
        if isinstance(node.meta["example_value"], torch.SymInt):
            inputs.append(tokens.shape[1 if source.endswith("[1]") else 0])
        elif source.endswith("norm_type"):  # a float of the embedding, which is a tensor in the graph
            inputs.append(torch.tensor(module.words.norm_type, dtype=torch.float64))
        else:
            inputs.append(next((tensor for key, tensor in tensors.items() if _path(key) in source), tokens))
    (output, *_) = loaded(*inputs)
    assert torch.equal(output, module(tokens))


def _name(source: Any) -> Any:
    return source.name() if callable(source.name) else source.name


def _path(key: str) -> str:
    """How dynamo names a parameter."""
    *modules, last = key.split(".")
    return "".join([f"._modules['{name}']" for name in modules]) + f"._parameters['{last}']"


def test_a_graph_with_the_bytecode_of_dynamo_is_refused_with_the_remedy() -> None:
    functional_export = pytest.importorskip("torch._dynamo.functional_export")
    capture = getattr(functional_export, "dynamo_graph_capture_for_export", None)
    if capture is None:
        pytest.skip("this torch does not capture so")
    module = capture(Attention())(torch.tensor([[1, 2]]))
    with pytest.raises(fxarchive.UnsupportedValue) as caught:
        fxarchive.dumps(module)
    why = dict(caught.value.problems)["graph.codegen"]
    assert "set_codegen" in why
    assert "torch.export.export" in why
