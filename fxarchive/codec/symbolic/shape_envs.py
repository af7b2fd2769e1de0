"""The facts behind symbols, out of a `ShapeEnv`; `restore` puts them into another.

A record holds what a ShapeEnv knows, fact by fact and not attribute by attribute, since the attributes
changed names and types between releases: settings, and for its symbols hints, ranges, sources,
replacements, guards, deferred asserts and counters. Derived state (axioms, caches) is computed anew; stacks
and code locations are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import sympy
import torch

from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.fast import shape_env_names as names
from fxarchive.codec.symbolic import nested
from fxarchive.codec.symbolic.expressions import Tables, encode_expression, tables
from fxarchive.codec.symbolic.sources import SOURCE_LENGTH, source_text
from fxarchive.document import Value
from fxarchive.errors import Problem


def encode_shape_env(enc: Encoder, env: Any) -> int:
    """Return the row of ``env`` in ``environments``; its facts are encoded later."""
    held = tables(enc)
    key = ("environment", id(env))
    row = held.rows.get(key)
    if row is None:
        row = held.rows[key] = len(held.environments)
        record: dict[str, Any] = {}
        held.environments.append(record)
        enc.keep_alive(env)
        enc.later(".shape_env", lambda: _Facts(enc, env, held).put_into(record))
    return row


def environment_rows(enc: Encoder) -> dict[int, int]:
    """Return id of a ShapeEnv -> its row in ``environments``."""
    rows = tables(enc).rows
    return {key[1]: row for key, row in rows.items() if key[0] == "environment"}


def encode_shape_env_value(enc: Encoder, env: Any) -> Value:
    return ["shape_env", encode_shape_env(enc, env)]


class _Facts:
    """The facts of one ShapeEnv, as plain values."""

    def __init__(self, enc: Encoder, env: Any, held: Tables) -> None:
        self.enc, self.env, self.held = enc, env, held
        self.problems: list[Problem] = []

    def put_into(self, record: dict[str, Any]) -> None:
        """Fill ``record``; raise `Refused` with every fact that cannot be kept."""
        env = self.env
        self._refuse_what_is_no_fact()
        record["release"] = list(names.RELEASE)
        record["settings"] = names.settings(env)
        record["frozen"] = [bool(env.frozen), bool(env.runtime_asserts_frozen)]
        hints = [pair for pair in names.hints(env).items() if not nested.is_nested(pair[1])]
        record["hints"] = self._pairs("hints", hints)
        record["ranges"] = self._ranges()
        record["sources"] = [
            part
            for symbol, sources in env.var_to_sources.items()
            for part in (
                self._row("sources", symbol),
                [source_text(source)[:SOURCE_LENGTH] for source in sources],
            )
        ]
        record["inputs"] = [
            part
            for text, symbol in env.source_to_var.items()
            for part in (text[:SOURCE_LENGTH], self._row("source_to_var", symbol))
        ]
        record["shared_sizes"] = self._shared_sizes()
        ragged = self._ragged()
        if ragged:
            record["nested"] = ragged
        record["replacements"] = self._pairs("replacements", env.replacements.items())
        record["renamings"] = self._pairs("unbacked_renamings", env.unbacked_renamings.items())
        record["divisible"] = self._rows("divisible", _ordered(env.divisible))
        record["size_like"] = self._rows("size_like", _ordered(env.size_like))
        record["guards"] = [
            [self._row("guards", guard.expr), bool(getattr(guard, "size_oblivious", False))]
            for guard in env.guards
        ]
        record["asserts"] = [
            [
                None if symbol is None else self._row("deferred_runtime_asserts", symbol),
                [
                    [self._row("deferred_runtime_asserts", held.expr), message_text(held.msg)]
                    for held in asserts
                ],
            ]
            for symbol, asserts in env.deferred_runtime_asserts.items()
        ]
        record["counters"] = [names.counter(env, name) for name in names.COUNTERS]
        record["numbers"] = sorted(names.optional(env, "unique_ids", ()))
        record["allocated"] = self._numbered("unbacked_alloc_order", env.unbacked_alloc_order)
        record["guard_counts"] = self._numbered("symbol_guard_counter", env.symbol_guard_counter)
        record["pending"] = self._rows("pending_fresh_unbacked_symbols", env.pending_fresh_unbacked_symbols)
        record["ignorable"] = self._rows(
            "pending", names.optional(env, "ignorable_fresh_unbacked_symbols", ())
        )
        record["unbacked_inputs"] = self._rows("unbacked_inputs", names.optional(env, "unbacked_inputs", ()))
        record["hint_overrides"] = self._numbered("hints", names.optional(env, "var_to_hint_override", {}))
        record["real_values"] = self._pairs("hints", names.real_values(env).items())
        record["excluded"] = self._numbered("excluded", names.optional(env, "exclusion_constraints", ()))
        shape_ids = names.optional(env, "_shape_id_to_unbacked_symbol", {})
        record["shape_ids"] = [
            part for text, symbol in shape_ids.items() for part in (str(text), self._row("shape_ids", symbol))
        ]
        if self.problems:
            raise Refused(self.problems)

    def _refuse_what_is_no_fact(self) -> None:
        if names.optional(self.env, "_shape_spec_pending_assumptions", ()):
            self.problems.append(
                Problem(
                    "",
                    "assumptions of a shapes spec still wait for their symbols; save when tracing has ended",
                )
            )
        if names.optional(self.env, "specializations", ()):
            self.problems.append(
                Problem(
                    ".specializations",
                    "conditions of mark_dynamic(specialize_on=...) are functions and cannot be kept; "
                    "clear the ShapeEnv's specializations",
                )
            )

    def _row(self, step: str, expression: Any) -> int:
        try:
            return encode_expression(
                self.enc, sympy.sympify(expression) if type(expression) in _NUMBERS else expression
            )
        except Refused as refused:
            self.problems += refused.below(f".{step}")
            return -1

    def _rows(self, step: str, expressions: Iterable[Any]) -> list[int]:
        return [self._row(step, expression) for expression in expressions]

    def _pairs(self, step: str, pairs: Iterable[tuple[Any, Any]]) -> list[int]:
        return [self._row(step, part) for pair in pairs for part in pair]

    def _numbered(self, step: str, numbered: Any) -> list[int]:
        pairs = numbered.items() if isinstance(numbered, dict) else numbered
        return [part for symbol, number in pairs for part in (self._row(step, symbol), int(number))]

    def _ranges(self) -> list[int]:
        flat: list[int] = []
        for symbol, held in self.env.var_to_range.items():
            flat += self._rows("var_to_range", (symbol, held.lower, held.upper))
        return flat

    def _shared_sizes(self) -> list[Any]:
        """The sizes that new inputs share a symbol for (duck shaping)."""
        flat: list[Any] = []
        for value, symbol in self.env.val_to_var.items():
            if not isinstance(symbol, sympy.Symbol):
                continue  # torch 2.7 lists the constants 0 and 1 too
            if type(value) in (int, float):
                flat += [value, self._row("val_to_var", symbol)]
        return flat

    def _ragged(self) -> list[list[Any]]:
        """The symbols that stand for nested integers."""
        try:
            found = nested.encode_symbols(self.enc, self.env)
        except Refused as refused:
            self.problems += refused.below(".val_to_var")
            return []
        return [[self._row("hints", symbol), *facts] for symbol, *facts in found]


_NUMBERS = (int, float, bool)

_INSTALLATION = os.path.join(os.path.dirname(os.path.abspath(torch.__file__)), "")


def message_text(message: Any) -> str:
    """Return the message of an assert without the path of this machine's torch.

    Torch writes the place of its own check into it: ``/usr/lib/.../torch/__init__.py:1728``.
    """
    return str(message).replace(_INSTALLATION, "torch/")


def _ordered(expressions: Iterable[Any]) -> list[Any]:
    """Sets of expressions have an order that depends on the hash seed; their text does not."""
    return sorted(expressions, key=lambda expression: (str(expression), sympy.srepr(expression)))
