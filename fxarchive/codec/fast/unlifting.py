"""What `ExportedProgram.module` puts around a graph, taken from a module that torch itself made.

Hooks, methods and the base class have no public names, so they are read once a process from the module of an empty
program. Nothing of them is stored in an archive but which of them a module has.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from fxarchive.codec.fast.programs import empty_program

BEFORE, AFTER, METHODS = ("enter", "check"), ("exit",), ("train", "eval")
"""Hooks that run before and after the graph, in their order, and methods that the instance holds."""


@dataclass(frozen=True)
class Parts:
    """What torch puts around a graph in this release."""

    base: type[GraphModule]
    """The class that the module's own class derives from."""
    before: dict[str, Callable[..., Any]]
    after: dict[str, Callable[..., Any]]
    methods: dict[str, Callable[..., Any]]
    """Plain functions; the module holds them bound to itself."""


@cache
def parts() -> Parts | None:
    """Return what torch puts around a graph, or None if it is not what archives know."""
    module = empty_program().module()
    base = type(module).__mro__[1]
    before, after = list(module._forward_pre_hooks.values()), list(module._forward_hooks.values())
    methods: list[Any] = [getattr(vars(module).get(name), "__func__", None) for name in METHODS]
    plain = all([isinstance(part, types.FunctionType) for part in (*before, *after, *methods)])
    with_kwargs = [key in module._forward_pre_hooks_with_kwargs for key in module._forward_pre_hooks]
    always = [key in module._forward_hooks_always_called for key in module._forward_hooks]
    if not plain or with_kwargs != [False, True] or always != [True] or not issubclass(base, GraphModule):
        return None
    return Parts(
        base,
        dict(zip(BEFORE, before, strict=True)),
        dict(zip(AFTER, after, strict=True)),
        dict(zip(METHODS, methods, strict=True)),
    )


def is_part(function: Any, part: Callable[..., Any]) -> bool:
    """Whether ``function`` is the code of ``part``, over no other values than that of an empty program."""
    if not isinstance(function, types.FunctionType) or not isinstance(part, types.FunctionType):
        return False
    held, expected = function.__closure__ or (), part.__closure__ or ()
    return function.__code__ is part.__code__ and [cell.cell_contents for cell in held] == [
        cell.cell_contents for cell in expected
    ]


@cache
def guards_class() -> type | None:
    """Return the class of modules that check inputs; torch has it from 2.9 on."""
    from torch.export import _unlift

    found = getattr(_unlift, "GuardsFn", None)
    return found if isinstance(found, type) and _convert() is not None else None


def _convert() -> Callable[..., Any] | None:
    from torch.export import _unlift

    return getattr(_unlift, "_convert_guards_code_to_fn", None)


@cache
def knows_numbered_inputs() -> bool:
    """Whether `ExportedProgram.module` takes guards over ``L['flat_args']``; with guards, but for 2.9, it does.

    Where this says no though it does, programs get guards that every release takes.
    """
    from torch.export import _unlift

    return guards_class() is None or hasattr(_unlift, "_force_ep_signature_match")


def make_guards(guards: list[str], paths: list[tuple[str, str]]) -> Any:
    """Return torch's own module that checks ``guards``, texts that `fxarchive.guards` let through.

    Args:
        guards: conditions over ``L['name']...``.
        paths: for each input, its name and the rest of the path to it.
    """
    convert = _convert()
    assert convert is not None
    # torch joins the text of the elements of a key path, so one text may stand for all after the first
    keys = [(pytree.MappingKey(name), *([rest] if rest else [])) for name, rest in paths]
    return convert(guards, keys)
