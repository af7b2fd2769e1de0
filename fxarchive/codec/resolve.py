"""Names <-> functions of the running torch, by exact name.

A name resolves only if the shipped list has it, so the list chooses what is imported and looked up, never a
file. The way back prefers the name that most releases have (``torch.einsum`` before
``torch.functional.einsum``), and gives the same one in every process.
"""

from __future__ import annotations

import functools
import importlib
import sys
import types
import warnings
from typing import Any

import torch

from fxarchive.releases import REGISTRARS
from fxarchive.trust import WRAPPERS, aliases, is_listed, names, ordered_names, wrapped

CORE = (
    "torch", "torch.Tensor", "torch._C", "torch._C._fft", "torch._C._linalg", "torch._C._nested",
    "torch._C._nn", "torch._C._sparse", "torch._C._special", "torch._C._functorch", "torch.fft",
    "torch.functional", "torch.linalg", "torch.nn.functional", "torch.nn.grad", "torch.sparse",
    "torch.special", "torch.masked", "torch.amp.autocast_mode", "torch.autograd.function",
    "torch.autograd.grad_mode", "torch.return_types", "operator", "math", "builtins",
)  # fmt: skip
"""Scopes that ``import torch`` brings in every process; a name in one of them is preferred."""

PACKAGES = frozenset(
    {"torch", "einops", "operator", "math", "builtins", "collections", "types", "typing", "datetime"}
)
"""Packages whose modules may be imported to find a listed name."""

_WRAPPED_ATTRIBUTE = {"numpy_to_tensor_wrapper": "f", "numpy_operator_wrapper": "op"}


def resolve_function(name: str) -> Any:
    """Return the object of the running torch that a listed name says.

    Args:
        name: of a function or class in the shipped lists; names that moved are tried under each of their
        names.

    Raises:
        LookupError: the running torch has none of them, or ``name`` is not listed; its argument is the
        remedy.

    >>> resolve_function("torch.relu") is torch.relu
    True
    """
    found = _resolved.get(name)
    if found is not None:
        return found
    if not is_listed("function", name) and not is_listed("class", name):
        raise LookupError("it is not in the shipped list of names")
    for candidate in (name, *aliases().get(name, ())):
        found = _wrapper(candidate) if candidate.endswith(")") else imported(candidate)
        if found is not None:
            _resolved[name] = found
            return found
    package = name.partition(".")[0]
    if package != "torch" and package not in sys.modules:
        raise LookupError(f"install {package}, which defines it")
    raise LookupError(
        f"this torch ({torch.__version__}) has no such function; load with a release that has it"
    )


_resolved: dict[str, Any] = {}


def _wrapper(name: str) -> Any:
    """Make the object that dynamo puts around a torch-numpy function."""
    split = wrapped(name)
    if split is None:
        return None
    kind, inner = imported(split[0]), imported(split[1])
    if kind is None or inner is None:
        return None
    return kind(split[1].rpartition(".")[2] if split[0] == WRAPPERS[1] else inner)


def imported(name: str) -> Any:
    """Return what a listed name says, importing the module that defines it if that is needed."""
    found = look_up(name)
    parts = name.split(".")
    if found is not None or parts[0] not in PACKAGES:
        return found
    for cut in range(len(parts) - 1, 0, -1):
        if import_quietly(".".join(parts[:cut])):
            return look_up(name)
    return None


def import_registrar(namespace: str) -> bool:
    """Import the module of torch that registers the operators of a namespace; whether there is one and it is here."""
    module = REGISTRARS.get(namespace)
    return module is not None and import_quietly(module)


def import_quietly(module: str) -> bool:
    """Import a module that a shipped list names, never one that a file names; say whether it is there."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(module)
    except ImportError:
        return False
    return True


SCRIPT_CLASSES = "__torch__.torch.classes"
"""Beginning of the names of TorchBind classes."""


def script_class(name: str) -> Any:
    """Return the TorchBind class that a library registered in this process under ``name``, or None."""
    parts = name.removeprefix(f"{SCRIPT_CLASSES}.").split(".")
    if len(parts) != 2 or not all(map(str.isidentifier, parts)):
        return None
    try:
        return getattr(getattr(torch.classes, parts[0]), parts[1])
    except (RuntimeError, AttributeError):
        return None


def look_up(name: str) -> Any:
    """Return what ``name`` says in a module that is imported already, or None; nothing is imported."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        thing: Any = sys.modules.get(".".join(parts[:cut]))
        if thing is not None:
            for part in parts[cut:]:
                thing = _member(thing, part)
            if thing is not None:
                return thing
    return None


def _member(thing: Any, name: str) -> Any:
    """Like getattr, but not for what a module imports on demand: ``torch._dynamo`` takes two seconds."""
    return vars(thing).get(name) if isinstance(thing, types.ModuleType) else getattr(thing, name, None)


def name_of_function(thing: Any) -> str | None:
    """Return the name under which ``thing`` can be found again; None for lambdas and local functions.

    The name may be one that is not in the shipped list; `fxarchive.trust.is_listed` says so.

    >>> name_of_function(torch.nn.functional.linear), name_of_function(torch.functional.einsum)
    ('torch._C._nn.linear', 'torch.einsum')
    """
    found = _core_names().get(id(thing))
    if found is not None:
        return found[0]
    kind = type(thing)
    if kind.__module__ == "torch._dynamo.utils" and f"torch._dynamo.utils.{kind.__name__}" in WRAPPERS:
        return _name_of_wrapper(thing, kind.__name__)
    own = _own_name(thing)
    if own is not None and (is_listed("function", own) or is_listed("class", own)):
        return own
    return _other_names(len(sys.modules)).get(id(thing), (own, thing))[0]


def _name_of_wrapper(thing: Any, kind: str) -> str | None:
    if kind == "numpy_method_wrapper":
        inner: str | None = f"torch._numpy.ndarray.{thing.method}"
    else:
        held = getattr(thing, _WRAPPED_ATTRIBUTE[kind])
        public = f"torch._numpy.{getattr(held, '__name__', '')}"
        inner = public if look_up(public) is held else name_of_function(held)
    name = f"torch._dynamo.utils.{kind}({inner})"
    return name if is_listed("function", name) else None


def _own_name(thing: Any) -> str | None:
    """Return the name that ``thing`` gives itself, if it leads back to it."""
    name = getattr(thing, "__name__", None)
    qualname = getattr(thing, "__qualname__", name)
    if type(qualname) is not str or "<" in qualname:
        return None
    if isinstance(thing, types.BuiltinFunctionType):
        # a method of torch._C._VariableFunctions is made anew at each look-up, so compare by equality
        for candidate in (f"torch.{name}", f"torch._C.{name}", f"{thing.__module__}.{qualname}"):
            if look_up(candidate) == thing:
                return candidate
        return None
    if isinstance(thing, types.MethodDescriptorType | types.WrapperDescriptorType):
        owner = thing.__objclass__
        scope = (
            "torch.Tensor" if issubclass(torch.Tensor, owner) else f"{owner.__module__}.{owner.__qualname__}"
        )
        return f"{scope}.{name}" if look_up(f"{scope}.{name}") is thing else None
    own = f"{getattr(thing, '__module__', None)}.{qualname}"
    return own if look_up(own) is thing else None


@functools.cache
def _core_names() -> dict[int, tuple[str, Any]]:
    core, listed = set(CORE), [*ordered_names("functions"), *ordered_names("classes")]
    return _index([name for name in listed if name.rpartition(".")[0] in core])


@functools.lru_cache(maxsize=1)
def _other_names(modules: int) -> dict[int, tuple[str, Any]]:
    """Listed names in the modules imported so far; ``modules`` is their number, so that new ones are seen."""
    return _index(sorted(names("functions")) + sorted(names("classes")))


def _index(listed: list[str]) -> dict[int, tuple[str, Any]]:
    """Return ``{id: (name, object)}``, the first name of each; to hold the object keeps its id its own."""
    found: dict[int, tuple[str, Any]] = {}
    scopes: dict[str, Any] = {}
    for name in listed:
        scope, _, last = name.rpartition(".")
        if scope not in scopes:
            scopes[scope] = sys.modules.get(scope) or look_up(scope)
        thing = _member(scopes[scope], last)
        if thing is not None:
            found.setdefault(id(thing), (name, thing))
    return found
