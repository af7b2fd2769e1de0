"""Guards of exported programs: conditions on inputs, as text that torch turns into code.

torch.export keeps the conditions under which a program holds as Python text (``L['x'].size()[0] > 3``), and
`ExportedProgram.module` compiles them. So a text is let through only if it is an expression of the closed grammar
below: arithmetic and comparisons over numbers and over paths to inputs, and calls of a few functions of numbers.
Nothing here evaluates anything, and nothing imports torch.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping
from functools import lru_cache

MOST_TEXT = 16_384
"""Characters of one guard."""
DEEPEST = 256
"""Levels of nested expressions in one guard."""
MOST_DIGITS = 310
"""Digits of an integer in a guard."""
LARGEST_EXPONENT = 1024
"""Bound of a number that stands in an exponent or shift."""

INPUTS = "L"
"""Name of the dict of inputs in the guards of an ExportedProgram."""

_TEXT = re.compile(r"(?:'[^'\"\\\n{}]*'|[A-Za-z0-9_ .,()\[\]+\-*/%<>=!&|^~])*")
_ITEMS = re.compile(
    rf"(?<![\w.]){INPUTS}\['[^'\"\\\n{{}}]*'\](?:\[(?:\d{{1,9}}|'[^'\"\\\n{{}}]*')\])+", re.ASCII
)
_PATH = re.compile(r"([A-Za-z_]\w*)((?:\.(?!__)[A-Za-z_]\w*|\[(?:-?\d{1,9}|'[^'\"\\\n{}]*')\])*)", re.ASCII)

_READERS = frozenset({"size", "stride", "storage_offset", "item"})
_FUNCTIONS = frozenset(
    {"abs", "max", "min", "round", "float", "int", "bool", "IsNonOverlappingAndDenseIndicator",
     "cast_symbool_to_symint_guardless"}
)  # fmt: skip
_MATH = frozenset(
    {"floor", "ceil", "trunc", "sqrt", "exp", "log", "log2", "cos", "cosh", "acos", "sin", "sinh", "asin",
     "asinh", "tan", "tanh", "atan", "isnan", "pow"}
)  # fmt: skip
_TORCH = frozenset(
    {"sym_float", "sym_int", "sym_max", "sym_min", "sym_not", "sym_ite", "sym_sqrt", "_sym_sqrt", "_sym_log2",
     "_sym_cos", "_sym_cosh", "_sym_sin", "_sym_sinh", "_sym_tan", "_sym_tanh", "_sym_asin", "_sym_acos",
     "_sym_atan"}
)  # fmt: skip
_SCOPES = {"math": _MATH, "torch": _TORCH}
RESERVED = frozenset({*_FUNCTIONS, *_SCOPES, "inf", INPUTS})
"""Names that mean something in a guard, so that no input there can be called so."""
_CONSTANTS = {"math": frozenset({"inf", "nan", "pi", "e"}), "torch": frozenset[str]()}
_POWERS = (ast.Pow, ast.LShift, ast.RShift)
_OPERATORS = (
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.BitAnd, ast.BitOr, ast.BitXor, *_POWERS,
)  # fmt: skip
_SIGNS = (ast.Not, ast.USub, ast.UAdd, ast.Invert)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def is_plain_text(text: str) -> bool:
    """Whether ``text`` can stand in quotes of either kind in a guard without ending them.

    >>> is_plain_text("k"), is_plain_text("it's")
    (True, False)
    """
    return text.isprintable() and not any([mark in text for mark in "'\"\\{}"])


def split_path(text: str) -> tuple[str, str] | None:
    """Split a path to an input, ``z['k'][0]``, into its first name and the rest; None if it is no such path.

    >>> split_path("z['k'][0]")
    ('z', "['k'][0]")
    """
    found = _PATH.fullmatch(text) if len(text) <= MOST_TEXT and text.isprintable() else None
    return None if found is None else (found[1], found[2])


def with_items_renamed(text: str, names: Mapping[str, str]) -> str:
    """Return a guard, or a path to an input, with other names for items of inputs.

    Args:
        text: what names items as ``L['args'][0]``.
        names: such an item, or an item of an item -> what stands in its place; others stay.

    >>> with_items_renamed("L['args'][1].size()[0] > 3", {"L['args'][1]": "L['args_1']"})
    "L['args_1'].size()[0] > 3"
    """
    return _ITEMS.sub(lambda found: _renamed(found[0], names), text)


def _renamed(item: str, names: Mapping[str, str]) -> str:
    end = len(item)
    while end > 0:
        if item[:end] in names:
            return names[item[:end]] + item[end:]
        end = item.rfind("[", 0, end)
    return item


def parse(text: str, roots: Collection[str]) -> ast.expr | None:
    """Return the syntax tree of a guard, or None if it is not of the grammar.

    Args:
        text: Python source of one expression.
        roots: names at which paths to inputs begin.

    >>> parse("L['x'].size()[0] > 3", {"L"}) is not None
    True
    >>> parse("__import__('os').system('true')", {"L"}) is None
    True
    """
    if len(text) > MOST_TEXT or not text.isprintable() or not _TEXT.fullmatch(text):
        return None
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    level: list[ast.expr] = [tree]
    for _ in range(DEEPEST):
        found = [_operands(part, roots) for part in level]
        if any([operands is None for operands in found]):
            return None
        level = [part for operands in found for part in operands or ()]
        if not level:
            return tree
    return None


@lru_cache(maxsize=256)  # equal modules have equal guards
def is_guard(text: str) -> bool:
    """Whether ``text`` is a condition over the dict of inputs.

    >>> is_guard("(L['x'].size()[0] % 2) == 0"), is_guard("open('f')")
    (True, False)
    """
    return parse(text, (INPUTS,)) is not None


def _operands(node: ast.expr, roots: Collection[str]) -> list[ast.expr] | None:
    """Return what ``node`` is made from that is still to be looked at, or None if it is not of the grammar."""
    if isinstance(node, ast.Constant):
        return [] if _is_number(node.value) or _is_word(node.value) else None
    if is_plain_path_node(node, roots):
        return []
    if isinstance(node, ast.BoolOp):
        return node.values
    if isinstance(node, ast.UnaryOp):
        return [node.operand] if isinstance(node.op, _SIGNS) else None
    if isinstance(node, ast.BinOp):
        if not isinstance(node.op, _OPERATORS) or (
            isinstance(node.op, _POWERS) and not _is_small(node.right, roots)
        ):
            return None
        return [node.left, node.right]
    if isinstance(node, ast.Compare):
        known = all([isinstance(op, _COMPARISONS) for op in node.ops])
        return [node.left, *node.comparators] if known else None
    if isinstance(node, ast.IfExp):
        return [node.test, node.body, node.orelse]
    if isinstance(node, ast.Call):
        return node.args if not node.keywords and _is_function(node.func) else None
    if isinstance(node, ast.Attribute):
        held = node.value.id if isinstance(node.value, ast.Name) else ""
        return [] if node.attr in _CONSTANTS.get(held, ()) else None
    return [] if isinstance(node, ast.Name) and node.id == "inf" else None


def _is_number(value: object) -> bool:
    if type(value) is int:
        return value.bit_length() <= MOST_DIGITS * 4
    return type(value) in (float, bool)


def _is_word(value: object) -> bool:
    return type(value) is str and is_plain_text(value)


def _is_small(node: ast.expr, roots: Collection[str]) -> bool:
    """Whether an exponent is a small number, or a value of an input."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    if isinstance(node, ast.Constant):
        exponent = node.value
        return isinstance(exponent, int | float) and abs(exponent) <= LARGEST_EXPONENT
    return is_plain_path_node(node, roots)


def _is_function(node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.attr in _SCOPES.get(node.value.id, ())
    return False


def is_plain_path_node(node: ast.expr, roots: Collection[str]) -> bool:
    """Whether ``node`` reads an input, an item or attribute of it, or the metadata of a tensor there."""
    for _ in range(DEEPEST):
        if isinstance(node, ast.Name):
            return node.id in roots
        if isinstance(node, ast.Attribute):
            if node.attr.startswith("__"):
                return False
            node = node.value
        elif isinstance(node, ast.Subscript):
            if not _is_key(node.slice):
                return False
            node = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.args or node.keywords or node.func.attr not in _READERS:
                return False
            node = node.func.value
        else:
            return False
    return False


def _is_key(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and (type(node.value) is int or _is_word(node.value))
