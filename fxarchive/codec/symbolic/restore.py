"""Facts of a record put into a `ShapeEnv`: a new one, or the one of the caller's FakeTensorMode.

Into the caller's environment the facts are merged. A symbol of the same name that is there already must be
the same thing: backed, with the same assumptions and hint, from the same source, as torch itself would take
it; otherwise the archive does not fit into that environment and nothing of it is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from sympy.logic.boolalg import BooleanAtom
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import RuntimeAssert, ShapeEnv, ValueRangesSLoc

from fxarchive.codec import nested_numbers
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.fast import shape_env_names as names
from fxarchive.codec.fast.sym_nodes import Answering, answering
from fxarchive.codec.symbolic import nested
from fxarchive.codec.symbolic.expressions import built
from fxarchive.codec.symbolic.records import Nested, Record, read_record
from fxarchive.codec.symbolic.sources import is_ephemeral, source_of_text, source_text
from fxarchive.document import NESTED_INT_SYMBOLS, Value
from fxarchive.errors import FakeModeConflict, InvalidDocument


@dataclass
class _Restored:
    """What one decoding has restored so far."""

    callers: Any
    """The FakeTensorMode of the caller, or None."""
    modes: dict[int | None, Any] = field(default_factory=dict)
    environments: dict[int, Any] = field(default_factory=dict)
    taken: dict[int, int] = field(default_factory=dict)
    """Number of a nested integer -> the id that the caller's environment has for it already."""
    answering: Answering | None = None
    """While FakeTensors are built: the nodes that answer by themselves."""


_RESTORED: WeakKeyDictionary[Decoder, _Restored] = WeakKeyDictionary()


def _restored(dec: Decoder) -> _Restored:
    found = _RESTORED.get(dec)
    if found is None:
        found = _RESTORED[dec] = _Restored(dec.fake_mode)
    return found


def fake_mode(dec: Decoder, environment: int | None = None) -> Any:
    """Return the FakeTensorMode that FakeTensors join, made on first need.

    Args:
        dec: the decoder; its `fake_mode` is the caller's, or is set here. environment: row of the
        environment whose symbols the FakeTensors have; None for static ones, which join the
            mode of the first environment.

    Raises:
        InvalidDocument, FakeModeConflict: see `decode_shape_env`.
    """
    held = _restored(dec)
    if held.callers is not None:
        if environment is not None:
            decode_shape_env(dec, environment)
        return held.callers
    if environment is None and dec.document.get("symbolic") is not None and built(dec).environments:
        environment = 0
    mode = held.modes.get(environment)
    if mode is None:
        env = ShapeEnv() if environment is None else decode_shape_env(dec, environment)
        mode = held.modes[environment] = FakeTensorMode(shape_env=env, allow_non_fake_inputs=True)
        if NESTED_INT_SYMBOLS in dec.features:
            nested_numbers.number_apart(mode)
        if not environment:
            dec.fake_mode = mode
    return mode


@contextmanager
def restoring(dec: Decoder) -> Iterator[None]:
    """Make the environments ready for building FakeTensors whose sizes are as they were recorded.

    Inside, no guard is added, and replacements are out of sight: a size that was made before its symbol was replaced by
    a number is still symbolic, and torch would make an integer of it.
    """
    held = _restored(dec)
    for row in range(len(built(dec).environments)):
        decode_shape_env(dec, row)
    with ExitStack() as stack:
        for env in {id(env): env for env in held.environments.values()}.values():
            stack.enter_context(env.suppress_guards())
            stack.enter_context(names.without_replacements(env))
        if held.answering is None:
            stack.callback(setattr, held, "answering", None)
            held.answering = stack.enter_context(answering())
        yield


def answer(dec: Decoder, node: Any) -> None:
    """Have ``node``, the SymNode of a SymInt of ``dec``, answer torch by itself while FakeTensors are built."""
    held = _restored(dec)
    if held.answering is not None:
        held.answering.add(node)


def id_of_nested(dec: Decoder, number: int) -> int:
    """Return the id of a nested integer that a symbol stands for; its environment is restored already.

    A real tensor of the archive never gets an id that the caller's environment has: it may be another tensor.
    """
    found = _restored(dec).taken.get(number)
    return nested_numbers.id_of(dec, number) if found is None else found


def decode_shape_env(dec: Decoder, row: Any) -> Any:
    """Return the ShapeEnv of ``row`` of ``environments``, all its facts in place.

    Raises:
        InvalidDocument: the record breaks a rule of its schema.
        FakeModeConflict: the caller's FakeTensorMode cannot take the symbols.
    """
    held, tables = _restored(dec), built(dec)
    if type(row) is not int or not 0 <= row < len(tables.environments):
        raise InvalidDocument("an environment", f"there is no environment {row!r:.40}")
    env = held.environments.get(row)
    if env is None:
        record = read_record(tables, row)
        if record.nested:
            dec.require(NESTED_INT_SYMBOLS, f"{record.where}, nested")
        fresh = held.callers is None
        env = names.new_shape_env(_settings(record)) if fresh else _environment_of(held.callers)
        held.environments[row] = env
        try:
            _put(dec, env, record, fresh=fresh)
        except (AssertionError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise InvalidDocument(record.where, f"torch cannot take its facts ({error!r:.160})") from error
    return env


def decode_shape_env_value(dec: Decoder, tagged: Value) -> Any:
    return decode_shape_env(dec, tagged[1])


def _environment_of(mode: Any) -> Any:
    if mode.shape_env is None:
        raise FakeModeConflict("it has no ShapeEnv, and the archive holds symbolic shapes")
    return mode.shape_env


def _settings(record: Record) -> dict[str, bool]:
    settings = {name: value for name, value in record.settings.items() if name in names.known_settings()}
    if record.release <= (2, 8) < names.RELEASE:
        # export set this through 2.8; in later releases it would keep `x == hint` from specializing
        settings["prefer_deferred_runtime_asserts_over_guards"] = False
    return settings


def _put(dec: Decoder, env: Any, record: Record, fresh: bool) -> None:
    known = set() if fresh else _check_shared(env, record, _restored(dec).taken)
    new = {symbol for symbol in record.symbols if symbol not in known}
    _put_symbols(env, record, known, fresh)
    _put_nested(dec, env, record)
    for symbol, target in record.replacements:
        held = env.replacements.setdefault(symbol, target)
        if held != target:
            raise FakeModeConflict(f"its ShapeEnv replaces {symbol} by {held} and the archive by {target}")
    env.unbacked_renamings.update(record.renamings)
    env.divisible.update(record.divisible)
    env.size_like.update(record.size_like)
    for name, least in zip(names.COUNTERS, record.counters, strict=True):
        names.advance_counter(env, name, least)
    numbers = set(record.numbers) | {
        number for symbol in record.symbols if (number := _number_of(symbol)) is not None
    }
    names.reserve_numbers(env, numbers, {symbol.name for symbol in record.symbols})
    names.replacements_changed(env)
    _put_guards(env, record, fresh)
    _put_optional(env, record, new)
    if fresh:
        env.frozen, env.runtime_asserts_frozen = record.frozen
    names.replacements_changed(env)


def _put_symbols(env: Any, record: Record, known: set[Any], fresh: bool) -> None:
    hints = names.hints(env)
    for symbol, hint in record.hints:
        hints.setdefault(symbol, hint)
    here = names.stack()
    for symbol, value_range in record.ranges:
        if symbol not in hints and symbol not in record.nested:
            # torch looks up where an unbacked symbol was made for the error that says it cannot be guarded on
            env.var_to_stack.setdefault(symbol, here)
        env.var_to_range[symbol] = env.var_to_range[symbol] & value_range if symbol in known else value_range
        if symbol not in env.var_to_range_sloc:
            # guards change these objects, so each symbol has its own
            env.var_to_range_sloc[symbol] = ValueRangesSLoc(names.location(), names.location())
    for symbol, texts in record.sources:
        if symbol not in known:
            env.var_to_sources[symbol] = [source_of_text(text) for text in texts]
    for text, symbol in record.inputs:
        env.source_to_var.setdefault(text, symbol)
    for size, symbol in record.shared_sizes:
        env.val_to_var.setdefault(size, symbol)
    for symbol, order in record.allocated:
        env.unbacked_alloc_order[symbol] = order if fresh else len(env.unbacked_alloc_order)
    for symbol, count in record.guard_counts:
        env.symbol_guard_counter[symbol] = max(count, env.symbol_guard_counter[symbol])


def _put_nested(dec: Decoder, env: Any, record: Record) -> None:
    for symbol, each in record.nested.items():
        id_ = id_of_nested(dec, each.number)
        names.hints(env).setdefault(symbol, nested.hint_of(id_, each.coefficient))
        if each.is_shared:
            env.val_to_var.setdefault(nested_numbers.nested_int(id_, each.coefficient), symbol)


def _put_guards(env: Any, record: Record, fresh: bool) -> None:
    held = set() if fresh else {guard.expr for guard in env.guards}
    for expression, size_oblivious in record.guards:
        if expression not in held:
            env.guards.append(names.guard(expression, size_oblivious))
            _learn(env, expression)
    for symbol, asserts in record.asserts:
        there = env.deferred_runtime_asserts.setdefault(symbol, [])
        stated = {held.expr for held in there}
        for expression, message in asserts:
            if fresh or expression not in stated:
                there.append(RuntimeAssert(expression, message, names.stack()))
                env.num_deferred_runtime_asserts += 1
                _learn(env, expression)


def _learn(env: Any, expression: Any) -> None:
    """Add what follows from a fact that holds, unless the replacements say it already."""
    expression = env.replace(expression)
    if not isinstance(expression, BooleanAtom):
        env.axioms.update(dict(env.get_implications(expression)))


def _put_optional(env: Any, record: Record, new: set[Any]) -> None:
    """Facts that some releases have no place for; there they mean nothing."""
    env.pending_fresh_unbacked_symbols.extend(record.pending)
    names.optional(env, "ignorable_fresh_unbacked_symbols", []).extend(record.ignorable)
    inputs = names.optional(env, "unbacked_inputs", set())
    for symbol in record.unbacked_inputs:
        inputs.add(symbol)
    names.optional(env, "var_to_hint_override", {}).update(record.hint_overrides)
    names.real_values(env).update(record.real_values)
    names.optional(env, "exclusion_constraints", []).extend(
        pair for pair in record.excluded if pair[0] in new
    )
    names.optional(env, "_shape_id_to_unbacked_symbol", {}).update(record.shape_ids)
    names.optional(env, "name_to_symbol", {}).update({symbol.name: symbol for symbol in record.symbols})


def _number_of(symbol: Any) -> int | None:
    """Return the number in the name of a backed symbol (``s12``, ``zf3``), which new symbols must not get."""
    for prefix in ("zf", "s"):
        digits = symbol.name.removeprefix(prefix)
        if digits != symbol.name and digits.isdecimal() and len(digits) < 7:
            return int(digits)
    return None


def _check_shared(env: Any, record: Record, taken: dict[int, int]) -> set[Any]:
    """Return the symbols that the caller's environment has; refuse those that are something else there.

    What nested integers have for ids in the caller's environment is put into ``taken``. Ragged sizes of intermediate
    values have one source for all of them, and so names that other programs give them too: there only an environment
    that knows what the archive's does, or the other way round, is one that the same trace made.
    """
    hints = names.hints(env)
    there = {symbol.name: symbol for held in (hints, env.var_to_range, env.var_to_sources) for symbol in held}
    recorded_hints, recorded_sources = dict(record.hints), dict(record.sources)
    names_there = _without_fillers(there)
    recorded_names = _without_fillers([symbol.name for symbol in record.symbols])
    all_of_one = names_there <= recorded_names or recorded_names <= names_there
    shared: set[Any] = set()
    for symbol in record.symbols:
        other = there.get(symbol.name)
        if other is None:
            continue
        texts = [source_text(source) for source in env.var_to_sources.get(other, [])]
        ragged = record.nested.get(symbol)
        if ragged is None:
            same = symbol in recorded_hints and recorded_hints[symbol] == hints.get(symbol)
        else:
            same = _take(taken, ragged, hints.get(symbol)) and (
                all_of_one or not (texts and is_ephemeral(texts[0]))
            )
        if not (same and other == symbol and recorded_sources.get(symbol, [])[:1] == texts[:1]):
            raise FakeModeConflict(f"its ShapeEnv holds another symbol {symbol.name}")
        shared.add(symbol)
    return shared


def _without_fillers(symbol_names: Iterable[str]) -> set[str]:
    return {name for name in symbol_names if not name.startswith(names.FILLER)}


def _take(taken: dict[int, int], ragged: Nested, hint: Any) -> bool:
    """Take the id of ``hint``, of the caller's environment, for the number of ``ragged``.

    Returns: False if it is no nested integer of that coefficient, or number and id belong to others already.
    """
    if not nested.is_nested(hint) or hint._coeff != ragged.coefficient:
        return False
    if ragged.number not in taken and hint._val in taken.values():
        return False
    return bool(taken.setdefault(ragged.number, hint._val) == hint._val)
