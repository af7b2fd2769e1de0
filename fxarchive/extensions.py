"""Values of other packages: how a program says what such a value consists of, under a tag and a version of its own.

Registering is a line of the program that saves or loads. A file names a tag; it never causes an import.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

_TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_][A-Za-z0-9_-]*)+")
LONGEST_TAG = 200
"""Characters of a tag."""


T = TypeVar("T")


@dataclass(frozen=True)
class Extension:
    """One class that a program registered."""

    cls: type
    tag: str
    version: int
    encode: Callable[[Any], Any]
    decode: Callable[[Any, int], Any]


_BY_CLASS: dict[type, Extension] = {}
_BY_TAG: dict[str, Extension] = {}


def register(
    cls: type[T],
    *,
    tag: str,
    version: int = 1,
    encode: Callable[[T], Any],
    decode: Callable[[Any, int], T],
) -> None:
    """Keep instances of ``cls``, which fxarchive does not know, as what ``encode`` gives for them.

    Args:
        cls: the class itself; subclasses are registered by themselves. What fxarchive keeps anyway stays as it is.
        tag: names the kind of value in archives for ever: the package that registers it, a dot, and a name.
        version: from 1 up; raise it when ``encode`` gives another form.
        encode: takes an instance and returns supported values (numbers, strings, containers, tensors, other registered
            values), never the instance itself.
        decode: takes what ``encode`` returned and the version that it was saved with, which may be an older one.

    Raises:
        TypeError: an argument is of a wrong type.
        ValueError: the tag is not of the form ``package.Name``, the version is not positive, or class or tag is
            registered already.

    >>> from fractions import Fraction
    >>> register(Fraction, tag="fractions.Fraction", encode=str, decode=lambda text, version: Fraction(text))
    >>> unregister("fractions.Fraction")
    """
    if not isinstance(cls, type) or not (callable(encode) and callable(decode)):
        raise TypeError("register takes a class, and two functions encode and decode")
    if type(tag) is not str or len(tag) > LONGEST_TAG or not _TAG.fullmatch(tag):
        raise ValueError(f"the tag {tag!r:.80} is not a package, a dot and a name, such as 'mylib.Thing'")
    if type(version) is not int or version < 1:
        raise ValueError(f"the version {version!r:.40} of {tag} is not a number from 1 up")
    if cls in _BY_CLASS or tag in _BY_TAG:
        known = _BY_TAG.get(tag) or _BY_CLASS[cls]
        raise ValueError(
            f"{known.cls.__module__}.{known.cls.__qualname__} is registered as {known.tag!r} already; "
            f"call fxarchive.unregister({known.tag!r}) first"
        )
    _BY_CLASS[cls] = _BY_TAG[tag] = Extension(cls, tag, version, encode, decode)


def unregister(tag: str) -> None:
    """Forget what was registered under a tag.

    Args:
        tag: what `register` was given.

    Raises:
        KeyError: nothing is registered under it.

    >>> register(range, tag="mylib.Range", encode=list, decode=lambda held, version: range(len(held)))
    >>> unregister("mylib.Range")
    """
    del _BY_CLASS[_BY_TAG.pop(tag).cls]


def of_class(cls: type) -> Extension | None:
    """Return what was registered for exactly this class."""
    return _BY_CLASS.get(cls)


def of_tag(tag: str) -> Extension | None:
    """Return what was registered as ``tag``."""
    return _BY_TAG.get(tag)


def package_of(tag: str) -> str:
    """Return the package whose import registers ``tag``, by convention.

    >>> package_of("mylib.layouts.Tile")
    'mylib'
    """
    return tag.partition(".")[0]


def is_tag(tag: Any) -> bool:
    """Whether ``tag`` has the form of a tag."""
    return type(tag) is str and len(tag) <= LONGEST_TAG and _TAG.fullmatch(tag) is not None
