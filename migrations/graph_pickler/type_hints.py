"""Type annotations that are not classes: ``typing.Optional[torch.Tensor]``, ``list[int]``, ``int | None``."""

from __future__ import annotations

from typing import Any

from fxarchive.migrations.graph_pickler.translation import (
    Table,
    Translation,
    Untranslatable,
    is_name,
    sequence_of,
    shown,
)
from fxarchive.streams import Call, Name

_TYPING = frozenset(
    {
        "Any", "Callable", "ClassVar", "Deque", "DefaultDict", "Dict", "Final", "FrozenSet", "Generator", "Iterable",
        "Iterator", "List", "Literal", "Mapping", "MutableMapping", "MutableSequence", "NoReturn", "Optional",
        "OrderedDict", "Sequence", "Set", "Tuple", "Type", "Union",
    }
)  # fmt: skip
_BUILTINS = frozenset({"list", "tuple", "dict", "set", "frozenset", "type"})
_ABSTRACT = frozenset({"Callable", "Iterable", "Iterator", "Mapping", "Sequence"})


def origin(record: Any) -> str | None:
    """Return the name in schema 2 of what stands before the brackets, or None."""
    if type(record) is Name:
        if record.module == "typing" and record.qualname in _TYPING:
            return f"typing.{record.qualname}"
        if record.module == "builtins" and record.qualname in _BUILTINS:
            return record.qualname
        if record.module == "collections.abc" and record.qualname in _ABSTRACT:
            return record.qualname
    return None


def _subscripted(tr: Translation, call: Call) -> Any:
    """``operator.getitem(typing.List, (int,))`` or ``types.GenericAlias(list, (int,))``."""
    before, inside = sequence_of(call.args, 2)
    name = origin(before)
    if name is None:
        raise Untranslatable.because(
            f"{shown(before)} with brackets is not an annotation that schema 2 keeps"
        )
    args = inside if type(inside) is tuple else (inside,)
    if name == "typing.Optional" and len(args) == 1:
        args = (*args, Name("types", "NoneType"))
    return ["annotation", name, tr.items(args, f"{name}[{{}}]".format)]


def _union(tr: Translation, call: Call) -> Any:
    """``functools.reduce(operator.or_, (int, None))``."""
    function, args = sequence_of(call.args, 2)
    if not is_name(function, "_operator.or_"):
        raise Untranslatable.because("a call of functools.reduce is not a union of types")
    return ["annotation", "|", tr.items(sequence_of(args), "|[{}]".format)]


CALLS: Table = {
    "_operator.getitem": _subscripted,
    "operator.getitem": _subscripted,
    "types.GenericAlias": _subscripted,
    "functools.reduce": _union,
}
