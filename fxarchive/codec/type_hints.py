"""Type annotations that are not classes: ``typing.Optional[torch.Tensor]``, ``list[int]``, ``int | None``.

They reach generated source, so they are written from a closed table of names, never from text of the file.
"""

from __future__ import annotations

import collections.abc
import re
import types
import typing
from collections.abc import Callable
from typing import Any

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.document import Value
from fxarchive.errors import InvalidDocument

_TYPING = (
    "Any", "Callable", "ClassVar", "Deque", "DefaultDict", "Dict", "Final", "FrozenSet", "Generator",
    "Iterable", "Iterator",
    "List", "Literal", "Mapping", "MutableMapping", "MutableSequence", "NoReturn", "Optional",
    "OrderedDict", "Sequence",
    "Set", "Tuple", "Type", "Union",
)  # fmt: skip

ORIGINS: dict[str, Any] = {
    **{f"typing.{name}": getattr(typing, name) for name in _TYPING},
    **{
        name: getattr(collections.abc, name)
        for name in ("Callable", "Iterable", "Iterator", "Mapping", "Sequence")
    },
    **{kind.__name__: kind for kind in (list, tuple, dict, set, frozenset, type)},
}
"""Name -> what stands before the brackets; ``|`` is the union of types that ``X | Y`` makes."""

_FORWARD = "typing.ForwardRef"
_PLAIN_NAME = re.compile(r"(?!\d|__)\w+(\.(?!\d|__)\w+)*", re.ASCII)
"""What a reference may hold: whoever resolves it evaluates it, so it is a name and nothing that is called."""

_NAMES = {id(origin): name for name, origin in ORIGINS.items()}


def is_annotation(value: Any) -> bool:
    """Whether ``value`` is a construct of `typing` or a subscripted builtin."""
    return type(value).__module__ in ("typing", "types") and (
        isinstance(value, types.GenericAlias | types.UnionType) or type(value).__module__ == "typing"
    )


def encode_annotation(enc: Encoder, value: Any) -> Value:
    if type(value) is typing.ForwardRef and value == _forward(value.__forward_arg__):
        return ["annotation", _FORWARD, [value.__forward_arg__]]
    name, args = _parts(value)
    steps = f"{name}[{{}}]".format
    return ["annotation", name, None if args is None else enc.items(args, steps)]


def _forward(name: Any) -> Any:
    """Return the reference to a class that stands as a string in an annotation, or None if it is no plain name."""
    return typing.ForwardRef(name) if type(name) is str and _PLAIN_NAME.fullmatch(name) else None


def _parts(value: Any) -> tuple[str, tuple[Any, ...] | None]:
    if id(value) in _NAMES:
        return _NAMES[id(value)], None
    args = typing.get_args(value)
    if isinstance(value, types.UnionType):
        return "|", args
    if isinstance(value, types.GenericAlias):
        name = _NAMES.get(id(value.__origin__))
    else:
        short = getattr(value, "_name", None) or getattr(getattr(value, "__origin__", None), "_name", None)
        name = f"typing.{short}"
    # a construct is kept only if what will be built from the parts is equal to it
    if name in ORIGINS and _equal(name, args, value):
        return name, args
    raise Refused.because(f"the annotation {value!r} cannot be kept")


def _equal(name: str, args: tuple[Any, ...], value: Any) -> bool:
    try:
        built = _build(name, args)
    except TypeError:
        return False
    return bool(built == value) and type(built) is type(value) and repr(built) == repr(value)


def _build(name: str, args: tuple[Any, ...]) -> Any:
    if name == "|":
        built = args[0]
        for arg in args[1:]:
            built = built | arg
        return built
    if name == "typing.Optional" and len(args) == 2:
        return typing.Optional[args[0]]  # noqa: UP045
    return ORIGINS[name][args if len(args) != 1 else args[0]]


def decode_annotation(dec: Decoder, tagged: Value) -> Any:
    _, name, args = tagged
    if name == _FORWARD:
        found = _forward(*dec.items(args))
        if found is None:
            raise InvalidDocument("an annotation", "its reference is no plain name")
        return found
    if name != "|" and name not in ORIGINS:
        raise InvalidDocument("an annotation", f"{name!r} is not a known construct")
    if args is None:
        return ORIGINS[name]
    try:
        return _build(name, tuple(dec.items(args)))
    except TypeError as error:
        raise InvalidDocument("an annotation", f"its parts do not fit ({error})") from None


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [
    (is_annotation, encode_annotation),
]
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"annotation": decode_annotation}
