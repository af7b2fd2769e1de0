"""What an expression may cost: bounds on its size, and on the size of whatever evaluates it.

A few rows can stand for an enormous tree (each row twice in the next), for an enormous number
(``2**(10**9)``) or for an enormous expansion (``(a + b + c)**1000``). Torch prints, expands and evaluates
expressions on its own account, so every row is measured before it is used, the same way when it is written
and when it is read.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

DEPTH = 96
"""Levels of nested calls; sympy prints and substitutes recursively."""
NODES = 65_536
"""Nodes of the tree that a row stands for, shared parts counted each time."""
FACTS = 262_144
"""Nodes of the guards, the asserts, the replacements and the divisible terms of one environment, together: torch goes
through them for each question that it answers."""
TERMS = 16_384
"""Terms of the sum that an expression becomes when it is multiplied out."""
BITS = 65_536
"""Bits of the largest number that an expression can come to, with symbols of 64 bits."""
INTEGER_BITS = 1_024
"""Bits of an integer that stands in an expression."""
FLOAT_EXPONENT = 16_384
"""Absolute value of the binary exponent of a float that stands in an expression."""
EXPONENT = 1_024
"""Absolute value of a number in the exponent of a power, and of the hint of a symbol there."""
NAME_LENGTH = 64
"""Characters of a symbol's name."""

KEYWORDS = frozenset(keyword.kwlist)

LEAF_ITEMS = {"Symbol": 1, "Integer": 1, "Rational": 2, "Float": 4}
"""Kind of leaf -> how many integers it holds."""

_POWERS = frozenset({"Pow", "PowByNatural", "LShift", "RShift"})
"""Functions that evaluate to a power whose exponent is the second argument."""


class OutOfBounds(ValueError):
    """An expression that costs more than the limits allow; the text is a clause that follows its name."""


class Cost(NamedTuple):
    """What is known of an expression before it is used."""

    depth: int
    nodes: int
    terms: int
    bits: int
    power: int | None
    """The largest exponent that it can be, if it is a number or a symbol; else None."""


SYMBOL = Cost(1, 1, 1, 64, EXPONENT)


def number(row: Sequence[Any]) -> None:
    """Check that the integers of a leaf (``Integer``, ``Rational``, ``Float``) are ones that sympy can hold.

    Raises:
        OutOfBounds: a number is too large, or the parts do not make a number in its normal form.
    """
    kind, items = row[0], row[1:]
    if any(item.bit_length() > INTEGER_BITS for item in items):
        raise OutOfBounds(f"holds a number of more than {INTEGER_BITS} bits")
    if kind == "Rational" and items[1] < 2:
        raise OutOfBounds("is a fraction whose denominator is not above 1")
    if kind == "Float":
        sign, mantissa, exponent, precision = items
        normal = mantissa % 2 == 1 if mantissa else (sign == 0 and exponent == 0)
        if sign not in (0, 1) or mantissa < 0 or not normal or not 1 <= precision <= INTEGER_BITS:
            raise OutOfBounds("is a float whose parts are not in their normal form")
        if abs(exponent) > FLOAT_EXPONENT:
            raise OutOfBounds(f"is a float whose exponent is beyond {FLOAT_EXPONENT}")


def cost(row: Sequence[Any], earlier: Sequence[Cost], symbols: dict[int, Cost] | None = None) -> Cost:
    """Return the cost of ``row``.

    Args:
        row: a row of expressions, which refers to earlier rows.
        earlier: the costs of the earlier rows.
        symbols: row of a symbol in its table -> the cost of what replaces it, where something does.

    Raises:
        OutOfBounds: the cost is over a limit.
    """
    kind = row[0]
    if kind == "Symbol":
        return SYMBOL if symbols is None else symbols.get(row[1], SYMBOL)
    if kind in LEAF_ITEMS:
        number(row)
        size = sum(item.bit_length() for item in row[1:3])
        # floats evaluate to floats, whose size does not grow
        value = row[1] if kind == "Integer" else row[1] // row[2] if kind == "Rational" else None
        return Cost(1, 1, 1, 64 if kind == "Float" else size, None if value is None else abs(value))
    if kind == "constant":
        return Cost(1, 1, 1, 64, None)
    parts = [earlier[at] for at in row[1:]]
    depth = 1 + max(part.depth for part in parts)
    nodes = 1 + sum(part.nodes for part in parts)
    if depth > DEPTH:
        raise OutOfBounds(f"is nested more than {DEPTH} calls deep")
    if nodes > NODES:
        raise OutOfBounds(f"has more than {NODES} parts")
    terms, bits = _growth(kind, parts)
    if terms > TERMS:
        raise OutOfBounds(f"has more than {TERMS} terms when it is multiplied out")
    if bits > BITS:
        raise OutOfBounds(f"can come to a number of more than {BITS} bits")
    return Cost(depth, nodes, terms, bits, None)


def _growth(kind: str, parts: list[Cost]) -> tuple[int, int]:
    """Return bounds on the terms and the bits of a call."""
    if kind == "Add":
        return sum(part.terms for part in parts), max(part.bits for part in parts) + len(parts).bit_length()
    if kind == "Mul":
        terms = 1
        for part in parts:
            terms = min(terms * part.terms, TERMS + 1)
        return terms, sum(part.bits for part in parts)
    if kind in _POWERS:
        base, exponent = parts
        if exponent.power is None or exponent.power > EXPONENT:
            raise OutOfBounds(f"has an exponent that is neither a symbol nor a number up to {EXPONENT}")
        # a sum is multiplied out only where the exponent is a number; a symbol counts as the largest one
        terms = math.comb(exponent.power + base.terms - 1, exponent.power) if kind == "Pow" else 1
        if kind in ("LShift", "RShift"):
            return terms, base.bits + exponent.power
        return terms, base.bits * max(exponent.power, 1)
    return 1, max(part.bits for part in parts) + 1


def exponent_rows(row: Sequence[Any]) -> list[int]:
    """Return the row that stands in the exponent of a call, if ``row`` is a power."""
    return [row[2]] if row[0] in _POWERS else []
