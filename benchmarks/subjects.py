"""The objects that are saved and loaded: every peer of a workload gets the same one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.proxy_tensor import make_fx

from tests.material.models import GPT, ResNet, chain


@dataclass(frozen=True)
class Subject:
    """What is saved.

    Attributes:
        module: the graph, with weights unless they are omitted.
        inputs: positional arguments to call it with, or None when its weights are omitted.
        program: what torch.export makes of the same model, for the one peer that takes nothing else.
    """

    module: fx.GraphModule
    inputs: tuple[torch.Tensor, ...] | None
    program: ExportedProgram | None = None

    def weights(self) -> dict[str, torch.Tensor]:
        """Return parameters and buffers by name, tied ones under their first name, as safetensors asks."""
        found: dict[str, torch.Tensor] = {}
        seen: set[int] = set()
        for name, tensor in [*self.module.named_parameters(), *self.module.named_buffers()]:
            if tensor.untyped_storage().data_ptr() not in seen:
                seen.add(tensor.untyped_storage().data_ptr())
                found[name] = tensor.detach()
        return found


def build(name: str, *, quick: bool) -> Subject:
    """Return the subject of a workload, the same at every call; ``quick`` makes it small."""
    torch.manual_seed(0)
    return _BUILDERS[name](quick)


def _resnet(quick: bool) -> Subject:
    model = (ResNet(8, 1) if quick else ResNet(64, 2, classes=1000)).eval()
    inputs = (torch.randn(1, 3, 64, 64),)
    return Subject(fx.symbolic_trace(model), inputs, torch.export.export(model, inputs, strict=False))


def _gpt2(quick: bool) -> Subject:
    model, inputs = _decoder(quick, 1)
    program = torch.export.export(model, inputs, strict=False)
    return Subject(_plain(program), inputs, program)


def _gpt2_graph(quick: bool) -> Subject:
    return Subject(_gpt2(quick).module.to("meta"), None)


def _gpt2_dynamic(quick: bool) -> Subject:
    model, inputs = _decoder(quick, 2)
    # torch takes a size that is 1, or that of all positions, for a constant
    longest = model.wpe.num_embeddings - 1
    sizes = {0: Dim("batch", min=2, max=64), 1: Dim("length", min=2, max=longest)}
    program = torch.export.export(model, inputs, dynamic_shapes=(sizes,), strict=False)
    return Subject(_plain(program).to("meta"), None)


def _decoder(quick: bool, batch: int) -> tuple[Any, tuple[torch.Tensor, ...]]:
    """Return a decoder of the size of GPT-2 small, or a small one, and inputs for it."""
    vocabulary = 1000 if quick else 50257
    model = (GPT(2, 64, 2, vocabulary, 64) if quick else GPT(12, 768, 12, vocabulary, 1024)).eval()
    return model, (torch.randint(0, vocabulary, (batch, 16)),)


def _plain(program: ExportedProgram) -> fx.GraphModule:
    """Return the program as a GraphModule that takes the inputs of the model and holds its weights.

    `ExportedProgram.module` gives such a module, but with a check of its inputs and with hooks, which
    GraphPickler cannot keep.
    """
    module: Any = program.module()
    for node in list(module.graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            module.graph.erase_node(node)
    return fx.GraphModule(module, module.graph)


def _chain(*, fake_meta: bool) -> Callable[[bool], Subject]:
    def build_chain(quick: bool) -> Subject:
        module = chain(2_000 if quick else 100_000, fake_meta=fake_meta)
        return Subject(module, (torch.randn(4, 8),))

    return build_chain


def _symbolic_chain(quick: bool) -> Subject:
    """A deep decoder as the dispatcher sees it, its batch and its length symbols; the weights are inputs."""
    model = GPT(2 if quick else 53, 32, 4, 100, 64).eval()
    weights = {**dict(model.named_parameters()), **dict(model.named_buffers())}

    def run(weights: dict[str, torch.Tensor], tokens: torch.Tensor) -> Any:
        return torch.func.functional_call(model, weights, (tokens,))

    with torch.no_grad():
        module = make_fx(run, tracing_mode="symbolic")(weights, torch.randint(0, 100, (3, 17)))
    return Subject(module, None)


_BUILDERS: dict[str, Callable[[bool], Subject]] = {
    "resnet": _resnet,
    "gpt2": _gpt2,
    "gpt2-graph": _gpt2_graph,
    "gpt2-dynamic": _gpt2_dynamic,
    "chain100k": _chain(fake_meta=False),
    "chain100k-fake": _chain(fake_meta=True),
    "chain5k-symbolic": _symbolic_chain,
}


def smallest() -> Subject:
    """Return a subject of a few nodes, whose saving and loading brings the imports in before measuring."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
    inputs = (torch.ones(1, 2),)
    program = torch.export.export(model, inputs, strict=False)
    return Subject(_plain(program), inputs, program)


def silence() -> None:
    """Hide the warnings of the peers: they are not what is measured."""
    warnings.simplefilter("ignore")
