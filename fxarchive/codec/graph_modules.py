"""GraphModules: what fx keeps around a graph. Their code is generated when it is first used; see `deferral`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.fx import Graph, GraphModule
from torch.fx._lazy_graph_module import _LazyGraphModule
from torch.fx.graph import _PyTreeCodeGen

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.deferral import defer, pending, reference
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.graphs import decode_graph, decode_tracer, encode_graph, encode_tracer
from fxarchive.codec.unlifted import base_class, is_unlifted_class
from fxarchive.document import Value
from fxarchive.errors import InvalidDocument, Problem

MODULE_META = -1
"""Stands in `Encoder.dropped` for the row of a graph, where the metadata is that of the module in the second place."""
MAX_CLASS_NAME = 1000
"""Characters that the name of a GraphModule's class may have."""

_CALLED = ("_checkpoint_context_fn", "_dynamo_bypassing_wrapper_fn")
"""Beginnings of the keys of a module's metadata under which higher-order operators find functions to call."""

_SPECS = ("_in_spec", "_out_spec")
_CLASS_NAME = "GraphModule"


# encoding


def refuse_subclass(module: GraphModule) -> None:
    """Raise `Refused` for a GraphModule of any class but the two that torch makes from a graph alone."""
    cls = made_from(module)
    if cls not in (GraphModule, _LazyGraphModule) and not is_unlifted_class(cls):
        raise Refused.because(
            f"a {cls.__module__}.{cls.__qualname__} adds code of its own to a GraphModule; "
            "save torch.fx.GraphModule(m, m.graph) in place of it"
        )


def made_from(module: GraphModule) -> type:
    """Return the class that the instance was made from; the innermost one is the instance's own."""
    return next(
        cls for cls in type(module).__mro__ if cls.__qualname__.rpartition(".")[2] != "GraphModuleImpl"
    )


def encode_graph_module(
    enc: Encoder, module: GraphModule, path: str, record: dict[str, Any], problems: list[Problem]
) -> frozenset[str]:
    """Put what fx keeps in a GraphModule into ``record``, and return the attributes that this covers."""
    held = vars(module)
    graph = held.get("_graph")
    if not isinstance(graph, Graph):
        problems.append(Problem(".graph", "the GraphModule has no graph"))
        return frozenset(held)
    record["graph"] = encode_graph(enc, graph, path + ".graph")
    if graph.owning_module is not module:
        record["owner"] = False
    if made_from(module) is _LazyGraphModule:
        record["lazy"] = True
    name = type(module).__name__
    if not _is_class_name(name):
        problems.append(
            Problem(".__class__.__name__", "the class name is too long or cannot be printed; set a plain one")
        )
    elif name != _CLASS_NAME:
        record["class_name"] = name
    try:
        with enc.metadata():
            record["meta"] = _encode_meta(enc, module, path)
    except Refused as refused:
        problems += refused.below(".meta")
    tracer = (held.get("_tracer_cls"), held.get("_tracer_extras") or {})
    if not _is_tracer_of(graph, *tracer):
        try:
            record["tracer"] = encode_tracer(enc, *tracer)
        except Refused as refused:
            problems += refused.below("._tracer_extras")
    problems += _added_to_the_class(module)
    return _covered(held, graph, problems)


def _encode_meta(enc: Encoder, module: GraphModule, path: str) -> Any:
    """Encode the module's metadata, without the entries that are left out.

    Entries are looked at one by one only after the whole was refused: encoding a container twice would make
    it look shared, and what is encoded here is thrown away when something is dropped.
    """
    meta = _with_functions(_without_traces(vars(module).get("meta", {})))
    row = enc.row("modules", id(module))
    places = (
        []
        if type(meta) is not dict
        else [(MODULE_META, -1 if row is None else row, i) for i in range(len(meta))]
    )
    if not enc.leave_out.isdisjoint(places):
        kept = [item for entry, item in zip(places, meta.items(), strict=True) if entry not in enc.leave_out]
        return enc.value(dict(kept))
    try:
        return enc.value(meta)
    except Refused:
        if not enc.drop or not places:
            raise
    for entry, (key, value) in zip(places, meta.items(), strict=True):
        try:
            enc.value(value)
        except Refused as refused:
            enc.dropped[entry] = [Problem(path + at, why) for at, why in refused.below(f".meta[{key!r}]")]
    return None


@dataclass(frozen=True)
class _Function:
    """A function in metadata that an operator calls, so that its name is not enough."""

    value: Any


def _without_traces(meta: Any) -> Any:
    """Return ``meta`` without what torch leaves of a use: the result of `torch.export.unflatten`, and the name of a
    compilation, in which there is a random number.
    """
    left = []
    if type(meta.get("unflattened_module")).__module__ == "torch.export.unflatten":
        left.append("unflattened_module")
    if _names_compilation(meta.get("backend_id")):
        left.append("backend_id")
    return {key: value for key, value in meta.items() if key not in left} if left else meta


def _names_compilation(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("__compiled_fn_")


def _with_functions(meta: Any) -> Any:
    """Return ``meta`` with the functions in it that operators call marked; itself if it has none."""
    called = [key for key in meta if isinstance(key, str) and key.startswith(_CALLED)]
    return meta | {key: _Function(meta[key]) for key in called} if called else meta


def _encode_function(enc: Encoder, function: _Function) -> Value:
    with enc.metadata(inert=False):
        return enc.value(function.value)


def _covered(held: dict[str, Any], graph: Graph, problems: list[Problem]) -> frozenset[str]:
    known = reference()
    covered = {"_graph", "meta", "_tracer_cls", "_tracer_extras", *known.generated}
    if isinstance(graph._codegen, _PyTreeCodeGen):
        covered.update(_SPECS)  # recompile takes them from the codegen
    if _names_compilation(held.get("_backend_id")):
        covered.add("_backend_id")
    for name, value in held.items():
        if name == "shape_env" and value is None:
            covered.add(name)
        elif name in known.initial and name not in covered:
            first = known.initial[name]
            if type(value) is type(first) and value == first:
                covered.add(name)
            elif name.endswith("_hooks"):
                covered.add(name)
                problems.append(
                    Problem(f".{name}", "hooks are code and code is never stored; remove them before saving")
                )
    return frozenset(covered)


def _is_tracer_of(graph: Graph, cls: Any, extras: Any) -> bool:
    """Whether the constructor would have taken exactly this tracer from the graph."""
    expected_cls, expected = _tracer_of(graph)
    return cls is expected_cls and (extras is expected or not (extras or expected))


def _tracer_of(graph: Graph) -> tuple[Any, Any]:
    cls = graph._tracer_cls
    return (cls if cls and "<locals>" not in cls.__qualname__ else None), graph._tracer_extras or {}


def _added_to_the_class(module: GraphModule) -> list[Problem]:
    """Find what somebody put into the class of this one GraphModule, which is not in its graph."""
    known = reference()
    own = vars(type(module))
    forward, call, wrapped = own.get("forward"), own.get("__call__"), own.get("_wrapped_call")
    waiting = pending(forward)
    problems = [
        Problem(
            f".__class__.{name}",
            "it was added to the GraphModule's own class; code is never stored, so remove it",
        )
        for name in sorted(own)
        if name not in known.class_names
        and own[name] is not waiting.get(name)
        and not (
            name.startswith("__annot") and not own[name]
        )  # reading a class's annotations puts them there
    ]
    if waiting or forward in (None, _LazyGraphModule._lazy_forward):
        return problems
    # Generated functions run with globals of their own, which have no module name.
    if "__name__" in getattr(forward, "__globals__", {"__name__": ""}):
        problems.append(
            Problem(".forward", "it is not what the graph generates; call recompile() or change the graph")
        )
    if (
        getattr(call, "__code__", None) is not known.call.__code__
        or getattr(wrapped, "cls_call", None) is not None
    ):
        problems.append(
            Problem(
                ".__call__", "it was replaced; code is never stored, so make a new GraphModule of the graph"
            )
        )
    return problems


def _is_class_name(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) <= MAX_CLASS_NAME and name.isprintable()


# decoding


def new_graph_module(where: str, record: dict[str, Any]) -> GraphModule:
    """Return a GraphModule that holds nothing yet, not even what `torch.nn.Module` gives it."""
    base: type[GraphModule] = _LazyGraphModule if record.get("lazy") is True else GraphModule
    if "unlifted" in record:
        base = base_class(where, record["unlifted"])
    module = base.__new__(base)
    name = record.get("class_name", _CLASS_NAME)
    if not _is_class_name(name):
        raise InvalidDocument(where, "class_name is not a printable name")
    type(module).__name__ = name
    return module


def fill_graph_module(dec: Decoder, module: GraphModule, where: str, record: dict[str, Any]) -> None:
    """Give ``module`` its graph and all that fx expects to find in it; nothing is generated yet."""
    graph = decode_graph(dec, record["graph"])
    meta = dec.value(record["meta"])
    if not isinstance(meta, dict):
        raise InvalidDocument(where, "meta is not a dict")
    held = vars(module)
    held["_graph"] = graph
    held["meta"] = meta
    for name, value in reference().initial.items():
        if name not in held:
            held[name] = copy.copy(value)
    tracer = decode_tracer(dec, record["tracer"]) if "tracer" in record else _tracer_of(graph)
    held["_tracer_cls"], held["_tracer_extras"] = tracer
    codegen: Any = graph._codegen
    if isinstance(codegen, _PyTreeCodeGen):
        held["_in_spec"], held["_out_spec"] = codegen.pytree_info.in_spec, codegen.pytree_info.out_spec
    if record.get("owner", True) is True or graph.owning_module is None:
        graph.owning_module = module
    if isinstance(module, _LazyGraphModule):
        module.recompile()  # of this class it generates nothing
    else:
        defer(module)


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {_Function: _encode_function}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = []
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {}
"""A GraphModule is encoded and decoded as the module that it is, by `modules`."""
