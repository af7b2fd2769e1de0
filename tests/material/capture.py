"""Graphs of one program, captured in every way that torch has: make_fx, torch.export, torch.compile, AOTAutograd."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

Program = Callable[..., Any]


@dataclass(frozen=True)
class Captured:
    """One graph: `name` is "program way", `inputs` are what it is called with."""

    name: str
    graph_module: GraphModule
    inputs: tuple[Any, ...]


@dataclass(frozen=True)
class Refused:
    """One attempt that torch itself cannot make, with the first line of what it said."""

    name: str
    reason: str


@dataclass
class Recorder:
    """A backend of torch.compile that notes each graph that is run, and the inputs of its first run."""

    graphs: list[tuple[GraphModule, tuple[Any, ...]]] = field(default_factory=list)

    def __call__(self, module: GraphModule, examples: Sequence[Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            if all(module is not known for known, _ in self.graphs):
                self.graphs.append((module, copied(args)))
            return module(*args)

        return run

    def boxed(self, module: GraphModule, examples: Sequence[Any]) -> Callable[..., Any]:
        """The same, as AOTAutograd calls compilers."""
        from functorch.compile import make_boxed_func

        return make_boxed_func(self(module, examples))


def copied(values: Any) -> tuple[Any, ...]:
    """Return ``values`` with each tensor as one of its own, which requires a gradient where it did."""

    def copy(x: torch.Tensor) -> torch.Tensor:
        return x.detach().clone().requires_grad_(x.requires_grad)

    return tuple(pytree.tree_map_only(torch.Tensor, copy, tuple(values)))


def by_make_fx(mode: str) -> Callable[[Program, tuple[Any, ...]], Iterator[tuple[GraphModule, Any]]]:
    """The way "make_fx" in tracing mode ``mode``."""

    def capture(program: Program, args: tuple[Any, ...]) -> Iterator[tuple[GraphModule, Any]]:
        flat, run = flattened(program, args)
        yield make_fx(run, tracing_mode=mode)(*copied(flat)), flat

    return capture


def by_export(program: Program, args: tuple[Any, ...]) -> Iterator[tuple[GraphModule, Any]]:
    """The way "export": the graph before and after decompositions."""
    flat, run = flattened(program, args)

    class Module(torch.nn.Module):
        def forward(self, *inputs: Any) -> Any:
            return run(*inputs)

    exported = torch.export.export(Module(), copied(flat), strict=False)
    for found in (exported, exported.run_decompositions()):
        yield found.graph_module, _inputs_of(found, flat)


def _inputs_of(exported: Any, flat: Sequence[Any]) -> tuple[Any, ...]:
    """Return what the graph of an exported program is called with: constants and tokens stand before inputs."""
    held = {**exported.constants, **exported.state_dict}
    users = iter(flat)
    return tuple(
        next(users) if spec.kind.name == "USER_INPUT" else held.get(spec.target, torch.empty(0))
        for spec in exported.graph_signature.input_specs
    )


def by_compile(dynamic: bool) -> Callable[[Program, tuple[Any, ...]], Iterator[tuple[GraphModule, Any]]]:
    """The way "compile": what dynamo hands to its backend."""

    def capture(program: Program, args: tuple[Any, ...]) -> Iterator[tuple[GraphModule, Any]]:
        torch._dynamo.reset()
        recorder = Recorder()
        torch.compile(program, backend=recorder, fullgraph=True, dynamic=dynamic)(*copied(args))
        yield from recorder.graphs

    return capture


def by_aot(dynamic: bool) -> Callable[[Program, tuple[Any, ...]], Iterator[tuple[GraphModule, Any]]]:
    """The way "aot": what AOTAutograd hands to its compilers, forward and backward."""

    def capture(program: Program, args: tuple[Any, ...]) -> Iterator[tuple[GraphModule, Any]]:
        from torch._dynamo.backends.common import aot_autograd

        torch._dynamo.reset()
        recorder = Recorder()
        backend: Any = aot_autograd(fw_compiler=recorder.boxed, bw_compiler=recorder.boxed)
        outputs = torch.compile(program, backend=backend, fullgraph=True, dynamic=dynamic)(*copied(args))
        trained = [x for x in pytree.tree_leaves(outputs) if isinstance(x, torch.Tensor) and x.requires_grad]
        if trained:
            sum(x.sum() for x in trained).backward()  # type: ignore[union-attr]
        yield from recorder.graphs

    return capture


WAYS: dict[str, Callable[[Program, tuple[Any, ...]], Iterator[tuple[GraphModule, Any]]]] = {
    "make_fx real": by_make_fx("real"),
    "make_fx fake": by_make_fx("fake"),
    "make_fx symbolic": by_make_fx("symbolic"),
    "export": by_export,
    "compile": by_compile(False),
    "compile dynamic": by_compile(True),
    "aot": by_aot(False),
    "aot dynamic": by_aot(True),
}


def regions_stay() -> Any:
    """Return a context in which dynamo leaves regions that are used once in graphs of their own."""
    from torch._dynamo import config

    name = "inline_single_use_invoke_subgraph"
    return config.patch({name: False}) if hasattr(config, name) else nullcontext()


def flattened(program: Program, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], Program]:
    """Return the tensors in ``args``, and the program as a function of these alone."""
    leaves, spec = pytree.tree_flatten(args)
    where = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]

    def run(*tensors: torch.Tensor) -> Any:
        filled = list(leaves)
        for i, tensor in zip(where, tensors, strict=True):
            filled[i] = tensor
        return program(*pytree.tree_unflatten(filled, spec))

    return tuple(leaves[i] for i in where), run


def captured(
    name: str, program: Program, args: tuple[Any, ...], ways: Sequence[str] = tuple(WAYS)
) -> Iterator[Captured | Refused]:
    """Capture one program in each of ``ways``.

    Args:
        name: put before the way in each name.
        program: called with ``args``, of which the tensors become inputs.
        ways: keys of `WAYS`.

    Yields:
        A `Captured` for each graph, its code that of its graph, or a `Refused` for each way that torch
        refuses.
    """
    for way in ways:
        torch.manual_seed(0)
        try:
            with warnings.catch_warnings(), regions_stay():
                warnings.simplefilter("ignore")
                graphs = list(WAYS[way](program, args))
        except Exception as error:
            yield Refused(f"{name} {way}", first_line(error))
            continue
        for number, (module, inputs) in enumerate(graphs):
            for part in module.modules():
                if isinstance(part, GraphModule):
                    part.recompile()  # torch.export leaves code behind that its passes made old
            yield Captured(f"{name} {way}" + (f" {number}" if number else ""), module, tuple(inputs))


def first_line(error: BaseException) -> str:
    """Return the class of an error and the first line of its text."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200] if text else ''}"
