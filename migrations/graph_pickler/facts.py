"""Small records of torch in metadata: rows of the table `facts`, behind the feature flag `torch-facts`.

A row has the name of a class and its fields in their order, without those that have the default of the class. A
stream holds a record as a call with positional arguments, or as an instance with a ``__dict__`` or slots.
"""

from __future__ import annotations

import marshal
from typing import Any

from fxarchive.document import FACTS
from fxarchive.errors import Problem
from fxarchive.migrations.graph_pickler.translation import (
    MAX_DEPTH,
    Table,
    Translation,
    Untranslatable,
    pairs_of,
    sequence_of,
)
from fxarchive.streams import Call
from fxarchive.streams.records import NOTHING

REQUIRED: Any = object()
"""Stands for the default of a field that has none."""

_SOURCES = "torch._dynamo.source."
_DESCRIPTORS = "torch._functorch._aot_autograd.descriptors."

Fields = dict[str, Any]


def _each(names: tuple[str, ...], fields: Fields) -> dict[str, Fields]:
    return dict.fromkeys(names, fields)


_BASE: Fields = {"base": REQUIRED}
_MEMBER: Fields = {"base": REQUIRED, "member": REQUIRED}
_LOCAL: Fields = {
    "local_name": REQUIRED, "is_input": False, "dynamism": None, "is_derefed_cell_contents": False,
    "is_varargs": False, "is_varkw": False,
}  # fmt: skip
_ITEM: Fields = {"base": REQUIRED, "index": REQUIRED, "index_is_slice": False}
_KEYED: Fields = {"base": REQUIRED, "index": REQUIRED}

_OF_SOURCES: dict[str, Fields] = {
    "LocalSource": _LOCAL,
    "TempLocalSource": {"local_name": REQUIRED},
    "SyntheticLocalSource": {"local_name": REQUIRED},
    "LocalCellSource": {"local_name": REQUIRED},
    "RandomValueSource": {"random_call_index": REQUIRED},
    "GlobalSource": {"global_name": REQUIRED},
    "GlobalWeakRefSource": {"global_name": REQUIRED},
    "ConstantSource": {"source_name": REQUIRED},
    "ImportSource": {"module_name": REQUIRED},
    "TorchFunctionModeStackSource": {"ind": REQUIRED},
    "EphemeralSource": {"desc": None},
    "AttrSource": _MEMBER,
    "GenericAttrSource": _MEMBER,
    "ParamBufferSource": _MEMBER,
    "UnspecializedParamBufferSource": _MEMBER,
    "GradSource": {"base": REQUIRED, "member": "grad"},
    "CellContentsSource": {"base": REQUIRED, "member": REQUIRED, "freevar_name": ""},
    "TensorPropertySource": {"base": REQUIRED, "prop": REQUIRED, "idx": None},
    "IndexedSource": {"base": REQUIRED, "idx": REQUIRED},
    "DynamicScalarSource": {"base": REQUIRED, "is_int": REQUIRED},
    "DefaultsSource": {"base": REQUIRED, "idx_key": REQUIRED, "is_kw": False},
    "GetItemSource": _ITEM,
    "ListGetItemSource": _ITEM,
    "TupleIteratorGetItemSource": _ITEM,
    "ConstDictKeySource": _KEYED,
    "NonSerializableSetGetItemSource": _KEYED,
    "DictGetItemSource": _KEYED,
    "DictSubclassGetItemSource": _KEYED,
    **_each(
        (
            "WeakRefCallSource", "CallFunctionNoArgsSource", "TypeDictSource", "TypeMROSource", "CodeSource",
            "ClosureSource", "SkipGuardSource", "NegateSource", "ConvertIntSource", "FlattenScriptObjectSource",
            "ScriptObjectQualifiedNameSource", "AttrProxySource", "ListReverseIteratorBackingListSource",
            "NamedTupleFieldsSource", "DataclassFieldsSource", "TypeSource", "OptimizerSource", "NNModuleSource",
            "UnspecializedNNModuleSource", "UnspecializedBuiltinNNModuleSource", "FSDPNNModuleSource",
            "NumpyTensorSource", "SubclassAttrListSource", "UnwrapCollectiveTensorSource", "FloatTensorSource",
            "CallMethodItemSource",
        ),
        _BASE,
    ),
    **_each(
        ("GlobalStateSource", "TorchSource", "CollectionsSource", "ShapeEnvSource", "BackwardStateSource"), {}
    ),
}  # fmt: skip

_INDEX: Fields = {"idx": REQUIRED}
_OF_DESCRIPTORS: dict[str, Fields] = {
    **_each(
        (
            "BackwardTokenAOTInput", "BackwardTokenAOTOutput", "DummyAOTInput", "DummyAOTOutput",
            "ForwardTokenAOTInput", "ForwardTokenAOTOutput", "PlainAOTInput", "PlainAOTOutput",
            "SavedForBackwardsAOTOutput", "SavedForBackwardsNoVcCheckAOTOutput",
        ),
        _INDEX,
    ),
    **_each(("BufferAOTInput", "ParamAOTInput"), {"target": REQUIRED}),
    "GradAOTOutput": {"grad_of": REQUIRED},
    "TangentAOTInput": {"output": REQUIRED},
    "InputMutationAOTOutput": {"mutated_input": REQUIRED},
    "MetadataMutationAOTOutput": _INDEX,
    "IntermediateBaseAOTOutput": {"base_of": REQUIRED},
    "SyntheticBaseAOTInput": {"base_of": REQUIRED},
    "ViewBaseAOTInput": {"base_of": REQUIRED},
    **_each(("SubclassGetAttrAOTInput", "SubclassGetAttrAOTOutput"), {"base": REQUIRED, "attr": REQUIRED}),
    **_each(
        (
            "SubclassSizeAOTInput", "SubclassSizeAOTOutput", "SubclassStrideAOTInput", "SubclassStrideAOTOutput"
        ),
        {"base": REQUIRED, "idx": REQUIRED},
    ),
    **_each(
        (
            "PhiloxBackwardBaseOffsetAOTInput", "PhiloxBackwardSeedAOTInput", "PhiloxForwardBaseOffsetAOTInput",
            "PhiloxForwardSeedAOTInput", "PhiloxUpdatedBackwardOffsetAOTOutput", "PhiloxUpdatedForwardOffsetAOTOutput",
        ),
        {},
    ),
}  # fmt: skip

_QUANTIZED: Fields = {
    "dtype": REQUIRED, "quant_min": None, "quant_max": None, "qscheme": None, "ch_axis": None, "is_dynamic": False
}  # fmt: skip
_FIXED = {name: default for name, default in _QUANTIZED.items() if name != "ch_axis"}
_SPECS: dict[str, Fields] = {
    "QuantizationSpec": {"dtype": REQUIRED, "observer_or_fake_quant_ctr": REQUIRED, **_QUANTIZED},
    "FixedQParamsQuantizationSpec": {"dtype": REQUIRED, "scale": REQUIRED, "zero_point": REQUIRED, **_FIXED},
    "SharedQuantizationSpec": {"edge_or_node": REQUIRED},
    "DerivedQuantizationSpec": {"derived_from": REQUIRED, "derive_qparams_fn": REQUIRED, **_QUANTIZED},
}
_ANNOTATION: Fields = {
    "input_qspec_map": REQUIRED, "output_qspec": None, "allow_implicit_sharing": True, "_annotated": False
}  # fmt: skip
_QUANTIZERS = ("torch.ao.quantization.quantizer.quantizer.", "torchao.quantization.pt2e.quantizer.quantizer.")
_OBSERVERS = ("torch.ao.quantization.observer.", "torchao.quantization.pt2e.observer.")

FRAME = "traceback.FrameSummary"
STACK = "traceback.StackSummary"
REASON = "torch._dynamo.output_graph.GraphCompileReason"
PARTIAL = "functools.partial"
ARGUMENT = "torch._dynamo.variables.builder.GraphArg"

VALUES: dict[str, Fields] = {
    **{f"{_SOURCES}{name}": fields for name, fields in _OF_SOURCES.items()},
    **{f"{_DESCRIPTORS}{name}": fields for name, fields in _OF_DESCRIPTORS.items()},
    "torch._guards.CompileId": {
        "frame_id": REQUIRED, "frame_compile_id": REQUIRED, "compiled_autograd_id": None,
    },
    FRAME: {},
    **{f"{module}{name}": fields for module in _QUANTIZERS for name, fields in _SPECS.items()},
    **{f"{module}_PartialWrapper": {"p": REQUIRED, "callable_args": REQUIRED} for module in _OBSERVERS},
    PARTIAL: {},
}  # fmt: skip
"""Class of a record without identity -> its fields and their defaults."""

OBJECTS: dict[str, Fields] = {
    REASON: {"reason": REQUIRED, "user_stack": REQUIRED, "graph_break": True},
    STACK: {},
    **{f"{module}QuantizationAnnotation": _ANNOTATION for module in _QUANTIZERS},
    ARGUMENT: {
        "source": REQUIRED, "pass_arg_as_tensor": REQUIRED, "fake_tensor": REQUIRED, "is_tensor": True, "_example": None
    },
}  # fmt: skip
"""Class of a record that can change -> its fields and their defaults."""

_PROPERTIES = ("SIZE", "STRIDE", "STORAGE_OFFSET")
_SYMBOLIC = ("torch.fx._graph_pickler._SymNodePickleData.unpickle_sym_int", "torch.SymFloat", "torch.SymBool")


class Facts:
    """The rows of `facts` while they grow."""

    def __init__(self, tr: Translation) -> None:
        self.tr = tr
        self.rows: list[Any] = []
        self.known: dict[int, int] = {}
        self.values: dict[bytes, int] = {}
        self.depth = 0

    def row(self, call: Call) -> int:
        """Return the row of a record."""
        row = self.known.get(id(call))
        if row is not None:
            return row
        if self.depth > MAX_DEPTH:
            raise Untranslatable.because(f"it is nested more than {MAX_DEPTH} records deep")
        self.depth += 1
        try:
            return self._add(call)
        finally:
            self.depth -= 1

    def _add(self, call: Call) -> int:
        fields = _stored(call)
        is_object = call.name in OBJECTS
        flat: list[Any] = []
        entry = ["object" if is_object else "value", call.name, flat]
        row: int | None = None
        if is_object:
            row = self.known[id(call)] = self._append(entry)
        problems: list[Problem] = []
        for field, held in fields.items():
            try:
                flat += [field, self.tr.value(held)]
            except Untranslatable as refused:
                problems += refused.below(f".{field}")
        if problems:
            self.known.pop(id(call), None)
            raise Untranslatable(problems)
        if row is None:
            key = None if _changes(flat) else marshal.dumps(entry, 2)
            row = None if key is None else self.values.get(key)
            if row is None:
                row = self._append(entry)
                if key is not None:
                    self.values[key] = row
            self.known[id(call)] = row
        return row

    def _append(self, entry: list[Any]) -> int:
        self.rows.append(entry)
        return len(self.rows) - 1


_CHANGEABLE = frozenset(
    {"list", "dict", "ordered", "default", "counter", "set", "deque", "bytearray", "generator"}
)


def _changes(value: Any) -> bool:
    if type(value) is not list:
        return False
    tagged = bool(value) and type(value[0]) is str and value[0] in _CHANGEABLE
    return tagged or any([_changes(part) for part in value])


def _stored(call: Call) -> Fields:
    """Return the fields of a record that a row stores."""
    if call.name == FRAME:
        return _frame(call)
    if call.name == STACK:
        return {"frames": [*(sequence_of(call.args[0]) if sequence_of(call.args) else ()), *call.items]}
    if call.name == PARTIAL:
        function, args, _ = partial_of(call)
        return {"func": function, "args": args, "keywords": call.state[2]}
    known = VALUES.get(call.name) or OBJECTS.get(call.name) or {}
    found = _fields(call, tuple(known))
    if call.name == ARGUMENT and not _is_number(found.get("_example")):
        found.pop("_example", None)  # a tensor of the writer's, which torch itself erases
    missing = [name for name, default in known.items() if default is REQUIRED and name not in found]
    if missing:
        raise Untranslatable.because(f"a {call.name} has no {missing[0]}")
    if "prop" in found:
        found["prop"] = _property(found["prop"])
    stored = {name: found[name] for name in known if name in found}
    return {name: held for name, held in stored.items() if not _is_default(held, known[name])}


def _fields(call: Call, names: tuple[str, ...]) -> Fields:
    if call.state is NOTHING:
        return dict(zip(names, sequence_of(call.args), strict=False))
    if type(call.state) in (list, tuple) and type(call.state) is list:
        return dict(zip(names, call.state, strict=False))
    return call.fields()


def partial_of(call: Call) -> tuple[Any, tuple[Any, ...], list[tuple[Any, Any]]]:
    """Return function, positional and keyword arguments of a partial, whose state is these and its attributes."""
    function, args, keywords, attributes = sequence_of(call.state, 4)
    if attributes is not None and pairs_of(attributes):
        raise Untranslatable.because("a functools.partial with attributes cannot be kept")
    return function, sequence_of(args), pairs_of(keywords)


def _is_number(held: Any) -> bool:
    return type(held) in (int, float, bool) or (type(held) is Call and held.name in _SYMBOLIC)


def _is_default(held: Any, default: Any) -> bool:
    return default is not REQUIRED and type(held) is type(default) and bool(held == default)


def _property(record: Any) -> str:
    number = record.args[0] if type(record) is Call and type(record.args) is tuple and record.args else None
    if type(number) is int and 0 <= number < len(_PROPERTIES):
        return _PROPERTIES[number]
    raise Untranslatable.because("a source is of no property of a tensor that is known")


def _frame(call: Call) -> Fields:
    fields = call.fields()
    found = {
        "filename": fields.get("filename"),
        "lineno": fields.get("lineno"),
        "name": fields.get("name"),
        "line": fields.get("_line") or "",
        "locals": fields.get("locals"),
    }
    # the text as `FrameSummary.line` gives it
    found["line"] = str(found["line"]).strip()
    for name in ("end_lineno", "colno", "end_colno"):
        if fields.get(name) is not None:
            found[name] = fields[name]
    return found


def fact(tr: Translation, call: Call) -> Any:
    """Return ``["fact", row]`` of a record of torch."""
    facts = tr.state.get("facts")
    if facts is None:
        facts = tr.state["facts"] = Facts(tr)
        tr.document["facts"] = facts.rows
        tr.features.add(FACTS)
    return ["fact", facts.row(call)]


CALLS: Table = dict.fromkeys((*VALUES, *OBJECTS), fact)
