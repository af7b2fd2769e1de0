"""Graphs of every operator in torch's own operator database, on torch's own sample inputs.

`torch.testing._internal.common_methods_invocations.op_db` is what torch tests itself with: 702 entries in
2.13. Each sample is traced with `make_fx`, which records what the dispatcher sees: the graphs that
compilers get.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Traced:
    """One graph: `name` is "operator.variant[sample] mode", `inputs` are real tensors to call it with."""

    name: str
    graph_module: GraphModule
    inputs: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Refused:
    """One attempt that torch itself cannot sample or trace, with the first line of what it said."""

    name: str
    reason: str


def operators() -> Sequence[Any]:
    """Every OpInfo of op_db, in torch's order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    return op_db


def operator_name(op: Any) -> str:
    """The name of an OpInfo with its variant, unique in op_db."""
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else str(op.name)


def traced(op: Any, modes: Sequence[str] = ("real", "fake"), samples: int = 2) -> Iterator[Traced | Refused]:
    """Trace the first `samples` sample inputs of one operator, on the CPU, in each of `modes`.

    Args:
        op: an OpInfo of `operators()`.
        modes: tracing modes of `make_fx`.
        samples: how many sample inputs, at most.

    Yields:
        A `Traced` or a `Refused` for each attempt; the same ones in every run.
    """
    for number, sample in enumerate(_samples(op, samples)):
        name = f"{operator_name(op)}[{number}]"
        if isinstance(sample, Refused):
            yield sample
            continue
        for mode in modes:
            yield _trace(f"{name} {mode}", op, sample, mode)


def has_symbols(module: GraphModule) -> bool:
    """Say whether a graph holds sizes or numbers known only when it runs, as `nonzero` and `item` give."""
    return any(map(_is_symbolic, (value for node in module.graph.nodes for value in node.meta.values())))


def _is_symbolic(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return any(isinstance(size, torch.SymInt) for size in value.shape)
    if isinstance(value, (tuple, list)):
        return any(map(_is_symbolic, value))
    return isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool))


def _samples(op: Any, count: int) -> list[Any]:
    from torch.testing._internal.common_utils import set_rng_seed

    dtypes = op.supported_dtypes("cpu")
    if not dtypes:
        return [Refused(operator_name(op), "no dtype on the CPU")]
    chosen = next((dtype for dtype in FLOATS if dtype in dtypes), None) or min(dtypes, key=str)
    set_rng_seed(0)
    found = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for sample in op.sample_inputs("cpu", chosen, requires_grad=False):
                found.append(sample)
                if len(found) == count:
                    break
    except Exception as error:
        found.append(Refused(operator_name(op), _first_line(error)))
    return found or [Refused(operator_name(op), "no sample inputs")]


def _trace(name: str, op: Any, sample: Any, mode: str) -> Traced | Refused:
    leaves, spec = pytree.tree_flatten((sample.input, sample.args, sample.kwargs))
    where = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
    inputs = tuple(leaves[i].detach().clone() for i in where)

    def run(*tensors: torch.Tensor) -> Any:
        filled = list(leaves)
        for i, tensor in zip(where, tensors, strict=True):
            filled[i] = tensor
        first, args, kwargs = pytree.tree_unflatten(filled, spec)
        return op(first, *args, **kwargs)

    torch.manual_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Traced(name, make_fx(run, tracing_mode=mode)(*(x.clone() for x in inputs)), inputs)
    except Exception as error:
        return Refused(name, _first_line(error))


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200] if text else ''}"
