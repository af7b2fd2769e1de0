"""The closed list of functions and constants that symbolic expressions are made of.

Each function is built unevaluated: what is stored is what torch had, simplified or not, and nothing in a
file can make sympy compute. The list is what `torch.utils._sympy.functions` defines in torch 2.7 to 2.15
and what `torch.fx.experimental.sym_node` takes from sympy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy
from sympy.functions.elementary.piecewise import ExprCondPair
from torch.utils._sympy import functions as torch_functions
from torch.utils._sympy.numbers import int_oo

MANY = 65_536
"""Most arguments of a function that takes any number."""

CONSTANTS: dict[str, Any] = {
    "int_oo": int_oo,
    "-int_oo": -int_oo,
    "oo": sympy.S.Infinity,
    "-oo": sympy.S.NegativeInfinity,
    "zoo": sympy.S.ComplexInfinity,
    "nan": sympy.S.NaN,
    "true": sympy.S.true,
    "false": sympy.S.false,
    "pi": sympy.S.Pi,
    "E": sympy.S.Exp1,
}
"""Name -> the constant."""


@dataclass(frozen=True)
class Signature:
    """A function, how many arguments it takes, and of which kinds ("number", "boolean", "either", "pair")."""

    function: Any
    """The class, or None where the running torch lacks it."""
    least: int
    most: int
    first: str = "number"
    rest: str = "number"

    def kinds(self, count: int) -> list[str]:
        """Return the kind of each of ``count`` arguments."""
        return [self.first, *[self.rest] * (count - 1)][:count]


def _of_torch(name: str, least: int, most: int, first: str = "number", rest: str = "number") -> Signature:
    return Signature(getattr(torch_functions, name, None), least, most, first, rest)


_UNARY = ("CeilToInt", "FloorToInt", "RoundToInt", "TruncToFloat", "TruncToInt", "ToFloat", "Identity")
_BINARY = (
    "FloorDiv", "PythonMod", "Mod", "CleanDiv", "LShift", "RShift", "PowByNatural", "FloatPow",
    "FloatTrueDiv", "IntTrueDiv", "RoundDecimal",
)  # fmt: skip
_OPAQUE = (
    "sqrt", "cos", "cosh", "sin", "sinh", "tan", "tanh", "asin", "acos", "atan", "exp", "log", "asinh",
    "log2",
)  # fmt: skip

FUNCTIONS: dict[str, Signature] = {
    "Add": Signature(sympy.Add, 2, MANY),
    "Mul": Signature(sympy.Mul, 2, MANY),
    "Pow": Signature(sympy.Pow, 2, 2),
    "Abs": Signature(sympy.Abs, 1, 1),
    "floor": Signature(sympy.floor, 1, 1),
    "ceiling": Signature(sympy.ceiling, 1, 1),
    "Equality": Signature(sympy.Eq, 2, 2, "either", "either"),
    "Unequality": Signature(sympy.Ne, 2, 2, "either", "either"),
    "GreaterThan": Signature(sympy.Ge, 2, 2),
    "LessThan": Signature(sympy.Le, 2, 2),
    "StrictGreaterThan": Signature(sympy.Gt, 2, 2),
    "StrictLessThan": Signature(sympy.Lt, 2, 2),
    "And": Signature(sympy.And, 2, MANY, "boolean", "boolean"),
    "Or": Signature(sympy.Or, 2, MANY, "boolean", "boolean"),
    "Xor": Signature(sympy.Xor, 2, MANY, "boolean", "boolean"),
    "Not": Signature(sympy.Not, 1, 1, "boolean"),
    "ExprCondPair": Signature(ExprCondPair, 2, 2, "either", "boolean"),
    "Piecewise": Signature(sympy.Piecewise, 1, MANY, "pair", "pair"),
    "Max": _of_torch("Max", 2, MANY),
    "Min": _of_torch("Min", 2, MANY),
    "ModularIndexing": _of_torch("ModularIndexing", 3, 3),
    "Where": _of_torch("Where", 3, 3, "boolean", "either"),
    "IsNonOverlappingAndDenseIndicator": _of_torch("IsNonOverlappingAndDenseIndicator", 2, 512),
    **{name: _of_torch(name, 1, 1) for name in _UNARY},
    **{name: _of_torch(name, 2, 2) for name in _BINARY},
    **{f"OpaqueUnaryFn_{name}": _of_torch(f"OpaqueUnaryFn_{name}", 1, 1) for name in _OPAQUE},
    **{
        f"BitwiseFn_bitwise_{name}": _of_torch(f"BitwiseFn_bitwise_{name}", 2, 2, "either", "either")
        for name in ("and", "or", "xor")
    },
}
"""Name in a document -> the function."""

_NAMES = {signature.function: name for name, signature in FUNCTIONS.items() if signature.function is not None}


def name_of_function(expression: Any) -> str | None:
    """Return the name of the function that ``expression`` calls, or None for a leaf or an unknown one."""
    kind = type(expression)
    name = _NAMES.get(kind)
    if name is None and hasattr(kind, "_torch_handler_name") and kind.__name__ in FUNCTIONS:
        # unpickling and deepcopy make such classes anew
        return str(kind.__name__)
    return name


def build(name: str, signature: Signature, args: list[Any]) -> Any:
    """Return the call of a function, unevaluated."""
    if name == "ExprCondPair":
        if args[1].has(sympy.Piecewise):
            raise ValueError("a condition that is itself a case distinction")
        return ExprCondPair(*args)
    if name == "IsNonOverlappingAndDenseIndicator" and len(args) % 2:
        raise ValueError("as many strides as sizes are needed")
    if name == "Xor":
        return _exclusive(args)
    return signature.function(*args, evaluate=False)


def _exclusive(args: list[Any]) -> Any:
    """`sympy.Xor` would simplify its conditions whether it is asked to or not; it keeps them as a set."""
    found = sympy.Basic.__new__(sympy.Xor, *args)
    found._argset = frozenset(args)
    if len(found._argset) != len(args):
        raise ValueError("a condition stands in it twice")
    return found
