"""The closed list of torch's small records that are kept as a name and fields, and how each is read and rebuilt.

Releases add, move and drop these classes, and give them more fields. What a reader cannot rebuild comes back as an
`InertRecord`. A field that has its default is not stored, so that a release without the field takes the record.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import traceback
from collections.abc import Callable
from types import NoneType
from typing import Any

import torch

from fxarchive.codec import resolve
from fxarchive.codec.symbolic.sources import is_plain_source
from fxarchive.inert import InertRecord

DESCRIPTORS = "torch._functorch._aot_autograd.descriptors"
SOURCES = "torch._dynamo.source"
QUANTIZERS = ("torch.ao.quantization.quantizer.quantizer", "torchao.quantization.pt2e.quantizer.quantizer")
WRAPPERS_OF_OBSERVERS = (
    "torch.ao.quantization.observer._PartialWrapper",
    "torchao.quantization.pt2e.observer._PartialWrapper",
    "torchao.quantization.pt2e.observer.PartialWrapper",
)

QCONFIG = "torch.ao.quantization.qconfig.QConfig"
_OBSERVERS_ON_A_DEVICE = "torch.ao.quantization.qconfig._add_module_to_qconfig_obs_ctr"

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

_STR, _BOOL, _INT = (str,), (bool,), (int,)
_OPTIONAL_INT = (int, NoneType)

FIELD_TYPES: dict[str, tuple[type, ...]] = {
    # descriptors
    "target": _STR, "attr": _STR, "idx": _OPTIONAL_INT,
    # compile ids and reasons
    "frame_id": _OPTIONAL_INT, "frame_compile_id": _OPTIONAL_INT, "compiled_autograd_id": _OPTIONAL_INT,
    "reason": _STR, "user_stack": (list,), "graph_break": _BOOL,
    # sources
    "local_name": _STR, "global_name": _STR, "source_name": _STR, "module_name": _STR, "member": _STR,
    "freevar_name": _STR, "desc": (str, NoneType), "index": (int, str), "index_is_slice": _BOOL, "ind": _INT,
    "idx_key": (int, str), "is_kw": _BOOL, "is_int": _BOOL, "random_call_index": _INT, "is_input": _BOOL,
    "dynamism": (frozenset, NoneType), "is_derefed_cell_contents": _BOOL, "is_varargs": _BOOL, "is_varkw": _BOOL,
    # arguments of graphs
    "pass_arg_as_tensor": _BOOL, "is_tensor": _BOOL, "fake_tensor": (torch.Tensor, NoneType),
    # quantization
    "dtype": (torch.dtype,), "scale": (float,), "zero_point": _INT, "quant_min": _OPTIONAL_INT,
    "quant_max": _OPTIONAL_INT, "ch_axis": _OPTIONAL_INT, "is_dynamic": _BOOL, "derived_from": (list, tuple),
    "input_qspec_map": (dict,), "allow_implicit_sharing": _BOOL, "_annotated": _BOOL,
    "_is_output_of_quantized_pattern": _BOOL,
    "qscheme": (type(torch.per_tensor_affine), NoneType),
}  # fmt: skip
"""Types that a field of a class may have, wherever its name occurs; other fields are checked by their kind."""

_NESTED = frozenset({"base", "base_of", "output", "grad_of", "mutated_input"})
"""Fields that hold a record of the same module as their owner."""


class Unfit(Exception):
    """The running torch cannot take the record, which then stays inert."""


class Wrong(Exception):
    """The record is none that torch could have made."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """One class: what of it is stored, and how it is made again."""

    read: Callable[[Any], dict[str, Any]]
    """Object -> fields to store, in order."""
    check: Callable[[type, dict[str, Any]], None]
    """Raise `Unfit` if the running class does not take fields of these names."""
    make: Callable[[type, dict[str, Any]], Any]
    """Class and fields -> object; for what has an identity, class and nothing -> an empty object."""
    fill: Callable[[Any, dict[str, Any]], None] | None = None
    """Put the fields into the empty object; None for values, which have no identity."""


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


# dataclasses


def read_fields(value: Any) -> dict[str, Any]:
    return {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)
        if field.init and not _has_default(field, getattr(value, field.name))
    }


def _has_default(field: Any, value: Any) -> bool:
    default = field.default
    return value is default or (type(value) is type(default) and value == default)


def check_fields(cls: type, fields: dict[str, Any]) -> None:
    if not dataclasses.is_dataclass(cls):
        raise Unfit
    known = [field for field in dataclasses.fields(cls) if field.init]
    required = {
        field.name
        for field in known
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    if not required <= fields.keys() <= {field.name for field in known}:
        raise Unfit


def make_value(cls: type, fields: dict[str, Any]) -> Any:
    if any([type(value) is InertRecord for value in fields.values()]):
        raise Unfit
    check_types(cls, fields)
    return cls(**fields)


def check_types(cls: type, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        allowed = FIELD_TYPES.get(name)
        if allowed is not None and not (
            isinstance(value, allowed) and (type(value) is not bool or bool in allowed)
        ):
            raise Wrong(f"{name} of a {cls.__name__} is not {value!r:.40}")
        if name in _NESTED and type(value).__module__ != cls.__module__:
            raise Wrong(f"{name} of a {cls.__name__} is not a {type(value).__name__}")


def make_empty(cls: Any, fields: dict[str, Any]) -> Any:
    return cls.__new__(cls)


def fill_object(made: Any, fields: dict[str, Any]) -> None:
    check_types(type(made), fields)
    for field in dataclasses.fields(made):
        if field.name in fields:
            value = fields[field.name]
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            value = field.default
        object.__setattr__(made, field.name, value)


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


def read_wrapper(value: Any) -> dict[str, Any]:
    """Of an observer's constructor; that it puts the observer on the device of a module is said by the module."""
    args = dict(value.callable_args)
    module = _module_of(args.get("factory_kwargs"))
    if module is not None:
        del args["factory_kwargs"]
    fields = {"p": value.p, "callable_args": args}
    if module is not None:
        fields["device_of"] = module
    if "__module__" in vars(value):  # what it prints that it is from
        fields["module"] = value.__module__
    return fields


def _module_of(function: Any) -> torch.nn.Module | None:
    """Return the module whose device torch's own closure asks for; None for any other function."""
    maker = resolve.look_up(_OBSERVERS_ON_A_DEVICE)
    code = getattr(function, "__code__", None)
    if maker is None or code is None or code not in maker.__code__.co_consts:
        return None
    (cell,) = function.__closure__ or (None,)
    found = None if cell is None else cell.cell_contents
    return found if isinstance(found, torch.nn.Module) else None


def _on_the_device_of(cls: Any, module: torch.nn.Module) -> Any:
    """Return what torch passes to constructors of observers so that they are on the device of ``module``."""
    maker: Any = resolve.imported(_OBSERVERS_ON_A_DEVICE)
    config: Any = resolve.imported(QCONFIG)
    try:
        nothing = cls(functools.partial(lambda factory_kwargs=None: None))
        made = maker(config(nothing, nothing), module).activation.callable_args["factory_kwargs"]
    except (AttributeError, TypeError, KeyError):
        raise Unfit from None
    if _module_of(made) is not module:
        raise Unfit
    return made


def check_wrapper(cls: type, fields: dict[str, Any]) -> None:
    if not {"p", "callable_args"} <= fields.keys() <= {"p", "callable_args", "device_of", "module"}:
        raise Unfit


def make_wrapper(cls: Any, fields: dict[str, Any]) -> Any:
    if type(fields["p"]) is InertRecord:
        raise Unfit
    if type(fields["p"]) is not functools.partial or type(fields["callable_args"]) is not dict:
        raise Wrong("an observer's constructor holds a partial")
    made = cls(fields["p"])
    made.callable_args = fields["callable_args"]
    if "module" in fields:
        if type(fields["module"]) is not str:
            raise Wrong("an observer's constructor is from a module of some name")
        made.__module__ = fields["module"]
    if "device_of" in fields:
        if not isinstance(fields["device_of"], torch.nn.Module):
            raise Wrong("an observer's constructor is on the device of a module")
        made.callable_args = {
            **fields["callable_args"], "factory_kwargs": _on_the_device_of(cls, fields["device_of"])
        }  # fmt: skip
    return made


# configurations of quantization, and contexts of autograd: plain objects with a constructor that takes nothing


def check_plain(cls: type, fields: dict[str, Any]) -> None:
    if not fields.keys() <= vars(cls()).keys():
        raise Unfit


def fill_plain(made: Any, fields: dict[str, Any]) -> None:
    first = vars(type(made)())
    for name, value in fields.items():
        if first[name] is not None and type(value) is not type(first[name]):
            raise Wrong(f"{name} of a {type(made).__name__} is not {value!r:.40}")
    vars(made).update(first | fields)


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
