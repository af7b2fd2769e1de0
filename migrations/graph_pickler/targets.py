"""Operators, functions and classes: rows of `targets`, by the names that a stream gives them.

A stream names an operator (``torch.ops.aten.add.Tensor``) and not its schema. The schema comes from the tables of
torch's releases (`fxarchive.releases`); of an operator that torch does not ship the name is all there is.
"""

from __future__ import annotations

from typing import Any

from fxarchive.document import OPERATORS_BY_NAME
from fxarchive.migrations.graph_pickler import operators
from fxarchive.migrations.graph_pickler.translation import (
    Table,
    Translation,
    Untranslatable,
    is_name,
    sequence_of,
    shown,
)
from fxarchive.migrations.graph_pickler.values import constant
from fxarchive.streams import Call, Name, PersistentId
from fxarchive.trust import Kind, is_listed

_PICKLER = "torch.fx._graph_pickler."

LONGEST_PATH = 16
"""Attributes of attributes that lead from a module to a function."""

_MOVED = (
    ("torch._C._VariableFunctionsClass.", "torch."),
    ("torch._C._VariableFunctions.", "torch."),
    ("torch._C.TensorBase.", "torch.Tensor."),
    ("torch._C._TensorBase.", "torch.Tensor."),
    ("_operator.", "operator."),
    ("torch._tensor.Tensor.", "torch.Tensor."),
)
"""Where a pickle finds functions -> where the shipped list has them."""


def is_target_record(record: Any) -> bool:
    """Whether a record is one of the classes in which GraphPickler keeps what a node calls."""
    return type(record) is Call and record.name in _RECORDS


def target_of(record: Any) -> tuple[str, str]:
    """Return the kind of what a node's target record says, and its name.

    Kinds are "string" (of get_attr, call_method, ...), "operator", "packet", "higher_order" and "function".
    """
    if not is_target_record(record):
        raise Untranslatable.because(f"a target is expected here and there is {shown(record)}")
    kind = _RECORDS[record.name]
    fields = record.fields()
    if kind == "compiled":
        raise Untranslatable.because(
            "it is an artefact that AOTAutograd compiled, which is code; save the graph before it is compiled"
        )
    name = fields.get("name")
    if type(name) is not str:
        raise Untranslatable.because("its target has no name")
    if kind == "operator module":
        return "function", f"operator.{name}"
    if kind == "rooted":
        root = fields.get("root")
        if type(root) is not str:
            raise Untranslatable.because("its target has no root")
        name = f"{root}.{name}"
        if name.startswith("torch.ops.higher_order."):
            return "higher_order", name.rpartition(".")[2]
        if name.startswith("torch.ops."):
            raise Untranslatable.because(f"{name} is neither an operator nor a higher-order operator")
        return "function", name
    return kind, name


_RECORDS = {
    f"{_PICKLER}_OpStrPickleData": "string",
    f"{_PICKLER}_OpOverloadPickleData": "operator",
    f"{_PICKLER}_OpOverloadPacketPickleData": "packet",
    f"{_PICKLER}_OpBuiltinPickleData": "rooted",
    f"{_PICKLER}_OpFunctionPickleData": "rooted",
    f"{_PICKLER}_OpOperatorPickleData": "operator module",
    f"{_PICKLER}_OpPrecompiledPickleData": "compiled",
}


def target_row(tr: Translation, kind: str, name: str) -> int:
    """Return the row in `targets` of something that can be called or named."""
    row = tr.row("targets", (kind, name))
    if row is None:
        row = tr.add("targets", (kind, name), _record(tr, kind, name))
    return row


def class_row(tr: Translation, record: Any) -> int:
    """Return the row in `targets` of a class that a pickle names."""
    if type(record) is not Name:
        raise Untranslatable.because(f"a class is expected here and there is {shown(record)}")
    return target_row(tr, "class", str(record))


def _record(tr: Translation, kind: str, name: str) -> list[Any]:
    if kind == "operator":
        qualified = _qualified(name)
        schema = operators.schema(qualified, tr.releases)
        if schema is None:
            tr.features.add(OPERATORS_BY_NAME)
            tr.note("The stream holds no schema of operators that torch does not ship", qualified)
            return ["named_operator", qualified, operators.module(qualified)]
        return ["operator", qualified, schema, operators.module(qualified)]
    if kind == "packet":
        qualified = _qualified(name)
        return ["packet", qualified, operators.module(qualified)]
    if kind == "higher_order":
        return ["higher_order", name, operators.higher_order_module(name)]
    return [kind, name]


def _qualified(name: str) -> str:
    """Return ``aten::add.Tensor`` for ``torch.ops.aten.add.Tensor``; the default overload has no name there."""
    parts = name.split(".")
    if (
        parts[:2] != ["torch", "ops"]
        or len(parts) not in (4, 5)
        or not all([p.isidentifier() for p in parts])
    ):
        raise Untranslatable.because(f"{name!r:.120} is not the name of an operator")
    overload = parts[4] if len(parts) == 5 else "default"
    base = f"{parts[2]}::{parts[3]}"
    return base if overload == "default" else f"{base}.{overload}"


def function_name(record: Any) -> str | None:
    """Return the name of the class or function that a record stands for, as the shipped list has it, or None.

    Methods and members of classes are attributes that a pickle gets by calls of getattr.
    """
    path: list[str] = []
    while type(record) is Call and record.name == "builtins.getattr" and len(path) < LONGEST_PATH:
        if type(record.args) is not tuple or len(record.args) != 2 or type(record.args[1]) is not str:
            return None
        path.append(record.args[1])
        record = record.args[0]
    return canonical(".".join([str(record), *reversed(path)])) if type(record) is Name else None


def canonical(name: str) -> str:
    """Return the name under which the shipped list has a function, where a pickle names it otherwise."""
    for prefix, listed in _MOVED:
        if name.startswith(prefix):
            return listed + name.removeprefix(prefix)
    return "builtins.NoneType" if name == "types.NoneType" else name


def _named(tr: Translation, record: Any) -> Any:
    """A class or a function: in metadata a name that need not resolve, elsewhere a row of `targets`."""
    found = constant(record) if type(record) is Name else None
    if found is not None:
        return found
    name = function_name(record)
    if name is None:
        raise Untranslatable.because(f"{shown(record)} is neither a class nor a function with a name")
    if tr.inert:
        return ["name", name]
    kind: Kind = "class" if is_listed("class", name) else "function"
    if not is_listed(kind, name) and name.rpartition(".")[2][:1].isupper():
        kind = "class"  # of somebody's own; functions and classes have one list in ``trust=``
    return ["target", target_row(tr, kind, name)]


def _unpickled_target(tr: Translation, call: Call) -> Any:
    """An operator outside a node's target: ``record.unpickle(state)``."""
    kind, name = target_of(_owner_of_method(call.function, "unpickle"))
    if kind == "string":
        return tr.value(name)
    if tr.inert:
        return ["name", f"torch.ops.higher_order.{name}" if kind == "higher_order" else canonical(name)]
    return ["target", target_row(tr, kind, canonical(name) if kind == "function" else name)]


def is_unpickled_target(call: Any) -> bool:
    """Whether a call is that of the method ``unpickle`` of a target record."""
    return (
        _owner_of_method(call.function, "unpickle") is not None
        and type(call.args) is tuple
        and len(call.args) == 1
        and type(call.args[0]) is PersistentId
    )


def _owner_of_method(method: Any, name: str) -> Any:
    """Return the target record whose method ``name`` a record is, or None.

    pickle gets a method from its object by getattr; dill makes it of the function in the class, and the object.
    """
    if type(method) is not Call or type(method.args) is not tuple or len(method.args) != 2:
        return None
    first, second = method.args
    if method.name == "builtins.getattr" and second == name and is_target_record(first):
        return first
    if method.name == "types.MethodType" and is_target_record(second):
        return second if is_name(first, f"{second.name}.{name}") else None
    return None


def _numpy_name(call: Any) -> str:
    """Return the torch-numpy function that a record stands for: of a function of numpy, the one of the same name."""
    record = sequence_of(call.args, 2)[0]
    fields = record.fields() if type(record) is Call else {}
    module, name = fields.get("mod"), fields.get("name")
    if module != "numpy" or type(name) is not str:
        raise Untranslatable.because(
            f"the function {module}.{name} has no torch._numpy counterpart that is known"
        )
    return f"torch._numpy.{name}"


def _numpy_function(tr: Translation, call: Call) -> Any:
    found = _numpy_name(call)
    return ["name", found] if tr.inert else ["target", target_row(tr, "function", found)]


_UTILS = "torch._dynamo.utils."
_WRAPPED = {"numpy_to_tensor_wrapper": "f", "numpy_operator_wrapper": "op", "numpy_method_wrapper": "method"}
"""What dynamo puts around a torch-numpy function -> the attribute that holds the function, or its name."""


_WRAPPED_IN = (
    ("numpy_operator_wrapper", "operator."),
    ("numpy_to_tensor_wrapper", "torch._numpy."),
    ("numpy_method_wrapper", "torch._numpy.ndarray."),
)
"""What dynamo puts around functions, and where they are, in the order in which programs use them."""


def wrapped_function(name: str, keywords: bool) -> str:
    """Return the torch-numpy function that a node calls where GraphPickler names ``torch._dynamo.utils.wrapped_sin``.

    That name leads to nothing, and does not say which kind of wrapper it was; where several have such a function, they
    give the same numbers. Operators take no keywords.

    >>> wrapped_function("torch._dynamo.utils.wrapped_sin", False)
    'torch._dynamo.utils.numpy_to_tensor_wrapper(torch._numpy.sin)'
    """
    inner = name.removeprefix(f"{_UTILS}wrapped_")
    if inner != name:
        for wrapper, scope in _WRAPPED_IN[keywords:]:
            found = f"{_UTILS}{wrapper}({scope}{inner})"
            if is_listed("function", found):
                return found
    return name


def _wrapper(tr: Translation, call: Call) -> Any:
    held = call.fields().get(_WRAPPED[call.name.removeprefix(_UTILS)])
    if type(held) is str:
        inner: str | None = f"torch._numpy.ndarray.{held}"
    else:
        is_numpy = type(held) is Call and held.name == f"{_PICKLER}_TorchNumpyPickleData.unpickle"
        inner = _numpy_name(held) if is_numpy else function_name(held)
    if inner is None:
        raise Untranslatable.because("what dynamo put around a torch-numpy function holds no function")
    found = f"{call.name}({inner})"
    return ["name", found] if tr.inert else ["target", target_row(tr, "function", found)]


def other_call(tr: Translation, call: Call) -> Any:
    """A call that no table names: an operator, or the instance of a class that cannot be translated."""
    if is_unpickled_target(call):
        return _unpickled_target(tr, call)
    if call.name.startswith("dill."):
        raise Untranslatable.because(
            "dill stored it by value, as code; save again where dill cannot be imported, or without this object"
        )
    raise Untranslatable.because(f"what {call.name or 'a method'} makes has no form in schema 2")


CALLS: Table = {
    "builtins.getattr": _named,
    f"{_PICKLER}_TorchNumpyPickleData.unpickle": _numpy_function,
    **{f"{_UTILS}{name}": _wrapper for name in _WRAPPED},
}
KINDS: dict[type, Any] = {Name: _named, Call: other_call}
