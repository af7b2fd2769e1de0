"""Where symbols come from: dynamo's sources, as the text that torch gives them."""

from __future__ import annotations

from typing import Any

from fxarchive.migrations.graph_pickler.translation import Untranslatable, sequence_of, shown
from fxarchive.streams import Call

_MODULE = "torch._dynamo.source."
DEPTH = 64

_FIELDS = {
    "LocalSource": ("local_name",),
    "SyntheticLocalSource": ("local_name",),
    "RandomValueSource": ("random_call_index",),
    "GlobalSource": ("global_name",),
    "GlobalWeakRefSource": ("global_name",),
    "ConstantSource": ("source_name",),
    "WeakRefCallSource": ("base",),
    "CallFunctionNoArgsSource": ("base",),
    "AttrSource": ("base", "member"),
    "GenericAttrSource": ("base", "member"),
    "GradSource": ("base", "member"),
    "ParamBufferSource": ("base", "member"),
    "UnspecializedParamBufferSource": ("base", "member"),
    "TensorPropertySource": ("base", "prop", "idx"),
    "GetItemSource": ("base", "index", "index_is_slice"),
    "ListGetItemSource": ("base", "index", "index_is_slice"),
    "DictGetItemSource": ("base", "index"),
    "NNModuleSource": ("base",),
    "UnspecializedNNModuleSource": ("base",),
    "UnspecializedBuiltinNNModuleSource": ("base",),
    "FSDPNNModuleSource": ("base",),
    "OptimizerSource": ("base",),
    "FloatTensorSource": ("base",),
    "ConvertIntSource": ("base",),
    "NegateSource": ("base",),
    "ShapeEnvSource": (),
}
"""Class of a source -> its fields, in order."""


def source_text(record: Any, depth: int = 0) -> str:
    """Return the name that torch gives a source.

    Raises:
        Untranslatable: it is of a class whose names are not known here.
    """
    cls = (
        record.name.removeprefix(_MODULE) if type(record) is Call and record.name.startswith(_MODULE) else ""
    )
    if cls not in _FIELDS or depth > DEPTH:
        raise Untranslatable.because(f"{shown(record)} is not a source whose text is known")
    fields = record.fields()
    if not fields:
        args = sequence_of(record.args)
        fields = dict(zip(_FIELDS[cls], args, strict=False))
    if cls in ("LocalSource", "SyntheticLocalSource"):
        scope = "L" if cls == "LocalSource" else "SYNTHETIC_LOCAL"
        return f"{scope}[{fields.get('local_name')!r}]"
    if cls in ("GlobalSource", "GlobalWeakRefSource"):
        return f"G[{fields.get('global_name')!r}]" + ("()" if cls == "GlobalWeakRefSource" else "")
    if cls == "ConstantSource":
        return str(fields.get("source_name"))
    if cls == "RandomValueSource":
        return f"random_value_{fields.get('random_call_index')}"
    if cls == "ShapeEnvSource":
        return ""
    base = source_text(fields.get("base"), depth + 1)
    if "member" in _FIELDS[cls]:
        member = str(fields.get("member", "grad"))
        return f"{base}.{member}" if member.isidentifier() else f"getattr({base}, {member!r})"
    if cls == "TensorPropertySource":
        return base + _property(fields)
    if "index" in _FIELDS[cls]:
        index = fields.get("index")
        if type(index) not in (int, str) or fields.get("index_is_slice"):
            raise Untranslatable.because("the index of a source is not a number or a string")
        return f"{base}[{index!r}]"
    if cls in ("WeakRefCallSource", "CallFunctionNoArgsSource"):
        return f"{base}()"
    if cls == "FloatTensorSource":
        return f"___as_tensor({base})"
    if cls == "ConvertIntSource":
        return f"cast_symbool_to_symint_guardless({base})"
    if cls == "NegateSource":
        return f"{base}.__neg__()"
    return base


def _property(fields: dict[str, Any]) -> str:
    prop = fields.get("prop")
    number = prop.args[0] if type(prop) is Call and type(prop.args) is tuple and len(prop.args) == 1 else None
    if number == 0:
        return f".size()[{fields.get('idx')}]"
    if number == 1:
        return f".stride()[{fields.get('idx')}]"
    if number == 2:
        return ".storage_offset()"
    raise Untranslatable.because("a source is of no property of a tensor that is known")
