"""Names of `ShapeEnv` and `SymNode` that differ between torch releases, each behind one accessor.

Everything that fxarchive touches below the public surface of `torch.fx.experimental.symbolic_shapes` is
here; torch 2.7 to 2.15 were read for it (the attributes and when they changed stand beside each accessor).
"""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import sympy
import torch
from torch.fx.experimental import sym_node, symbolic_shapes
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils import _pytree
from torch.utils._traceback import CapturedTraceback

RELEASE = tuple(int(part) for part in torch.__version__.split(".")[:2])
"""Major and minor version of the running torch."""

_NO_HINT: Any = getattr(sym_node, "_NO_HINT", None)

_SLOC: Any = symbolic_shapes.SLoc  # type: ignore[attr-defined]
_GUARD: Any = symbolic_shapes.ShapeGuard  # type: ignore[attr-defined]

COUNTERS = ("unbacked_symint_counter", "unbacked_symfloat_counter")
"""Attributes that number new unbacked symbols: `itertools.count` through 2.9, int since 2.10."""


@cache
def known_settings() -> frozenset[str]:
    """Return the settings that the running torch's ShapeEnv takes; 2.7 and 2.8 took others."""
    parameters = inspect.signature(ShapeEnv._init).parameters
    return frozenset(name for name in parameters if name not in ("self", "co_fields"))


def new_shape_env(settings: dict[str, bool]) -> Any:
    """Return a new ShapeEnv with settings that the running torch knows."""
    make: Any = ShapeEnv
    return make(**settings)


def settings(env: Any) -> dict[str, bool]:
    """Return the settings of ``env`` by name."""
    return {
        name: bool(getattr(env.settings, name))
        for name in sorted(known_settings())
        if hasattr(env.settings, name)
    }


def hints(env: Any) -> dict[Any, Any]:
    """Return the dict of hints: `var_to_val` through 2.10, `backed_var_to_val` since."""
    found: dict[Any, Any] = vars(env).get("backed_var_to_val", vars(env).get("var_to_val"))
    return found


def real_values(env: Any) -> dict[Any, Any]:
    """Return the values of propagated real tensors: `unbacked_var_to_val` through 2.10, then another name."""
    found: dict[Any, Any] = vars(env).get(
        "real_tensor_prop_unbacked_vals", vars(env).get("unbacked_var_to_val", {})
    )
    return found


def optional(env: Any, name: str, empty: Any) -> Any:
    """Return an attribute that not every release has, or ``empty``.

    `unbacked_inputs` and `var_to_hint_override` since 2.10, `_shape_id_to_unbacked_symbol` since 2.11,
    `exclusion_constraints` since 2.12, `name_to_symbol` since 2.15, `unique_ids` since 2.8.
    """
    return vars(env).get(name, empty)


def counter(env: Any, name: str) -> int:
    """Return the number that the next unbacked symbol would get, and leave the counter alone."""
    held = getattr(env, name)
    return held if isinstance(held, int) else next(copy.copy(held))


def advance_counter(env: Any, name: str, least: int) -> None:
    """Make sure that the next unbacked symbol gets no number below ``least``."""
    value = max(counter(env, name), least)
    setattr(env, name, value if isinstance(getattr(env, name), int) else itertools.count(value))


def source_name(source: Any) -> str:
    """Return the name of a dynamo source: a method in some releases, a property in others."""
    name = source.name
    return str(name() if callable(name) else name)


def replacements_changed(env: Any) -> None:
    """Tell ``env`` that its replacements changed; since 2.12 symbolic nodes cache by a counter."""
    if "_replacements_version_counter" in vars(env):
        env._replacements_version_counter += 1
    env._update_version_counter()
    for name in ("_maybe_evaluate_static", "_find", "simplify", "replace", "get_axioms", "get_implications"):
        clear = getattr(getattr(env, name, None), "cache_clear", None)
        if clear is not None:
            clear()


@contextmanager
def without_replacements(env: Any) -> Iterator[None]:
    """Make ``env`` forget its replacements for a while."""
    replacements, env.replacements = env.replacements, {}
    count = vars(env).get("_replacements_version_counter")
    if count is not None:
        env._replacements_version_counter = 0
    env._update_version_counter()  # what torch has cached depends on the replacements
    try:
        yield
    finally:
        env.replacements = replacements
        if count is not None:
            env._replacements_version_counter = count
        env._update_version_counter()


FILLER = "_reserved_"
"""How names of symbols that nothing uses begin."""

MOST_FILLERS = 65_536
"""Hints of symbols that nothing uses, of which a file may ask for as many as its largest number says."""


def reserve_numbers(env: Any, numbers: set[int], names: set[str]) -> None:
    """Keep ``env`` from giving the numbers of existing symbols to new ones.

    Since 2.8 a symbol's number comes from a hash, probed against `unique_ids`. In 2.7 it is the count of
    hints so far, so hints of symbols that nothing uses fill the dict up to the largest number.
    """
    if "unique_ids" in vars(env):
        env.unique_ids |= numbers
        return
    held = hints(env)
    missing = min(max(numbers, default=-1) + 1, MOST_FILLERS) - len(held)
    fillers = (f"{FILLER}{number}" for number in itertools.count())
    for name in itertools.islice((name for name in fillers if name not in names), max(missing, 0)):
        held[sympy.Symbol(name, integer=True, positive=True)] = sympy.Integer(2)


def sym_node_of(expression: Any, env: Any, kind: type, hint: Any, constant: Any) -> Any:
    """Return a SymNode with the facts as they are: a missing hint stays missing and is not computed."""
    node = sym_node.SymNode(expression, env, kind, _NO_HINT if hint is None else hint, constant)
    node._hint = hint
    return node


def location() -> Any:
    """Return the place in code that restored facts are from; its first field must be a text through 2.12."""
    return _SLOC("archive", None)


def stack() -> Any:
    """Return a stack for facts whose own stack is not kept."""
    extract: Any = CapturedTraceback.extract
    return extract()


def guard(expression: Any, size_oblivious: bool) -> Any:
    """Return a ShapeGuard."""
    return _GUARD(expression, location(), size_oblivious=size_oblivious)


def key_path_classes() -> dict[str, tuple[Any, str | None]]:
    """Return the classes of elements of pytree key paths: name -> (class, its one field or None)."""

    fields = {
        "SequenceKey": (_pytree, "idx"),
        "MappingKey": (_pytree, "key"),
        "GetAttrKey": (_pytree, "name"),
        "ConvertIntKey": (symbolic_shapes, None),
        "CallMethodKey": (symbolic_shapes, "name"),
        "InnerTensorKey": (symbolic_shapes, "inner_name"),
        "DivideByKey": (symbolic_shapes, "divisor"),
    }
    return {
        name: (getattr(module, name), field)
        for name, (module, field) in fields.items()
        if hasattr(module, name)
    }
