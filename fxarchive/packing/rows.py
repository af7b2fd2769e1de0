"""Rows of one form as columns: what all of them have is stored once, and what differs as columns.

A *form* is a plain value with holes in it. Rows of a table (tensors, modules, values of metadata) mostly have one of
a few forms, so a table becomes the forms, which of them each row has, and for each hole of a form a column.
`spec/packing.md` is the reference.
"""

from __future__ import annotations

import marshal
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any, NamedTuple

from fxarchive.document import VALUE_TAGS
from fxarchive.packing.numbers import pack_numbers, packed_numbers, unpack_numbers
from fxarchive.packing.strings import (
    StepCounter,
    joined_counted,
    pack_strings,
    split_counted,
    unpack_strings,
)

LIST, DICT, HOLE, CONSTANT = range(4)
"""First entries of the lists in a form: items follow, keys and values follow, nothing follows, one value
follows that has no holes."""

MAX_FORM_DEPTH = 8
"""Levels of lists and dicts above a hole."""

ENTRIES_A_HOLE = 64
"""Entries that the lists and dicts above the holes of a form may have, for each hole.

Both numbers bound what a byte of a column can unfold to.
"""


# packing


def pack_rows(rows: list[Any]) -> list[Any]:
    """Return ``[forms, form of each row, columns of each form]``.

    >>> pack_rows([["fake", 3], ["fake", 4], None])
    [[[0, 'fake', [2]], None], b'\\x01\\x00\\x00\\x01', [[b'\\x01\\x03\\x04'], []]]
    """
    groups: dict[Any, _Group] = {}
    picks: list[int] = []
    pick = picks.append
    for row in rows:
        held: list[Any]
        if type(row) is list and len(row) == 2 and type(row[1]) is int and _is_tag(row[0]):
            held, skeleton = [row[1]], (LIST, row[0], int)  # as below, for what is most frequent
        else:
            held = []
            skeleton = _skeleton(row, held, 1)
        group = groups.get(skeleton)
        if group is None:
            group = groups[skeleton] = _Group(len(groups), row, [])
        group.held.append(held)
        pick(group.number)
    packed = [_pack_group(skeleton, group, rows, picks) for skeleton, group in groups.items()]
    return [[form for form, _ in packed], pack_numbers(picks), [columns for _, columns in packed]]


class _Group(NamedTuple):
    """Rows of one form."""

    number: int
    first: Any
    held: list[list[Any]]
    """What the rows may differ in, of each."""


def _pack_group(skeleton: Any, group: _Group, rows: list[Any], picks: list[int]) -> tuple[Any, list[Any]]:
    """Return the form of rows with one skeleton, and its columns."""
    columns = list(zip(*group.held, strict=True))
    varying = [not _is_constant(column) for column in columns]
    if True not in varying:
        return _constant(group.first), []
    firsts = [column[0] for column in columns]
    entries, form = _form(skeleton, iter(zip(firsts, varying, strict=True)))
    if entries > ENTRIES_A_HOLE * sum(varying):
        return [HOLE], [[[row for row, pick in zip(rows, picks, strict=True) if pick == group.number], None]]
    return form, [_pack_column(list(c)) for c, varies in zip(columns, varying, strict=True) if varies]


def _skeleton(value: Any, held: list[Any], depth: int) -> Any:
    """Return what rows of one form have in common, hashable; what they may differ in goes to ``held``."""
    kind = type(value)
    parts: list[Any]
    items: Any
    if kind is list:
        if depth > MAX_FORM_DEPTH:
            held.append(value)
            return kind
        if value and type(value[0]) is str and value[0] in VALUE_TAGS:
            parts, items = [LIST, value[0]], value[1:]
        else:
            parts, items = [LIST], value
    elif kind is dict:
        if depth > MAX_FORM_DEPTH:
            held.append(value)
            return kind
        parts, items = [DICT, *value], value.values()
    elif value is None or kind is bool:
        return value
    else:
        held.append(value)
        return kind
    for item in items:
        kind = type(item)
        if kind is int or kind is str:
            held.append(item)
            parts.append(kind)
        else:
            parts.append(_skeleton(item, held, depth + 1))
    return tuple(parts)


def _is_tag(value: Any) -> bool:
    return type(value) is str and value in VALUE_TAGS


def _is_constant(column: tuple[Any, ...]) -> bool:
    """Whether all values are the same, down to the bits of floats; all are of one type."""
    if type(column[0]) in (int, str, bytes):
        return column.count(column[0]) == len(column)
    return len({marshal.dumps(value, 2) for value in column}) == 1


def _form(skeleton: Any, holes: Iterator[tuple[Any, bool]]) -> tuple[int, Any]:
    """Return how many entries stand above the holes in the form of a skeleton, and the form.

    With no holes that is 0 and the value itself. ``holes`` has the first value of each, and whether it varies.
    """
    if type(skeleton) is type:
        first, varies = next(holes)
        return (1, [HOLE]) if varies else (0, first)
    if type(skeleton) is not tuple:
        return 0, skeleton
    kind, *rest = skeleton
    keys = rest[: len(rest) // 2] if kind == DICT else []
    parts = [_form(item, holes) for item in rest[len(keys) :]]
    entries = sum([count for count, _ in parts])
    if not entries:
        values = [value for _, value in parts]
        return 0, values if kind == LIST else dict(zip(keys, values, strict=True))
    shown = [form if count else _constant(form) for count, form in parts]
    if kind == DICT:
        shown = [part for pair in zip(keys, shown, strict=True) for part in pair]
    return entries + 1 + len(shown), [kind, *shown]


def _constant(value: Any) -> Any:
    return [CONSTANT, value] if type(value) in (list, dict) else value


def _pack_column(column: list[Any]) -> Any:
    """Return the values of a hole: numbers as bytes, strings in one of three ways, anything else as a list."""
    if type(column[0]) is int:
        numbers = packed_numbers(column)
        if numbers is not None:
            return numbers
    if type(column[0]) is str and set(map(type, column)) == {str}:
        distinct = list(dict.fromkeys(column))
        parts = [split_counted(string) for string in distinct]
        bases = list(dict.fromkeys([base for base, _ in parts]))
        if 2 * len(bases) <= len(distinct):
            counter, at = StepCounter(), {base: number for number, base in enumerate(bases)}
            split = dict(zip(distinct, parts, strict=True))
            picks = [at[split[string][0]] for string in column]
            steps = [counter.step(*split[string]) for string in column]
            return [pack_strings(bases), pack_numbers(picks), pack_numbers(steps)]
        if len(distinct) < len(column):
            rows = {string: number for number, string in enumerate(distinct)}
            return [pack_strings(distinct), pack_numbers([rows[string] for string in column])]
        return [pack_strings(column)]
    return [column, None]


# unpacking


def unpack_rows(packed: Any) -> list[Any]:
    """Return the rows of `pack_rows`. Rows without holes, and what rows of one form share, are one object.

    Raises:
        ValueError, TypeError: it is not what that returns.
    """
    forms, column, columns = packed
    picks = unpack_numbers(column)
    if picks and max(picks) >= len(forms):
        raise ValueError("a row has a form that is not there")
    counts = Counter(picks)
    built: list[Iterator[Any]] = []
    for number, (form, held) in enumerate(zip(forms, columns, strict=True)):
        count = counts[number]
        if not held:  # then it has no holes
            built.append(repeat(_constant_of(form), count))
            continue
        filled = iter([_unpack_column(packed_column, count) for packed_column in held])
        spent = [0]
        built.append(iter(_build(form, filled, count, spent, 1)))
        if next(filled, None) is not None or spent[0] > ENTRIES_A_HOLE * len(held):
            raise ValueError("a form has fewer holes than columns, or more entries than its holes allow")
    if len(built) == 1:
        return list(built[0])
    return list(map(next, map(built.__getitem__, picks)))


def _constant_of(form: Any) -> Any:
    """Return the value of a form without holes."""
    if type(form) is not list:
        return form
    kind, value = form
    if type(kind) is not int or kind != CONSTANT:
        raise ValueError("a form has fewer columns than holes")
    return value


def _build(
    form: Any, columns: Iterator[list[Any]], count: int, spent: list[int], depth: int
) -> Iterable[Any]:
    """Return the values of a form in ``count`` rows, and add to ``spent`` the entries above its holes."""
    kind = form[0]
    if type(kind) is not int:
        raise ValueError("a form is of no known kind")
    if kind == HOLE and len(form) == 1:
        spent[0] += 1
        return next(columns)
    if kind == CONSTANT:
        return repeat(_constant_of(form), count)
    if kind not in (LIST, DICT):
        raise ValueError("a form is of no known kind")
    if depth > MAX_FORM_DEPTH:
        raise ValueError(f"a form with holes is nested more than {MAX_FORM_DEPTH} deep")
    spent[0] += len(form)
    parts = [
        _build(item, columns, count, spent, depth + 1) if type(item) is list else repeat(item, count)
        for item in form[1 + kind :: 1 + kind]
    ]
    if kind == LIST:
        return map(list, zip(*parts, strict=True))
    return _dicts(form[1::2], parts)


def _dicts(keys: list[Any], parts: list[Iterable[Any]]) -> list[Any]:
    """Return the dicts of ``keys`` whose values are the columns ``parts``."""
    if len(keys) != len(parts) or set(map(type, keys)) - {str} or len(set(keys)) != len(keys):
        raise ValueError("a form has a dict whose keys are not distinct strings")
    varying = [key for key, part in zip(keys, parts, strict=True) if type(part) is not repeat]
    if len(varying) > 2:
        return [dict(zip(keys, values, strict=True)) for values in zip(*parts, strict=True)]
    model = {
        key: next(part, None) if type(part) is repeat else None for key, part in zip(keys, parts, strict=True)
    }
    columns = [part for part in parts if type(part) is not repeat]
    if len(varying) == 1:
        (key,) = varying
        return [{**model, key: value} for value in columns[0]]
    first, second = varying
    return [{**model, first: one, second: other} for one, other in zip(*columns, strict=True)]


def _unpack_column(packed: Any, count: int) -> list[Any]:
    values: list[Any]
    if type(packed) is bytes:
        values = unpack_numbers(packed)
    elif len(packed) == 3:
        bases, picks, steps = unpack_strings(packed[0]), unpack_numbers(packed[1]), unpack_numbers(packed[2])
        values = joined_counted([bases[pick] for pick in picks], steps)
    elif len(packed) == 1:
        values = unpack_strings(packed[0])
    elif packed[1] is None:
        values = packed[0]
    else:
        distinct = unpack_strings(packed[0])
        values = [distinct[pick] for pick in unpack_numbers(packed[1])]
    if len(values) != count or type(values) is not list:
        raise ValueError("a column has not as many values as there are rows of its form")
    return values
