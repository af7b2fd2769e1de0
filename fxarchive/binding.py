"""Whether a call written for one schema of an operator means the same under another, and how it is written there.

By the rules of torch an argument that a release adds has a default that means what went before, so what a call does
not pass stays away in both directions; where the default of an argument itself changed, the writer's is passed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fxarchive.schemas import Argument, Schema, parse

_INTEGERS = {"int", "SymInt"}
_LENGTH = re.compile(r"\[\d+\]")
_NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")


class Unbound(Exception):
    """A call that does not fit; its argument says why."""


@dataclass(frozen=True)
class Bound:
    """The arguments of a call, for the schema that it was bound to."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def bind(args: tuple[Any, ...], kwargs: Mapping[str, Any], written: str, running: str) -> Bound:
    """Return the arguments of a call for another schema of the same operator.

    Args:
        args, kwargs: values of a document, or objects that stand for the results of nodes.
        written: the schema for which the call was written.
        running: the schema of the operator that shall take it.

    Raises:
        Unbound: an argument has no place in ``running``, or ``running`` asks for more.

    >>> old = "x::y(Tensor grad, int p=2) -> Tensor"
    >>> new = "x::y(Tensor grad_output, int p=3) -> Tensor"
    >>> bind(("node",), {}, old, new)
    Bound(args=('node',), kwargs={'p': 2})
    """
    if written == running:
        return Bound(args, kwargs)
    try:
        old, new = parse(written), parse(running)
    except ValueError as error:
        raise Unbound(str(error)) from None
    if old.returns != new.returns:
        raise Unbound(f"it returned {old.returns} and now returns {new.returns}")
    passed = _passed(args, kwargs, old)
    target = _by_new_name(passed, old, new)
    for argument in old.arguments:
        now = _counterpart(argument, old, new)
        if now is None or argument.name in passed or argument.default is None:
            continue
        if argument.default != now.default:
            target[now.name] = literal(argument.default, argument.kind)
    for argument in new.arguments:
        if argument.name not in target and argument.default is None:
            raise Unbound(f"it now asks for {argument.name}")
    return _written_out(target, len(args), new)


def _passed(args: tuple[Any, ...], kwargs: Mapping[str, Any], old: Schema) -> dict[str, Any]:
    places = old.positional
    if len(args) > len(places):
        raise Unbound(f"the call passes {len(args)} arguments where its own schema takes {len(places)}")
    passed = {argument.name: value for argument, value in zip(places, args, strict=False)}
    unknown = [name for name in kwargs if old.named(name) is None]
    if unknown:
        raise Unbound(f"the call passes {unknown[0]}, which its own schema does not take")
    passed |= kwargs
    lacking = [
        argument.name
        for argument in old.arguments
        if argument.default is None and argument.name not in passed
    ]
    if lacking:
        raise Unbound(f"the call does not pass {lacking[0]}, which its own schema asks for")
    return passed


def _by_new_name(passed: Mapping[str, Any], old: Schema, new: Schema) -> dict[str, Any]:
    target: dict[str, Any] = {}
    for name, value in passed.items():
        argument = old.named(name)
        assert argument is not None  # `_passed` looked
        now = _counterpart(argument, old, new)
        if now is None:
            if argument.default is not None and value == literal(argument.default, argument.kind):
                continue  # what it means by default is what releases without it do
            raise Unbound(f"it does not take {name}")
        if not _accepts(now.kind, argument.kind, value):
            raise Unbound(f"its argument {name} was {argument.kind} and now is {now.kind}")
        target[now.name] = value
    return target


def _counterpart(argument: Argument, old: Schema, new: Schema) -> Argument | None:
    """Return the argument of ``new`` that takes the place: of that name, or renamed in place."""
    same = new.named(argument.name)
    if same is not None:
        return same
    at = old.arguments.index(argument)
    if len(old.arguments) != len(new.arguments):
        return None
    found = new.arguments[at]
    renamed = old.named(found.name) is None and found.kind == argument.kind
    return found if renamed and found.keyword == argument.keyword else None


def _accepts(now: str, then: str, value: Any) -> bool:
    """Whether an argument of type ``now`` takes what one of type ``then`` took, for this value."""
    now, then = _LENGTH.sub("[]", now), _LENGTH.sub("[]", then)
    if now == then or now == "Any":
        return True
    if now.endswith("?"):
        return value is None or _accepts(now[:-1], then.removesuffix("?"), value)
    if then.endswith("?"):
        return value is not None and _accepts(now, then[:-1], value)
    if now.endswith("[]") and then.endswith("[]"):
        return _accepts(now[:-2], then[:-2], value)
    if {now, then} <= _INTEGERS or (now == "Scalar" and then in _INTEGERS | {"float", "bool", "complex"}):
        return True
    return then == "Any" and now == "str" and type(value) is str


def _written_out(target: dict[str, Any], count: int, new: Schema) -> Bound:
    """Give as many arguments by position as the call did, as far as they have a place there."""
    args: list[Any] = []
    places = [argument.name for argument in new.positional]
    while len(args) < min(count, len(places)) and places[len(args)] in target:
        args.append(target.pop(places[len(args)]))
    order = [argument.name for argument in new.arguments]
    return Bound(tuple(args), {name: target[name] for name in sorted(target, key=order.index)})


def literal(text: str, kind: str) -> Any:
    """Return the document's value of a default in a schema.

    Args:
        text: as the schema has it: ``2``, ``1.``, ``True``, ``[0, 1]``, ``"reduced"``, ``None``.
        kind: type of the argument.

    Raises:
        Unbound: it is none of these.

    >>> literal("[1, 1]", "int[2]"), literal("1.", "float"), literal('"sum"', "str")
    (['ilist', [1, 1]], 1.0, 'sum')
    """
    if text in ("None", "True", "False"):
        return {"None": None, "True": True, "False": False}[text]
    if text.startswith("["):
        inner = _LENGTH.sub("[]", kind).removesuffix("?").removesuffix("[]")
        items = [part.strip() for part in text[1:-1].split(",") if part.strip()]
        return ["ilist", [literal(item, inner) for item in items]]
    if text.startswith('"'):
        try:
            return json.loads(text.replace("\\'", "'"))
        except ValueError:
            raise Unbound(f"its default {text} cannot be read") from None
    if not _NUMBER.fullmatch(text):
        raise Unbound(f"its default {text} cannot be read")
    whole = text.lstrip("-").isdecimal() and not kind.startswith("float")
    return int(text) if whole else float(text)
