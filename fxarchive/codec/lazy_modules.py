"""Modules of torch.nn that wait for their first input to learn their shapes (`torch.nn.LazyLinear`, ...).

Until then such a module holds two hooks of its own class, which torch registers in the constructor. They are not
stored: a record says that the module waits, and the reader registers the same two methods again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.modules.lazy import LazyModuleMixin

HANDLES = ("_load_hook", "_initialize_hook")
"""Attributes of a waiting module that hold the handles of its hooks."""


def waits(module: torch.nn.Module) -> bool:
    """Whether ``module`` is a lazy module that has not seen an input."""
    return isinstance(module, LazyModuleMixin) and "_initialize_hook" in vars(module)


def own_hooks(module: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Name the hooks that a waiting module registered itself: the attribute, and the key in it."""
    if not waits(module):
        return
    waiting: Any = module
    held = vars(module)
    initialize, load = held["_initialize_hook"].id, held["_load_hook"].id
    if held["_forward_pre_hooks"].get(initialize) == waiting._infer_parameters:
        yield "_forward_pre_hooks", initialize
    loader = held["_load_state_dict_pre_hooks"].get(load)
    if getattr(loader, "hook", loader) == waiting._lazy_load_hook:
        yield "_load_state_dict_pre_hooks", load


def make_wait(module: torch.nn.Module) -> None:
    """Register the hooks of a lazy module, as its constructor does."""
    waiting: Any = module
    waiting._load_hook = waiting._register_load_state_dict_pre_hook(waiting._lazy_load_hook)
    waiting._initialize_hook = waiting.register_forward_pre_hook(waiting._infer_parameters, with_kwargs=True)
