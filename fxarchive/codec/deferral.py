"""Code of a GraphModule that is generated when it is first used.

torch generates and executes Python source whenever a GraphModule is made. A loaded one does neither: its own
class (torch gives every GraphModule one) first holds stand-ins for everything that the generated code would
have set, and the first use of any of them calls `recompile`. Whoever edits the graph first and then
recompiles pays for one generation.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.fx import Graph, GraphModule


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


def defer(module: GraphModule) -> None:
    """Make ``module`` generate its code when that is first used, as if it had been recompiled now.

    Reading ``forward`` of the module or of its class, ``code`` and all that comes from generated code,
    calling the module and pickling it generate; `recompile` does what it always does. The code then comes
    from the graph as it stands at that moment. The first use may come from several threads at once.
    """
    _Deferral(module).begin()


def pending(forward: Any) -> Mapping[str, Any]:
    """Return what stands in a class for code that is not generated yet; nothing if ``forward`` is no stand-in."""
    return forward.deferral.placed if isinstance(forward, _StandIn) else {}


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
