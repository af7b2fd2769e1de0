"""What of a `torch.nn.Module` cannot be kept: classes, hooks, and names that would replace code.

The same rules hold for what is saved and for what a file asks to put into a module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from functools import cache
from typing import Any

import torch
from torch.fx import GraphModule

from fxarchive.codec.deferral import kept_names
from fxarchive.codec.encoder import Refused
from fxarchive.codec.graph_modules import refuse_subclass
from fxarchive.errors import Problem

_STATE_METHODS = (
    "__getstate__",
    "__setstate__",
    "__reduce__",
    "__reduce_ex__",
    "__getnewargs__",
    "__getnewargs_ex__",
)

COMPILED = "_compiled_call_impl"

_IN_RECORDS = frozenset(
    {
        "training",
        "_parameters",
        "_buffers",
        "_modules",
        "_non_persistent_buffers_set",
        "_is_full_backward_hook",
    }
)
"""What every module holds and a record of it has."""

_PLAIN_DUNDERS = frozenset({"__constants__", "__overloads__", "__name__"})
"""Names of plain data: torch.jit reads the first two from a module and leaves the second in it; dynamo gives the bodies
of higher-order operators the third."""

_REMOVE_HOOK = {
    "WeightNorm": "torch.nn.utils.remove_weight_norm(module)",
    "SpectralNorm": "torch.nn.utils.remove_spectral_norm(module)",
    "BasePruningMethod": "torch.nn.utils.prune.remove(module, name)",
}


@cache
def first_values() -> dict[str, Any]:
    """Return what every `torch.nn.Module` of the running torch holds at first; releases differ in hooks."""
    return vars(torch.nn.Module())


@cache
def first_names() -> frozenset[str]:
    """Return the names in `first_values`."""
    return frozenset(first_values())


@cache
def _without_place() -> list[tuple[str, Any]]:
    """Return what of `first_values` has no place in a record."""
    return [(name, value) for name, value in first_values().items() if name not in _IN_RECORDS]


def fresh_values() -> dict[str, Any]:
    """Return what `first_values` holds, with containers of its own."""
    held = first_values().copy()
    for name, make in _containers():
        held[name] = make()
    return held


@cache
def _containers() -> list[tuple[str, Callable[[], Any]]]:
    """Name -> how to make one, of the containers in `first_values`; they are empty, of builtin classes."""
    return [
        (name, value.copy if value else type(value))
        for name, value in first_values().items()
        if not (value is None or type(value) is bool)
    ]


def refuse_class(module: torch.nn.Module, accepted: set[type]) -> None:
    """Raise `Refused` if modules of this class cannot be rebuilt from what they hold.

    ``accepted`` has the classes that passed before in the same encoding.
    """
    cls = type(module)
    held = vars(module)
    if cls in accepted and "parametrizations" not in held and "parametrizations" not in held["_modules"]:
        return
    name = f"{cls.__module__}.{cls.__qualname__}"
    if isinstance(module, GraphModule):
        refuse_subclass(module)
        return
    if isinstance(module, torch.jit.ScriptModule):
        raise Refused.because(
            f"a {name} holds TorchScript code; save the Python module that it was made from"
        )
    if name == "torch._dynamo.eval_frame.OptimizedModule":
        raise Refused.because(
            "it was made by torch.compile; save the module that it was made from (module._orig_mod)"
        )
    if isinstance(module, torch.nn.parallel.DistributedDataParallel):
        raise Refused.because("it is bound to a process group; save the module in it (module.module)")
    if cls.__module__ == "torch.export.unflatten":
        raise Refused.because(
            f"a {name} is made from an ExportedProgram; save that and unflatten it after loading"
        )
    if torch.nn.utils.parametrize.is_parametrized(module):
        raise Refused.because(
            "it is parametrized, so its class was made in this process; "
            "call torch.nn.utils.parametrize.remove_parametrizations first"
        )
    for base in cls.__mro__:
        if base.__module__.startswith("torch.nn.") or base is object:
            continue  # torch's own only fill in what archives of old releases lack
        for method in _STATE_METHODS:
            if method in vars(base) and base.__module__.startswith("torch.ao.nn.quantized."):
                raise Refused.because(f"its weights are packed for the kernels of one machine; {UNPACKED}")
            if method in vars(base):
                raise Refused.because(
                    f"{base.__qualname__}.{method} would have to run to rebuild it; save its state_dict() "
                    "instead, or take the method away if the attributes of the module are all that it needs"
                )
        slots = vars(base).get("__slots__", ())
        if set([slots] if isinstance(slots, str) else slots) - {"__dict__", "__weakref__"}:
            raise Refused.because(
                f"{base.__qualname__} keeps attributes in __slots__; keep them in the instance"
            )
    accepted.add(cls)


UNPACKED = "save the graph of prepare_fx and convert it after loading, or the one of convert_to_reference_fx"
"""What to do about modules of torch.ao whose weights are packed."""


def hooks(held: dict[str, Any], own: Set[tuple[str, Any]]) -> Iterator[Problem]:
    """Find what a module keeps, has no place in a record and is not at its first value: the hooks.

    ``own`` are hooks that the module's class registers by itself, as (attribute, key).
    Flags beside hooks (`_forward_hooks_with_kwargs` and the like) mean nothing without them: passed over.
    """
    for name, first in _without_place():
        value = held.get(name, first)
        if value == first:
            continue
        hooks = value if isinstance(value, dict) else {}
        called = {key: hook for key, hook in hooks.items() if callable(hook) and (name, key) not in own}
        for key, hook in called.items():
            yield Problem(
                f".{name}[{key!r}]",
                f"the hook {_shown(hook)} is code and code is never stored; {_remedy(name, hook)}",
            )
        if not hooks and not name.endswith(("_with_kwargs", "_always_called")):
            yield Problem(
                f".{name}",
                "torch.nn.Module keeps something here that fxarchive does not know; reset it first",
            )


def _shown(hook: Any) -> str:
    hook = getattr(hook, "hook", hook)  # torch wraps some
    return getattr(hook, "__qualname__", None) or type(hook).__qualname__


def _remedy(name: str, hook: Any) -> str:
    hook = getattr(hook, "hook", hook)
    if getattr(hook, "__module__", "").startswith("torch.ao.quantization."):
        return UNPACKED
    for cls in type(hook).__mro__:
        if cls.__module__.startswith("torch.nn.utils.") and cls.__qualname__ in _REMOVE_HOOK:
            return f"call {_REMOVE_HOOK[cls.__qualname__]} first"
    return f"remove it first with the handle of its registration, or all of them with module.{name}.clear()"


def is_member_name(name: Any) -> bool:
    """Whether `torch.nn.Module` could register a parameter, a buffer or a module under ``name``."""
    return type(name) is str and name != "" and "." not in name


def why_not_an_attribute(cls: type, name: Any) -> str | None:
    """Say why no instance of ``cls`` may hold an attribute ``name`` of its own, or return None if one may.

    An attribute must not take the place of a method, a property or anything that torch keeps.
    """
    if type(name) is not str:
        return "it is not a string"
    if name.startswith("__") and name.endswith("__") and name not in _PLAIN_DUNDERS:
        return "it has a meaning to the interpreter"
    if name == COMPILED:
        return f"it holds what module.compile() made; set module.{COMPILED} to None"
    if name in first_values() or (issubclass(cls, GraphModule) and name in kept_names()):
        return "torch keeps something else under it"
    for base in cls.__mro__:
        if name in vars(base):
            hidden = vars(base)[name]
            if callable(hidden) or hasattr(type(hidden), "__get__"):
                return f"it takes the place of {base.__qualname__}.{name}; define it in a class instead"
            return None
    return None
