"""TracingContexts: what GraphPickler keeps of one, as rows of `contexts`, behind the flag `tracing-contexts`."""

from __future__ import annotations

from typing import Any

from fxarchive.document import TRACING_CONTEXTS
from fxarchive.migrations.graph_pickler.translation import (
    Table,
    Translation,
    Untranslatable,
    fields_of,
    pairs_of,
    sequence_of,
)
from fxarchive.streams import Call

_UNPICKLE = "torch.fx._graph_pickler._TracingContextPickleData.unpickle"
_DATA = "torch.fx._graph_pickler._TracingContextPickleData"
_MODULES = "torch._guards.ModuleContext"
_FRAME = "traceback.FrameSummary"

_FIELDS = (
    "loc_in_frame",
    "aot_graph_name",
    "params_flat",
    "params_flat_unwrap_subclasses",
    "params_unwrapped_to_flat_index",
    "output_strides",
    "force_unspec_int_unbacked_size_like",
)
_POSITIONS = ("end_lineno", "colno", "end_colno")


def _tracing_context(tr: Translation, call: Call) -> Any:
    row = tr.row("contexts", id(call))
    if row is not None:
        return ["tracing_context", row]
    fields = fields_of(sequence_of(call.args, 2)[0], _DATA)
    tr.features.add(TRACING_CONTEXTS)
    tr.document.setdefault("contexts", [])
    record: dict[str, Any] = {}
    row = tr.add("contexts", id(call), record)
    modules = fields_of(fields.get("module_context"), _MODULES)
    location = fields.get("loc_in_frame")
    if type(location) is Call and location.name == _FRAME:  # torch 2.7
        frame = location.fields()
        location = (frame.get("filename"), frame.get("lineno"), frame.get("name"))
    parts = {"modules": modules.get("nn_modules")} | {name: fields.get(name) for name in _FIELDS}
    parts["loc_in_frame"] = location
    names = list(parts)
    held = tr.items(list(parts.values()), lambda i: f".{names[i]}")
    record.update(zip(names, held, strict=True))
    record["frames"] = [_frame(frame) for frame in sequence_of(fields.get("frame_summary_stack"))]
    record["mode"] = True  # torch gives a loaded one the FakeTensorMode of its reader
    record["environment"] = None
    return ["tracing_context", row]


def _frame(record: Any) -> list[Any]:
    fields = fields_of(record, _FRAME)
    name, line = fields.get("name"), fields.get("_line") or fields.get("_lines")
    if (
        type(fields.get("filename")) is not str
        or type(name) is not str
        or type(line) not in (str, type(None))
    ):
        raise Untranslatable.because("a frame of its stack has no file or no function")
    held = fields.get("locals")
    values = None if held is None else [str(part) for pair in pairs_of(held) for part in pair]
    numbers = [fields.get(name) for name in _POSITIONS]
    return [fields["filename"], fields.get("lineno"), name, line, numbers, values]


CALLS: Table = {_UNPICKLE: _tracing_context}
