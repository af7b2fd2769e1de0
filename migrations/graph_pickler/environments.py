"""ShapeEnvs: the facts behind symbols, out of the ``__dict__`` that a stream holds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from fxarchive.errors import Problem
from fxarchive.migrations.graph_pickler.expressions import SYMBOL, Expressions, expressions, text
from fxarchive.migrations.graph_pickler.sources import source_text
from fxarchive.migrations.graph_pickler.translation import (
    Table,
    Translation,
    Untranslatable,
    fields_of,
    pairs_of,
    sequence_of,
)
from fxarchive.streams import Call, Set

UNPICKLE = "torch.fx._graph_pickler._ShapeEnvPickleData.unpickle"
_DATA = "torch.fx._graph_pickler._ShapeEnvPickleData"
_SETTINGS = "torch.fx.experimental.symbolic_shapes.ShapeEnvSettings"
_GUARD = "torch._guards.ShapeGuard"
_ASSERT = "torch.fx.experimental.symbolic_shapes.RuntimeAssert"
RANGE = "torch.utils._sympy.value_ranges.ValueRanges"

_SETTING_NAMES = (
    "allow_scalar_outputs", "allow_dynamic_output_shape_ops", "assume_static_by_default", "specialize_zero_one",
    "duck_shape", "prefer_deferred_runtime_asserts_over_guards", "trace_asserts",
)  # fmt: skip
"""Fields of the settings in the releases that store them as a list (since 2.11)."""

_INSTALLATION = re.compile(r"[^\s'\"()]*/(?:site|dist)-packages/torch/")

MESSAGE_LENGTH = 65_536
"""Characters of the message of an assert."""

SOURCE_LENGTH = 4_096
"""Characters of the text of a source."""


def environment_row(tr: Translation, call: Any) -> int:
    """Return the row of a ShapeEnv in ``environments``; its facts are translated later."""
    held = expressions(tr)
    key = ("an environment", id(call))
    row = held.rows.get(key)
    if row is None:
        if type(call) is not Call or call.name != UNPICKLE:
            raise Untranslatable.because("symbols without their ShapeEnv cannot be kept")
        data = fields_of(sequence_of(call.args, 2)[0], _DATA)
        facts = {name: fact for name, fact in pairs_of(data.get("data")) if type(name) is str}
        row = held.rows[key] = len(held.environments)
        record: dict[str, Any] = {}
        held.environments.append(record)
        tr.later(".shape_env", lambda: _Facts(tr, facts, held).put_into(record))
    return row


def _shape_env(tr: Translation, call: Call) -> Any:
    return ["shape_env", environment_row(tr, call)]


class _Facts:
    """The facts of one ShapeEnv, as plain values; names of attributes differ between releases."""

    def __init__(self, tr: Translation, env: dict[str, Any], held: Expressions) -> None:
        self.tr, self.env, self.held = tr, env, held
        self.problems: list[Problem] = []

    def put_into(self, record: dict[str, Any]) -> None:
        """Fill ``record``; raise `Untranslatable` with every fact that cannot be kept."""
        env = self.env
        record["release"] = list(self.tr.releases.oldest)
        record["settings"] = self._settings()
        record["frozen"] = [bool(env.get("frozen")), bool(env.get("runtime_asserts_frozen"))]
        record["hints"] = self._pairs("hints", self._dict("backed_var_to_val", "var_to_val"))
        record["ranges"] = self._ranges()
        record["sources"] = [
            part
            for symbol, sources in self._dict("var_to_sources")
            for part in (self._row("sources", symbol), self._sources(symbol, sources))
        ]
        record["inputs"] = [
            part
            for source, symbol in self._dict("source_to_var")
            for part in (str(source)[:SOURCE_LENGTH], self._row("source_to_var", symbol))
        ]
        record["shared_sizes"] = self._shared_sizes()
        record["replacements"] = self._pairs("replacements", self._dict("replacements"))
        record["renamings"] = self._pairs("unbacked_renamings", self._dict("unbacked_renamings"))
        record["divisible"] = self._ordered("divisible")
        record["size_like"] = self._ordered("size_like")
        record["guards"] = [self._guard(guard) for guard in self._list("guards")]
        record["asserts"] = [
            [
                None if symbol is None else self._row("deferred_runtime_asserts", symbol),
                [self._assert(held) for held in sequence_of(asserts)],
            ]
            for symbol, asserts in self._dict("deferred_runtime_asserts")
        ]
        record["counters"] = [
            self._counter(name) for name in ("unbacked_symint_counter", "unbacked_symfloat_counter")
        ]
        record["numbers"] = sorted([n for n in self._list("unique_ids") if type(n) is int])
        record["allocated"] = self._numbered("unbacked_alloc_order")
        record["guard_counts"] = self._numbered("symbol_guard_counter")
        record["pending"] = self._rows("pending", self._list("pending_fresh_unbacked_symbols"))
        record["ignorable"] = self._rows("pending", self._list("ignorable_fresh_unbacked_symbols"))
        record["unbacked_inputs"] = self._rows("unbacked_inputs", self._list("unbacked_inputs"))
        record["hint_overrides"] = self._numbered("var_to_hint_override")
        record["real_values"] = self._pairs(
            "hints", self._dict("real_tensor_prop_unbacked_vals", "unbacked_var_to_val")
        )
        record["excluded"] = [
            part
            for pair in self._list("exclusion_constraints")
            for part in self._symbol_and_number("excluded", sequence_of(pair, 2))
        ]
        record["shape_ids"] = [
            part
            for name, symbol in self._dict("_shape_id_to_unbacked_symbol")
            for part in (str(name), self._row("shape_ids", symbol))
        ]
        if self.problems:
            raise Untranslatable(self.problems)

    def _dict(self, *names: str) -> list[tuple[Any, Any]]:
        """Return the pairs of the first attribute that the release has."""
        for name in names:
            if self.env.get(name) is not None:
                return pairs_of(self.env[name])
        return []

    def _list(self, name: str) -> list[Any]:
        found = self.env.get(name)
        if found is None:
            return []
        if type(found) is Set:
            return found.items
        if type(found) is Call and found.name == "torch.utils._ordered_set.OrderedSet":
            given = sequence_of(found.args)
            if given:
                return list(sequence_of(given[0]))
            inner = found.fields().get("_dict")
            return [] if inner is None else [key for key, _ in pairs_of(inner)]
        return list(sequence_of(found))

    def _settings(self) -> dict[str, bool]:
        found = self.env.get("settings")
        if type(found) is not Call or found.name != _SETTINGS:
            raise Untranslatable.because("its settings are not those of a ShapeEnv")
        state = found.state
        facts = (
            dict(zip(_SETTING_NAMES, state, strict=False)) if type(state) in (list, tuple) else found.fields()
        )
        if not all([type(value) is bool for value in facts.values()]):
            raise Untranslatable.because("a setting of its ShapeEnv is neither True nor False")
        return {name: facts[name] for name in sorted(facts)}

    def _row(self, step: str, expression: Any) -> int:
        try:
            return self.held.row(expression)
        except Untranslatable as refused:
            self.problems += refused.below(f".{step}")
            return -1

    def _rows(self, step: str, found: Iterable[Any]) -> list[int]:
        return [self._row(step, expression) for expression in found]

    def _pairs(self, step: str, pairs: Iterable[tuple[Any, Any]]) -> list[int]:
        return [self._row(step, part) for pair in pairs for part in pair]

    def _symbol_and_number(self, step: str, pair: tuple[Any, ...]) -> list[int]:
        symbol, number = pair
        number = self._integer(step, number)
        if type(number) is not int:
            self.problems.append(Problem(f".{step}", "it is not a number"))
            number = 0
        return [self._row(step, symbol), number]

    def _integer(self, step: str, number: Any) -> Any:
        """Return the number that an Integer of sympy is; anything else as it is."""
        if type(number) is not Call:
            return number
        row = self._row(step, number)
        kind, *parts = self.held.expressions[row] if row >= 0 else ["nothing"]
        return parts[0] if kind == "Integer" else None

    def _numbered(self, name: str) -> list[int]:
        return [part for pair in self._dict(name) for part in self._symbol_and_number(name, pair)]

    def _ranges(self) -> list[int]:
        flat: list[int] = []
        for symbol, held in self._dict("var_to_range"):
            fields = fields_of(held, RANGE)
            flat += self._rows("var_to_range", (symbol, fields.get("lower"), fields.get("upper")))
        return flat

    def _sources(self, symbol: Any, sources: Any) -> list[str]:
        found = []
        for source in sequence_of(sources):
            try:
                found.append(source_text(source)[:SOURCE_LENGTH])
            except Untranslatable:
                listed = [name for name, other in self._dict("source_to_var") if other is symbol]
                if listed and type(listed[0]) is str:
                    found.append(listed[0][:SOURCE_LENGTH])
                else:
                    self.tr.note("The text of the source of a symbol is not known; it was left out")
        return found

    def _shared_sizes(self) -> list[Any]:
        """The sizes that new inputs share a symbol for (duck shaping)."""
        flat: list[Any] = []
        for value, symbol in self._dict("val_to_var"):
            if type(symbol) is not Call or symbol.name != SYMBOL:
                continue  # torch 2.7 lists the constants 0 and 1 too
            value = self._integer("val_to_var", value)
            if type(value) in (int, float):
                flat += [value, self._row("val_to_var", symbol)]
            else:
                self.problems.append(Problem(".val_to_var", "a size that symbols share is not a number"))
        return flat

    def _ordered(self, name: str) -> list[int]:
        rows = [row for row in self._rows(name, self._list(name)) if row >= 0]
        tables = self.held
        return sorted(rows, key=lambda row: text(tables.expressions, tables.symbols, row))

    def _guard(self, guard: Any) -> list[Any]:
        fields = _positional(guard, _GUARD, ("expr", "sloc", "size_oblivious"))
        return [self._row("guards", fields.get("expr")), fields.get("size_oblivious") is True]

    def _assert(self, record: Any) -> list[Any]:
        fields = _positional(record, _ASSERT, ("expr", "msg", "stack"))
        return [self._row("deferred_runtime_asserts", fields.get("expr")), message_text(fields.get("msg"))]

    def _counter(self, name: str) -> int:
        found = self.env.get(name, 0)
        if type(found) is Call and found.name == "itertools.count":
            found = sequence_of(found.args)[0] if found.args else 0
        if type(found) is not int:
            raise Untranslatable.because(f"its {name} is not a number")
        return found


def message_text(message: Any) -> str:
    """Return the message of an assert without the path at which the writer's torch was installed.

    >>> message_text("failed at /usr/lib/python3/site-packages/torch/__init__.py:1728")
    'failed at torch/__init__.py:1728'
    """
    return _INSTALLATION.sub("torch/", str(message))[:MESSAGE_LENGTH]


def _positional(record: Any, name: str, fields: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of a named tuple or of a dataclass, with slots or without."""
    found = fields_of(record, name)
    if found:
        return found
    values = record.args if record.args else record.state
    return dict(zip(fields, sequence_of(values), strict=False))


CALLS: Table = {UNPICKLE: _shape_env}
