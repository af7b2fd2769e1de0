"""What torch.distributed.tensor says of tensors that are spread over processes: placements, specs, and DTensors.

A DTensor is the part of a tensor that one process has, with the mesh and the placements that say which part it is.
The part is kept as any tensor is, real or fake, and the rest as facts (`meshes`). Kinds and classes are a closed list;
the family needs the feature flag "distributed-tensors".
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch._library.fake_class_registry import FakeScriptObject

from fxarchive.codec import meshes, resolve
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.fast.meshes import real_mesh, stand_for
from fxarchive.codec.geometry import MAX_DIMENSIONS, check_dtype, check_integer, name_of_dtype, reason
from fxarchive.document import DISTRIBUTED_TENSORS, Value
from fxarchive.errors import InvalidDocument, MissingMesh, MissingOperator, Problem
from fxarchive.source_names import PLACEMENTS

DTENSOR = "torch.distributed.tensor.DTensor"
SPEC = "torch.distributed.tensor._dtensor_spec.DTensorSpec"
META = "torch.distributed.tensor._dtensor_spec.TensorMeta"
ORDER = "torch.distributed.tensor._dtensor_spec.ShardOrderEntry"
TYPES = "torch.distributed.tensor.placement_types"

REDUCTIONS = frozenset({"sum", "avg", "product", "min", "max", "band", "bor", "bxor"})
"""What the parts of a tensor may be waiting to be reduced by; generated source prints it."""

MOST_SPLITS = 2**31

_WHERE = "a value of torch.distributed"


def is_spread(tensor: Any) -> bool:
    """Whether ``tensor`` is a DTensor."""
    return is_class(type(tensor))


def is_class(cls: type) -> bool:
    """Whether ``cls`` is the class of DTensors."""
    return _name(cls) == DTENSOR


def _name(cls: type) -> str | None:
    """Return the name of a class of torch.distributed that is where its name says, else None."""
    if not cls.__module__.startswith("torch.distributed."):
        return None
    name = f"{cls.__module__}.{cls.__qualname__}"
    return name if resolve.look_up(name) is cls else None


def prepare(document: Any) -> None:
    """Import what makes the values of a document that has the feature flag: while it is decoded is no time for it.

    Raises:
        MissingOperator: placements are arguments of nodes, and the running torch does not write them into source.
    """
    found = resolve.imported(DTENSOR) and resolve.imported(f"{TYPES}.Shard")
    if document.get("subclasses"):
        resolve.import_quietly("torch._dynamo")  # as the first DTensor of a process does
    if not hasattr(found, "__fx_repr__") and any(
        [_places(graph["patterns"]) for graph in document["graphs"]]
    ):
        raise MissingOperator(
            [Problem(f"{TYPES}.Placement", "as an argument of a node it needs torch 2.12 or later")]
        )


def _places(value: Any) -> bool:
    """Whether a placement is in a call pattern, or in a list of them."""
    if type(value) is not list:
        return False
    return (value[:1] == ["distributed"] and _kind(value[-1]) in PLACEMENTS) or any(map(_places, value))


# placements


def _shard(enc: Encoder, value: Any) -> list[Any]:
    return ["shard", _dimension(value.dim)]


def _strided_shard(enc: Encoder, value: Any) -> list[Any]:
    splits = value.split_factor
    if type(splits) is not int or not 1 <= splits < MOST_SPLITS:
        raise Refused.because("a _StridedShard whose split factor is a symbol cannot be kept; make it static")
    return ["strided_shard", _dimension(value.dim), splits]


def _dimension(dim: Any) -> int:
    if type(dim) is not int or not -MAX_DIMENSIONS <= dim < MAX_DIMENSIONS:
        raise Refused.because("a Shard of a dimension that is no number cannot be kept")
    return dim


def _partial(enc: Encoder, value: Any) -> list[Any]:
    if value.reduce_op not in REDUCTIONS:
        raise Refused.because(
            f"a Partial that waits for {value.reduce_op!r:.40} cannot be kept; use one of "
            f"{', '.join(sorted(REDUCTIONS))}"
        )
    return ["partial", value.reduce_op]


def _placement(dec: Decoder, kind: str, *parts: Any) -> Any:
    names = {
        "shard": "Shard",
        "replicate": "Replicate",
        "partial": "Partial",
        "strided_shard": "_StridedShard",
    }
    cls = meshes.torch_class(f"{TYPES}.{names[kind]}")
    if kind == "partial":
        if parts[0] not in REDUCTIONS:
            raise InvalidDocument(_WHERE, f"its reduction is {parts[0]!r:.40}")
    elif kind != "replicate" and (type(parts[0]) is not int or abs(parts[0]) > MAX_DIMENSIONS):
        raise InvalidDocument(_WHERE, f"the dimension of a Shard is {parts[0]!r:.40}")
    if kind == "strided_shard":
        if type(parts[1]) is not int or not 1 <= parts[1] < MOST_SPLITS:
            raise InvalidDocument(_WHERE, f"the split factor of a Shard is {parts[1]!r:.40}")
        return cls(parts[0], split_factor=parts[1])
    return cls(*parts)


# meshes


def _mesh(enc: Encoder, value: Any) -> list[Any]:
    return ["mesh", *meshes.encode_mesh(enc, value)]


def _decode_mesh(dec: Decoder, kind: str, *facts: Any) -> Any:
    mesh = meshes.decode_mesh(list(facts[:4]), dec.state.setdefault("meshes", {}))
    return mesh if kind == "mesh" else _traced(dec, mesh, facts[4])


def _traced(dec: Decoder, mesh: Any, stand_in: Any) -> Any:
    """Return the stand-in for a mesh under tracing; the mesh itself where torch has none (before 2.12)."""
    if type(stand_in) is not list or len(stand_in) != 2 or stand_in[0] != "script_object":
        raise InvalidDocument(_WHERE, "what stands for a mesh is no script_object")
    found = dec.value(stand_in)
    if type(found) is not FakeScriptObject or found.script_class_name != meshes.MESH:
        raise InvalidDocument(_WHERE, "what stands for a mesh is no fake of one")
    return found if stand_for(found, mesh) else mesh


# specs


def _tensor_meta(enc: Encoder, value: Any) -> list[Any]:
    names = ("shape", "stride")
    held = enc.items([getattr(value, name) for name in names], lambda i: f".{names[i]}")
    return ["tensor_meta", *held, name_of_dtype(value.dtype)]


def _decode_tensor_meta(dec: Decoder, kind: str, size: Any, stride: Any, dtype: Any) -> Any:
    numbers = [_numbers(dec, values) for values in (size, stride)]
    if len(numbers[0]) != len(numbers[1]):
        raise InvalidDocument(_WHERE, f"it has {len(numbers[0])} sizes and {len(numbers[1])} strides")
    return meshes.torch_class(META)(*numbers, check_dtype(dtype, _WHERE))


def _numbers(dec: Decoder, values: Any) -> Any:
    """Return a torch.Size or a tuple, which torch takes turns to hold, of numbers."""
    found = dec.value(values)
    if type(found) not in (tuple, torch.Size) or len(found) > MAX_DIMENSIONS:
        raise InvalidDocument(_WHERE, f"its sizes are not up to {MAX_DIMENSIONS} numbers")
    for number in found:
        if type(number) is not torch.SymInt:
            check_integer(number, "size", _WHERE)
    return found


def _spec(enc: Encoder, value: Any) -> list[Any]:
    mesh = real_mesh(value.mesh)
    facts = meshes.encode_mesh(enc, mesh)
    stand_in = [] if mesh is value.mesh else enc.items([value.mesh], lambda i: ".mesh")
    return [
        "spec",
        ["distributed", ["mesh", *facts] if mesh is value.mesh else ["traced_mesh", *facts, stand_in[0]]],
        enc.items(value.placements, lambda i: f".placements[{i}]"),
        None if value.tensor_meta is None else enc.items([value.tensor_meta], lambda i: ".tensor_meta")[0],
        _order_of(value),
    ]


def _order_of(spec: Any) -> list[Any] | None:
    """Return ``[[dimension, [dimensions of the mesh]], ...]``, None where it follows from the placements."""
    cls = type(spec)
    if _state(cls(spec.mesh, spec.placements, spec.tensor_meta)) == _state(spec):
        return None
    try:
        if _state(cls(spec.mesh, spec.placements, spec.tensor_meta, spec.shard_order)) == _state(spec):
            return [[entry.tensor_dim, list(entry.mesh_dims)] for entry in spec.shard_order]
    except (AttributeError, TypeError, ValueError):
        pass
    raise Refused.because(
        "a DTensorSpec that its mesh, placements and order of shards do not make again cannot be kept; "
        "redistribute the tensor"
    )


def _state(spec: Any) -> dict[str, Any]:
    return {name: held for name, held in vars(spec).items() if name != "_hash"}


def _decode_spec(dec: Decoder, kind: str, mesh: Any, placements: Any, meta: Any, order: Any) -> Any:
    held = _of_kind(dec, mesh, "mesh", "traced_mesh")
    ndim = real_mesh(held).ndim
    if type(placements) is not list or len(placements) != ndim:
        raise InvalidDocument(_WHERE, "it has not one placement for each dimension of its mesh")
    placed = tuple([_of_kind(dec, value, *PLACEMENTS) for value in placements])
    described = None if meta is None else _of_kind(dec, meta, "tensor_meta")
    if described is not None:
        most = len(described.shape)
        # a scalar has no dimension to shard, which torch finds out when something is computed
        if any([not -most <= placement.dim < most for placement in placed if hasattr(placement, "dim")]):
            raise InvalidDocument(_WHERE, "a placement shards a dimension that the tensor has not")
    cls = meshes.torch_class(SPEC)
    given = () if order is None else (_decode_order(order, ndim),)
    try:
        return cls(held, placed, described, *given)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise InvalidDocument(_WHERE, f"torch does not take the spec ({reason(error):.200})") from None


def _decode_order(order: Any, ndim: int) -> tuple[Any, ...]:
    entry = meshes.torch_class(ORDER)
    found = []
    for pair in order if type(order) is list and len(order) <= MAX_DIMENSIONS else [None]:
        if (
            type(pair) is not list
            or len(pair) != 2
            or type(pair[1]) is not list
            or not 0 < len(pair[1]) <= ndim
        ):
            raise InvalidDocument(_WHERE, "its order is not dimensions and those of the mesh")
        found.append(entry(check_integer(pair[0], "dimension", _WHERE), tuple(pair[1])))
        for dim in pair[1]:
            if check_integer(dim, "dimension of the mesh", _WHERE) >= ndim:
                raise InvalidDocument(_WHERE, f"its mesh has no dimension {dim}")
    return tuple(found)


def _of_kind(dec: Decoder, value: Any, *kinds: str) -> Any:
    if (
        type(value) is not list
        or len(value) != 2
        or value[0] != "distributed"
        or _kind(value[1]) not in kinds
    ):
        raise InvalidDocument(_WHERE, f"a part of it is none of the kinds {', '.join(sorted(kinds))}")
    return dec.value(value)


# DTensors


def describe(enc: Encoder, tensor: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the row of a DTensor in `subclasses`, and the attributes that were set on it.

    Raises:
        Refused: its part, its mesh or its spec cannot be kept.
    """
    spec, meta = tensor._spec, tensor._spec.tensor_meta
    facts = None if meta is None else (*meta.shape, *meta.stride)
    own = (*tensor.size(), *tensor.stride())
    if facts is None or len(own) != len(facts) or not all(map(_agree, own, facts)):
        raise Refused.because("a DTensor of another size than its spec says cannot be kept; redistribute it")
    record: dict[str, Any] = {"kind": "distributed"}
    record["inner"] = enc.items([tensor._local_tensor], lambda i: "._local_tensor")
    (record["spec"],) = enc.items([spec], lambda i: "._spec")
    record["coordinate"] = _coordinate(spec)
    attributes = {k: v for k, v in vars(tensor).items() if k not in ("_spec", "_local_tensor")}
    return record, attributes


def _agree(x: Any, y: Any) -> bool:
    return type(x) is not int or type(y) is not int or x == y


def _coordinate(spec: Any) -> list[int] | bool:
    """Return where the running process stands in the mesh, as far as its part of the tensor depends on it.

    False where it stands outside, True where it stands inside and all parts are alike.
    """
    found = real_mesh(spec.mesh).get_coordinate()
    if found is None:
        return False
    return list(found) if any([not placement.is_replicate() for placement in spec.placements]) else True


def build(dec: Decoder, record: dict[str, Any], inner: list[Any], where: str) -> Any:
    """Build the DTensor of a row of `subclasses`.

    Raises:
        InvalidDocument: its part or its spec are not those of a DTensor.
        MissingMesh: the running process has no such mesh, or another part of the tensor.
    """
    spec = _of_kind(dec, record["spec"], "spec")
    if len(inner) != 1 or spec.tensor_meta is None or spec.tensor_meta.dtype != inner[0].dtype:
        raise InvalidDocument(where, "it is not one tensor, and the spec of it")
    here, there = _coordinate(spec), record["coordinate"]
    if type(there) is not bool and (type(there) is not list or set(map(type, there)) != {int}):
        raise InvalidDocument(where, f"its coordinate is {there!r:.80}")
    if here != there:
        raise MissingMesh(
            meshes.shown(record["spec"][1][1][1][1:5]),
            f"it {_at(here)}, and the archive has the part of a tensor of who {_at(there)}",
            "load the archive that this rank saved",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a part that requires a gradient where the whole does not
        return meshes.torch_class(DTENSOR)(inner[0], spec, requires_grad=record.get("requires_grad", False))


def _at(coordinate: Any) -> str:
    if type(coordinate) is bool:
        return f"stands {'inside' if coordinate else 'outside'}"
    return f"stands at {coordinate!r:.80}"


# values


_ENCODE: dict[str, Callable[[Encoder, Any], list[Any]]] = {
    f"{TYPES}.Shard": _shard,
    f"{TYPES}.Replicate": lambda enc, value: ["replicate"],
    f"{TYPES}.Partial": _partial,
    f"{TYPES}._StridedShard": _strided_shard,
    meshes.MESH: _mesh,
    META: _tensor_meta,
    SPEC: _spec,
}
_DECODE: dict[str, tuple[int, Callable[..., Any]]] = {
    "shard": (2, _placement),
    "replicate": (1, _placement),
    "partial": (2, _placement),
    "strided_shard": (3, _placement),
    "mesh": (5, _decode_mesh),
    "traced_mesh": (6, _decode_mesh),
    "tensor_meta": (4, _decode_tensor_meta),
    "spec": (5, _decode_spec),
}
"""Kind -> how many items its list has, the kind included, and who decodes it."""


def is_distributed(value: Any) -> bool:
    """Whether ``value`` is of a class of the closed list."""
    return _name(type(value)) in _ENCODE


def encode_distributed(enc: Encoder, value: Any) -> Value:
    """Return ``["distributed", [kind, ...]]``."""
    cls = type(value)
    if enc.operands is not None and not hasattr(cls, "__fx_repr__"):
        enc.refuse_argument(value)
    parts = _ENCODE[f"{cls.__module__}.{cls.__qualname__}"](enc, value)
    enc.features.add(DISTRIBUTED_TENSORS)
    return ["distributed", parts]


def _kind(parts: Any) -> str | None:
    if type(parts) is not list or not parts or type(parts[0]) is not str or parts[0] not in _DECODE:
        return None
    return parts[0] if len(parts) == _DECODE[parts[0]][0] else None


def decode_distributed(dec: Decoder, tagged: Value) -> Any:
    """Return the placement, mesh or spec of ``["distributed", [kind, ...]]``."""
    kind = _kind(tagged[1]) if len(tagged) == 2 else None
    if kind is None:
        raise InvalidDocument(_WHERE, "it is of no known kind")
    return _DECODE[kind][1](dec, *tagged[1])


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [
    (is_distributed, encode_distributed),
]
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"distributed": decode_distributed}
