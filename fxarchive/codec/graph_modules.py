"""GraphModules: what fx keeps around a graph, and code that is generated when it is first asked for.

torch generates and executes Python source whenever a GraphModule is made. A loaded one does neither: its own
class (torch gives every GraphModule one) first holds stand-ins for everything that the generated code would
have set, and the first use of any of them calls `recompile`. Whoever edits the graph first and then
recompiles pays for one generation.
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.fx import Graph, GraphModule
from torch.fx._lazy_graph_module import _LazyGraphModule
from torch.fx.graph import _PyTreeCodeGen

from fxarchive.codec.decoder import Decoder
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


@dataclass(frozen=True)
class Reference:
    """What the running torch gives a GraphModule; releases differ in it."""

    generated: frozenset[str]
    """Attributes that `recompile` sets."""
    initial: dict[str, Any]
    """Attributes that the constructor sets besides those, with their first values."""
    class_names: frozenset[str]
    """Names in the class that each GraphModule has of its own."""
    call: Any
    """The ``__call__`` that `recompile` puts into that class."""


@cache
def reference() -> Reference:
    """Return what a GraphModule with an empty graph holds, made once a process."""
    module = GraphModule(torch.nn.Module(), Graph())
    bare = GraphModule.__new__(GraphModule)
    torch.nn.Module.__init__(bare)
    held = vars(bare)
    held["_graph"] = Graph(owning_module=bare)
    before = set(held)
    bare.recompile()
    generated = frozenset(held) - before
    initial = {name: value for name, value in vars(module).items() if name not in held}
    own = vars(type(module))
    return Reference(generated, initial, frozenset(own), own["__call__"])


@cache
def kept_names() -> frozenset[str]:
    """Return every name under which torch itself keeps something in a GraphModule or in its own class."""
    known = reference()
    names = {"_graph", "_prologue_start", *known.generated, *known.initial, *known.class_names}
    return frozenset(names - {"shape_env"})  # a ShapeEnv is kept as an attribute is


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
    meta = _with_functions(vars(module).get("meta", {}))
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
    pending = forward.deferral.placed if isinstance(forward, _StandIn) else {}
    problems = [
        Problem(
            f".__class__.{name}",
            "it was added to the GraphModule's own class; code is never stored, so remove it",
        )
        for name in sorted(own)
        if name not in known.class_names
        and own[name] is not pending.get(name)
        and not (
            name.startswith("__annot") and not own[name]
        )  # reading a class's annotations puts them there
    ]
    if pending or forward in (None, _LazyGraphModule._lazy_forward):
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


# code that is generated later


def defer(module: GraphModule) -> None:
    """Make ``module`` generate its code when that is first used, as if it had been recompiled now.

    Reading ``forward`` of the module or of its class, ``code`` and all that comes from generated code,
    calling the module and pickling it generate; `recompile` does what it always does. The code then comes
    from the graph as it stands at that moment. The first use may come from several threads at once.
    """
    _Deferral(module).begin()


class _Deferral:
    """One GraphModule whose code is still to be generated.

    It lives in the module's own class and refers to the module weakly, since neither copies nor pickles of
    the module may hold it, and since `symbolic_trace` reads ``forward`` from the class.
    """

    def __init__(self, module: GraphModule) -> None:
        self._module = weakref.ref(module)
        self._lock = threading.RLock()
        # torch.compile reads _call_impl of the class before it looks into the module.
        names = sorted({"forward", "_call_impl", "_wrapped_call", *reference().generated} - {"_code"})
        self.placed: dict[str, Any] = {name: _StandIn(self, name) for name in names}
        self.placed["_code"] = _CodeStandIn(self, "_code")
        for name in ("__call__", "__reduce__", "__reduce_package__", "__getstate__"):
            self.placed[name] = _generate_first(self, name)

    def begin(self) -> None:
        cls = type(self._module())
        for name, stand_in in self.placed.items():
            setattr(cls, name, stand_in)

    def generate(self) -> None:
        """Generate the code, unless that was done; return when it is done."""
        module = self._module()
        if module is None:
            raise AttributeError("the GraphModule of this class no longer exists")
        with self._lock:
            own = vars(type(module))
            if not any(own.get(name) is stand_in for name, stand_in in self.placed.items()):
                return
            # What somebody else has put there since stays there, as it would after an early recompile.
            replaced = {
                name: own[name]
                for name in ("forward", "__call__")
                if name in own and not self._is_placed(own, name)
            }
            try:
                module.recompile()
            except AttributeError as error:
                # From a descriptor it would read as "no attribute 'forward'".
                raise RuntimeError(f"no code can be generated from the graph: {error}") from error
            self.end(module)
            for name, value in replaced.items():
                setattr(type(module), name, value)
            if self._is_placed(vars(type(module)), "forward"):
                raise RuntimeError("recompile() of this GraphModule generates no forward()")

    def end(self, module: GraphModule) -> None:
        """Take the stand-ins out of the class, except ``forward``, which stays until it is overwritten."""
        cls = type(module)
        for name in self.placed:
            if name != "forward" and self._is_placed(vars(cls), name):
                with suppress(AttributeError):  # another thread was faster
                    delattr(cls, name)

    def _is_placed(self, own: Any, name: str) -> bool:
        return own.get(name) is self.placed[name]


class _StandIn:
    """Stands in a class for an attribute that generated code sets on the instance or on the class."""

    __slots__ = ("deferral", "name")

    def __init__(self, deferral: _Deferral, name: str) -> None:
        self.deferral = deferral
        self.name = name

    def __get__(self, module: GraphModule | None, cls: type) -> Any:
        self.deferral.generate()
        return getattr(cls if module is None else module, self.name)


class _CodeStandIn(_StandIn):
    """Also notices that ``_code`` is set: so every recompilation begins to store what it generated."""

    __slots__ = ()

    def __set__(self, module: GraphModule, value: Any) -> None:
        vars(module)[self.name] = value
        self.deferral.end(module)


def _generate_first(deferral: _Deferral, name: str) -> Any:
    def method(self: GraphModule, *args: Any, **kwargs: Any) -> Any:
        deferral.generate()
        return getattr(type(self), name)(self, *args, **kwargs)

    method.__name__ = name
    if name == "__call__":
        method.__annotations__ = reference().call.__annotations__  # inspect.signature(module) shows them
    return method


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {_Function: _encode_function}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = []
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {}
"""A GraphModule is encoded and decoded as the module that it is, by `modules`."""
