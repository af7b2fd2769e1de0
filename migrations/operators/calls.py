"""Calls of operators as plain data, which is what operator upgraders take and give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["operator", "packet", "function", "higher_order", "method"]


@dataclass(frozen=True)
class Operand:
    """The value of an earlier node, as an argument.

    Attributes:
        number: the node's number in its graph, before anything was rewritten.
    """

    number: int


@dataclass(frozen=True)
class Result:
    """The value of an earlier call of the same rewriting, as an argument.

    Attributes:
        step: index of that call in the list that the upgrader returns.
    """

    step: int


@dataclass(frozen=True)
class Call:
    """One call.

    Attributes:
        kind: what is called.
        name: ``aten::cholesky`` of operators and packets, the qualified name of functions, the bare name of
            higher-order operators and methods.
        args: `Operand`, `Result`, or values of a document (``["ilist", [1, 2]]``), which may hold them.
        kwargs: likewise, by keyword.
        used: whether any node uses the result; only in what an upgrader takes.
        items: place of each item of the result that a node takes -> whether any node uses it then; None if the
            result is used as a whole, or nobody asked. Only in what the upgrader of a higher-order operator takes.
    """

    kind: Kind
    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    used: bool = True
    items: Mapping[int, bool] | None = None

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """Return the argument at ``place`` or of keyword ``name``, else ``default``.

        >>> Call("method", "cholesky", (Operand(0), True)).argument(1, "upper", False)
        True
        """
        return self.args[place] if place < len(self.args) else self.kwargs.get(name, default)


class Unportable(Exception):
    """A call that an upgrader cannot rewrite; its argument says why, and what to do."""


@dataclass(frozen=True)
class Upgrader:
    """How calls of one operator or function are rewritten for releases that do not take them as they are.

    Attributes:
        kind, name: the calls that it rewrites.
        why: a phrase for people: what changed, and in which release.
        rewrite: call -> calls that give the same, the last in the call's own place; raises `Unportable`. None
            where nothing can: `why` then says what to do.
        schemas: for operators, the schemas that it takes; empty for any.
        since: release from which functions and methods of that name raise although they are there; None if
            they are simply gone. Of higher-order operators, release from which they do not take calls in the form of
            earlier ones.
        before: release before which higher-order operators do not take calls in the form of later ones.
        shows: whether a call of a higher-order operator shows its form. Where it does not, only the calls of archives
            that name the torch that wrote them are rewritten.

    Higher-order operators have no schema: ``rewrite`` gives back a call that has the form already, or that means the
    same in both.
    """

    kind: Kind
    name: str
    why: str
    rewrite: Callable[[Call], list[Call]] | None
    schemas: tuple[str, ...] = ()
    since: str | None = None
    before: str | None = None
    shows: bool = True
