"""Graphs of every module in torch's own module database: called as a leaf, and traced through.

`torch.testing._internal.common_modules.module_db` lists the classes of `torch.nn` with constructor and
forward inputs. Each one is wrapped, put under `symbolic_trace` as one `call_module` node, and traced again
with no leaf modules at all, which leaves functions and `get_attr` nodes that read its parameters.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from .op_db import FLOATS, Refused, Traced, _first_line


class Call(nn.Module):
    """Calls one module on its sample input: tensors are arguments of `forward`, all else is constant."""

    def __init__(self, inner: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.inner = inner
        leaves, spec = pytree.tree_flatten((args, kwargs))
        # In a tuple, so that a module among the inputs is not registered as a child.
        self.sample = (tuple(None if isinstance(x, torch.Tensor) else x for x in leaves), spec)
        self.where = tuple(i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor))

    # No annotations here: they would become types of the placeholders.
    def forward(self, a=None, b=None, c=None, d=None, e=None, f=None, g=None, h=None):  # type: ignore[no-untyped-def]
        constants, spec = self.sample
        leaves = list(constants)
        for i, value in zip(self.where, (a, b, c, d, e, f, g, h), strict=False):
            leaves[i] = value
        args, kwargs = pytree.tree_unflatten(leaves, spec)
        return self.inner(*args, **kwargs)


class ThroughTracer(fx.Tracer):
    """A tracer that calls no module: it records what every module does."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return False


def modules() -> Sequence[Any]:
    """Every ModuleInfo of module_db, in torch's order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_modules import module_db
    return module_db


def traced(info: Any, samples: int = 1) -> Iterator[Traced | Refused]:
    """Trace the first `samples` inputs of one module on the CPU: training and not, as a leaf and through.

    Args:
        info: a ModuleInfo of `modules()`.
        samples: how many constructor inputs, at most; those that do not construct are not counted.

    Yields:
        A `Traced` or a `Refused` for each attempt; the same ones in every run.
    """
    for training in (True, False):
        mode = "train" if training else "eval"
        for number, found in enumerate(_instances(info, training, samples)):
            name = f"{info.name}[{number}] {mode}"
            if isinstance(found, Refused):
                yield Refused(f"{name}: {found.name}", found.reason)
                continue
            module, inputs = found
            for how, tracer in (("leaf", fx.Tracer()), ("through", ThroughTracer())):
                yield _trace(f"{name} {how}", module, inputs, tracer)


def _instances(
    info: Any, training: bool, count: int
) -> Iterator[tuple[Call, tuple[torch.Tensor, ...]] | Refused]:
    from torch.testing._internal.common_utils import set_rng_seed

    set_rng_seed(0)
    dtype = next((dtype for dtype in FLOATS if dtype in info.dtypes), info.dtypes[0])
    working = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sample in info.module_inputs_func(
            info, device="cpu", dtype=dtype, requires_grad=False, training=training
        ):
            made, given = sample.constructor_input, sample.forward_input
            if given is None or working == count:
                continue
            try:
                inner = info.module_cls(*made.args, **made.kwargs)
                call = Call(inner, given.args, given.kwargs).to(dtype).train(training)
                leaves = [
                    x for x in pytree.tree_leaves((given.args, given.kwargs)) if isinstance(x, torch.Tensor)
                ]
                inputs = tuple(x.detach().clone() for x in leaves)
                call(*(x.clone() for x in inputs))
            except Exception as error:
                yield Refused(sample.desc or "sample", _first_line(error))
                continue
            working += 1
            yield call, inputs


def _trace(name: str, module: Call, inputs: tuple[torch.Tensor, ...], tracer: fx.Tracer) -> Traced | Refused:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            graph = tracer.trace(module)
            return Traced(name, fx.GraphModule(module, graph), inputs)
        except Exception as error:
            return Refused(name, _first_line(error))
