"""Instances of classes of the user: rows of `records`, behind the feature flag `records`.

A stream makes such an instance by ``object.__new__`` and gives it what its ``__dict__`` and its slots held. A class
that pickles itself in any other way has no form in schema 2: its own code would have to run.
"""

from __future__ import annotations

from typing import Any

from fxarchive.document import RECORDS
from fxarchive.errors import Problem
from fxarchive.migrations.graph_pickler.targets import class_row
from fxarchive.migrations.graph_pickler.translation import (
    Table,
    Translation,
    Untranslatable,
    merged,
)
from fxarchive.streams import Call, Name, Pairs
from fxarchive.streams.records import NOTHING

_CHANGING = ("torch", "torchgen", "functorch", "sympy", "numpy", "fxarchive", "builtins")
"""Packages whose own classes are not records: what they hold changes between releases."""

_NAMESPACE = "types.SimpleNamespace"


def is_record(call: Call) -> bool:
    """Whether a call makes an instance of a class of the user, and gives it nothing but a state."""
    return (
        call.new
        and type(call.function) is Name
        and call.function.module.partition(".")[0] not in _CHANGING
        and call.args == ()
        and not (call.kwargs or call.items or call.entries)
    )


def record(tr: Translation, call: Call) -> Any:
    """Return ``["record", row]``; raise `Untranslatable` with every field that has no form."""
    if tr.operands is not None:
        raise Untranslatable.because(f"a {call.name} cannot be an argument of a node")
    row = tr.row("records", id(call))
    if row is not None:
        return ["record", row]
    fields = _fields(call)
    tr.features.add(RECORDS)
    tr.document.setdefault("records", [])
    flat: list[Any] = []
    row = tr.add(
        "records", id(call), [None if call.name == _NAMESPACE else class_row(tr, call.function), flat]
    )
    problems = [
        Problem(f".{name!s:.80}", "a field of this name cannot be kept")
        for name, _ in fields
        if not (name is None or _is_field(name)) and call.name != _NAMESPACE
    ]
    try:
        held = tr.items([value for _, value in fields], lambda i: _step(i, fields[i][0]))
    except Untranslatable as refused:
        problems += refused.problems
    if problems:
        tr.forget("records", id(call))  # so that each place that holds the instance is named
        raise Untranslatable(problems)
    flat.extend([part for (name, _), item in zip(fields, held, strict=True) for part in (name, item)])
    return ["record", row]


def _step(at: int, name: Any) -> str:
    return f".fields[{at}]" if name is None else f".{name!s:.80}"


def _is_field(name: Any) -> bool:
    return type(name) is str and not (name.startswith("__") and name.endswith("__"))


def _fields(call: Call) -> list[tuple[Any, Any]]:
    """Return what the instance holds: slots by name, as a class orders them, then its ``__dict__`` in order."""
    state = call.state
    if state is NOTHING or state is None:
        return []
    if type(state) is list:  # of a dataclass with slots: the values of its fields, in the order of the class
        return [(None, value) for value in state]
    attributes, slots = state if type(state) is tuple and len(state) == 2 else (state, None)
    for part in (attributes, slots):
        if not (part is None or type(part) is Pairs):
            raise Untranslatable.because(
                f"{call.name} keeps its state in a form of its own (a {type(state).__name__}), which its code would "
                "have to read"
            )
    held = [] if slots is None else sorted(merged(slots.items), key=lambda pair: str(pair[0]))
    return held + ([] if attributes is None else list(merged(attributes.items)))


CALLS: Table = {_NAMESPACE: record}
