"""What `ExportedProgram.module` returns: a GraphModule with hooks and methods of torch around its graph.

An archive says which of torch's hooks and methods a module has, by names of a closed list; the reader's torch
supplies them. `fxarchive.codec.fast.unlifting` knows them.
"""

from __future__ import annotations

import copy
import types
import warnings
from typing import Any

import torch
from torch.fx import GraphModule

from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.fast import unlifting
from fxarchive.codec.guard_modules import is_guard_module, note_inputs
from fxarchive.document import EXPORTED_PROGRAMS
from fxarchive.errors import InvalidDocument

_GROUPS = {"before": "_forward_pre_hooks", "after": "_forward_hooks"}
_LEFT_OUT = (
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks", "_forward_hooks_always_called",
    "range_constraints", "validate_inputs",
)  # fmt: skip


def import_parts() -> None:
    """Let torch import what its hooks need: through 2.8 those imports fail in `isolation.isolated`."""
    unlifting.parts()
    unlifting.guards_class()


def is_unlifted_class(cls: type) -> bool:
    """Whether ``cls`` is the class that torch makes unlifted modules from."""
    return cls.__module__ == "torch.export._unlift" and cls.__qualname__ == "_StatefulGraphModule"


def encode_unlifted(
    enc: Encoder, module: GraphModule
) -> tuple[list[list[str]], frozenset[tuple[str, Any]], set[str]]:
    """Return the record, the hooks that it covers as (attribute, key), and the attributes that it covers.

    Raises:
        Refused: the running torch builds such modules in a way that archives do not know.
    """
    enc.features.add(EXPORTED_PROGRAMS)
    known = unlifting.parts()
    if known is None:
        raise Refused.because(
            f"torch {torch.__version__} builds ExportedProgram.module() in a way that this fxarchive does not know; "
            "save the ExportedProgram itself"
        )
    held = vars(module)
    record: list[list[str]] = []
    own: set[tuple[str, Any]] = set()
    for group, attribute in _GROUPS.items():
        names: list[str] = []
        for key, hook in held[attribute].items():
            name = next(
                (name for name, part in getattr(known, group).items() if unlifting.is_part(hook, part)), None
            )
            if name is not None:
                names.append(name)
                own.add((attribute, key))
        record.append(names)
    methods = [name for name, part in known.methods.items() if _is_bound(held.get(name), module, part)]
    record.append(methods)
    return record, frozenset(own), set(methods)


def _is_bound(value: Any, module: GraphModule, part: Any) -> bool:
    return (
        isinstance(value, types.MethodType)
        and value.__self__ is module
        and unlifting.is_part(value.__func__, part)
    )


def note_guards(enc: Encoder, module: GraphModule) -> None:
    """Remember the inputs of a module for what checks them, where it has such a child: it is encoded after it."""
    info = getattr(getattr(vars(module).get("_graph"), "_codegen", None), "pytree_info", None)
    for child in module._modules.values():
        if child is not None and is_guard_module(child) and info is not None:
            note_inputs(enc, child, list(info.orig_args), info.in_spec)


def base_class(where: str, record: Any) -> type[GraphModule]:
    """Return the class to make an unlifted module from.

    Raises:
        InvalidDocument: the record is not of its form, or the running torch does not know such modules.
    """
    known = unlifting.parts()
    if known is None:
        raise InvalidDocument(
            where,
            f"torch {torch.__version__} builds ExportedProgram.module() in a way that it does not know",
        )
    expected = (known.before, known.after, known.methods)
    if type(record) is not list or len(record) != len(expected):
        raise InvalidDocument(where, "what is around its graph is not three lists of names")
    for names, parts in zip(record, expected, strict=True):
        if type(names) is not list or not all([type(name) is str and name in parts for name in names]):
            raise InvalidDocument(where, "it names a hook or a method that no program's module has")
    return known.base


def copied(module: Any) -> Any:
    """Return a deep copy of what is to be called; that of fx leaves out what `put_around` puts there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch warns of the tree specs that it copies itself
        made = copy.deepcopy(module)
    if isinstance(module, GraphModule) and any([is_unlifted_class(cls) for cls in type(module).__mro__]):
        vars(made).update({name: vars(module)[name] for name in _LEFT_OUT if name in vars(module)})
    return made


def put_around(module: GraphModule, record: list[list[str]]) -> None:
    """Give ``module`` the hooks and methods of a record that `base_class` passed."""
    known = unlifting.parts()
    assert known is not None
    before, after, methods = record
    for name in before:
        module.register_forward_pre_hook(known.before[name], with_kwargs=name == "check")
    for name in after:
        module.register_forward_hook(known.after[name], always_call=True)
    for name in methods:
        vars(module)[name] = types.MethodType(known.methods[name], module)
