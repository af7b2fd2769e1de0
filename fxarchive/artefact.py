"""Compiled artefacts: bytes that travel beside a graph, and that fxarchive never opens.

They are code by nature. `fxarchive.load` hands their bytes out only if the caller lists their kind in ``trust=``; what
the bytes mean, and whether to run them, is between the caller and the compiler that made them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fxarchive.errors import UnboundArtefact, UntrustedNames

LONGEST_KIND = 200
"""Characters of a kind."""

DEEPEST_INFO = 32
"""Levels of lists and dicts in the info of an artefact."""


@dataclass(frozen=True)
class Artefact:
    """Bytes to be kept as they are.

    Args:
        kind: what they are, such as ``"torch.compiler.cache"``: 1 to 200 printable ASCII characters without spaces. A
            reader lists it in ``trust=`` to get the bytes.
        data: the bytes; a copy is made of what can change.
        info: plain values about them (None, bool, int, float, str, bytes, lists and dicts with str keys of these),
            which everybody can read: the device, the flags of the compiler, a key.

    Raises:
        TypeError, ValueError: an argument is not one of those above.

    >>> import fxarchive
    >>> data = fxarchive.dumps({"cache": fxarchive.Artefact("mylib.kernel", b"code", {"device": "sm_90"})})
    >>> fxarchive.loads(data)["cache"]
    SealedArtefact(kind='mylib.kernel', size=4, info={'device': 'sm_90'})
    >>> fxarchive.loads(data, trust=["mylib.kernel"])["cache"].data
    b'code'
    """

    kind: str
    data: bytes = field(repr=False)
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if type(self.kind) is not str:
            raise TypeError(f"kind is {self.kind!r:.80}; give a str such as 'torch.compiler.cache'.")
        if not is_kind(self.kind):
            raise ValueError(
                f"kind is {self.kind!r:.80}; give up to {LONGEST_KIND} printable ASCII characters, no space."
            )
        if not isinstance(self.data, bytes | bytearray | memoryview):
            raise TypeError(f"data is a {type(self.data).__qualname__}; give bytes.")
        if not isinstance(self.info, Mapping) or not is_plain(dict(self.info)):
            raise TypeError(
                "info holds more than plain values; give None, bool, int, float, str, bytes, lists and dicts."
            )
        object.__setattr__(self, "data", bytes(self.data))
        object.__setattr__(self, "info", dict(self.info))


@dataclass(frozen=True)
class SealedArtefact:
    """An artefact of a kind that was not listed in ``trust=``: what it is, and no bytes.

    Attributes: `kind` (str), `size` (int, bytes), `info` (dict of plain values).
    """

    kind: str
    size: int
    info: Mapping[str, Any]

    @property
    def data(self) -> bytes:
        """Raises `UntrustedNames`, always: load with the kind in ``trust=`` to get the bytes."""
        raise UntrustedNames([self.kind])


class ArtefactCall:
    """Stands in a loaded graph where a compiled artefact was called.

    It calls what it is bound to. fxarchive binds nothing: open the bytes with what made them, and bind the result.

    >>> call = ArtefactCall(Artefact("mylib.kernel", b"code"))
    >>> call.bind(lambda x: x + 1)(2)
    3
    """

    def __init__(self, artefact: Artefact | SealedArtefact) -> None:
        self.artefact = artefact
        self.function: Callable[..., Any] | None = None
        # fx writes both into generated code, as it does of a function
        self.__module__ = "fxarchive.artefact"
        self.__name__ = self.__qualname__ = "artefact_call"

    def bind(self, function: Callable[..., Any]) -> ArtefactCall:
        """Call ``function`` from now on, with the arguments of the node; return self."""
        self.function = function
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what was bound; raise `UnboundArtefact` if nothing was."""
        if self.function is None:
            raise UnboundArtefact(self.artefact.kind)
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"ArtefactCall({self.artefact!r})"


def is_kind(kind: Any) -> bool:
    """Whether ``kind`` can name a kind of artefact.

    >>> is_kind("mylib.kernel"), is_kind("my lib"), is_kind("")
    (True, False, False)
    """
    return (
        type(kind) is str
        and 0 < len(kind) <= LONGEST_KIND
        and kind.isascii()
        and kind.isprintable()
        and " " not in kind
    )


def is_plain(value: Any) -> bool:
    """Whether ``value`` holds plain values alone, and no container in itself.

    >>> is_plain({"a": [1, None]}), is_plain({1: 2}), is_plain((1,))
    (True, False, False)
    """
    return _is_plain(value, 0)


def _is_plain(value: Any, depth: int) -> bool:
    if depth > DEEPEST_INFO:
        return False
    if type(value) is list:
        return all([_is_plain(item, depth + 1) for item in value])
    if type(value) is dict:
        return all([type(key) is str and _is_plain(item, depth + 1) for key, item in value.items()])
    return value is None or type(value) in (bool, int, float, str, bytes)


def digest(data: bytes) -> bytes:
    """Return the SHA-256 of the bytes of an artefact."""
    return hashlib.sha256(data).digest()
