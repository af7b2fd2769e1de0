"""Tracing contexts of torch.compile (`torch._guards.TracingContext`), from facts.

What a context knows of the program that was traced is kept: modules, frames, names, flat parameters, strides. What
belongs to the process that traced it is not: guards, caches, global state, metadata of AOTAutograd. torch's own pickler
draws the same line. A context comes back joined to the FakeTensorMode that FakeTensors join.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

from torch._guards import TracingContext

from fxarchive.codec import symbols
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.document import TRACING_CONTEXTS, Value
from fxarchive.errors import InvalidDocument, Problem

FIELDS = (
    "loc_in_frame",
    "aot_graph_name",
    "params_flat",
    "params_flat_unwrap_subclasses",
    "params_unwrapped_to_flat_index",
    "output_strides",
    "force_unspec_int_unbacked_size_like",
)
"""Attributes that are values; every release of torch has them."""

_KEYS = frozenset({"modules", "frames", "mode", "environment", *FIELDS})
_POSITIONS = ("end_lineno", "colno", "end_colno")


def encode_context(enc: Encoder, context: TracingContext) -> Value:
    """Return ``["tracing_context", row]``."""
    row = enc.row("contexts", id(context))
    if row is not None:
        return ["tracing_context", row]
    enc.features.add(TRACING_CONTEXTS)
    enc.document.setdefault("contexts", [])  # type: ignore[typeddict-item]
    record: dict[str, Any] = {}
    row = enc.add("contexts", id(context), record)
    enc.keep_alive(context)
    parts = {"modules": context.module_context.nn_modules} | {name: getattr(context, name) for name in FIELDS}
    location: Any = context.loc_in_frame
    if isinstance(location, traceback.FrameSummary):  # torch 2.7
        parts["loc_in_frame"] = (location.filename, location.lineno, location.name)
    names = list(parts)
    problems: list[Problem] = []
    with enc.keeping():
        try:
            held = enc.items(list(parts.values()), lambda i: f".{names[i]}")
            record.update(zip(names, held, strict=True))
        except Refused as refused:
            problems += refused.problems
    if problems:
        enc.forget("contexts", id(context))
        raise Refused(problems)
    record["frames"] = [_encode_frame(frame) for frame in context.frame_summary_stack]
    record["mode"] = context.fake_mode is not None
    if context.fake_mode is not None and context.fake_mode.shape_env is not None:
        env = context.fake_mode.shape_env
        enc.at_end(lambda: record.update(environment=symbols.environment_rows(enc).get(id(env))))
    else:
        record["environment"] = None
    return ["tracing_context", row]


def _encode_frame(frame: traceback.FrameSummary) -> list[Any]:
    """Take a frame apart; its line of source only if it is known: reading it now could find another text."""
    line = getattr(frame, "_line", None) or getattr(frame, "_lines", None)
    positions = [getattr(frame, name, None) for name in _POSITIONS]
    values = None if frame.locals is None else [part for pair in frame.locals.items() for part in pair]
    return [frame.filename, frame.lineno, frame.name, line, positions, values]


def decode_context(dec: Decoder, tagged: Value) -> TracingContext:
    """Return the context of a row, its fields in place."""
    _, row = tagged
    known = dec.objects.setdefault("contexts", {})
    if row in known:
        found: TracingContext = known[row]
        return found
    where = f"contexts[{row!r:.40}]"
    record = dec.entry("contexts", row)
    if type(record) is not dict or set(record) != _KEYS or type(record["mode"]) is not bool:
        raise InvalidDocument(where, "it is not a record of a tracing context")
    environment = record["environment"]
    joins = record["mode"] or dec.fake_mode is not None
    context = TracingContext(symbols.fake_mode(dec, environment) if joins else None)
    known[row] = context  # before its fields, one of which may lead back to it
    modules = dec.value(record["modules"])
    if type(modules) is not dict or not all([type(name) is str for name in modules]):
        raise InvalidDocument(where, "its modules are not a dict of names")
    context.module_context.nn_modules = modules
    context.frame_summary_stack = [_decode_frame(where, frame) for frame in record["frames"]]
    for name in FIELDS:
        setattr(context, name, dec.value(record[name]))
    context.loc_in_frame = _location(where, context.loc_in_frame)
    return context


def _location(where: str, location: Any) -> Any:
    """Return where in a frame the trace stood, in the form of the running torch."""
    if location is None:
        return None
    if type(location) is not tuple or [type(part) for part in location] != [str, int, str]:
        raise InvalidDocument(where, "its loc_in_frame is not a file, a line and a function")
    if hasattr(TracingContext, "_populate_loc_in_frame_summary"):
        return location
    return traceback.FrameSummary(*location, lookup_line=False)  # torch 2.7


def _decode_frame(where: str, record: Any) -> traceback.FrameSummary:
    filename, lineno, name, line, positions, values = record
    texts, numbers = (filename, name, *(values or ())), (lineno, *positions)
    if (
        not all([type(text) is str for text in texts])
        or not all([number is None or type(number) is int for number in numbers])
        or not (line is None or type(line) is str)
        or len(positions) != len(_POSITIONS)
    ):
        raise InvalidDocument(where, "a frame of it is not one")
    extra: Any = dict(zip(_POSITIONS, positions, strict=True)) if sys.version_info >= (3, 11) else {}
    frame = traceback.FrameSummary(filename, lineno, name, lookup_line=False, line=line, **extra)
    if values is not None:
        frame.locals = dict(zip(values[::2], values[1::2], strict=True))  # the constructor would print them
    return frame


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {TracingContext: encode_context}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = []
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"tracing_context": decode_context}
