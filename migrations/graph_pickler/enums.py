"""Members of enums: a stream holds the class and the value of a member (or, from Python 3.11.0 to 3.11.3, its name)."""

from __future__ import annotations

from typing import Any

from fxarchive.document import RECORDS
from fxarchive.migrations.graph_pickler.targets import class_row, target_row
from fxarchive.migrations.graph_pickler.translation import Table, Translation, Untranslatable
from fxarchive.streams import Call, Name

_SIGNATURE = "torch.export.graph_signature."
_OUTPUTS = (
    "USER_OUTPUT LOSS_OUTPUT BUFFER_MUTATION GRADIENT_TO_PARAMETER GRADIENT_TO_USER_INPUT USER_INPUT_MUTATION "
    "TOKEN"
)
_NEWER_OUTPUTS = _OUTPUTS.replace("GRADIENT_TO_PARAMETER", "PARAMETER_MUTATION GRADIENT_TO_PARAMETER")
_POLICIES = "MUST_SAVE PREFER_SAVE MUST_RECOMPUTE PREFER_RECOMPUTE MUST_CPU_OFFLOAD PREFER_CPU_OFFLOAD"


def _counted(names: str, first: int) -> dict[Any, str]:
    return dict(enumerate(names.split(), first))


_OF_TORCH: dict[str, dict[Any, str]] = {
    f"{_SIGNATURE}InputKind": _counted("USER_INPUT PARAMETER BUFFER CONSTANT_TENSOR CUSTOM_OBJ TOKEN", 1),
    "torch.utils.checkpoint.CheckpointPolicy": _counted(_POLICIES, 0),
    "torch.export.dynamic_shapes._DimHintType": _counted("AUTO STATIC DYNAMIC", 1),
    "torch._library.effects.EffectType": {"Ordered": "ORDERED"},
    "torch._higher_order_ops.effects._EffectType": {"Ordered": "ORDERED"},
    "torch._functorch._aot_autograd.schemas.MutationType": _counted(
        "NOT_MUTATED MUTATED_IN_GRAPH MUTATED_OUT_GRAPH", 1
    ),
}
"""Enum of torch -> value of each member -> its name; the same in every release that has the member."""

_OUTPUT_KIND = f"{_SIGNATURE}OutputKind"
_NEWER: Any = (2, 9)
"""The release that put a member among those of `OutputKind`, so that those after it have other values."""


def member_name(tr: Translation, record: Any) -> str | None:
    """Return the name of a member of one of torch's enums, or None for anything else."""
    if type(record) is not Call or type(record.args) is not tuple:
        return None
    if record.name == "builtins.getattr" and len(record.args) == 2:
        cls, name = record.args
        listed = str(cls) in _OF_TORCH or str(cls) == _OUTPUT_KIND
        return str(name) if type(cls) is Name and listed and type(name) is str else None
    if len(record.args) != 1 or type(record.args[0]) not in (int, str):
        return None
    if record.name == _OUTPUT_KIND:
        if tr.releases.oldest < _NEWER <= tr.releases.newest:
            raise Untranslatable.because(
                "what this kind of output is called depends on the release that wrote the stream; name it with --torch"
            )
        names = _NEWER_OUTPUTS if tr.releases.oldest >= _NEWER else _OUTPUTS
        return _counted(names, 1).get(record.args[0])
    return _OF_TORCH.get(record.name, {}).get(record.args[0])


def _of_torch(tr: Translation, call: Call) -> Any:
    name = member_name(tr, call)
    if name is None:
        raise Untranslatable.because(f"it is no member of {call.name} that is known")
    return ["enum", target_row(tr, "class", call.name), name]


_VALUES = (int, str, float)


def is_member(call: Call) -> bool:
    """Whether a call may be that of an enum of the user with the value of a member; a reader looks whether it is."""
    if call.new or type(call.function) is not Name or type(call.args) is not tuple or len(call.args) != 1:
        return False
    if call.kwargs or call.items or call.entries or call.function.module.partition(".")[0] in _NOT_OF_USERS:
        return False
    is_class = call.function.qualname.rpartition(".")[2].lstrip("_")[:1].isupper()
    return is_class and type(call.args[0]) in _VALUES


_NOT_OF_USERS = frozenset(
    {"torch", "sympy", "numpy", "builtins", "functools", "operator", "dill", "types", "copyreg"}
)


def member(tr: Translation, call: Call) -> Any:
    """Return ``["member", row of the class, value]``."""
    if tr.operands is not None:
        raise Untranslatable.because(f"a {call.name} cannot be an argument of a node")
    tr.features.add(RECORDS)
    return ["member", class_row(tr, call.function), tr.items(call.args)[0]]


CALLS: Table = dict.fromkeys((*_OF_TORCH, _OUTPUT_KIND), _of_torch)
