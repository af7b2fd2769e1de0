"""The comparer's knowledge of torch: tensors, symbolic numbers, graphs, modules. See `compare.py`."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
import traceback
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy
import sympy
import torch
from torch import fx, nn
from torch._guards import TracingContext
from torch._library.fake_class_registry import FakeScriptObject
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.fx.immutable_collections import immutable_dict, immutable_list
from torch.nested._internal.nested_int import NestedIntNode
from torch.utils._pytree import TreeSpec
from torch.utils._sympy.singleton_int import SingletonInt

from fxarchive import ArtefactCall

try:
    from torch.fx.traceback import NodeSource
except ImportError:
    from torch.fx.experimental.proxy_tensor import NodeSource  # type: ignore[attr-defined,no-redef]

if TYPE_CHECKING:
    from .compare import Comparison

DERIVED_OF_GRAPH_MODULES = {
    "_graph",
    "_code",
    "_lineno_map",
    "_prologue_start",
    "_tracer_cls",
    "_tracer_extras",
}
HOOKS = {
    "_forward_pre_hooks": "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs": "_forward_pre_hooks",
    "_forward_hooks": "_forward_hooks",
    "_forward_hooks_with_kwargs": "_forward_hooks",
    "_forward_hooks_always_called": "_forward_hooks",
}
"""Where a module keeps hooks that run with its forward, and flags of them: under the keys of which dict."""
INTERNAL_TO_FAKES = {
    "fake_mode",
    "fake_device",
    "_fake_device",
    "constant",
    "pytype",
    "dispatch_keys",
    "real_tensor",
}
LEFT_BY_DYNAMO = ("_is_torch_compile", "_backend_id")
"""What torch.compile leaves in a module that it was given, and the random name of one compilation in a graph."""
NOTED_BY_DYNAMO = ("_dynamo_static_input_type", "unguarded")
"""What torch.compile notes on each tensor of a module, whenever it meets one."""
INTERNAL_TO_WRAPPERS = ("_sym_sizes_capsule", "_sym_strides_capsule", "_metadata_cache")
OF_PROCESSES = ("torch.distributed.device_mesh", "torch.distributed.tensor.placement_types")
"""Modules of meshes and placements of torch.distributed, which torch itself compares."""
COMPRESSED = {
    torch.sparse_csr: ("crow_indices", "col_indices"),
    torch.sparse_bsr: ("crow_indices", "col_indices"),
    torch.sparse_csc: ("ccol_indices", "row_indices"),
    torch.sparse_bsc: ("ccol_indices", "row_indices"),
}


def same_family(left: Any, right: Any) -> bool:
    """Each GraphModule has a class of its own; the same family means the same class it was made from.

    What strict exports leave in metadata is a dict of a class of torch's own, and comes back as a dict.
    """
    if type(left).__qualname__ == "_ExportModuleSpecTrackerDict":
        return type(right) is dict
    if not (isinstance(left, fx.GraphModule) and isinstance(right, fx.GraphModule)):
        return False
    return _made_from(left) is _made_from(right)


def _made_from(module: fx.GraphModule) -> type:
    named = (
        cls for cls in type(module).__mro__ if "<locals>" not in cls.__qualname__ and cls is not type(module)
    )
    return next(cls for cls in named if cls.__name__ != "_LazyGraphModule")


# --- tensors ---


def _tensor(c: Comparison, path: str, left: torch.Tensor, right: torch.Tensor) -> None:
    if not _same_description(c, path, left, right):
        return
    for name in sorted(vars(left).keys() | vars(right).keys()):
        x, y = vars(left).get(name, ...), vars(right).get(name, ...)
        if not (name.startswith(INTERNAL_TO_WRAPPERS) or (name, x) == NOTED_BY_DYNAMO):
            c.push(f"{path}.{name}", x, y)
    if left.is_leaf and right.is_leaf:
        c.push(f"{path}.grad", left.grad, right.grad)
    if _is_wrapped(left) or _is_wrapped(right):
        _wrapped(c, path, left, right)
        return
    if left._backward_hooks or right._backward_hooks:
        c.push(f"{path}._backward_hooks", left._backward_hooks, right._backward_hooks)
    if hasattr(left, "__tensor_flatten__"):
        (names, context), (others, other_context) = left.__tensor_flatten__(), right.__tensor_flatten__()
        c.push(f"{path}.__tensor_flatten__()", (names, context), (others, other_context))
        for name in names:
            c.push(f"{path}.{name}", getattr(left, name), getattr(right, name))
        return
    _contents(c, path, left, right)


def _is_wrapped(tensor: torch.Tensor) -> bool:
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def _wrapped(c: Comparison, path: str, left: torch.Tensor, right: torch.Tensor) -> None:
    """Tensors that a torch.func transform wrapped: level, dimension, whether it has ended, what is inside."""
    functorch = torch._C._functorch
    if c.equal(f"{path} is wrapped", _is_wrapped(left), _is_wrapped(right)):
        for name in ("maybe_get_level", "maybe_get_bdim", "is_dead_tensor_wrapper", "is_batchedtensor"):
            c.equal(f"{path} {name}", getattr(functorch, name)(left), getattr(functorch, name)(right))
        c.push(f"{path} unwrapped", functorch.get_unwrapped(left), functorch.get_unwrapped(right))


def _fake_tensor(c: Comparison, path: str, left: Any, right: Any) -> None:
    if not _same_description(c, path, left, right):
        return
    # That something is a view of a tensor around tensors is not kept: what a jagged tensor's `values()` gives.
    is_view = left._is_view() and left._base.layout is not torch.jagged
    c.equal(f"{path}._is_view()", is_view, right._is_view())
    if is_view and right._is_view():
        c.push(f"{path}._base", left._base, right._base)
    for name in ("pytype", "constant", "real_tensor", "nested_int_memo"):
        c.push(f"{path}.{name}", getattr(left, name, None), getattr(right, name, None))
    if left.is_leaf and right.is_leaf:
        c.push(f"{path}.grad", left.grad, right.grad)
    for name in sorted(vars(left).keys() | vars(right).keys()):
        if name not in INTERNAL_TO_FAKES and "_memo" not in name:
            c.push(f"{path}.{name}", vars(left).get(name, ...), vars(right).get(name, ...))
    # Fakes of several modes may all come back under one, fakes of one mode never under several.
    c.keep(left.fake_mode, right.fake_mode)
    c.partner("fake mode", f"{path}.fake_mode", id(left.fake_mode), id(right.fake_mode), merging=True)
    _contents(c, path, left, right)


def _same_description(c: Comparison, path: str, left: torch.Tensor, right: torch.Tensor) -> bool:
    """Compare what can be said of a tensor without its contents; say whether contents can be compared."""
    facts = [  # a list, not a generator: every difference is reported
        c.equal(f"{path}.{name}", getattr(left, name), getattr(right, name))
        for name in ("dtype", "device", "layout", "requires_grad", "is_leaf", "is_quantized", "is_nested")
    ]
    for name in ("is_conj", "is_neg", "is_inference", "_is_zerotensor"):
        c.equal(f"{path}.{name}()", getattr(left, name)(), getattr(right, name)())
    if left.ndim != right.ndim:
        c.report(f"{path}.shape", left.shape, right.shape)
        return False
    if not left.is_nested:
        c.push(f"{path}.shape", left.shape, right.shape)
    return all(facts)


def _contents(c: Comparison, path: str, left: torch.Tensor, right: torch.Tensor) -> None:
    if left.is_nested:
        c.push(f"{path}.unbind()", left.unbind(), right.unbind())
    elif left.layout is torch.strided:
        c.push(f"{path}.stride()", left.stride(), right.stride())
        c.push(f"{path}.storage_offset()", left.storage_offset(), right.storage_offset())
        if left.is_quantized:
            _quantization(c, path, left, right)
        _storage(c, path, left, right)
    elif left.layout is torch.sparse_coo:
        for name in ("sparse_dim", "dense_dim", "is_coalesced"):
            c.equal(f"{path}.{name}()", getattr(left, name)(), getattr(right, name)())
        _parts(c, path, left, right, ("_indices", "_values"))
    elif left.layout in COMPRESSED:
        _parts(c, path, left, right, (*COMPRESSED[left.layout], "values"))
    else:
        c.report(path, f"a layout that can be compared, not {left.layout}", left.layout)


def _parts(c: Comparison, path: str, left: Any, right: Any, names: tuple[str, ...]) -> None:
    """Parts of a sparse tensor; each call makes a new object, so only their storages can be shared."""
    for name in names:
        c.push(f"{path}.{name}()", getattr(left, name)(), getattr(right, name)())


def _quantization(c: Comparison, path: str, left: torch.Tensor, right: torch.Tensor) -> None:
    if not c.equal(f"{path}.qscheme()", left.qscheme(), right.qscheme()):
        return
    if left.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        names: tuple[str, ...] = ("q_scale", "q_zero_point")
    else:
        names = ("q_per_channel_axis", "q_per_channel_scales", "q_per_channel_zero_points")
    for name in names:
        c.push(f"{path}.{name}()", getattr(left, name)(), getattr(right, name)())


def _storage(c: Comparison, path: str, left: torch.Tensor, right: torch.Tensor) -> None:
    mine, other = left.untyped_storage(), right.untyped_storage()
    c.keep(mine, other)
    if not c.partner("storage", path, mine._cdata, other._cdata):
        return
    c.push(f"{path}.untyped_storage().nbytes()", mine.nbytes(), other.nbytes())
    real = left.device.type != "meta" and not isinstance(left, FakeTensor)
    if real and mine.nbytes() == other.nbytes():
        x = torch.empty(0, dtype=torch.uint8, device=left.device).set_(mine)
        y = torch.empty(0, dtype=torch.uint8, device=right.device).set_(other)
        if not torch.equal(x, y):
            first = int((x != y).nonzero()[0, 0])
            c.report(f"{path} bytes", f"{int(x[first])} at byte {first}", f"{int(y[first])} at byte {first}")


# --- symbolic numbers ---


def _symbolic(c: Comparison, path: str, left: Any, right: Any) -> None:
    mine, other = left.node, right.node
    if type(mine) is NestedIntNode:
        # torch numbers these as they are made; only which are the same counts
        c.partner("nested integer", path, mine.t_id, other.t_id)
        c.equal(f"{path}.node.coeff", mine.coeff, other.coeff)
        return
    c.equal(f"{path}.node type", type(mine), type(other))
    c.equal(f"{path}.node.expr", str(mine.expr), str(other.expr))
    c.equal(f"{path}.node._expr", structure_of(mine._expr), structure_of(other._expr))
    c.equal(f"{path}.node.pytype", mine.pytype, other.pytype)
    c.push(f"{path}.node.hint", mine._hint, other._hint)
    c.push(f"{path}.node.constant", mine.constant, other.constant)
    c.push(f"{path}.node.shape_env", mine.shape_env, other.shape_env)


def _shape_env(c: Comparison, path: str, left: Any, right: Any) -> None:
    hints, other_hints = (
        vars(env).get("backed_var_to_val", vars(env).get("var_to_val")) for env in (left, right)
    )
    for symbol in sorted(hints.keys() | other_hints.keys(), key=str):
        x, y = hints.get(symbol), other_hints.get(symbol)
        if isinstance(x, SingletonInt) and isinstance(y, SingletonInt):
            c.partner("nested integer", f"{path} hint of {symbol}", x._val, y._val)
            c.equal(f"{path} coefficient of {symbol}", x._coeff, y._coeff)
        elif x is not None and y is not None:  # another symbol may be one that nothing uses
            c.equal(f"{path} hint of {symbol}", str(x), str(y))
    for name in ("var_to_range", "replacements", "deferred_runtime_asserts", "guards", "unbacked_renamings"):
        c.equal(f"{path}.{name}", _texts(getattr(left, name)), _texts(getattr(right, name)))


def _texts(facts: Any) -> list[str]:
    if isinstance(facts, list):
        return [str(getattr(fact, "expr", fact)) for fact in facts]
    return sorted(
        f"{key}: {_texts(value) if isinstance(value, list) else value}" for key, value in facts.items()
    )


def _expression(c: Comparison, path: str, left: Any, right: Any) -> None:
    c.equal(path, structure_of(left), structure_of(right))


def structure_of(expression: Any) -> str:
    """Return the tree of an expression as text, what is assumed of symbols sorted.

    Whoever made a symbol first in the process decided in which order sympy lists what it assumes of it.
    """
    return re.sub(
        r"(?:, \w+=(?:True|False))+", lambda m: ", ".join(sorted(m[0].split(", "))), sympy.srepr(expression)
    )


# --- graphs ---


def _graph(c: Comparison, path: str, left: fx.Graph, right: fx.Graph) -> None:
    mine, others = list(left.nodes), list(right.nodes)
    if len(mine) != len(others):
        c.report(f"{path} length", len(mine), len(others))
        return
    for i, (x, y) in enumerate(zip(mine, others, strict=True)):
        c.keep(x, y)
        c.partner("object", f"{path} node {i}", id(x), id(y))
        _node(c, f"{path} node {i} {x.name}", x, y)
    _links(c, path, left, right, others)
    _found_by_target(c, path, left, right, mine, others)
    c.push(f"{path}._codegen", left._codegen, right._codegen)


def _node(c: Comparison, path: str, left: fx.Node, right: fx.Node) -> None:
    c.equal(f"{path}.op", left.op, right.op)
    c.equal(f"{path}.name", left.name, right.name)
    for name in ("target", "type", "args", "kwargs"):
        c.push(f"{path}.{name}", getattr(left, name), getattr(right, name), in_metadata=False)
    # Nodes of several graphs of dynamo share one dict of metadata; each node comes back with its own.
    c.partner("metadata", f"{path}.meta", id(left), id(right.meta))
    c.equal(f"{path}.meta type", type(left.meta), type(right.meta))
    mine, others = dict(left.meta), dict(right.meta)
    c.in_metadata = True
    for key in STACKS:
        if key in mine and key in others:
            _stack(c, f"{path}.meta[{key!r}]", mine.pop(key), others.pop(key))
    c.equal(f"{path}.meta keys", list(map(repr, left.meta)), list(map(repr, right.meta)))
    c.push(f"{path}.meta", mine, others, in_metadata=True)
    c.equal(f"{path}.users", {user.name for user in left.users}, {user.name for user in right.users})
    inputs, other_inputs = left.all_input_nodes, right.all_input_nodes
    c.equal(f"{path}.all_input_nodes", [x.name for x in inputs], [y.name for y in other_inputs])


def _node_reference(c: Comparison, path: str, left: fx.Node, right: fx.Node) -> None:
    """A node met before its graph, or outside of it: its graph decides, and where it is erased, its facts."""
    c.push(f"{path}.graph", left.graph, right.graph)
    for name in ("op", "name", "target"):
        c.push(f"{path}.{name}", getattr(left, name), getattr(right, name))


def _links(c: Comparison, path: str, left: fx.Graph, graph: fx.Graph, nodes: list[fx.Node]) -> None:
    """The linked list, the order keys and the names in use must fit the nodes, or later edits go wrong."""
    c.equal(f"{path} backwards", list(reversed(graph.nodes)) == nodes[::-1], True)
    c.equal(f"{path} length", len(graph.nodes), len(nodes))
    c.equal(f"{path} order keys", all(x < y for x, y in itertools.pairwise(nodes)), True)
    # torch.export renames nodes without telling the namespace; a copy may know more names, not fewer.
    mine, others = left._graph_namespace._used_names, graph._graph_namespace._used_names
    c.equal(
        f"{path} names not in use", [x.name for x in nodes if x.name in mine and x.name not in others], []
    )
    strays = [node.name for node in nodes if node.graph is not graph]
    c.equal(f"{path} nodes of another graph", strays, [])


def _found_by_target(
    c: Comparison, path: str, left: fx.Graph, right: fx.Graph, mine: list[fx.Node], others: list[fx.Node]
) -> None:
    """`Graph.find_nodes` answers from a table beside the list; it must know the same nodes."""
    at, other_at = ({node: i for i, node in enumerate(nodes)} for nodes in (mine, others))
    targets = {node.target: other.target for node, other in zip(mine, others, strict=False)}
    for op, target in dict.fromkeys((node.op, node.target) for node in mine):
        if type(target).__module__ == "torch._dynamo.utils":
            continue  # a wrapper of a torch-numpy function, which dynamo makes anew for each call
        wanted = {"op": op, "target": target} if op == "call_function" else {"op": op}
        x = [at.get(node) for node in left.find_nodes(**wanted)]
        if isinstance(target, ArtefactCall):  # an object of each load
            wanted["target"] = targets[target]
        y = [other_at.get(node) for node in right.find_nodes(**wanted)]
        c.equal(f"{path}.find_nodes({op}, {target})", x, y)


def _tree_spec(c: Comparison, path: str, left: Any, right: Any) -> None:
    c.push(f"{path}.type", left.type, right.type, in_metadata=False)
    for names in (("_context", "context"), ("_children", "children_specs")):
        x, y = (next(getattr(spec, name) for name in names if hasattr(spec, name)) for spec in (left, right))
        c.push(f"{path}.{names[1]}", _frozen(x), _frozen(y), in_metadata=False)


def _frozen(value: Any) -> Any:
    """Specs are values: whether two of them hold one list or two equal ones says nothing."""
    return tuple(map(_frozen, value)) if type(value) is list else value


def _fields(c: Comparison, path: str, left: Any, right: Any) -> None:
    """Records of torch by their fields: what they remember beside them (a hash, a printed name) is derived."""
    for field in dataclasses.fields(left):
        if field.init:
            c.push(f"{path}.{field.name}", getattr(left, field.name), getattr(right, field.name))


def _graph_argument(c: Comparison, path: str, left: Any, right: Any) -> None:
    """An argument of a graph, without its examples unless they are symbolic: tensors of the caller are not kept."""
    for name in ("source", "pass_arg_as_tensor", "fake_tensor", "is_tensor"):
        c.push(f"{path}.{name}", getattr(left, name), getattr(right, name))
    for name, kept in (("_example", isinstance(left._example, SYMBOLIC)), ("example_strong_ref", False)):
        c.push(f"{path}.{name}", getattr(left, name) if kept else None, getattr(right, name))


def _spec(c: Comparison, path: str, left: Any, right: Any) -> None:
    """What says how a tensor is spread, without the hash that it may have remembered."""
    for name in sorted(vars(left).keys() | vars(right).keys()):
        if name != "_hash":
            c.push(f"{path}.{name}", vars(left).get(name, ...), vars(right).get(name, ...))


def _frame(c: Comparison, path: str, left: Any, right: Any) -> None:
    for name in ("filename", "lineno", "name", "line", "end_lineno", "colno", "end_colno"):
        c.equal(f"{path}.{name}", getattr(left, name, None) or None, getattr(right, name, None) or None)
    c.equal(f"{path}.locals", left.locals, right.locals)


def _node_source(c: Comparison, path: str, left: Any, right: Any) -> None:
    """Provenance of a node; the graph in it is an address of the process, of which only sameness counts."""
    for name in ("pass_name", "name", "target"):
        x, y = getattr(left, name), getattr(right, name)
        c.push(
            f"{path}.{name}", *[_IN_MEMORY.sub("", held) if type(held) is str else held for held in (x, y)]
        )
    for name in ("action", "from_node"):  # sources are values, and so are their lists
        c.push(f"{path}.{name}", tuple(getattr(left, name)), tuple(getattr(right, name)))
    c.equal(f"{path} has a node", left.node_info is None, right.node_info is None)
    c.partner("graph_id", f"{path}.graph_id", left.graph_id, right.graph_id)


_IN_MEMORY = re.compile(r" at 0x[0-9a-f]+")
_ADDRESS = re.compile(r"(\d{9,})(@\d+)?")
STACKS = ("nn_module_stack", "fwd_nn_module_stack")


def _stack(c: Comparison, path: str, left: Any, right: Any) -> None:
    """A stack of modules: keys that are addresses of the process count by their sameness only."""
    if type(left) is not dict or type(right) is not dict or not any(map(_is_address, left)):
        c.push(path, left, right)
        return
    c.keep(left, right)
    if not c.equal(f"{path} count", len(left), len(right)) or not c.partner(
        "object", path, id(left), id(right)
    ):
        return
    for (key, x), (other, y) in zip(left.items(), right.items(), strict=True):
        if _is_address(key) and _is_address(other):
            one, two = _ADDRESS.fullmatch(key), _ADDRESS.fullmatch(other)
            assert one is not None
            assert two is not None
            c.partner("module address", f"{path} key", int(one[1]), int(two[1]))
            c.equal(f"{path} key call", one[2], two[2])
        else:
            c.push(f"{path} key", key, other)
        c.push(f"{path}[{key!r}]", x, y)


def _is_address(key: Any) -> bool:
    return type(key) is str and _ADDRESS.fullmatch(key) is not None


def _operator(c: Comparison, path: str, left: Any, right: Any) -> None:
    """Passes of torch copy operators into metadata; a copy comes back as the operator that it is a copy of."""
    is_copy = type(left) is type(right) and str(left) == str(right)
    if left is not right and not (c.in_metadata and is_copy):
        c.report(path, left, right)


# --- modules ---


def _codegen(c: Comparison, path: str, left: Any, right: Any) -> None:
    """Argument names are values: torch.export shares the list of them with the signature of a program."""
    mine, others = vars(left), vars(right)
    for name in [*mine, *(name for name in others if name not in mine)]:
        x, y = mine.get(name, ...), others.get(name, ...)
        if name == "pytree_info":
            c.push(f"{path}.pytree_info", tuple(map(_frozen, x)), tuple(map(_frozen, y)))
        else:
            c.push(f"{path}.{name}", x, y)


def _module(c: Comparison, path: str, left: nn.Module, right: nn.Module) -> None:
    if isinstance(left, fx.GraphModule) and isinstance(right, fx.GraphModule):
        c.equal(f"{path} class name", type(left).__name__, type(right).__name__)
        c.equal(f"{path}.code", left.code, right.code)
        owned = left.graph.owning_module is left
        c.equal(f"{path} owns its graph", owned, right.graph.owning_module is right)
        c.push(f"{path}.graph", left.graph, right.graph)
        skipped = DERIVED_OF_GRAPH_MODULES
    else:
        skipped = set()
    mine, others = vars(left), vars(right)
    for name in [*mine, *(name for name in others if name not in mine)]:
        if name in skipped or name in LEFT_BY_DYNAMO:
            continue
        in_metadata = name == "meta" and isinstance(left, fx.GraphModule)
        x, y = mine.get(name, ...), others.get(name, ...)
        if in_metadata and "backend_id" in x:  # the random name of one compilation
            x, y = ({key: value for key, value in held.items() if key != "backend_id"} for held in (x, y))
            c.keep(x, y)
        if name in HOOKS:
            c.push(f"{path}.{name}", _order(mine, name), _order(others, name))
            _functions(c, f"{path}.{name}", x, y)
        elif isinstance(x, (types.FunctionType, types.MethodType)) and type(x) is type(y):
            c.keep(x, y)
            c.equal(
                f"{path}.{name} bound",
                getattr(x, "__self__", left) is left,
                getattr(y, "__self__", right) is right,
            )
            _function(c, f"{path}.{name}", x, y)
        else:
            c.push(f"{path}.{name}", x, y, in_metadata=in_metadata)


def _order(held: dict[str, Any], name: str) -> list[int]:
    """The keys of hooks are numbers that a process counts up; what matters is which hook each one names."""
    keys = list(held[HOOKS[name]])
    return [keys.index(key) if key in keys else -1 for key in held[name]]


def _functions(c: Comparison, path: str, left: dict[int, Any], right: dict[int, Any]) -> None:
    for i, (x, y) in enumerate(zip(left.values(), right.values(), strict=False)):
        if callable(x) and callable(y):
            _function(c, f"{path}[{i}]", x, y)
        else:
            c.push(f"{path}[{i}]", x, y)


def _function(c: Comparison, path: str, left: Any, right: Any) -> None:
    """Functions that are made anew are the same if their code is, and what they close over."""
    x, y = getattr(left, "__func__", left), getattr(right, "__func__", right)
    if x is y:
        return
    if not (isinstance(x, types.FunctionType) and isinstance(y, types.FunctionType)):
        c.push(path, left, right)
        return
    c.equal(f"{path}.__qualname__", x.__qualname__, y.__qualname__)
    for name in ("co_code", "co_consts", "co_names", "co_freevars"):
        mine, other = (_codes(getattr(f.__code__, name)) for f in (x, y))
        c.equal(f"{path}.__code__.{name}", mine, other)
    cells, others = x.__closure__ or (), y.__closure__ or ()
    for name, one, two in zip(x.__code__.co_freevars, cells, others, strict=False):
        mine, other = one.cell_contents, two.cell_contents
        if isinstance(mine, types.FunctionType):
            _function(c, f"{path} over {name}", mine, other)
        elif type(mine).__module__.startswith("torch._dynamo"):
            c.equal(f"{path} over {name}", type(mine), type(other))
        else:
            c.push(f"{path} over {name}", mine, other)


def _codes(value: Any) -> Any:
    """Constants of a function may hold the code of another, whose equality asks for the same lines."""
    if not isinstance(value, tuple):
        return value
    return tuple((item.co_name, item.co_code) if isinstance(item, types.CodeType) else item for item in value)


def _generator(c: Comparison, path: str, left: torch.Generator, right: torch.Generator) -> None:
    c.equal(f"{path}.device", left.device, right.device)
    c.push(f"{path}.get_state()", left.get_state(), right.get_state())
    c.equal(f"{path}.initial_seed()", left.initial_seed(), right.initial_seed())


def _script_object(c: Comparison, path: str, left: Any, right: Any) -> None:
    """An object of a TorchBind class is its class and its state; a fake of one is its class."""
    if isinstance(left, FakeScriptObject):
        c.equal(f"{path}.script_class_name", left.script_class_name, right.script_class_name)
    else:
        c.push(f"{path}.__getstate__()", left.__getstate__(), right.__getstate__())


def _array(c: Comparison, path: str, left: Any, right: Any) -> None:
    for name in ("dtype", "shape", "strides"):
        if name == "strides" and not left.size:
            continue  # nobody sees them
        c.equal(f"{path}.{name}", getattr(left, name), getattr(right, name))
    c.equal(f"{path} bytes", left.tobytes(), right.tobytes())
    if type(left) is numpy.ndarray:
        c.equal(f"{path}.flags.writeable", left.flags.writeable, right.flags.writeable)
        c.keep(left, right)
        for mine, other in zip(_addresses(left), _addresses(right), strict=True):
            c.partner("byte of memory", path, mine, other)


def _addresses(array: Any) -> list[int]:
    """The addresses of an array's first elements, so that arrays over one memory are told from copies of each other."""
    sizes = zip(array.shape, array.strides, strict=True)
    each = itertools.product(*[range(length if step else 1) for length, step in sizes])
    start = array.__array_interface__["data"][0]
    return [
        start + sum([at * step for at, step in zip(place, array.strides, strict=True)])
        for place in itertools.islice(each if array.size else (), 1000)
    ]


SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool)
BY_NAME = {
    "torch._dynamo.variables.builder.GraphArg": _graph_argument,
    "torch.distributed.tensor._dtensor_spec.DTensorSpec": _spec,
}
"""Classes of modules that take seconds to import."""
IMMUTABLE = (
    *(torch._guards.Source, traceback.FrameSummary, functools.partial),
    *(
        TreeSpec,
        NodeSource,
        immutable_list,
        immutable_dict,
        sympy.Basic,
        numpy.generic,
    ),
    *(torch.SymInt, torch.SymFloat, torch.SymBool),
    *(torch._ops.OpOverload, torch._ops.OpOverloadPacket, torch._ops.HigherOrderOperator),
)
BY_IDENTITY = (torch.dtype, torch.layout, torch.memory_format)
BY_EQUALITY = (torch.device, type(torch.per_tensor_affine))
_CONTEXT = (
    "loc_in_frame", "aot_graph_name", "params_flat", "params_flat_unwrap_subclasses",
    "params_unwrapped_to_flat_index", "output_strides", "force_unspec_int_unbacked_size_like",
)  # fmt: skip
"""Attributes of a tracing context that say what was traced; the others belong to the process that traced it."""


def _context(c: Any, path: str, left: TracingContext, right: TracingContext) -> None:
    c.push(
        f"{path}.module_context.nn_modules", left.module_context.nn_modules, right.module_context.nn_modules
    )
    c.equal(f"{path} has a fake_mode", left.fake_mode is not None, right.fake_mode is not None)
    frames = [
        [
            (f.filename, f.lineno, f.name, getattr(f, "_line", None), f.locals)
            for f in context.frame_summary_stack
        ]
        for context in (left, right)
    ]
    c.push(f"{path}.frame_summary_stack", *frames)
    for name in _CONTEXT:
        c.push(f"{path}.{name}", getattr(left, name), getattr(right, name))


COMPARERS: dict[type, Callable[[Any, str, Any, Any], None]] = {
    FakeTensor: _fake_tensor,
    torch.Tensor: _tensor,
    torch.SymInt: _symbolic,
    torch.SymFloat: _symbolic,
    torch.SymBool: _symbolic,
    ShapeEnv: _shape_env,
    sympy.Basic: _expression,
    **dict.fromkeys(
        (torch._ops.OpOverload, torch._ops.OpOverloadPacket, torch._ops.HigherOrderOperator), _operator
    ),
    fx.Graph: _graph,
    fx.Node: _node_reference,
    fx.graph.CodeGen: _codegen,
    TreeSpec: _tree_spec,
    NodeSource: _node_source,
    torch._guards.Source: _fields,
    traceback.FrameSummary: _frame,
    nn.Module: _module,
    TracingContext: _context,
    torch.Generator: _generator,
    torch.ScriptObject: _script_object,
    FakeScriptObject: _script_object,
    numpy.ndarray: _array,
    numpy.generic: _array,
}
