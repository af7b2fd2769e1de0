"""Operators, functions and classes: rows of `targets`, and names.

An operator row keeps the full torch schema, so that a reader can tell whether its own operator means the same, and
the module that registers the operator, so that an error can say what to import.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket

from fxarchive.codec import resolve
from fxarchive.codec.artefacts import call_row
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.running_torch import TORCH_NAMESPACES, higher_order, listed_class, packet_of
from fxarchive.document import Value
from fxarchive.errors import InvalidDocument
from fxarchive.qualname import QualifiedName
from fxarchive.trust import WRAPPERS, is_listed

_IN_A_TABLE = "whose kernel is in a table of this process; save the graph from before it was lowered"
_COMPILED = "that runs compiled code, which no graph holds; save the graph from before it was compiled"

PROCESS_BOUND = {
    "triton_kernel_wrapper_functional": _IN_A_TABLE,
    "triton_kernel_wrapper_mutation": _IN_A_TABLE,
    "inductor_compiled_code": _COMPILED,
    "aoti_call_delegate": _COMPILED,
    "invoke_leaf_function": "whose function is in a table of this process; "
    "register the function with torch.library.custom_op",
}
"""Higher-order operators whose arguments mean nothing in another process, and why."""


# encoding


def encode_target(enc: Encoder, target: Any) -> int:
    """Return the row in `targets` of something that can be called or named."""
    row = enc.row("targets", id(target))
    if row is None:
        _check_filter(enc, target)
        row = call_row(enc, target)
    if row is None:
        row = enc.add("targets", id(target), _record(target))
        enc.keep_alive(target)
    return row


def _check_filter(enc: Encoder, target: Any) -> None:
    """Refuse an operator that the caller does not want."""
    accepts = enc.filters.operators
    if accepts is None or not isinstance(target, OpOverload | OpOverloadPacket):
        return
    name = str(torch.fx.Node._pretty_print_target(target))
    if not accepts(name):
        raise Refused.because(
            f"ops_filter refuses the operator {name}; pass Options(ops_filter=None) to accept all"
        )


def encode_class(enc: Encoder, cls: type) -> int:
    """Return the row in `targets` of a class."""
    return encode_target(enc, cls)


def _record(thing: Any) -> list[Any]:
    target: Any = thing  # torch leaves the names of operators untyped
    if isinstance(thing, OpOverload):
        return ["operator", target.name(), str(target._schema), registering_module(target.name())]
    if isinstance(thing, OpOverloadPacket):
        name = target._qualified_op_name
        return ["packet", name, registering_module(name)]
    if isinstance(thing, HigherOrderOperator):
        if target.name() in PROCESS_BOUND:
            raise Refused.because(f"it is the operator {target.name()}, {PROCESS_BOUND[target.name()]}")
        return ["higher_order", target.name(), type(target).__module__]
    kind = "class" if isinstance(target, type) else "function"
    found = resolve.name_of_function(target) if kind == "function" else name_of_class(target)
    if found is None:
        raise Refused.because(
            f"{_shown(target)} is not reachable by a module and a name (lambdas, closures and local functions hold "
            "code); define it at module level or register it with torch.library.custom_op"
        )
    return [kind, found]


def _shown(target: Any) -> str:
    return f"the {type(target).__name__} {getattr(target, '__qualname__', None) or repr(target)[:80]}"


def name_of(thing: Any) -> str:
    """Return the qualified name under which metadata names a class, a function or an operator."""
    named: Any = thing
    if isinstance(thing, OpOverload | OpOverloadPacket):
        return f"torch.ops.{thing!s}"
    if isinstance(thing, HigherOrderOperator):
        return f"torch.ops.higher_order.{named.name()}"
    found = None if isinstance(thing, type) else resolve.name_of_function(thing)
    return found or f"{thing.__module__}.{thing.__qualname__}"


def name_of_class(cls: type) -> str | None:
    """Return the name under which ``cls`` can be found again, or None for a local class."""
    name = f"{cls.__module__}.{cls.__qualname__}"
    return name if "<" not in name and resolve.look_up(name) is cls else _aliased(cls)


def _aliased(cls: type) -> str | None:
    """Classes whose own name does not lead to them: NoneType, and some that torch defines in C++."""
    if cls is types.NoneType:
        return "builtins.NoneType"
    return resolve.name_of_function(cls)


def registering_module(name: str) -> str | None:
    """Return the module that registers a custom operator, where torch knows it; None for torch's own."""
    if name.partition("::")[0] in TORCH_NAMESPACES:
        return None
    try:
        from torch._library.custom_ops import OPDEFS

        definition = OPDEFS.get(name.partition(".")[0])
        if definition is not None:
            return str(definition._init_fn.__module__)
        dump: str = torch._C._dispatch_dump(name)
        path = dump.partition("registered at ")[2].partition(":")[0]
    except Exception:  # private names of torch: without them the remedy is only less exact
        return None
    for module in list(sys.modules.values()):
        if path and getattr(module, "__file__", None) == path:
            return module.__name__
    return None


def is_callable_value(value: Any) -> bool:
    """Whether ``value`` is a class, a function or an operator, not an object that merely can be called."""
    kind = type(value)
    if kind.__module__ == "torch._dynamo.utils" and f"torch._dynamo.utils.{kind.__name__}" in WRAPPERS:
        return resolve.name_of_function(value) is not None
    return isinstance(
        value,
        (
            type,
            types.FunctionType,
            types.BuiltinFunctionType,
            types.MethodDescriptorType,
            types.WrapperDescriptorType,
            types.GetSetDescriptorType,
            OpOverload,
            OpOverloadPacket,
            HigherOrderOperator,
        ),
    )


def encode_callable(enc: Encoder, value: Any) -> Value:
    """In metadata a name that need not resolve; elsewhere a row of `targets` that must."""
    if enc.inert:
        _check_filter(enc, value)
    return ["name", name_of(value)] if enc.inert else ["target", encode_target(enc, value)]


# decoding


def decode_target(dec: Decoder, row: int) -> Any:
    """Return what row ``row`` of `targets` stands for."""
    found = dec.objects["targets"].get(row)
    if found is None:
        raise InvalidDocument("table targets", f"there is no row {row!r}")
    return found


def decode_class(dec: Decoder, row: int, use: str = "class") -> type:
    """Return the class of row ``row`` of `targets`; ``use`` "module" accepts subclasses of
    `torch.nn.Module` only."""
    found = decode_target(dec, row)
    if not isinstance(found, type) or (use == "module" and not issubclass(found, torch.nn.Module)):
        raise InvalidDocument(
            f"row {row} of targets", f"{found!r} is not a class of {use}s" if use != "class" else "no class"
        )
    return found


def resolve_name(dec: Decoder, name: str) -> Any:
    """Return what an inert name says if it is listed or trusted and there; else None."""
    if name.startswith("torch.ops."):
        return _operator_of(name)
    if is_listed("class", name) or is_listed("module", name):
        return _listed_class_or_none(name)
    if is_listed("function", name):
        try:
            return resolve.resolve_function(name)
        except LookupError:
            return None
    return resolve.look_up(name) if name in dec.trust else None


def _listed_class_or_none(name: str) -> Any:
    try:
        return listed_class(name)
    except LookupError:
        return None


def _operator_of(name: str) -> Any:
    parts = name.split(".")[2:]
    if not all(part.isidentifier() for part in parts) or len(parts) not in (2, 3):
        return None
    try:
        if parts[0] == "higher_order":
            return higher_order(parts[1])
        packet = packet_of(f"{parts[0]}::{parts[1]}", None)
    except LookupError:
        return None
    if len(parts) == 2:
        return packet
    found = getattr(packet, parts[2], None)
    return found if isinstance(found, OpOverload) else None  # a packet has other attributes too


def decode_name(dec: Decoder, tagged: Value) -> Any:
    found = resolve_name(dec, tagged[1])
    return QualifiedName(tagged[1]) if found is None else found


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {
    QualifiedName: lambda enc, value: ["name", str(value)],
}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [
    (is_callable_value, encode_callable),
]
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {
    "target": lambda dec, tagged: decode_target(dec, tagged[1]),
    "name": decode_name,
}
