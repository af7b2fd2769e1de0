"""Records of ``environments``, read and checked before a ShapeEnv sees any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import sympy
from sympy.logic.boolalg import Boolean, BooleanAtom
from torch.utils._sympy.value_ranges import ValueRangeError, ValueRanges

from fxarchive.codec import nested_numbers
from fxarchive.codec.symbolic import bounds
from fxarchive.codec.symbolic.bounds import OutOfBounds
from fxarchive.codec.symbolic.expressions import Built
from fxarchive.codec.symbolic.sources import SOURCE_LENGTH
from fxarchive.errors import InvalidDocument

MESSAGE_LENGTH = 65_536
"""Characters of the message of a deferred assert."""
COUNT = 2**53
"""Bound of counters and numbers of symbols."""
CHAIN = 16
"""Replacements that can lead from one symbol to another, one after the other."""

Pairs = list[tuple[Any, Any]]


class Nested(NamedTuple):
    """The nested integer that a symbol stands for."""

    number: int
    coefficient: int
    is_shared: bool
    """Whether a new input of that size gets this symbol."""


@dataclass(frozen=True)
class Record:
    """The facts of one environment as sympy objects and plain values; see `spec/schema-2-symbols.md`."""

    where: str
    release: tuple[int, int]
    settings: dict[str, bool]
    frozen: tuple[bool, bool]
    hints: Pairs
    ranges: Pairs
    sources: list[tuple[Any, list[str]]]
    inputs: list[tuple[str, Any]]
    shared_sizes: Pairs
    replacements: Pairs
    replacement_rows: list[int]
    """The same as rows of expressions."""
    renamings: Pairs
    divisible: list[Any]
    size_like: list[Any]
    guards: list[tuple[Any, bool]]
    asserts: list[tuple[Any, Pairs]]
    counters: list[int]
    numbers: list[int]
    allocated: Pairs
    guard_counts: Pairs
    pending: list[Any]
    ignorable: list[Any]
    unbacked_inputs: list[Any]
    hint_overrides: Pairs
    real_values: Pairs
    excluded: Pairs
    shape_ids: list[tuple[str, Any]]
    nested: dict[Any, Nested]
    """The symbols that stand for nested integers, which have no other hint."""

    @property
    def symbols(self) -> dict[Any, None]:
        """The symbols that the environment knows, in order."""
        of_replacements = {symbol: None for symbol, _ in (*self.replacements, *self.renamings)}
        known = {symbol: None for pairs in (self.hints, self.ranges, self.sources) for symbol, _ in pairs}
        return known | dict.fromkeys(self.nested) | of_replacements


FIELDS = frozenset(Record.__dataclass_fields__) - {"where", "replacement_rows", "nested"}
"""Fields that every record has; `nested` is there where it is needed."""


def read_record(tables: Built, row: int) -> Record:
    """Return the facts of the environment in ``row``.

    Raises:
        InvalidDocument: something in the record is not what the schema says, or would cost too much to
        evaluate.
    """
    where = f"row {row} of symbolic environments"
    raw = tables.environments[row]
    if type(raw) is not dict or raw.keys() - {"nested"} != FIELDS:
        raise InvalidDocument(where, "it does not have the fields of an environment")
    read = _Reader(tables, where, raw)
    record = Record(
        where=where,
        release=read.release(),
        settings=read.settings(),
        frozen=read.two_flags("frozen"),
        hints=read.pairs("hints", read.symbol, read.number),
        ranges=read.ranges(),
        sources=read.pairs("sources", read.symbol, read.texts),
        inputs=read.pairs("inputs", read.text, read.symbol),
        shared_sizes=read.pairs("shared_sizes", read.plain_number, read.symbol),
        replacements=read.pairs("replacements", read.symbol, read.term),
        replacement_rows=raw["replacements"],
        renamings=read.pairs("renamings", read.symbol, read.symbol),
        divisible=read.each("divisible", read.term),
        size_like=read.each("size_like", read.symbol),
        guards=read.each("guards", read.guard),
        asserts=read.each("asserts", read.asserts_of_symbol),
        counters=read.each("counters", read.count, 2),
        numbers=read.each("numbers", read.count),
        allocated=read.pairs("allocated", read.symbol, read.count),
        guard_counts=read.pairs("guard_counts", read.symbol, read.count),
        pending=read.each("pending", read.symbol),
        ignorable=read.each("ignorable", read.symbol),
        unbacked_inputs=read.each("unbacked_inputs", read.symbol),
        hint_overrides=read.pairs("hint_overrides", read.symbol, read.integer),
        real_values=read.pairs("real_values", read.symbol, read.number),
        excluded=read.pairs("excluded", read.symbol, read.integer),
        shape_ids=read.pairs("shape_ids", read.text, read.term),
        nested=read.nested(),
    )
    _check_size(tables, where, raw)
    _check_exponents(tables, record)
    _check_replacements(tables, record)
    return record


class _Reader:
    """Reads the fields of one record."""

    def __init__(self, tables: Built, where: str, raw: dict[str, Any]) -> None:
        self.tables, self.where, self.raw = tables, where, raw

    def refuse(self, what: str) -> InvalidDocument:
        return InvalidDocument(self.where, what)

    # whole fields

    def list_of(self, name: str, value: Any) -> list[Any]:
        if type(value) is not list:
            raise self.refuse(f"{name} is not a list")
        return value

    def each(self, name: str, read: Callable[[str, Any], Any], count: int | None = None) -> list[Any]:
        items = self.list_of(name, self.raw[name])
        if count is not None and len(items) != count:
            raise self.refuse(f"{name} does not have {count} items")
        return [read(name, item) for item in items]

    def pairs(self, name: str, first: Callable[[str, Any], Any], second: Callable[[str, Any], Any]) -> Pairs:
        flat = self.list_of(name, self.raw[name])
        if len(flat) % 2:
            raise self.refuse(f"{name} does not hold pairs")
        found = [(first(name, a), second(name, b)) for a, b in zip(flat[::2], flat[1::2], strict=True)]
        if len({key for key, _ in found}) != len(found) and name != "excluded":
            raise self.refuse(f"{name} names something twice")
        return found

    def release(self) -> tuple[int, int]:
        major, minor = self.each("release", self.count, 2)
        return major, minor

    def settings(self) -> dict[str, bool]:
        found = self.raw["settings"]
        if type(found) is not dict or any(
            type(key) is not str or type(flag) is not bool for key, flag in found.items()
        ):
            raise self.refuse("settings are not names with true or false")
        return found

    def two_flags(self, name: str) -> tuple[bool, bool]:
        first, second = self.each(name, self.flag, 2)
        return first, second

    def ranges(self) -> Pairs:
        flat = self.list_of("ranges", self.raw["ranges"])
        if len(flat) % 3:
            raise self.refuse("ranges do not hold a symbol with two bounds each")
        rows = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        found = [
            (self.symbol("ranges", row), value_range(self.tables, low, high, self.where))
            for row, low, high in rows
        ]
        if len({key for key, _ in found}) != len(found):
            raise self.refuse("ranges name something twice")
        return found

    def nested(self) -> dict[Any, Nested]:
        rows = self.list_of("nested", self.raw.get("nested", []))
        found: dict[Any, Nested] = {}
        hints = self.raw["hints"][::2]
        for row in rows:
            if type(row) is not list or len(row) != 4:
                raise self.refuse("nested holds something that is not a symbol with its nested integer")
            nested_numbers.check_numbers(row[1], row[2], f"{self.where}, nested")
            symbol = self.symbol("nested", row[0])
            if symbol in found or row[0] in hints:
                raise self.refuse(f"{symbol} has two hints")
            found[symbol] = Nested(row[1], row[2], self.flag("nested", row[3]))
        shared = [each[:2] for each in found.values() if each.is_shared]
        if len(set(shared)) != len(shared):
            raise self.refuse("nested names two symbols for new inputs of one size")
        return found

    # single items

    def flag(self, name: str, value: Any) -> bool:
        if type(value) is not bool:
            raise self.refuse(f"{name} holds {value!r:.40} in place of true or false")
        return value

    def count(self, name: str, value: Any) -> int:
        if type(value) is not int or not 0 <= value < COUNT:
            raise self.refuse(f"{name} holds {value!r:.40} in place of a count")
        return value

    def integer(self, name: str, value: Any) -> int:
        if type(value) is not int or value.bit_length() > bounds.INTEGER_BITS:
            raise self.refuse(f"{name} holds {value!r:.40} in place of an integer")
        return value

    def plain_number(self, name: str, value: Any) -> int | float:
        return value if type(value) is float else self.integer(name, value)

    def text(self, name: str, value: Any) -> str:
        if type(value) is not str or len(value) > SOURCE_LENGTH:
            raise self.refuse(
                f"{name} holds {value!r:.40} in place of a text of up to {SOURCE_LENGTH} characters"
            )
        return value

    def texts(self, name: str, value: Any) -> list[str]:
        return [self.text(name, item) for item in self.list_of(name, value)]

    def symbol(self, name: str, row: Any) -> Any:
        return self.tables.symbol(row, f"{self.where}, {name}")

    def term(self, name: str, row: Any) -> Any:
        found = self.tables.expression(row, f"{self.where}, {name}")
        if not isinstance(found, sympy.Expr):
            raise self.refuse(f"{name} holds expression {row}, which is not a number")
        return found

    def condition(self, name: str, row: Any) -> Any:
        found = self.tables.expression(row, f"{self.where}, {name}")
        if not isinstance(found, Boolean):
            raise self.refuse(f"{name} holds expression {row}, which is not a condition")
        return found

    def number(self, name: str, row: Any) -> Any:
        found = self.tables.expression(row, f"{self.where}, {name}")
        if not isinstance(found, sympy.Number | BooleanAtom):
            raise self.refuse(f"{name} holds expression {row}, which is not a number")
        return found

    def guard(self, name: str, value: Any) -> tuple[Any, bool]:
        if type(value) is not list or len(value) != 2:
            raise self.refuse(f"{name} holds something that is not a guard")
        return self.condition(name, value[0]), self.flag(name, value[1])

    def asserts_of_symbol(self, name: str, value: Any) -> tuple[Any, Pairs]:
        if type(value) is not list or len(value) != 2:
            raise self.refuse(f"{name} holds something that is not a symbol with its asserts")
        symbol = None if value[0] is None else self.symbol(name, value[0])
        return symbol, [self.one_assert(name, item) for item in self.list_of(name, value[1])]

    def one_assert(self, name: str, value: Any) -> tuple[Any, str]:
        if (
            type(value) is not list
            or len(value) != 2
            or type(value[1]) is not str
            or len(value[1]) > MESSAGE_LENGTH
        ):
            raise self.refuse(f"{name} holds something that is not a condition with its message")
        return self.condition(name, value[0]), value[1]


def value_range(tables: Built, low: Any, high: Any, where: str) -> Any:
    """Return the ValueRanges between two rows of expressions, or raise `InvalidDocument`."""
    lower, upper = tables.expression(low, where), tables.expression(high, where)
    atoms = (sympy.Number, BooleanAtom)
    if not (isinstance(lower, atoms) and isinstance(upper, atoms)):
        raise InvalidDocument(
            where, f"a range from {lower!s:.40} to {upper!s:.40} has bounds that are not numbers"
        )
    try:
        return ValueRanges(lower, upper)
    except (ValueRangeError, AssertionError, TypeError, ValueError):
        raise InvalidDocument(where, f"there is no range from {lower} to {upper}") from None


def _check_size(tables: Built, where: str, raw: dict[str, Any]) -> None:
    """The facts that torch goes through again and again must not be large together."""
    rows = [row for row, _ in raw["guards"]] + [row for _, asserts in raw["asserts"] for row, _ in asserts]
    rows += [*raw["replacements"][1::2], *raw["divisible"]]
    nodes = sum([tables.costs[row].nodes for row in rows])
    if nodes > bounds.FACTS:
        raise InvalidDocument(where, f"its facts have {nodes} parts, more than {bounds.FACTS} together")


def _check_exponents(tables: Built, record: Record) -> None:
    """A symbol that stands in an exponent must not be worth much, or evaluating the power would not end."""
    exponents = {tables.expressions[row] for row in tables.exponents}
    for symbol in record.nested:
        if symbol in exponents:
            raise InvalidDocument(record.where, f"{symbol} stands in an exponent and is a nested integer")
    for pairs in (record.hints, record.real_values, record.hint_overrides, record.replacements):
        for symbol, value in pairs:
            if (
                symbol in exponents
                and (isinstance(value, int) or value.is_number)
                and not abs(value) <= bounds.EXPONENT
            ):
                raise InvalidDocument(record.where, f"{symbol} stands in an exponent and is {value!s:.40}")


def _check_replacements(tables: Built, record: Record) -> None:
    """Replacements must end, and what they make of the expressions must stay within the bounds."""
    targets = dict(record.replacements)
    waiting = {symbol: target.free_symbols & targets.keys() for symbol, target in targets.items()}
    while waiting:
        ended = {symbol for symbol, others in waiting.items() if not others & waiting.keys()}
        if not ended:
            raise InvalidDocument(record.where, "its replacements go round in a circle")
        waiting = {symbol: others for symbol, others in waiting.items() if symbol not in ended}
    if any(target.args for target in targets.values()):
        _check_replaced(tables, record)


def _check_replaced(tables: Built, record: Record) -> None:
    rows = record.replacement_rows
    known: dict[int, bounds.Cost] = {}
    for _ in range(CHAIN):
        costs: list[bounds.Cost] = []
        try:
            for row in tables.rows:
                costs.append(bounds.cost(row, costs, known))
        except OutOfBounds as error:
            raise InvalidDocument(record.where, f"with its replacements, an expression {error}") from None
        found = {
            tables.rows[symbol][1]: costs[target]
            for symbol, target in zip(rows[::2], rows[1::2], strict=True)
        }
        if found == known:
            return
        known = found
    raise InvalidDocument(record.where, f"more than {CHAIN} replacements follow one another")
