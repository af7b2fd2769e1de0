"""Guards without generated code, for releases of torch that have no such modules (2.7 and 2.8)."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

import torch

from fxarchive.guards import INPUTS, is_plain_path_node, parse

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.LShift: operator.lshift,
    ast.RShift: operator.rshift, ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
}  # fmt: skip
_UNARY: dict[type, Callable[[Any], Any]] = {
    ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert,
}  # fmt: skip
_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs, "max": max, "min": min, "round": round, "float": float, "int": int, "bool": bool,
}  # fmt: skip


class CheckedInputs(torch.nn.Module):
    """Asserts conditions over its arguments, as the modules do that torch generates from 2.9 on.

    The conditions are syntax trees of the closed grammar of `fxarchive.guards`, walked at each call.
    """

    def __init__(self, paths: list[str], guards: list[str]) -> None:
        super().__init__()
        self.paths = paths
        self.guards = guards

    def forward(self, *args: Any) -> None:
        inputs: dict[str, Any] = dict(zip(self.paths, args, strict=True))
        for guard in self.guards:
            tree = parse(guard, (INPUTS,))
            assert tree is not None
            torch._assert(_value(tree, inputs), f"Guard failed: {ast.unparse(tree)}")  # type: ignore[no-untyped-call]


def _value(node: ast.expr, inputs: dict[str, Any]) -> Any:
    if is_plain_path_node(node, (INPUTS,)):
        return _input(node, inputs)
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.BoolOp):
        every = isinstance(node.op, ast.And)
        return (all if every else any)(bool(_value(part, inputs)) for part in node.values)
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](_value(node.operand, inputs))
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](_value(node.left, inputs), _value(node.right, inputs))
    if isinstance(node, ast.Compare):
        values = [_value(part, inputs) for part in (node.left, *node.comparators)]
        steps = zip(node.ops, values, values[1:], strict=False)
        return all(_COMPARE[type(op)](left, right) for op, left, right in steps)
    if isinstance(node, ast.IfExp):
        return _value(node.body if _value(node.test, inputs) else node.orelse, inputs)
    if isinstance(node, ast.Call):
        return _function(node.func)(*[_value(part, inputs) for part in node.args])
    return math.inf if isinstance(node, ast.Name) else _of_scope(node)


def _function(node: ast.expr) -> Callable[..., Any]:
    if isinstance(node, ast.Name):
        from torch.fx.experimental.symbolic_shapes import SYMPY_INTERP

        found: Any = _FUNCTIONS.get(node.id) or SYMPY_INTERP[node.id]
    else:
        found = _of_scope(node)
    return found  # type: ignore[no-any-return]


def _of_scope(node: ast.expr) -> Any:
    """Return ``math.x`` or ``torch.x``; the grammar has a closed list of them."""
    assert isinstance(node, ast.Attribute)
    assert isinstance(node.value, ast.Name)
    return getattr({"math": math, "torch": torch}[node.value.id], node.attr)


def _input(node: ast.expr, inputs: dict[str, Any]) -> Any:
    """Return what a path leads to; the longest beginning that is the path of an input is that input."""
    found = inputs.get(_text(node))
    if found is not None:
        return found
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return getattr(_input(node.func.value, inputs), node.func.attr)()
    if isinstance(node, ast.Attribute):
        return getattr(_input(node.value, inputs), node.attr)
    if isinstance(node, ast.Subscript):
        return _input(node.value, inputs)[_value(node.slice, inputs)]
    raise KeyError(ast.unparse(node))


def _text(node: ast.expr) -> str:
    """Return ``z['k']`` for ``L['z']['k']``."""
    text = ast.unparse(node)
    name, _, rest = text.removeprefix(f"{INPUTS}['").partition("']")
    return name + rest if text.startswith(f"{INPUTS}['") else ""
