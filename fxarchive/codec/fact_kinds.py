"""The closed list of torch's small records that are kept as a name and fields, and how each is read and rebuilt.

Releases add, move and drop these classes, and give them more fields. What a reader cannot rebuild comes back as an
`InertRecord`. `fact_fields` holds what most of them are read and rebuilt by.
"""

from __future__ import annotations

import functools
import re
import traceback
from typing import Any

import torch

from fxarchive.codec import resolve
from fxarchive.codec.fact_fields import (
    Kind,
    Unfit,
    Wrong,
    check_fields,
    fill_object,
    make_empty,
    make_value,
    read_fields,
)
from fxarchive.codec.observer_facts import (
    WRAPPERS_OF_OBSERVERS,
    check_plain,
    check_wrapper,
    fill_plain,
    make_wrapper,
    read_wrapper,
)
from fxarchive.codec.symbolic.sources import is_plain_source
from fxarchive.inert import InertRecord

DESCRIPTORS = "torch._functorch._aot_autograd.descriptors"
SOURCES = "torch._dynamo.source"
QUANTIZERS = ("torch.ao.quantization.quantizer.quantizer", "torchao.quantization.pt2e.quantizer.quantizer")

_DESCRIPTOR_NAMES = """
    BackwardTokenAOTInput BackwardTokenAOTOutput BufferAOTInput DummyAOTInput DummyAOTOutput ForwardTokenAOTInput
    ForwardTokenAOTOutput GradAOTOutput InputMutationAOTOutput IntermediateBaseAOTOutput MetadataMutationAOTOutput
    ParamAOTInput PhiloxBackwardBaseOffsetAOTInput PhiloxBackwardSeedAOTInput PhiloxForwardBaseOffsetAOTInput
    PhiloxForwardSeedAOTInput PhiloxUpdatedBackwardOffsetAOTOutput PhiloxUpdatedForwardOffsetAOTOutput PlainAOTInput
    PlainAOTOutput SavedForBackwardsAOTOutput SavedForBackwardsNoVcCheckAOTOutput SubclassGetAttrAOTInput
    SubclassGetAttrAOTOutput SubclassSizeAOTInput SubclassSizeAOTOutput SubclassStrideAOTInput SubclassStrideAOTOutput
    SyntheticBaseAOTInput TangentAOTInput ViewBaseAOTInput
""".split()  # noqa: SIM905

_SOURCE_NAMES = """
    AttrProxySource AttrSource BackwardStateSource CallFunctionNoArgsSource CallMethodItemSource CellContentsSource
    ClosureSource CodeSource CollectionsSource ConstDictKeySource ConstantSource ContextVarGetSource ConvertIntSource
    CurrentStreamSource DataclassFieldsSource DefaultsSource DictGetItemSource DictSubclassGetItemSource
    DynamicScalarSource EphemeralSource FSDPNNModuleSource FlattenScriptObjectSource FloatTensorSource GenericAttrSource
    GetItemSource GlobalSource GlobalStateSource GlobalWeakRefSource GradSource ImportSource IndexedSource
    ListGetItemSource ListReverseIteratorBackingListSource LocalCellSource LocalSource NNModuleSource
    NamedTupleFieldsSource NegateSource NonSerializableSetGetItemSource NumpyTensorSource OptimizerSource
    ParamBufferSource RandomValueSource ScriptObjectQualifiedNameSource ShapeEnvSource SkipGuardSource
    SubclassAttrListSource SyntheticLocalSource TempLocalSource TensorPropertySource TorchFunctionModeStackSource
    TorchSource TupleIteratorGetItemSource TypeDictSource TypeMROSource TypeSource UnspecializedBuiltinNNModuleSource
    UnspecializedNNModuleSource UnspecializedParamBufferSource UnwrapCollectiveTensorSource WeakRefCallSource
""".split()  # noqa: SIM905

_SPEC_NAMES = (
    "QuantizationSpec",
    "FixedQParamsQuantizationSpec",
    "SharedQuantizationSpec",
    "DerivedQuantizationSpec",
)

_ANNOTATIONS_OF_BACKENDS = (
    "torch.ao.quantization.quantizer.x86_inductor_quantizer._X86InductorQuantizationAnnotation",
    "torchao.quantization.pt2e.quantizer.x86_inductor_quantizer._X86InductorQuantizationAnnotation",
    "torchao.quantization.pt2e.quantizer.arm_inductor_quantizer._ArmInductorQuantizationAnnotation",
)


def class_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def kind_of(value: Any) -> Kind | None:
    """Return the kind of an object, or None if it is of none here."""
    cls = type(value)
    kind = KINDS.get(class_name(cls))
    return kind if kind is not None and resolve.look_up(class_name(cls)) is cls else None


def running_class(name: str) -> type | None:
    """Return the class of that name in the closed list, imported if it is torch's; None where there is none."""
    found = resolve.imported(name) if name in KINDS else None
    return found if isinstance(found, type) else None


# sources of dynamo: torch evaluates what they print as Python, so only paths of attributes and items are rebuilt

_READS = re.compile(r"\.__(?:closure|defaults|kwdefaults|dict)__(?!\w)")
_PROPERTIES = f"{SOURCES}.TensorProperty"


def read_source(value: Any) -> dict[str, Any]:
    fields = read_fields(value)
    if "prop" in fields:
        fields["prop"] = fields["prop"].name
    return fields


def make_source(cls: type, fields: dict[str, Any]) -> Any:
    if not all([_is_harmless(value) for value in fields.values()]):
        raise Unfit
    if "prop" in fields:
        properties = getattr(resolve.imported(_PROPERTIES), "__members__", {})
        if fields["prop"] not in properties:
            raise Unfit
        fields = {**fields, "prop": properties[fields["prop"]]}
    made = make_value(cls, fields)
    try:
        printed = made.name() if callable(made.name) else made.name
    except NotImplementedError:  # the abstract ones print nothing
        raise Unfit from None
    if type(printed) is not str or not (printed == "" or is_plain_source(_READS.sub(".read", printed))):
        raise Unfit
    return made


def _is_harmless(value: Any) -> bool:
    return not (isinstance(value, str) and set(value) & set("{}\\'\"\n\r"))


# other records


def read_argument(value: Any) -> dict[str, Any]:
    """Of an argument of a graph the example is left out, as `GraphArg.erase` does: it is the caller's tensor."""
    fields = read_fields(value)
    example = fields.pop("_example", None)
    fields.pop("example_strong_ref", None)
    if isinstance(example, torch.SymInt | torch.SymFloat | torch.SymBool | int | float):
        fields["_example"] = example
    return fields


def check_argument(cls: type, fields: dict[str, Any]) -> None:
    check_fields(cls, {"_example": None, **fields})


def fill_argument(made: Any, fields: dict[str, Any]) -> None:
    source = fields.get("source")
    if not (source is None or type(source) is InertRecord or type(source).__module__ == SOURCES):
        raise Wrong("the source of a GraphArg is none of dynamo's")
    fill_object(made, {"_example": None, **fields})


_FRAME = ("filename", "lineno", "name", "line", "locals")
_COLUMNS = ("end_lineno", "colno", "end_colno")


def read_frame(value: Any) -> dict[str, Any]:
    fields = {name: getattr(value, name) for name in _FRAME}
    fields["locals"] = None if value.locals is None else dict(value.locals)
    fields["line"] = fields["line"] or ""  # else printing the frame would read the file that it names
    return fields | {name: found for name in _COLUMNS if (found := getattr(value, name, None)) is not None}


def check_frame(cls: type, fields: dict[str, Any]) -> None:
    if not set(_FRAME) <= fields.keys() <= {*_FRAME, *_COLUMNS}:
        raise Unfit


def make_frame(cls: type, fields: dict[str, Any]) -> Any:
    if not all([type(fields[name]) is str for name in ("filename", "name", "line")]) or not all(
        [fields.get(name) is None or type(fields[name]) is int for name in ("lineno", *_COLUMNS)]
    ):
        raise Wrong("a frame of a stack has names and numbers of lines")
    seen = fields["locals"]
    if not (
        seen is None
        or (type(seen) is dict and all([type(part) is str for pair in seen.items() for part in pair]))
    ):
        raise Wrong("the variables of a frame are names and texts")
    columns = {name: fields.get(name) for name in _COLUMNS if hasattr(traceback.FrameSummary, name)}
    made = traceback.FrameSummary(
        fields["filename"],
        fields["lineno"],
        fields["name"],
        lookup_line=False,
        line=fields["line"],
        **columns,
    )
    made.locals = seen
    return made


def check_stack(cls: type, fields: dict[str, Any]) -> None:
    if fields.keys() != {"frames"}:
        raise Unfit


def fill_stack(made: Any, fields: dict[str, Any]) -> None:
    if not all([type(frame) is traceback.FrameSummary for frame in fields["frames"]]):
        raise Wrong("a stack holds frames")
    made.extend(fields["frames"])


def read_partial(value: Any) -> dict[str, Any]:
    return {"func": value.func, "args": value.args, "keywords": dict(value.keywords)}


def check_partial(cls: type, fields: dict[str, Any]) -> None:
    if fields.keys() != {"func", "args", "keywords"}:
        raise Unfit


def make_partial(cls: type, fields: dict[str, Any]) -> Any:
    func, args, keywords = fields["func"], fields["args"], fields["keywords"]
    if isinstance(func, str):
        raise Unfit  # a name that is not trusted
    if not callable(func) or type(args) is not tuple or type(keywords) is not dict:
        raise Wrong("a partial holds a function and its arguments")
    return functools.partial(func, *args, **keywords)


def check_context(cls: type, fields: dict[str, Any]) -> None:
    if fields:
        raise Unfit


_VALUE = Kind(read_fields, check_fields, make_value)
_OBJECT = Kind(read_fields, check_fields, make_empty, fill_object)
_PLAIN = Kind(lambda value: dict(vars(value)), check_plain, make_empty, fill_plain)
_CONTEXT = Kind(lambda value: dict(vars(value)), check_context, make_empty, lambda made, fields: None)

KINDS: dict[str, Kind] = {
    **{f"{DESCRIPTORS}.{name}": _VALUE for name in _DESCRIPTOR_NAMES},
    **{f"{SOURCES}.{name}": Kind(read_source, check_fields, make_source) for name in _SOURCE_NAMES},
    **{f"{module}.{name}": _VALUE for module in QUANTIZERS for name in _SPEC_NAMES},
    **{f"{module}.QuantizationAnnotation": _OBJECT for module in QUANTIZERS},
    **dict.fromkeys(_ANNOTATIONS_OF_BACKENDS, _OBJECT),
    **{name: Kind(read_wrapper, check_wrapper, make_wrapper) for name in WRAPPERS_OF_OBSERVERS},
    "torch.ao.quantization.fx.utils.ObservedGraphModuleAttrs": _OBJECT,
    "torch.ao.quantization.fx.custom_config.PrepareCustomConfig": _PLAIN,
    "torch.ao.quantization.qconfig_mapping.QConfigMapping": _PLAIN,
    "torch.autograd.function.Function": _CONTEXT,
    "torch.autograd.function.FunctionCtx": _CONTEXT,
    "functools.partial": Kind(read_partial, check_partial, make_partial),
    "torch._guards.CompileId": _VALUE,
    "torch._dynamo.output_graph.GraphCompileReason": _OBJECT,
    "torch._dynamo.variables.builder.GraphArg": Kind(
        read_argument, check_argument, make_empty, fill_argument
    ),
    "traceback.FrameSummary": Kind(read_frame, check_frame, make_frame),
    "traceback.StackSummary": Kind(
        lambda value: {"frames": list(value)}, check_stack, make_empty, fill_stack
    ),
}
"""Qualified name of a class -> its kind."""
