"""The attributes of `torch.export.ExportedProgram`, which have no public setter.

Setting them takes microseconds; the constructor generates code, runs passes and verifies the graph. Whether a program
of the running torch has exactly these attributes is asked once a process of one that the constructor made; if not,
the constructor is called on the facts instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.fx import Graph, GraphModule
from torch.utils import _pytree as pytree

from fxarchive.codec.decoder import Decoder

GUARDS = "_guards_code"
"""Attribute that torch 2.9 added."""

ATTRIBUTES = (
    "_graph_module", "_graph_signature", "_state_dict", "_range_constraints", "_module_call_graph", "_example_inputs",
    "_constants", "_verifiers", GUARDS,
)  # fmt: skip
"""What an ExportedProgram holds."""


@dataclass(frozen=True)
class Contents:
    """What goes into one program, in the order of `ATTRIBUTES`."""

    module: Any
    signature: Any
    state: Any
    ranges: Any
    calls: Any
    examples: Any
    constants: Any
    verifiers: list[Any]
    guards: list[str]


def signature_class() -> type:
    """Return the class of graph signatures."""
    from torch.export.graph_signature import ExportGraphSignature

    return ExportGraphSignature


def entry_class() -> type:
    """Return the class of entries of a call graph."""
    from torch.export.exported_program import ModuleCallEntry

    return ModuleCallEntry


def empty_program() -> Any:
    """Return a program without inputs and outputs, as torch's constructor makes it."""
    from torch.export.exported_program import ExportedProgram, ModuleCallEntry, ModuleCallSignature
    from torch.export.graph_signature import ExportGraphSignature

    graph = Graph()
    graph.output(())
    in_spec, out_spec = pytree.tree_structure(((), {})), pytree.tree_structure(())
    calls = [ModuleCallEntry("", ModuleCallSignature([], [], in_spec, out_spec))]
    module = GraphModule(torch.nn.Module(), graph)
    return ExportedProgram(module, graph, ExportGraphSignature([], []), {}, {}, calls, None, {})


@cache
def known_attributes() -> tuple[str, ...] | None:
    """Return the attributes of a program of the running torch, or None if it has others than `ATTRIBUTES`."""
    held = vars(empty_program()).keys()
    return (
        tuple([name for name in ATTRIBUTES if name in held])
        if set(ATTRIBUTES) >= held >= {*ATTRIBUTES} - {GUARDS}
        else None
    )


def new_program() -> Any:
    """Return an ExportedProgram that holds nothing yet."""
    from torch.export.exported_program import ExportedProgram

    return ExportedProgram.__new__(ExportedProgram)


def fill(dec: Decoder, program: Any, contents: Contents) -> None:
    """Give ``program`` its contents: now, or by the constructor when all of them are complete."""
    names = known_attributes()
    if names is None:
        dec.later(lambda: _construct(program, contents))
        return
    given = dict(zip(ATTRIBUTES, vars(contents).values(), strict=True))
    vars(program).update({name: given[name] for name in names})


def _construct(program: Any, contents: Contents) -> None:
    program.__init__(
        contents.module,
        contents.module.graph,
        contents.signature,
        contents.state,
        contents.ranges,
        contents.calls,
        contents.examples,
        contents.constants,
        verifiers=contents.verifiers,
    )
    if hasattr(program, GUARDS):
        setattr(program, GUARDS, contents.guards)


def verifier_of(dialect: str) -> Any:
    """Return the verifier class that torch knows for ``dialect``, or None."""
    from torch._export import verifier

    load: Callable[[str], Any] | None = getattr(verifier, "load_verifier", None)
    if load is None:
        base: Any = verifier.Verifier
        known = {cls.dialect: cls for cls in (base, *base.__subclasses__())}
        return known.get(dialect)
    try:
        return load(dialect)
    except KeyError:
        return None
