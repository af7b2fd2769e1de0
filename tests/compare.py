"""Tells whether two values are the same, down to bits, order, exact types and what shares what.

"The same graph back" is worth what this comparer is worth, so it is strict, it knows nothing of how an
archive is written, and `test_compare.py` shows that it sees every kind of change. Values are walked with a
list of pending pairs instead of recursion. Sharing is compared as a pattern: each object of one side must
have exactly one partner on the other, so a list held twice must come back as one list held twice, and two
equal lists as two.

Not compared, because it is derived, process-bound or has no meaning for a graph: memoized results of
FakeTensors, autograd history and version counters, tracer classes, the source line of what was traced
(`Graph._co_fields`), the order of `Node.users`, positions of attributes (other than parameters, buffers and
modules) in a `__dict__`, and identity of what cannot be changed (tuples, strings, tree specs).
"""

from __future__ import annotations

import collections
import dataclasses
import decimal
import enum
import functools
import pathlib
import struct
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch

from . import compare_torch

MISSING = object()
_LONGEST_PATH = 400


def differences(expected: Any, actual: Any, *, limit: int = 100) -> list[str]:
    """Say how `actual` differs from `expected`.

    Args:
        expected: any value: a GraphModule, a Graph, tensors, containers of them.
        actual: the value that should be the same.
        limit: stop after this many differences.

    Returns:
        "path: expected ..., got ..." for each difference in the order of the walk; empty if there is none.
    """
    return Comparison(limit).run(expected, actual)


def assert_same(expected: Any, actual: Any) -> None:
    """Raise AssertionError with the first twenty differences, if there are any."""
    found = differences(expected, actual, limit=20)
    if found:
        raise AssertionError("\n".join(["the values differ:", *found]))


class Comparison:
    """The state of one walk: pairs still to compare, partners found so far, differences."""

    def __init__(self, limit: int = 100) -> None:
        self.limit = limit
        self.found: list[str] = []
        self.in_metadata = False
        self._pending: list[tuple[str, Any, Any, bool]] = []
        self._partners: dict[tuple[str, int], tuple[int, str]] = {}
        self._owners: dict[tuple[str, int], tuple[int, str]] = {}
        self._done: set[tuple[int, int, bool]] = set()
        self._alive: list[Any] = []

    def run(self, expected: Any, actual: Any) -> list[str]:
        self.push("value", expected, actual)
        while self._pending and len(self.found) < self.limit:
            path, left, right, self.in_metadata = self._pending.pop()
            first = len(self._pending)
            self._compare(path, left, right)
            self._pending[first:] = reversed(self._pending[first:])
        return self.found

    def push(self, path: str, expected: Any, actual: Any, *, in_metadata: bool | None = None) -> None:
        """Compare these two after what is being compared now."""
        inside = self.in_metadata if in_metadata is None else in_metadata
        if len(path) > _LONGEST_PATH:
            path = f"{path[: _LONGEST_PATH // 2]} ... {path[-_LONGEST_PATH // 4 :]}"
        self._pending.append((path, expected, actual, inside))

    def report(self, path: str, expected: object, actual: object) -> None:
        self.found.append(f"{path}: expected {_show(expected)}, got {_show(actual)}")

    def equal(self, path: str, expected: Any, actual: Any) -> bool:
        """Compare two plain values, types included, now; say whether they are the same."""
        same = type(expected) is type(actual) and expected == actual
        if not same:
            self.report(path, expected, actual)
        return bool(same)

    def partner(self, kind: str, path: str, expected: int, actual: int, *, merging: bool = False) -> bool:
        """Pair two identities, which must be partners of each other alone; say whether the pair is new.

        With `merging`, several expected ones may share one actual partner.
        """
        known = self._partners.get((kind, expected))
        owner = None if merging else self._owners.get((kind, actual))
        if known is None and owner is None:
            self._partners[kind, expected] = (actual, path)
            self._owners[kind, actual] = (expected, path)
            return True
        if known is None:
            assert owner is not None
            self.report(path, Words(f"{kind} of its own"), Words(f"the {kind} of {owner[1]}"))
        elif known[0] != actual:
            self.report(path, Words(f"the same {kind} as {known[1]}"), Words(f"another {kind}"))
        return False

    def keep(self, *values: Any) -> None:
        """Hold on to values made for the comparison, so that no later one gets the same identity."""
        self._alive.extend(values)

    def _compare(self, path: str, left: Any, right: Any) -> None:
        if isinstance(left, type):
            if left is not right and not (self.in_metadata and _is_name_of(left, right)):
                self.report(path, left, right)
            return
        if type(left) is not type(right) and not compare_torch.same_family(left, right):
            self.report(path, Typed(left), Typed(right))
            return
        compare = _comparer_of(type(left))
        if compare in _ATOMS:
            compare(self, path, left, right)
        elif _is_immutable(left):
            seen = (id(left), id(right), self.in_metadata)
            if seen not in self._done:
                self._done.add(seen)
                self.keep(left, right)
                compare(self, path, left, right)
        elif self.partner("object", path, id(left), id(right)):
            self.keep(left, right)
            compare(self, path, left, right)


class Words(str):
    """Text of a difference that stands for itself, not for a string value."""


@dataclasses.dataclass(frozen=True)
class Typed:
    """A value whose type is what differs."""

    value: Any


def _show(value: object) -> str:
    if isinstance(value, Words):
        return str(value)
    if isinstance(value, Typed):
        return f"{type(value.value).__module__}.{type(value.value).__qualname__} {_show(value.value)}"
    if value is MISSING:
        return "nothing"
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__qualname__}, repr raises {type(error).__name__}>"
    return text if len(text) <= 200 else f"{text[:90]} ... {text[-90:]}"


def _is_name_of(cls: type, name: Any) -> bool:
    """A class in metadata may come back as its name, held in a string subclass that says what it is."""
    spelled = f"{cls.__module__}.{cls.__qualname__}"
    return type(name).__name__ == "QualifiedName" and isinstance(name, str) and str.__eq__(name, spelled)


# --- plain values of Python ---


def _identity(c: Comparison, path: str, left: Any, right: Any) -> None:
    if left is not right:
        c.report(path, left, right)


def _function(c: Comparison, path: str, left: Any, right: Any) -> None:
    """Closures of one function over the same values are as good as one."""
    if left is right:
        return
    if not (left.__closure__ and right.__closure__ and left.__code__ is right.__code__):
        c.report(path, left, right)
        return
    for name, x, y in zip(left.__code__.co_freevars, left.__closure__, right.__closure__, strict=True):
        c.push(f"{path} over {name}", x.cell_contents, y.cell_contents)


def _equality(c: Comparison, path: str, left: Any, right: Any) -> None:
    if not (left == right and repr(left) == repr(right)):
        c.report(path, left, right)


def _text(c: Comparison, path: str, left: Any, right: Any) -> None:
    """By what is printed: a signalling nan cannot even be compared with itself."""
    if repr(left) != repr(right):
        c.report(path, left, right)


def _number(c: Comparison, path: str, left: Any, right: Any) -> None:
    if _bits(left) != _bits(right):
        c.report(path, left, right)


def _bits(value: float | complex) -> bytes:
    parts = (value.real, value.imag) if isinstance(value, complex) else (value,)
    return b"".join(struct.pack("<d", part) for part in parts)


def _sequence(c: Comparison, path: str, left: Any, right: Any) -> None:
    if len(left) != len(right):
        c.report(
            path, Words(f"{len(left)} items: {_show(left)}"), Words(f"{len(right)} items: {_show(right)}")
        )
        return
    if isinstance(left, collections.deque):
        c.equal(f"{path}.maxlen", left.maxlen, right.maxlen)
    for i, (x, y) in enumerate(zip(left, right, strict=True)):
        c.push(f"{path}[{i}]", x, y)
    _attributes(c, path, left, right)


def _mapping(c: Comparison, path: str, left: Any, right: Any) -> None:
    if isinstance(left, collections.defaultdict):
        c.push(f"{path}.default_factory", left.default_factory, right.default_factory)
    if len(left) != len(right):
        c.report(f"{path} keys", list(left), list(right))
        return
    for (key, x), (other, y) in zip(left.items(), right.items(), strict=True):
        if isinstance(key, str) and type(key) is type(other) and key != other:
            c.report(f"{path} keys", list(left), list(right))
            return
        if not isinstance(key, str) or type(key) is not type(other):
            c.push(f"{path} key {_show(key)}", key, other)
        c.push(f"{path}[{_show(key)}]", x, y)
    _attributes(c, path, left, right)


def _set(c: Comparison, path: str, left: Any, right: Any) -> None:
    partners = collections.defaultdict(list)
    for y in right:
        partners[_token(y)].append(y)
    for x in left:
        same = partners[_token(x)]
        if same:
            same.pop()
        else:
            c.report(path, Words(f"an item {_show(x)}"), right)
    for y in (y for rest in partners.values() for y in rest):
        c.report(path, left, Words(f"an item {_show(y)}"))
    _attributes(c, path, left, right)


def _token(value: Any) -> Any:
    """What identifies an item of a set: exact type and value, or the object itself."""
    if isinstance(value, (tuple, frozenset)):
        items = tuple(map(_token, value))
        return type(value), items if isinstance(value, tuple) else frozenset(items)
    if isinstance(value, (float, complex)):
        return type(value), _bits(value)
    return type(value), value


def _slice(c: Comparison, path: str, left: Any, right: Any) -> None:
    for name in ("start", "stop", "step"):
        c.push(f"{path}.{name}", getattr(left, name), getattr(right, name))


def _weakref(c: Comparison, path: str, left: Any, right: Any) -> None:
    c.push(f"{path}()", left(), right())


def _method(c: Comparison, path: str, left: Any, right: Any) -> None:
    c.push(f"{path}.__func__", left.__func__, right.__func__)
    c.push(f"{path}.__self__", left.__self__, right.__self__)


def _partial(c: Comparison, path: str, left: Any, right: Any) -> None:
    for name in ("func", "args", "keywords"):
        c.push(f"{path}.{name}", getattr(left, name), getattr(right, name), in_metadata=False)
    _attributes(c, path, left, right)


def _any_object(c: Comparison, path: str, left: Any, right: Any) -> None:
    """Objects of classes not known here: by their state, or by equality where they show none."""
    empty = isinstance(left, torch.autograd.function.FunctionCtx)  # these have no equality and need none
    if left is not right and not empty and not _state(left) and not _state(right):
        _equality(c, path, left, right)
    _attributes(c, path, left, right)


def _attributes(c: Comparison, path: str, left: Any, right: Any) -> None:
    if type(left) in _STATELESS:
        return
    x, y = _state(left), _state(right)
    for name in [*x, *(name for name in y if name not in x)]:
        if name in x and name in y:
            c.push(f"{path}.{name}", x[name], y[name])
        else:
            c.report(f"{path}.{name}", x.get(name, MISSING), y.get(name, MISSING))


def _state(value: Any) -> dict[str, Any]:
    state = {}
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__weakref__", "__dict__") and hasattr(value, name):
                state[name] = getattr(value, name)
    return state | getattr(value, "__dict__", {})


def _is_immutable(value: Any) -> bool:
    if isinstance(value, (*_IMMUTABLE, *compare_torch.IMMUTABLE)):
        return True
    if type(value).__module__ == "torch._dynamo.utils":  # wrappers of torch-numpy functions
        return True
    parameters = getattr(type(value), "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)


Compare = Callable[[Comparison, str, Any, Any], None]

_ATOMS: tuple[Compare, ...] = (_identity, _equality, _number, _text)
_STATELESS = frozenset((tuple, list, dict, set, frozenset, torch.Size, collections.deque))
_IMMUTABLE = (tuple, frozenset, slice, types.FunctionType, types.MethodType, weakref.ReferenceType)
_COMPARERS: dict[type, Compare] = {
    **dict.fromkeys((type(None), bool, int, str, bytes, range, enum.Enum), _equality),
    **dict.fromkeys((types.GenericAlias, types.UnionType), _equality),
    **dict.fromkeys((float, complex), _number),
    **dict.fromkeys((type(...), type(NotImplemented), types.ModuleType), _identity),
    types.FunctionType: _function,
    **dict.fromkeys((types.MethodDescriptorType, types.WrapperDescriptorType), _identity),
    types.BuiltinFunctionType: _equality,
    pathlib.PurePath: _equality,  # what a path remembers of itself is no part of it
    decimal.Decimal: _text,
    **dict.fromkeys((tuple, list, collections.deque), _sequence),
    dict: _mapping,
    **dict.fromkeys((set, frozenset), _set),
    slice: _slice,
    weakref.ReferenceType: _weakref,
    types.MethodType: _method,
    functools.partial: _partial,
    object: _any_object,
    **dict.fromkeys(compare_torch.BY_IDENTITY, _identity),
    **dict.fromkeys(compare_torch.BY_EQUALITY, _equality),
    **compare_torch.COMPARERS,
}
_found: dict[type, Compare] = {}


def _comparer_of(cls: type) -> Compare:
    if cls not in _found:
        in_typing = cls.__module__ in ("typing", "datetime", *compare_torch.OF_PROCESSES)
        named = compare_torch.BY_NAME.get(f"{cls.__module__}.{cls.__qualname__}")
        _found[cls] = _equality if in_typing else named or _COMPARERS[next(base for base in _bases(cls))]
    return _found[cls]


def _bases(cls: type) -> Iterator[type]:
    return (base for base in cls.__mro__ if base in _COMPARERS)
