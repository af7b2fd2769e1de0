"""What translates which record: the tables of every family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fxarchive.migrations.graph_pickler import (
    arrays,
    enums,
    environments,
    facts,
    fakes,
    graphs,
    modules,
    partials,
    programs,
    provenance,
    records,
    script_objects,
    standard,
    symbols,
    targets,
    tensors,
    tracing_contexts,
    treespecs,
    tuples,
    type_hints,
    values,
)
from fxarchive.migrations.graph_pickler.translation import Table, Translation
from fxarchive.streams import Call

CALLS: Table = {}
for _family in (
    values, targets, tensors, fakes, environments, symbols, treespecs, type_hints, graphs, modules,
    arrays, provenance, facts, tracing_contexts, records, standard, enums, partials, script_objects, programs,
):  # fmt: skip
    CALLS.update(_family.CALLS)


def _other(tr: Translation, call: Call) -> Any:
    """A call that no table names: an operator, a module, a named tuple, an instance, or what has no form."""
    if modules.is_module(call):
        return modules.other_module(tr, call)
    if tuples.is_named_tuple(call):
        return tuples.named_tuple(tr, call)
    if records.is_record(call):
        return records.record(tr, call)
    if enums.is_member(call):
        return enums.member(tr, call)
    return targets.other_call(tr, call)


KINDS: dict[type, Callable[[Translation, Any], Any]] = {**values.KINDS, **targets.KINDS, Call: _other}
