"""ExportedPrograms and the small records of `torch.export`, from the ``__dict__`` that a stream holds of each."""

from __future__ import annotations

from typing import Any

from fxarchive.document import EXPORTED_PROGRAMS
from fxarchive.errors import Problem
from fxarchive.guards import is_guard
from fxarchive.migrations.graph_pickler.enums import member_name
from fxarchive.migrations.graph_pickler.modules import module_row
from fxarchive.migrations.graph_pickler.translation import (
    Table,
    Translation,
    Untranslatable,
    sequence_of,
    shown,
)
from fxarchive.streams import Call, Name

_PROGRAM = "torch.export.exported_program.ExportedProgram"

_VALUES = (
    ("signature", "graph_signature"),
    ("state", "state_dict"),
    ("constants", "constants"),
    ("ranges", "range_constraints"),
    ("calls", "module_call_graph"),
    ("examples", "example_inputs"),
)
"""Key of a row -> attribute of the program, in the order of a save."""

_DIALECTS = {"Verifier": "ATEN", "TrainingIRVerifier": "TRAINING"}
_VERIFIERS = "torch._export.verifier."

_NAME = ("name",)
_FIELDS: dict[str, tuple[str, ...]] = {
    "graph_signature.TensorArgument": _NAME,
    "graph_signature.TokenArgument": _NAME,
    "graph_signature.SymIntArgument": _NAME,
    "graph_signature.SymFloatArgument": _NAME,
    "graph_signature.SymBoolArgument": _NAME,
    "graph_signature.ConstantArgument": ("name", "value"),
    "graph_signature.CustomObjArgument": ("name", "class_fqn", "fake_val"),
    "graph_signature.InputSpec": ("kind", "arg", "target", "persistent"),
    "graph_signature.OutputSpec": ("kind", "arg", "target"),
    "graph_signature.ExportGraphSignature": ("input_specs", "output_specs"),
    "exported_program.ModuleCallSignature": ("inputs", "outputs", "in_spec", "out_spec", "forward_arg_names"),
    "exported_program.ModuleCallEntry": ("fqn", "signature"),
}
_EXPORT = "torch.export."


def _program(tr: Translation, call: Call) -> Any:
    row = tr.row("programs", id(call))
    if row is None:
        tr.features.add(EXPORTED_PROGRAMS)
        tr.document.setdefault("programs", [])
        record: dict[str, Any] = {}
        row = tr.add("programs", id(call), record)
        path = tr.here()
        tr.later(path, lambda: _fill(tr, call.fields(), record, path))
    return ["program", row]


def _fill(tr: Translation, held: dict[str, Any], record: dict[str, Any], path: str) -> None:
    problems: list[Problem] = []
    tr.path = f"{path}.graph_module"
    try:
        record["module"] = module_row(tr, held.get("_graph_module"), tr.path)
    except Untranslatable as refused:
        problems += refused.below(".graph_module")
    for key, name in _VALUES:
        tr.path = f"{path}.{name}"
        try:
            record[key] = tr.value(held.get(f"_{name}"))
        except Untranslatable as refused:
            problems += refused.below(f".{name}")
    try:
        record["dialects"] = [_dialect(verifier) for verifier in sequence_of(held.get("_verifiers"))]
        if "_guards_code" in held:
            record["guards"] = [_guard(text) for text in sequence_of(held["_guards_code"])]
    except Untranslatable as refused:
        problems += refused.problems
    if problems:
        raise Untranslatable(problems)


def _dialect(verifier: Any) -> str:
    name = str(verifier).removeprefix(_VERIFIERS) if type(verifier) is Name else ""
    if name not in _DIALECTS:
        raise Untranslatable.because(f"the dialect of its verifier, {shown(verifier)}, is not known")
    return _DIALECTS[name]


def _guard(text: Any) -> str:
    if type(text) is not str or not is_guard(text):
        raise Untranslatable.because("one of its guards is not a plain condition over inputs")
    return text


def _record(tr: Translation, call: Call) -> Any:
    name = call.name.removeprefix(_EXPORT)
    fields, held = _FIELDS[name], call.fields()
    if held.keys() != set(fields):
        raise Untranslatable.because(f"a {call.name} has other fields than are known")
    values = [held[field] for field in fields]
    if fields[0] == "kind":
        values[0] = member_name(tr, values[0])
        if values[0] is None:
            raise Untranslatable.because(f"the kind of a {call.name} is not known")
    tr.features.add(EXPORTED_PROGRAMS)
    return tr.container(
        call,
        "export",
        lambda body: body.extend([name.rpartition(".")[2], tr.items(values, lambda i: f".{fields[i]}")]),
    )


CALLS: Table = {_PROGRAM: _program, **dict.fromkeys([f"{_EXPORT}{name}" for name in _FIELDS], _record)}
