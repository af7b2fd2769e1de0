"""Streams that were written where dill can be imported: since torch 2.11 GraphPickler then pickles with it.

dill gives some builtin types and named tuples by calls of its own that only say a name, and arrays of numpy by one that
says what numpy's own says. They become that here, while the stream is read. Whatever else dill stores is code, and is
not translated.
"""

from __future__ import annotations

import re
from typing import Any

from fxarchive.streams import Bounds, Call, Name, read

_BUILTINS = frozenset(
    {
        "bool", "bytearray", "bytes", "complex", "dict", "enumerate", "float", "frozenset", "int", "list", "memoryview",
        "object", "property", "range", "set", "slice", "str", "tuple", "type", "zip",
    }
)  # fmt: skip
_TYPES = {
    "NoneType": ("types", "NoneType"),
    "EllipsisType": ("types", "EllipsisType"),
    "NotImplementedType": ("types", "NotImplementedType"),
    "FunctionType": ("types", "FunctionType"),
    "BuiltinFunctionType": ("types", "BuiltinFunctionType"),
    "MethodType": ("types", "MethodType"),
    "ModuleType": ("types", "ModuleType"),
    "PartialType": ("functools", "partial"),
}
"""Name that dill gives a type -> where it is."""


_RANGE = re.compile(r"range\((-?\d{1,18}), (-?\d{1,18})(?:, (-?\d{1,18}))?\)", re.ASCII)
"""How a range is printed."""


def read_stream(data: bytes, where: str = "the stream", bounds: Bounds | None = None) -> Any:
    """Return what a stream of GraphPickler says, as records.

    Raises:
        BadStream: it is no pickle of protocol 2 to 5, or a broken one.
        TooLarge: it is over a bound.
    """
    return read(data, where, Bounds() if bounds is None else bounds, by_name)


def by_name(call: Call) -> Any:
    """Return the name that a call of dill's says; any other call as it is.

    >>> by_name(Call(Name("dill._dill", "_load_type"), ("int",)))
    Name('builtins.int')
    """
    if (
        type(call.function) is not Name
        or call.function.module != "dill._dill"
        or type(call.args) is not tuple
    ):
        return call
    function, args = call.function.qualname, call.args
    if function == "_load_type" and len(args) == 1 and type(args[0]) is str:
        if args[0] in _BUILTINS:
            return Name("builtins", args[0])
        if args[0] in _TYPES:
            return Name(*_TYPES[args[0]])
    if function == "_eval_repr" and args in (("Ellipsis",), ("NotImplemented",)):
        return Name("builtins", args[0])
    if function == "_eval_repr" and len(args) == 1 and type(args[0]) is str:
        numbers = _RANGE.fullmatch(args[0])
        if numbers is not None:
            start, stop, step = numbers.groups()
            return Call(Name("builtins", "range"), (int(start), int(stop), int(step or 1)))
    if function == "_create_namedtuple" and len(args) >= 3 and type(args[0]) is type(args[2]) is str:
        return Name(args[2], args[0])
    if function == "_create_array" and len(args) == 4 and args[3] is None:
        array = Call(args[0], args[1])
        array.state = args[2]
        return array
    if function == "_get_attr" and len(args) == 2:
        return Call(Name("builtins", "getattr"), args)
    return call
