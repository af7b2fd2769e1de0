"""Which instances can be records: those that are nothing but their fields.

The same rules hold for what is saved and for what a file asks to build. They make sure that an instance can be made and
filled without running any code of its class.
"""

from __future__ import annotations

import abc
import copyreg
import functools
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PROTOCOL = (
    "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__", "__copyreg__",
)  # fmt: skip
"""Methods with which a class pickles itself: they would have to run."""

CHANGING = ("torch", "torchgen", "functorch", "sympy", "numpy", "fxarchive")
"""Packages whose own classes are not records: what they hold changes between releases, or has a form of its own."""

REMEDY = "keep its facts in a dataclass or a dict, or say how to keep it with fxarchive.register"

_WORD = tuple.__itemsize__
_HEAP_TYPE = 1 << 9
_WITHOUT_STATE = (object, typing.Generic, typing.Protocol, abc.ABC)


@dataclass(frozen=True)
class Form:
    """What instances of one class hold, by name."""

    slots: dict[str, Any]
    """Name -> the descriptor that reads and writes the slot."""
    attributes: Any
    """The descriptor of ``__dict__``, or None where instances have none."""
    declared: frozenset[str]
    """Names of slots and of annotated fields."""


def package_of(cls: type) -> str:
    """Return the package, or the module, that defines ``cls``."""
    return str(cls.__module__).partition(".")[0]


def is_of_python(cls: type) -> bool:
    """Whether ``cls`` was made at run time; most classes of C are not."""
    return bool(cls.__flags__ & _HEAP_TYPE)


@functools.lru_cache(maxsize=4096)
def why_not_a_record(cls: Any) -> str | None:
    """Say why instances of ``cls`` cannot be kept as records, with a remedy, or return None if they can.

    >>> import argparse
    >>> why_not_a_record(argparse.Namespace) is None, why_not_a_record(dict) is None
    (True, False)
    """
    for base in cls.__mro__:
        if base in _WITHOUT_STATE:
            continue
        package = package_of(base)
        if package in CHANGING:
            return f"{package}'s {base.__qualname__} differs between releases of it; {REMEDY}"
        for name in PROTOCOL:
            method = vars(base).get(name)
            # dataclasses with slots get two that do what is done here
            if method is not None and getattr(method, "__module__", None) != "dataclasses":
                return f"{base.__qualname__}.{name} would have to run to rebuild it; {REMEDY}"
        if "__del__" in vars(base):
            return f"{base.__qualname__} has a destructor, so it holds more than values; {REMEDY}"
    if cls in copyreg.dispatch_table:
        return f"{cls.__qualname__} is registered with copyreg, whose function would have to run; {REMEDY}"
    new: Any = cls.__new__
    if new is not object.__new__ or not is_of_python(cls) or cls.__itemsize__:
        return f"instances of {cls.__qualname__} are made by code of their class or of C; {REMEDY}"
    found = list(_slots(cls))
    names = {name for name, _ in found}
    words = len(found) + (cls.__dictoffset__ > 0) + (cls.__weakrefoffset__ > 0)
    if len(names) != len(found) or cls.__basicsize__ != object.__basicsize__ + words * _WORD:
        return f"instances of {cls.__qualname__} hold state that is no attribute; {REMEDY}"
    return None


@functools.lru_cache(maxsize=4096)
def form_of(cls: Any) -> Form:
    """Return what instances of ``cls`` hold, for a class that can be kept as a record."""
    slots = dict(_slots(cls))
    attributes = next(
        (found for base in cls.__mro__ if (found := vars(base).get("__dict__")) is not None), None
    )
    fields = [name for base in cls.__mro__ for name in vars(base).get("__annotations__", ())]
    return Form(
        slots,
        attributes if type(attributes) is types.GetSetDescriptorType else None,
        frozenset([*slots, *map(str, fields), *getattr(cls, "__dataclass_fields__", ())]),
    )


def _slots(cls: type) -> Iterator[tuple[str, Any]]:
    for base in cls.__mro__:
        for name, held in vars(base).items():
            if type(held) is types.MemberDescriptorType:
                yield name, held


@functools.lru_cache(maxsize=16_384)
def why_not_a_field(cls: Any, name: Any) -> str | None:
    """Say why no instance of ``cls`` may have a field ``name``, or return None if one may.

    A field that the class does not declare must not take the place of a method or of a property.
    """
    form = form_of(cls)
    if type(name) is not str:
        return "its name is not a string"
    if name in form.slots:
        return None
    if form.attributes is None:
        return f"{cls.__qualname__} has no such slot"
    if name.startswith("__") and name.endswith("__"):
        return "it has a meaning to the interpreter"
    for base in cls.__mro__:
        if name in vars(base):
            hidden = vars(base)[name]
            if hasattr(type(hidden), "__set__") or (name not in form.declared and _is_code(hidden)):
                return f"it takes the place of {base.__qualname__}.{name}"
            return None
    return None


def _is_code(hidden: Any) -> bool:
    if isinstance(hidden, functools.cached_property):
        return False  # what it computed stands in the instance under its name
    return callable(hidden) or hasattr(type(hidden), "__get__")
