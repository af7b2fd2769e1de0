"""Operator upgraders: what replaces a call that the running torch no longer takes, one module a family.

An upgrader is a pure function on plain data, without torch; `calls` has the types. `upgraders` lists those of
fxarchive and those that other packages register under the entry point ``fxarchive.upgraders``: a callable without
arguments that returns an iterable of `Upgrader`.
"""

from __future__ import annotations

import functools
import re
from importlib.metadata import entry_points

from fxarchive.migrations.operators import (
    autograd,
    distributed,
    higher_order,
    linear_algebra,
    named_tensors,
    normalization,
    pooling,
    random,
    sparse,
    symbolic_shapes,
)
from fxarchive.migrations.operators.calls import Kind, Upgrader

ENTRY_POINT = "fxarchive.upgraders"

OWN: tuple[Upgrader, ...] = (
    *autograd.UPGRADERS,
    *higher_order.UPGRADERS,
    *linear_algebra.UPGRADERS,
    *named_tensors.UPGRADERS,
    *normalization.UPGRADERS,
    *pooling.UPGRADERS,
    *random.UPGRADERS,
    *sparse.UPGRADERS,
    *symbolic_shapes.UPGRADERS,
)


@functools.cache
def upgraders() -> dict[tuple[Kind, str], tuple[Upgrader, ...]]:
    """Return every upgrader by what it rewrites; those of other packages come before fxarchive's own.

    >>> [found.why for found in upgraders()["operator", "aten::cholesky"]]
    ['torch 2.14 removed it; torch.linalg.cholesky gives the same']
    """
    others = [
        upgrader for point in sorted(entry_points(group=ENTRY_POINT), key=str) for upgrader in point.load()()
    ]
    found: dict[tuple[Kind, str], tuple[Upgrader, ...]] = {}
    for upgrader in (*others, *OWN):
        key = (upgrader.kind, upgrader.name)
        found[key] = (*found.get(key, ()), upgrader)
    return found


@functools.cache
def methods() -> frozenset[str]:
    """Return the names of the tensor methods that some upgrader rewrites."""
    return frozenset(name for kind, name in upgraders() if kind == "method")


REMEDIES: tuple[tuple[re.Pattern[str], str], ...] = (
    (distributed.NAMESPACES, distributed.REMEDY),
    (named_tensors.OVERLOADS, named_tensors.REMEDY),
    (
        re.compile(r"prepacked::.*"),
        "torch 2.13 removed mobile's prepacked operators; capture the graph without them",
    ),
)
"""Families of operators that no upgrader can rewrite, and what to do instead."""


def remedy(name: str) -> str | None:
    """Return what to do about an operator that is gone or changed and has no upgrader, where its family says so.

    >>> remedy("prepacked::linear_clamp_run")
    "torch 2.13 removed mobile's prepacked operators; capture the graph without them"
    """
    return next((text for names, text in REMEDIES if names.fullmatch(name)), None)
