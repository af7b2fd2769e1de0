"""Tensors around tensors: subclasses that unwrap, plain subclasses, and what torch.func transforms leave in metadata.

A subclass unwraps by ``__tensor_flatten__`` and is built again by ``__tensor_unflatten__`` of its class, which must be
listed or trusted. `spec/schema-2-tensors.md` gives every field of a row of `subclasses`. The family needs the feature
flag "tensor-subclasses".
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from fxarchive.codec import distributed, nested_ints, symbols
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.fast import ragged
from fxarchive.codec.geometry import MAX_DIMENSIONS, check_flag, check_integer, reason
from fxarchive.codec.history import add_history
from fxarchive.codec.operators import decode_class, encode_class
from fxarchive.codec.tensors import encode_attributes, encode_tensor, fill
from fxarchive.codec.transforms import is_transformed, level_of, wrap_batched, wrap_dead
from fxarchive.document import TENSOR_SUBCLASSES, Value
from fxarchive.errors import InvalidDocument
from fxarchive.trust import check_identifier

MAX_WRAPPED = 16
"""Subclasses that may be inside of each other (spec/limits.md)."""

MAX_INNER = 1000
"""Tensors that one may unwrap to (spec/limits.md)."""

FLAGS = ("requires_grad", "computed", "parameter")
FIELDS = {
    "unwrapped": frozenset({"kind", "class", "names", "inner", "context", "size", "stride"}),
    "plain": frozenset({"kind", "class", "inner"}),
    "batched": frozenset({"kind", "inner", "dim", "level"}),
    "dead": frozenset({"kind", "inner"}),
    "distributed": frozenset({"kind", "inner", "spec", "coordinate"}),
}
"""Kind of a row -> the fields that it has; every row may have `FLAGS`, "attributes" and "grad" too."""

_OPTIONAL = frozenset({*FLAGS, "attributes", "grad"})

LIVE = {
    "AsyncCollectiveTensor": "is the result of a collective that may still be running; call its wait() first",
    "LocalTensor": "stands for the tensors of several ranks; save them one by one",
    "FunctionalTensor": "belongs to a functionalization that is going on; save outside of it",
}
"""Name of a class of torch -> why its tensors cannot be kept."""


# encoding


def encode_any_tensor(enc: Encoder, tensor: torch.Tensor) -> Value:
    """Encode a tensor of the class torch.Tensor itself, which may be one that a torch.func transform wrapped."""
    return encode_wrapped(enc, tensor) if is_transformed(tensor) else encode_tensor(enc, tensor)


def encode_wrapped(enc: Encoder, tensor: torch.Tensor) -> Value:
    """Return ``["subclass", row]``.

    Raises:
        Refused: its class has no way to unwrap it, or something in it cannot be kept.
    """
    row = enc.row("subclasses", id(tensor))
    if row is None:
        enc.document.setdefault("subclasses", [])  # type: ignore[typeddict-item]
        record, attributes = _describe(enc, tensor)
        enc.features.add(TENSOR_SUBCLASSES)
        row = enc.add("subclasses", id(tensor), record)
        enc.keep_alive(tensor)
        if attributes:
            record["attributes"] = encode_attributes(enc, attributes)
        grad = None if record.get("computed") else tensor._grad
        if grad is not None:
            (record["grad"],) = enc.items([grad], lambda i: ".grad")
    return ["subclass", row]


_CACHES = ("_sym_sizes_capsule", "_sym_strides_capsule")
"""Beginnings of the attributes where torch keeps symbolic sizes for C++."""


def _describe(enc: Encoder, tensor: torch.Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the row of ``tensor``, and the attributes that were set on it."""
    if tensor._backward_hooks or getattr(tensor, "_post_accumulate_grad_hooks", None):
        raise Refused.because(
            "a tensor with hooks cannot be kept, since hooks are code; remove them with their handles"
        )
    if tensor.is_inference():
        raise Refused.because(
            "an inference tensor of a subclass cannot be kept; use .clone() outside the mode"
        )
    if is_transformed(tensor):
        record, attributes = _of_transform(enc, tensor), dict(vars(tensor))
    elif distributed.is_spread(tensor):
        record, attributes = distributed.describe(enc, tensor)
    else:
        _check_class(type(tensor))
        unwraps = hasattr(type(tensor), "__tensor_flatten__")
        record, attributes = _unwrapped(enc, tensor) if unwraps else _plain(enc, tensor)
    if attributes.pop("_is_param", False):
        record["parameter"] = True
    if tensor.requires_grad:
        record["requires_grad"] = True
        if not tensor.is_leaf:
            if not is_fake(tensor):
                raise Refused.because("a tensor with autograd history cannot be kept; use .detach()")
            record["computed"] = True
    return record, attributes


def _check_class(cls: type) -> None:
    if cls.__module__.partition(".")[0] == "torch" and cls.__name__ in LIVE:
        raise Refused.because(f"a {cls.__qualname__} {LIVE[cls.__name__]}")
    if hasattr(cls, "__tensor_flatten__") and hasattr(cls, "__tensor_unflatten__"):
        return
    if "__torch_dispatch__" in _own_names(cls):
        raise Refused.because(
            f"a tensor of class {cls.__module__}.{cls.__qualname__} cannot be kept; give the class "
            "__tensor_flatten__ and __tensor_unflatten__, or convert it to a plain tensor"
        )


def _own_names(cls: type) -> set[str]:
    """Return the names that the classes between ``cls`` and torch's own define."""
    own = cls.__mro__[: cls.__mro__.index(torch.Tensor)]
    return {name for each in own for name in vars(each)}


def _unwrapped(enc: Encoder, tensor: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    names, context = tensor.__tensor_flatten__()
    inner = [getattr(tensor, name) for name in names]
    if len(names) > MAX_INNER:
        raise Refused.because(f"it unwraps to more than {MAX_INNER} tensors")
    size, stride = tensor.size(), tensor.stride()
    try:
        with _without_guards(inner), nested_ints.memos_kept(inner):
            twin = type(tensor).__tensor_unflatten__(
                dict(zip(names, inner, strict=True)), context, size, stride
            )
            fits = not ragged.is_fake_jagged(tensor) or ragged.is_of(twin, size, stride)
    except Exception as error:
        raise Refused.because(
            f"__tensor_unflatten__ of its class cannot build it again ({reason(error):.200}); mend the class"
        ) from None
    if not fits:
        raise Refused.because(
            "its parts do not have the sizes of its own; make it again with torch.nested.nested_tensor_from_jagged"
        )
    record: dict[str, Any] = {
        "kind": "unwrapped",
        "class": encode_class(enc, type(tensor)),
        "names": list(names),
        "inner": enc.items(inner, lambda i: f".{names[i]}"),
    }
    with enc.metadata(inert=False):
        (record["context"],) = enc.items([context], lambda i: " (its context)")
    for name, numbers in (("size", size), ("stride", stride)):
        record[name] = enc.items(tuple(numbers), lambda i, name=name: f".{name}[{i}]")  # type: ignore[misc]
    # what its class sets itself is not kept twice
    own = vars(twin)
    kept = {name: value for name, value in vars(tensor).items() if name not in own}
    return record, {name: value for name, value in kept.items() if not name.startswith(_CACHES)}


def _plain(enc: Encoder, tensor: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A subclass that adds methods only: a tensor, and the class that is put on it."""
    with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
        inner = tensor.as_subclass(torch.Tensor).detach()
    enc.keep_alive(inner)
    (held,) = enc.items([inner], lambda i: "")
    return {"kind": "plain", "class": encode_class(enc, type(tensor)), "inner": [held]}, dict(vars(tensor))


def _of_transform(enc: Encoder, tensor: torch.Tensor) -> dict[str, Any]:
    inner, facts = level_of(tensor)
    (held,) = enc.items([inner], lambda i: " (the tensor that a transform wrapped)")
    return {**facts, "inner": [held]}


def is_fake(tensor: Any) -> bool:
    """Whether all that ``tensor`` unwraps to are FakeTensors."""
    if type(tensor) is FakeTensor:
        return True
    if is_transformed(tensor):
        return is_fake(level_of(tensor)[0])
    if not hasattr(type(tensor), "__tensor_flatten__"):
        return False
    return all(map(is_fake, _parts(tensor)))


def _parts(tensor: Any) -> list[Any]:
    """Return the tensors in one that unwraps; what DTensor gives beside its own is its mesh."""
    parts = [getattr(tensor, name) for name in tensor.__tensor_flatten__()[0]]
    return parts if not distributed.is_spread(tensor) else [tensor._local_tensor]


def _without_guards(inner: list[Any]) -> Any:
    modes = [part.fake_mode for part in inner if type(part) is FakeTensor]
    environment = modes[0].shape_env if modes else None
    return nullcontext() if environment is None else environment.suppress_guards()


# decoding


def decode_wrapped(dec: Decoder, tagged: Value) -> torch.Tensor:
    """Return the tensor of ``["subclass", row]``: the same object for the same row.

    Raises:
        InvalidDocument: the row breaks a rule of `spec/schema-2-tensors.md`, or its class refuses it.
    """
    row = tagged[1]
    if type(dec.document.get("subclasses")) is not list:
        raise InvalidDocument("table subclasses", "it is not there")
    where = f"subclasses[{row}]"
    tensor: torch.Tensor = dec.row("subclasses", row, lambda record: _build(dec, record, row, where))
    return tensor


def _build(dec: Decoder, record: Any, row: int, where: str) -> torch.Tensor:
    kind = record.get("kind") if type(record) is dict else None
    if type(kind) is not str or kind not in FIELDS:
        raise InvalidDocument(where, "it is not a record of a tensor around tensors")
    if not FIELDS[kind] <= record.keys() <= FIELDS[kind] | _OPTIONAL:
        raise InvalidDocument(where, f"it does not have the fields of kind {kind}")
    requires_grad, computed, parameter = (check_flag(record, name, where) for name in FLAGS)
    if computed and not requires_grad:
        raise InvalidDocument(where, "it is computed and requires no gradient")
    inner = _inner(dec, record["inner"], row, where)
    try:
        with symbols.restoring(dec), torch.no_grad():
            tensor: torch.Tensor = _BUILD[kind](dec, record, inner, where)
            if tensor.requires_grad != requires_grad:
                tensor.requires_grad_(requires_grad)
        if ragged.is_fake_jagged(tensor):
            _restate(dec, tensor, record, where)
        if computed and tensor.is_leaf:
            _compute(tensor, _fakes_in(tensor), where)
    except (RuntimeError, TypeError, ValueError, AssertionError, LookupError, AttributeError) as error:
        raise InvalidDocument(where, f"its class cannot build it ({reason(error):.200})") from None
    if parameter:
        vars(tensor)["_is_param"] = True
    if "attributes" in record or "grad" in record:
        dec.later(lambda: fill(dec, tensor, record, where, reserved=frozenset(vars(tensor))))
    return tensor


def _inner(dec: Decoder, values: Any, row: int, where: str) -> list[Any]:
    if type(values) is not list or not 0 < len(values) <= MAX_INNER:
        raise InvalidDocument(where, "it has no list of inner tensors")
    for value in values:
        if type(value) is not list or len(value) != 2 or value[0] not in ("tensor", "fake", "subclass"):
            raise InvalidDocument(where, "what it unwraps to is not a tensor")
        if value[0] == "subclass" and not (type(value[1]) is int and value[1] < row):
            raise InvalidDocument(where, f"it unwraps to row {value[1]!r}, which is not an earlier one")
    depth = dec.state.get("depth of subclasses", 0)
    if depth >= MAX_WRAPPED:
        raise InvalidDocument(where, f"more than {MAX_WRAPPED} subclasses are inside of each other")
    dec.state["depth of subclasses"] = depth + 1
    try:
        return dec.items(values)
    finally:
        dec.state["depth of subclasses"] = depth


def _build_unwrapped(dec: Decoder, record: dict[str, Any], inner: list[Any], where: str) -> Any:
    cls: Any = _class(dec, record, where)
    unwraps = hasattr(cls, "__tensor_flatten__") and hasattr(cls, "__tensor_unflatten__")
    if not unwraps or distributed.is_class(cls):
        raise InvalidDocument(where, f"{cls!r} is not a class of tensors that unwrap")
    names = record["names"]
    if type(names) is not list or set(map(type, names)) - {str} or len(set(names)) != len(names):
        raise InvalidDocument(where, "its names are not a list of names")
    for name in names:
        check_identifier(where, name)
    if len(names) != len(inner):
        raise InvalidDocument(where, f"it has {len(names)} names and {len(inner)} inner tensors")
    size, stride = (_numbers(dec, record[name], name, where) for name in ("size", "stride"))
    if len(size) != len(stride):
        raise InvalidDocument(where, f"it has {len(size)} sizes and {len(stride)} strides")
    parts = dict(zip(names, inner, strict=True))
    nested_ints.expect(parts, size)
    nested_ints.complete_marks(inner)
    context = dec.value(record["context"])
    with nested_ints.memos_kept(inner):
        tensor = cls.__tensor_unflatten__(parts, context, torch.Size(size), tuple(stride))
    if type(tensor) is not cls or not _fits(tensor, size):
        raise InvalidDocument(where, "what its class built is of another class or size")
    return tensor


def _restate(dec: Decoder, tensor: Any, record: dict[str, Any], where: str) -> None:
    """Write the sizes of a fake jagged tensor as they were; its class computes them from the parts."""
    size, stride = (_numbers(dec, record[name], name, where) for name in ("size", "stride"))
    if not ragged.is_of(tensor, size, stride):
        raise InvalidDocument(where, "what its class built is of another size")
    ragged.restate(tensor, size, stride)


def _fits(tensor: Any, size: list[Any]) -> bool:
    built = tensor.size()
    pairs = zip(built, size, strict=False)
    return len(built) == len(size) and all([x == y for x, y in pairs if type(x) is int and type(y) is int])


def _numbers(dec: Decoder, values: Any, name: str, where: str) -> list[Any]:
    if type(values) is not list or len(values) > MAX_DIMENSIONS:
        raise InvalidDocument(where, f"its {name} is not a list of up to {MAX_DIMENSIONS} numbers")
    numbers = [
        check_integer(value, name, where) if type(value) is not list else dec.value(value) for value in values
    ]
    if not all([type(number) in (int, torch.SymInt) for number in numbers]):
        raise InvalidDocument(where, f"its {name} holds something that is no number")
    return numbers


def _build_plain(dec: Decoder, record: dict[str, Any], inner: list[Any], where: str) -> Any:
    cls: Any = _class(dec, record, where)
    if type(inner[0]) is not torch.Tensor or len(inner) != 1 or is_transformed(inner[0]):
        raise InvalidDocument(where, "it is not a class on one plain tensor")
    if "__torch_dispatch__" in _own_names(cls):
        raise InvalidDocument(where, f"{cls!r} is not a class that adds methods only")
    return torch.Tensor._make_subclass(cls, inner[0])


def _class(dec: Decoder, record: dict[str, Any], where: str) -> type:
    cls = decode_class(dec, record["class"])
    if not issubclass(cls, torch.Tensor) or cls is torch.Tensor or issubclass(cls, FakeTensor):
        raise InvalidDocument(where, f"{cls!r} is not a subclass of torch.Tensor")
    return cls


def _build_batched(dec: Decoder, record: dict[str, Any], inner: list[Any], where: str) -> Any:
    dim, level = (check_integer(record[name], name, where) for name in ("dim", "level"))
    return wrap_batched(inner[0], dim, level, where)


def _build_dead(dec: Decoder, record: dict[str, Any], inner: list[Any], where: str) -> Any:
    if not record.get("computed"):
        return wrap_dead(inner[0])
    fakes = _fakes_in(inner[0])
    return wrap_dead(inner[0], lambda wrapper: _compute(wrapper, fakes, where))


_BUILD: dict[str, Callable[[Decoder, dict[str, Any], list[Any], str], Any]] = {
    "unwrapped": _build_unwrapped,
    "plain": _build_plain,
    "batched": _build_batched,
    "dead": _build_dead,
    "distributed": distributed.build,
}


def _compute(tensor: Any, fakes: list[Any], where: str) -> None:
    """Make ``tensor``, around ``fakes``, no leaf; its history raises when it is gone back through."""
    if not fakes:
        raise InvalidDocument(where, "it is computed and not fake")
    if tensor.device.type not in ("cpu", "meta"):
        # autograd asks the device for its stream; without the device that aborts the process
        torch.empty(0, device=tensor.device)
    if is_transformed(tensor) and not _history_stays_outside():
        return
    tensor.requires_grad_(False)
    add_history(tensor, fakes[0].fake_mode)


@functools.cache
def _history_stays_outside() -> bool:
    """Whether autograd gives history to the wrapper of a transform, and not to what is inside."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    inner = FakeTensor(mode, torch.empty(0, device="meta"), torch.device("cpu"))
    wrapper = wrap_dead(inner, lambda tensor: add_history(tensor, mode))
    return wrapper.requires_grad and not wrapper.is_leaf and not inner.requires_grad


def _fakes_in(tensor: Any) -> list[Any]:
    if type(tensor) is FakeTensor:
        return [tensor]
    if is_transformed(tensor):
        return _fakes_in(level_of(tensor)[0])
    if not hasattr(type(tensor), "__tensor_flatten__"):
        return []
    return [fake for part in _parts(tensor) for fake in _fakes_in(part)]


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {torch.Tensor: encode_any_tensor}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [
    (lambda value: isinstance(value, torch.Tensor), encode_wrapped),
]
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"subclass": decode_wrapped}
