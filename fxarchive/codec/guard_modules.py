"""Modules that check the inputs of another: `_guards_fn` of what `ExportedProgram.module` returns.

Torch generates a function from the guards and throws their text away. Its messages still say them, so they are
read back from there, and kept only if they generate the same code again.
"""

from __future__ import annotations

import ast
import dis
import types
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.fast import unlifting
from fxarchive.codec.guard_functions import CheckedInputs
from fxarchive.document import EXPORTED_PROGRAMS
from fxarchive.errors import InvalidDocument
from fxarchive.guards import INPUTS, RESERVED, is_guard, parse, split_path
from fxarchive.program_audit import check_guards

PREFIX = "Guard failed: "
_PATHS = "paths of guards"


def is_guard_module(module: torch.nn.Module) -> bool:
    """Whether ``module`` checks the inputs of an unlifted program."""
    cls = type(module)
    return cls is CheckedInputs or (
        cls.__module__ == "torch.export._unlift" and cls.__qualname__ == "GuardsFn"
    )


# encoding


def input_paths(names: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Return the key path of each leaf of the inputs of a function whose arguments are called ``names``."""
    given = dict(zip(names, args, strict=False))
    given.update([(name, kwargs[name]) for name in names[len(args) :] if name in kwargs])
    return [path for path, _ in pytree.tree_leaves_with_path(given)]


def note_inputs(enc: Encoder, guards: torch.nn.Module, names: list[str], in_spec: Any) -> None:
    """Remember how the inputs of the module that ``guards`` belongs to are called."""
    try:
        args, kwargs = pytree.tree_unflatten([object() for _ in range(in_spec.num_leaves)], in_spec)
        found = input_paths(names, args, kwargs)
        paths = [f"{path[0].key}{pytree.keystr(path[1:])}" for path in found]
    except Exception:  # a container that the user registered may refuse what is no tensor
        return
    enc.state.setdefault(_PATHS, {})[id(guards)] = paths


def encode_guards(enc: Encoder, module: torch.nn.Module) -> list[Any]:
    """Return ``[paths, guards]``.

    Raises:
        Refused: the guards cannot be read back as plain conditions.
    """
    enc.features.add(EXPORTED_PROGRAMS)
    if isinstance(module, CheckedInputs):
        return [list(module.paths), list(module.guards)]
    generated = _generated(vars(module).get("forward"))
    paths = enc.state.get(_PATHS, {}).get(id(module))
    if generated is not None and paths is not None:
        guards = [_of_inputs(text, paths) for text in _messages(generated)]
        if None not in guards and _generates(generated, guards, paths):
            return [paths, guards]
    raise Refused.because(
        "its guards cannot be read back as plain conditions over the inputs; save the ExportedProgram itself, or "
        "program.module(check_guards=False)"
    )


def _generated(forward: Any) -> types.FunctionType | None:
    """Return the function that torch generated, which stands in a wrapper for dynamo."""
    cells = getattr(forward, "__closure__", None) or ()
    found = [forward, *[cell.cell_contents for cell in cells]]
    return next(
        (f for f in found if isinstance(f, types.FunctionType) and f.__code__.co_varnames == ("args",)), None
    )


def _messages(function: types.FunctionType) -> list[str]:
    # in the order of the code and not of its constants, since two guards may say the same
    loaded = [step.argval for step in dis.get_instructions(function)]
    return [text.removeprefix(PREFIX) for text in loaded if isinstance(text, str) and text.startswith(PREFIX)]


def _of_inputs(text: str, paths: list[str]) -> str | None:
    """Return a condition that names inputs as one over the dict of inputs, or None if it is not plain."""
    split = [split_path(path) for path in paths]
    roots = {found[0] for found in split if found is not None}
    tree = None if roots & RESERVED else parse(text, roots)
    if tree is None:
        return None

    class ByName(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            if node.id not in roots:
                return node
            return ast.Subscript(ast.Name(INPUTS, ast.Load()), ast.Constant(node.id), ast.Load())

    found: str = ast.unparse(ByName().visit(tree))
    return found if is_guard(found) else None


def _generates(function: types.FunctionType, guards: list[Any], paths: list[str]) -> bool:
    again = _generated(vars(_make(guards, paths)).get("forward"))
    return again is not None and _code(again) == _code(function)


def _code(function: types.FunctionType) -> tuple[Any, ...]:
    code = function.__code__
    return code.co_code, code.co_consts, code.co_names


# decoding


def new_guards(where: str, record: Any) -> torch.nn.Module:
    """Return the module of ``[paths, guards]``: torch's own, or where torch has none one that does the same."""
    check_guards(where, record)
    paths, guards = record
    try:
        return _make(guards, paths)
    except (SyntaxError, RecursionError) as error:
        raise InvalidDocument(where, f"its guards are no code ({error!s:.80})") from None


def _make(guards: list[str], paths: list[str]) -> torch.nn.Module:
    if unlifting.guards_class() is None:
        return CheckedInputs(paths, guards)
    split = [split_path(path) for path in paths]
    made: torch.nn.Module = unlifting.make_guards(guards, [found for found in split if found is not None])
    return made
