"""torch's `torch.fx._graph_pickler.GraphPickler`, with archives as the bytes underneath.

Whoever uses torch's changes the import line::

    from fxarchive.pickler import GraphPickler, Options

The names, the arguments and the defaults are those of torch 2.13, on every release of torch. What differs is said in
`docs/from-other-formats.md`: classes of the user come back only with ``trust=``, and a loaded module can be called.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

from fxarchive import api, codec
from fxarchive.codec import arguments
from fxarchive.codec.filters import Filters
from fxarchive.errors import NotAnArchive, UnsupportedValue
from fxarchive.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from torch._subclasses.fake_tensor import FakeTensorMode

DROPPED_KEYS = ("source_fn_stack", "nn_module_stack", "fwd_source_fn_stack")
"""Keys of metadata that torch's default filter leaves out."""

KEPT_OPERATORS = ("torch.ops.aten", "torch.ops.fbgemm")
"""How the names of operators begin that torch's default filter accepts."""

_PICKLE = b"\x80"


def _ops_filter_safe(name: str) -> bool:
    """Whether torch's default filter accepts an operator; torch's name for it."""
    return name.startswith(KEPT_OPERATORS)


def _node_metadata_key_filter_safe(key: str) -> bool:
    """Whether torch's default filter keeps a key of metadata; torch's name for it."""
    return key not in DROPPED_KEYS


@dataclass
class Options:
    """What to refuse and what to leave out; fields and defaults are those of torch 2.13.

    Args:
        ops_filter: given the name of an `OpOverload` or an `OpOverloadPacket`, such as ``torch.ops.aten.add.Tensor``,
            whether it may be in the graph; None accepts all. The default accepts those of aten and fbgemm.
        node_metadata_key_filter: given a key of ``node.meta``, whether it is kept; None keeps all. The default leaves
            out the three stacks of `DROPPED_KEYS`.
        ignore_raw_node: keep None in place of a `torch.fx.Node` that stands outside of the arguments of nodes,
            instead of refusing it.
    """

    ops_filter: Callable[[str], bool] | None = _ops_filter_safe
    node_metadata_key_filter: Callable[[str], bool] | None = _node_metadata_key_filter_safe
    ignore_raw_node: bool = False


class GraphPickler:
    """Graphs and what stands beside them to bytes and back, with the signature of torch's `GraphPickler`.

    >>> import torch
    >>> from torch._subclasses.fake_tensor import FakeTensorMode
    >>> graph = torch.fx.symbolic_trace(torch.nn.ReLU())
    >>> data = GraphPickler.dumps({"graph": graph, "inputs": 1}, Options(ops_filter=None))
    >>> GraphPickler.loads(data, FakeTensorMode())["graph"](torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def __init__(self, file: BinaryIO, options: Any = None) -> None:
        """Write to ``file``, an open binary file, forward only."""
        self._file = file
        self.options = options or Options()

    def dump(self, obj: object) -> None:
        """Write the archive of ``obj``; errors are those of `dumps`."""
        refused: list[str] = []
        filters = _filters(self.options, refused)
        try:
            encoded = codec.encode(obj, filters=filters)
        except UnsupportedValue as error:
            if refused:
                raise _filtered_operator()(error.problems) from None
            raise
        api.write_encoded(encoded, self._file, root=arguments.kind_of(obj))

    @classmethod
    def dumps(cls, obj: object, options: Any = None) -> bytes:
        """Return the archive of ``obj`` as bytes.

        Args:
            obj: a graph, a GraphModule, or any tree of supported values that holds some.
            options: an `Options`, torch's own too; None for the defaults.

        Raises:
            FilteredOperator: ``options.ops_filter`` refuses an operator. It is an `UnsupportedValue` and, as with
                torch's own, a `torch._inductor.codecache.BypassFxGraphCache`.
            UnsupportedValue: something cannot be kept; the message lists every path.
            TooLarge: the graph is over a limit of the format (spec/limits.md).
        """
        stream = io.BytesIO()
        cls(stream, options).dump(obj)
        return stream.getvalue()

    @staticmethod
    def loads(
        data: bytes | bytearray | memoryview,
        fake_mode: FakeTensorMode | None,
        *,
        trust: Iterable[str] = (),
        limits: Limits = DEFAULT_LIMITS,
    ) -> Any:
        """Return the object of an archive; nothing that it holds is run.

        Args:
            data: what `dumps` returned; what `fxarchive.save` wrote is as good.
            fake_mode: the FakeTensorMode that FakeTensors and symbols join; None for a new one.
            trust: qualified names of classes and functions outside the shipped list that the archive may use, and kinds
                of artefacts, as `fxarchive.inspect` prints them; import the modules that define them first.
            limits: bounds on what the archive may ask for.

        Raises:
            NotAnArchive: the bytes are something else; of a stream of torch's GraphPickler the message says how to
                adopt it.
            UntrustedNames: the archive asks for names that are not in ``trust``.
            FxArchiveError: everything else that `fxarchive.load` raises.
        """
        if bytes(data[:1]) == _PICKLE:
            raise NotAnArchive(
                "it is a pickle, as torch's GraphPickler writes; make an archive of it with fxarchive adopt FILE, or "
                "load it with the torch that wrote it and save it again"
            )
        return api.loads(data, fake_mode=fake_mode, trust=trust, limits=limits)

    @classmethod
    def debug_dumps(
        cls,
        obj: object,
        options: Any = None,
        *,
        max_depth: int = 80,
        max_iter_items: int = 50,
        verbose: bool = True,
    ) -> str | None:
        """Return the path of the first value that `dumps` refuses, or None if it refuses nothing.

        Args:
            obj, options: as for `dumps`.
            max_depth, max_iter_items: accepted for torch's sake; the search needs no bound.
            verbose: print every path, with the reason.

        >>> GraphPickler.debug_dumps({"good": 1, "bad": [lambda: 1]}, verbose=False)
        "root['bad'][0]"
        """
        try:
            cls.dumps(obj, options)
        except UnsupportedValue as error:
            paths = [_below_root(problem.path) for problem in error.problems]
            if verbose:
                for path, problem in zip(paths, error.problems, strict=True):
                    print(f"{path}: {problem.why}")
            return paths[0]
        return None


def _below_root(path: str) -> str:
    if path == "the object":
        return "root"
    return f"root{path}" if path.startswith("[") else f"root.{path}"


def _filters(options: Any, refused: list[str]) -> Filters:
    """Return what ``options`` say; names that its filter of operators refuses are noted in ``refused``.

    Options of a torch that lacks a field have the default there.
    """
    accepts = getattr(options, "ops_filter", _ops_filter_safe)

    def accepts_noted(name: str) -> bool:
        if not accepts(name):
            refused.append(name)
            return False
        return True

    return Filters(
        operators=None if accepts is None else accepts_noted,
        metadata_keys=getattr(options, "node_metadata_key_filter", _node_metadata_key_filter_safe),
        nodes="none" if getattr(options, "ignore_raw_node", False) else "refuse",
    )


@cache
def _filtered_operator() -> type[UnsupportedValue]:
    """Return the class `FilteredOperator`, made when it is first needed: torch's compiler takes seconds to import."""
    from torch._inductor.codecache import BypassFxGraphCache

    class FilteredOperator(UnsupportedValue, BypassFxGraphCache):
        """An operator that the options of `GraphPickler` refuse. Attributes: `problems` (tuple of `Problem`)."""

    FilteredOperator.__qualname__ = "FilteredOperator"
    return FilteredOperator


def __getattr__(name: str) -> Any:
    if name == "FilteredOperator":
        return _filtered_operator()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
