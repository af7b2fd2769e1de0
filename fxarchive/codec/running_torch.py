"""What the torch of this process has: rows of `targets` resolved by exact name, calls rewritten where it needs that."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket

from fxarchive import releases
from fxarchive.adaptation import adapt, releases_with
from fxarchive.codec import resolve
from fxarchive.codec.artefacts import resolve_call
from fxarchive.codec.decoder import Decoder
from fxarchive.document import Document
from fxarchive.errors import IncompatibleOperator, MissingOperator, Problem, UntrustedNames
from fxarchive.migrations.operators import methods, upgraders
from fxarchive.trust import is_listed

TORCH_NAMESPACES = frozenset(
    {"aten", "prim", "prims", "_c10d_functional", "c10d", "higher_order", "quantized", "inductor"}
)
"""Namespaces whose operators torch itself registers."""


LAZY_HIGHER_ORDER = {
    "control_deps": "torch._inductor.fx_passes.control_dependencies",
    "map": "torch._higher_order_ops.map",
    "map_impl": "torch._higher_order_ops.map",
    "register_hook": "torch._higher_order_ops.register_hook",
    "trace_wrapped": "torch._dynamo._trace_wrapped_higher_order_op",
}
"""Higher-order operators that some release of torch registers only when this module of it is imported."""


def resolve_targets(dec: Decoder, writer: str = "") -> None:
    """Resolve every row of `targets`, calls rewritten for the running torch where that is needed.

    Args:
        dec: its document is replaced by the rewritten one.
        writer: the torch that wrote the document, or empty.

    Raises:
        UntrustedNames, MissingOperator, IncompatibleOperator: each names all that it is about.
    """
    untrusted: set[str] = set()
    unresolved = _resolve_rows(dec, untrusted)
    if untrusted:
        raise UntrustedNames(sorted(untrusted))
    if not unresolved and not _outdated(dec.document):
        return
    adapted = adapt(dec.document, RunningTorch(), writer)
    if adapted.missing:
        raise MissingOperator(list(adapted.missing))
    if adapted.incompatible:
        raise IncompatibleOperator(list(adapted.incompatible))
    dec.document = adapted.document
    left = [problem for row, problem in _resolve_rows(dec, untrusted).items() if row not in adapted.retired]
    if left:
        raise MissingOperator(left)


def _outdated(document: Document) -> bool:
    """Whether names that some upgrader rewrites occur: they may be there and raise when they are called."""
    return not methods().isdisjoint(document["texts"]) or any(
        record[0] in ("function", "higher_order") and (record[0], record[1]) in upgraders()
        for record in document["targets"]
    )


def _resolve_rows(dec: Decoder, untrusted: set[str]) -> dict[int, Problem]:
    """Resolve what can be; return the rows that the running torch lacks or has with another schema."""
    unresolved: dict[int, Problem] = {}
    found = dec.objects.setdefault("targets", {})
    for row, record in enumerate(dec.document["targets"]):
        if record[0] == "artefact":
            found[row] = resolve_call(dec, record[1])
            continue
        try:
            found[row] = _RESOLVE[record[0]](dec.trust, record)
        except UntrustedNames as error:
            untrusted.update(error.names)
        except LookupError as error:
            unresolved[row] = Problem(record[1], str(error.args[0]))
    return unresolved


class RunningTorch:
    """What the torch of this process has (`fxarchive.adaptation.Torch`)."""

    release = releases.release_of(torch.__version__)

    def schema(self, name: str) -> str | None:
        """Return the schema of an operator, or None."""
        try:
            return str(_operator(name, None)._schema)
        except LookupError:
            return None

    def has(self, kind: str, name: str) -> bool:
        """Whether it has what is called; names that only the caller can allow are taken to be there."""
        if kind == "method":
            return hasattr(torch.Tensor, name)
        if kind == "function" and not is_listed("function", name):
            return True
        try:
            _RESOLVE[kind](frozenset(), [kind, name, None])
        except LookupError:
            return False
        return True

    def has_value(self, name: str) -> bool:
        """Whether it has a value that some release has, by its dotted name."""
        return resolve.look_up(name) is not None

    def remedy(self, record: list[Any]) -> str:
        """Return what to do about a row of `targets` that it lacks."""
        try:
            _RESOLVE[record[0]](frozenset(), record)
        except LookupError as error:
            return str(error.args[0])
        return "load with the release that wrote it"


def _resolve_operator(trust: frozenset[str], record: list[Any]) -> OpOverload:
    _, name, schema, module = record
    operator = _operator(name, module)
    if str(operator._schema) != schema:
        raise LookupError(f"the archive has {schema} and this torch has {operator._schema}")
    return operator


def _resolve_named_operator(trust: frozenset[str], record: list[Any]) -> OpOverload:
    """An operator whose schema nobody recorded: the running one of that name."""
    return _operator(record[1], record[2])


def _operator(name: str, module: str | None) -> OpOverload:
    qualified, _, overload = name.partition(".")
    operator = getattr(packet_of(qualified, module), overload or "default", None)
    if not isinstance(operator, OpOverload):
        raise LookupError(
            f"this torch ({torch.__version__}) has the operator but not this overload; {_where(name)}"
        )
    return operator


def _where(name: str) -> str:
    known = releases_with(name)
    return f"load with a release that has it ({known})" if known else "load with the release that wrote it"


def _resolve_packet(trust: frozenset[str], record: list[Any]) -> OpOverloadPacket:
    _, name, module = record
    return packet_of(name, module)


def packet_of(name: str, module: str | None) -> OpOverloadPacket:
    """Return the operator ``namespace::name``; raise LookupError with the remedy where there is none."""
    namespace, _, base = name.partition("::")
    packet = None
    if namespace.isidentifier() and base.isidentifier():
        packet = getattr(getattr(torch.ops, namespace), base, None)
        if packet is None and resolve.import_registrar(namespace):
            packet = getattr(getattr(torch.ops, namespace), base, None)
    if not isinstance(packet, OpOverloadPacket):
        if module is not None:
            raise LookupError(f"import {module} first, which registers it")
        if namespace not in TORCH_NAMESPACES:
            raise LookupError("import the module that registers it first")
        raise LookupError(f"this torch ({torch.__version__}) has no such operator; {_where(name)}")
    return packet


def _resolve_higher_order(trust: frozenset[str], record: list[Any]) -> HigherOrderOperator:
    _, name, module = record
    operator = higher_order(name)
    if operator is None:
        own = module is None or module.partition(".")[0] == "torch"
        remedy = "load with a release that has it" if own else f"import {module} first, which registers it"
        raise LookupError(f"this torch ({torch.__version__}) has no such higher-order operator; {remedy}")
    return operator


def higher_order(name: str) -> HigherOrderOperator | None:
    """Return the higher-order operator called ``name``; a module of torch that registers it is imported."""
    import torch._higher_order_ops

    if not name.isidentifier():
        return None
    operator = getattr(torch.ops.higher_order, name, None)
    if operator is None and name in LAZY_HIGHER_ORDER:
        resolve.import_quietly(LAZY_HIGHER_ORDER[name])
        operator = getattr(torch.ops.higher_order, name, None)
    return operator if isinstance(operator, HigherOrderOperator) else None


def _resolve_function(trust: frozenset[str], record: list[Any]) -> Any:
    kind, name = record[:2]
    if is_listed(kind, name):
        return resolve.resolve_function(name) if kind == "function" else listed_class(name)
    if name not in trust:
        raise UntrustedNames([name])
    if name.startswith(f"{resolve.SCRIPT_CLASSES}."):
        found = resolve.script_class(name)
        if found is None:
            raise LookupError("load the library that registers it first (torch.classes.load_library)")
        return found
    thing = resolve.look_up(name)
    if thing is None:
        raise LookupError(f"import {name.rpartition('.')[0]} first, which defines it")
    return thing


def listed_class(name: str) -> Any:
    """Return the class of a listed name; raise LookupError with the remedy where there is none."""
    thing = types.NoneType if name == "builtins.NoneType" else resolve.look_up(name)
    if thing is None:
        thing = resolve.resolve_function(name)
    return thing


_RESOLVE: dict[str, Callable[[frozenset[str], list[Any]], Any]] = {
    "operator": _resolve_operator,
    "named_operator": _resolve_named_operator,
    "packet": _resolve_packet,
    "higher_order": _resolve_higher_order,
    "function": _resolve_function,
    "class": _resolve_function,
}
