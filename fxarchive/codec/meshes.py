"""Meshes of processes (DeviceMesh) as facts: the kind of device, which rank stands where, the names of dimensions.

Process groups are neither kept nor made. A load takes a mesh that the caller made and has entered (``with mesh:``), or
a slice of one (``mesh["tp"]``), where the facts are the same, and refuses where there is none. A mesh made here would
have no groups and still equal the caller's own, and torch finds the results of operators in caches by equality: with
one such mesh in the process, tensors on the caller's mesh would become tensors that cannot communicate.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from fxarchive.codec import resolve
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.fast.meshes import entered
from fxarchive.codec.geometry import reason
from fxarchive.errors import InvalidDocument, MissingMesh, MissingOperator, Problem, shortened

MESH = "torch.distributed.device_mesh.DeviceMesh"

MAX_MESH_DIMENSIONS = 16
"""Dimensions that a mesh may have (spec/limits.md)."""

MAX_RANKS = 2**20
"""Ranks that a mesh may have (spec/limits.md)."""

_WHERE = "a mesh of processes"
_FAILURES = (
    RuntimeError,
    TypeError,
    ValueError,
    AssertionError,
    LookupError,
    AttributeError,
    NotImplementedError,
)


def torch_class(name: str) -> Any:
    """Return a class of torch.distributed, by a name that is fixed in this package, importing its module.

    Raises:
        MissingOperator: the running torch is built without it, or has no such class.
    """
    available = torch.distributed.is_available()
    found = resolve.imported(name) if available else None
    if found is None:
        remedy = "load with a release that has it" if available else "load with a torch that has it built in"
        raise MissingOperator([Problem(name, remedy)])
    return found


# encoding


def encode_mesh(enc: Encoder, mesh: Any) -> list[Any]:
    """Return ``[device type, shape, ranks, names or None]``.

    Raises:
        Refused: it cannot say so, or another mesh of other groups says the same.
    """
    known: dict[str, Any] = enc.state.setdefault("meshes", {})
    try:
        facts = facts_of(mesh)
        _check(facts)
    except InvalidDocument as error:
        raise Refused.because(f"a DeviceMesh cannot be kept where {error.reason}") from None
    except _FAILURES as error:
        raise Refused.because(
            f"a DeviceMesh that cannot say its ranks cannot be kept ({reason(error):.200}); save it in a process of "
            "the mesh"
        ) from None
    if known.setdefault(repr(facts), mesh) != mesh:
        raise Refused.because(
            f"there are two {shown(facts)} that torch tells apart, and an archive does not; name their dimensions "
            "differently"
        )
    return facts


def facts_of(mesh: Any) -> list[Any]:
    """Return the four facts of a mesh."""
    ranks, names = mesh.mesh, mesh.mesh_dim_names
    return [
        mesh.device_type,
        list(ranks.shape),
        ranks.flatten().tolist(),
        None if names is None else list(names),
    ]


# decoding


def decode_mesh(facts: list[Any], known: dict[str, Any]) -> Any:
    """Return the mesh of these facts; equal facts give one mesh, which ``known`` keeps.

    Raises:
        InvalidDocument: they are not those of a mesh.
        MissingMesh: the caller has entered none like it.
    """
    _check(facts)
    key = repr(facts)
    if key not in known:
        torch_class(MESH)
        found = _entered(facts)
        if found is None:
            raise MissingMesh(
                shown(facts),
                "no mesh like it is entered",
                'load within "with mesh:", of a mesh by torch.distributed.init_device_mesh that is it or has it '
                "as a slice",
            )
        known[key] = found
    return known[key]


def shown(facts: list[Any]) -> str:
    """Return a mesh as a message names it."""
    device, shape, ranks, names = facts
    named = f", mesh_dim_names={tuple(names)}" if names else ""
    places = shortened(repr(torch.tensor(ranks).reshape(shape).tolist()), 100)
    return f"DeviceMesh({device!r}, {places}{named})"


def _entered(facts: list[Any]) -> Any:
    names = None if facts[3] is None else tuple(facts[3])
    meshes = entered()
    for mesh in meshes:
        if facts_of(mesh) == facts:
            return mesh
    for mesh in meshes if names else ():
        try:
            part = mesh[names]
            if facts_of(part) == facts:
                return part
        except _FAILURES:
            continue
    return None


def _check(facts: list[Any]) -> None:
    device, shape, ranks, names = facts
    if type(device) is not str or not _is_device(device):
        raise InvalidDocument(_WHERE, f"its kind of device is {device!r:.40}")
    for numbers, most in ((shape, MAX_MESH_DIMENSIONS), (ranks, MAX_RANKS)):
        if type(numbers) is not list or not 0 < len(numbers) <= most or set(map(type, numbers)) != {int}:
            raise InvalidDocument(_WHERE, f"its shape or its ranks are not 1 to {most} numbers")
    if min(shape) < 1 or math.prod(shape) != len(ranks):
        raise InvalidDocument(_WHERE, f"it has {len(ranks)} ranks in the shape {shape!r:.80}")
    if min(ranks) < 0 or max(ranks) >= 2**31 or len(set(ranks)) != len(ranks):
        raise InvalidDocument(_WHERE, "a rank of it is there twice, or is no number of a process")
    if names is not None and not _are_names(names, len(shape)):
        raise InvalidDocument(_WHERE, "its names are not a plain one for each dimension")


def _is_device(name: str) -> bool:
    try:
        return torch.device(name).type == name
    except RuntimeError:
        return False


def _are_names(names: Any, count: int) -> bool:
    return (
        type(names) is list
        and len(names) == count
        and all([type(name) is str and name.isidentifier() and len(name) <= 100 for name in names])
        and len(set(names)) == count
    )
