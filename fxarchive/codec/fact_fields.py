"""What a record of torch consists of: the fields of a dataclass, read, checked and put back.

A field that has its default is not stored, so that a release without the field takes the record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import NoneType
from typing import Any

import torch

from fxarchive.inert import InertRecord

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
