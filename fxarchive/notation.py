"""Values of a document as text for people: one line, bounded, and safe to print on a terminal.

A document need not have been audited: references may lead in circles, equal parts may multiply, names may
hold the escape sequences of a terminal. What does not fit the schema at all is an error; use this within
`tables.reading`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fxarchive.document import Value
from fxarchive.errors import escaped
from fxarchive.expressions import SYMBOLIC, expression_text, number_text
from fxarchive.shapes import TensorFacts, tensor_facts
from fxarchive.tables import device_name, entry, holes, parts, resolved

MOST_ITEMS = 2000
"""Parts of one value that are written before an ellipsis stands for the rest."""

MOST_ARRAY = 200
"""Characters in which the dtype and the sizes of an array are written."""

DEEPEST = 64
"""Levels of nesting that are written."""

_SHORT_DTYPES = {
    "float16": "f16", "float32": "f32", "float64": "f64", "bfloat16": "bf16", "complex32": "c32",
    "complex64": "c64", "complex128": "c128", "bool": "b8", "uint8": "u8", "uint16": "u16", "uint32": "u32",
    "uint64": "u64", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
}  # fmt: skip
"""The abbreviations of `torch.utils._dtype_abbrs`, for the dtypes that every release has."""


def clipped(text: str, most: int) -> str:
    """Return ``text``, or its first ``most`` - 1 characters and an ellipsis.

    >>> clipped("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def short_dtype(name: str) -> str:
    """Return the usual short form of a dtype's name.

    >>> short_dtype("float32"), short_dtype("float8_e4m3fn")
    ('f32', 'float8_e4m3fn')
    """
    return _SHORT_DTYPES.get(name, name)


def tensor_text(facts: TensorFacts) -> str:
    """Return dtype, sizes and, where it is not the CPU, the device of a tensor.

    >>> tensor_text(TensorFacts("float32", (2, "s0"), "cuda:0"))
    'f32[2, s0]@cuda:0'
    """
    sizes = ", ".join(map(str, facts.shape))
    place = "" if facts.device in (None, "cpu") else f"@{facts.device}"
    return escaped(f"{short_dtype(facts.dtype)}[{sizes}]{place}")


def array_text(document: Any, row: Any) -> str:
    """Return dtype and sizes of a row of `arrays`.

    >>> array_text({"arrays": [{"dtype": "<f4", "size": [2, 3]}]}, 0)
    'ndarray <f4[2, 3]'
    """
    record = entry(document, "arrays", row)
    sizes = ", ".join([f"{length:d}" for length in record["size"]])
    return escaped(clipped(f"ndarray {record['dtype']}[{sizes}]", MOST_ARRAY))


def target_name(document: Any, row: Any) -> str:
    """Return the name of a row of `targets` as torch prints it in a graph, such as ``aten.add.Tensor``."""
    kind, name = entry(document, "targets", row)[:2]
    return escaped(printed_name(kind, name))


def printed_name(kind: str, name: str) -> str:
    """Return how torch prints the operator, function or class ``name`` of a kind of row in `targets`.

    >>> printed_name("operator", "aten::relu"), printed_name("higher_order", "cond")
    ('aten.relu.default', 'higher_order.cond')
    """
    if kind in ("operator", "named_operator"):
        dotted = name.replace("::", ".")
        return dotted if "." in name else f"{dotted}.default"
    if kind == "packet":
        return name.replace("::", ".")
    if kind == "higher_order":
        return f"higher_order.{name}"
    return name.removeprefix("builtins.")


class Notation:
    """Writes the values of one document; each call starts with a fresh allowance of `MOST_ITEMS` parts."""

    def __init__(self, document: Any, most_text: int = 200) -> None:
        self.document = document
        self.most_text = most_text
        """Characters of a string that are written before an ellipsis stands for the rest."""
        self._left = 0
        self._depth = 0
        self._operands: Iterator[str] = iter(())

    def written(self, value: Value, operands: Iterable[str] = ()) -> str:
        """Return ``value`` as text; ``operands`` are the names that stand in its holes, in order."""
        self._start(iter(operands))
        return self._any(value)

    def arguments(self, pattern: Any, operands: Iterator[str]) -> str:
        """Return the arguments of a call, without the brackets around them.

        Args:
            pattern: a row of `patterns`.
            operands: the names that stand in its holes, in order.
        """
        self._start(operands)
        args, kwargs = pattern
        written = [self._any(arg) for arg in args]
        pairs = zip(kwargs[::2], kwargs[1::2], strict=True)
        written += [f"{escaped(name)}={self._any(held)}" for name, held in pairs]
        return ", ".join(written)

    def _start(self, operands: Iterator[str]) -> None:
        self._left = MOST_ITEMS
        self._depth = 0
        self._operands = operands

    def _any(self, value: Value) -> str:
        if type(value) is not list:
            return self._atom(value)
        tag = value[0]
        if tag == "hole":
            return next(self._operands)
        self._left -= 1
        if self._left < 0 or self._depth >= DEEPEST:
            # what comes after must still find its own operands
            for _ in range(holes([value])):
                next(self._operands)
            return "…"
        self._depth += 1
        written = self._tagged(tag, value)
        self._depth -= 1
        return written

    def _atom(self, value: Any) -> str:
        if isinstance(value, str | bytes):
            text = repr(value[: self.most_text])
            return text if len(value) <= self.most_text else f"{text[:-1]}…{text[-1]}"
        if isinstance(value, int) and value.bit_length() > 1024:
            return f"<int of {value.bit_length()} bits>"  # Python refuses to write very long ones
        return repr(value) if value is None or isinstance(value, int | float) else "<not a value>"

    def _tagged(self, tag: str, value: list[Any]) -> str:
        if tag in _ROUND:
            before, after = _ROUND[tag]
            held = [self._any(part) for part in parts(value)]
            comma = "," if tag == "tuple" and len(held) == 1 else ""
            return f"{before}{', '.join(held)}{comma}{after}"
        if tag in _MAPPINGS:
            before, after = _MAPPINGS[tag]
            flat = [self._any(part) for part in parts(value)]
            return before + ", ".join(map("{}: {}".format, flat[::2], flat[1::2])) + after
        if tag in _OF_TORCH:
            return f"torch.{escaped(value[1])}"
        write = _WRITERS.get(tag)
        return f"<{escaped(tag)}>" if write is None else write(self, value)

    def _row(self, value: list[Any]) -> str:
        return self._any(resolved(self.document, value))

    def _target(self, value: list[Any]) -> str:
        return target_name(self.document, value[1])

    def _tensor(self, value: list[Any]) -> str:
        facts = tensor_facts(self.document, value)
        return f"<{value[0]}>" if facts is None else tensor_text(facts)

    def _array(self, value: list[Any]) -> str:
        return array_text(self.document, value[1])

    def _named(self, value: list[Any]) -> str:
        facts = tensor_facts(self.document, value)
        if facts is not None:
            return tensor_text(facts)
        held = ", ".join([self._any(part) for part in parts(value)])
        return f"{self._target(value).rpartition('.')[2]}({held})"

    def _fact(self, value: list[Any]) -> str:
        _, name, flat = entry(self.document, "facts", value[1])
        held = [self._any(part) for part in flat[1::2]]
        fields = ", ".join(map("{}={}".format, map(escaped, flat[::2]), held))
        return f"{escaped(clipped(name.rpartition('.')[2], self.most_text))}({fields})"

    def _extension(self, value: list[Any]) -> str:
        tag, version, _, held = entry(self.document, "extensions", value[1])
        return f"<{escaped(tag)} {version:d}: {self._any(held)}>"

    def _record(self, value: list[Any]) -> str:
        target, flat = entry(self.document, "records", value[1])
        name = "namespace" if target is None else target_name(self.document, target).rpartition(".")[2]
        held = [
            self._any(part) if key is None else f"{escaped(key)}={self._any(part)}"
            for key, part in zip(flat[::2], flat[1::2], strict=True)
        ]
        return f"{name}({', '.join(held)})"

    def _standard(self, value: list[Any]) -> str:
        held = ", ".join([self._any(part) for part in value[2]])
        return f"{escaped(value[1])}({held})"

    def _distributed(self, value: list[Any]) -> str:
        kind, *facts = value[1]
        return (
            f"<{' '.join([escaped(kind), *[self._any(part) for part in facts if type(part) is not list]])}>"
        )

    def _node_source(self, value: list[Any]) -> str:
        sources, row = self.document["sources"], value[1]
        if type(row) is not int or not 0 <= row < len(sources["pass"]):
            return "<node_source>"
        name = entry(self.document, "texts", sources["name"][row]) if sources["graph"][row] else "nothing"
        by = entry(self.document, "texts", sources["pass"][row])
        return escaped(f"<{clipped(name, self.most_text)} by {clipped(by, self.most_text)}>")

    def _annotation(self, value: list[Any]) -> str:
        held = [self._any(part) for part in parts(value)]
        if value[1] == "|":
            return " | ".join(held)
        return escaped(value[1]) + (f"[{', '.join(held)}]" if held else "")


_ROUND = {
    "tuple": ("(", ")"), "list": ("[", "]"), "ilist": ("[", "]"), "size": ("torch.Size([", "])"),
    "set": ("{", "}"), "frozenset": ("frozenset({", "})"), "deque": ("deque([", "])"),
    "slice": ("slice(", ")"),
}  # fmt: skip
_MAPPINGS = {
    "dict": ("{", "}"), "idict": ("{", "}"), "ordered": ("OrderedDict({", "})"), "counter": ("Counter({", "})"),
    "default": ("defaultdict({", "})"),
}  # fmt: skip
_OF_TORCH = frozenset({"dtype", "layout", "memory_format", "qscheme"})

_WRITERS: dict[str, Callable[[Notation, list[Any]], str]] = {
    "complex": lambda notation, value: repr(complex(value[1], value[2])),
    "range": lambda notation, value: f"range({', '.join([notation._any(part) for part in value[1:]])})",
    "ellipsis": lambda notation, value: "...",
    "notimplemented": lambda notation, value: "NotImplemented",
    "bytearray": lambda notation, value: f"bytearray({notation._atom(value[1])})",
    "enum": lambda notation, value: f"{notation._target(value)}.{escaped(value[2])}",
    "weakref": lambda notation, value: f"weakref({notation._any(value[1])})",
    "device": lambda notation, value: escaped(device_name(value[1], value[2])),
    "generator": lambda notation, value: f"<generator on {escaped(device_name(value[1], value[2]))}>",
    "name": lambda notation, value: escaped(value[1]),
    **dict.fromkeys(SYMBOLIC, lambda notation, value: f"Sym({number_text(notation.document, value)})"),
    "expression": lambda notation, value: expression_text(notation.document, value[1]),
    "value_range": lambda notation, value: (
        f"[{expression_text(notation.document, value[1])}, {expression_text(notation.document, value[2])}]"
    ),
    "shape_env": lambda notation, value: f"<ShapeEnv {value[1]:d}>",
    "named": Notation._named,
    "record": Notation._record,
    "standard": Notation._standard,
    "distributed": Notation._distributed,
    "member": lambda notation, value: f"{notation._target(value)}({notation._any(value[2])})",
    "annotation": Notation._annotation,
    "node_source": Notation._node_source,
    "fact": Notation._fact,
    "extension": Notation._extension,
    "shared": Notation._row,
    "value": Notation._row,
    "text": Notation._row,
    "target": Notation._target,
    "tensor": Notation._tensor,
    "fake": Notation._tensor,
    "array": Notation._array,
    "module": lambda notation, value: f"<module {value[1]:d}>",
    "graph": lambda notation, value: f"<graph {value[1]:d}>",
    "node": lambda notation, value: f"<node {value[2]:d} of graph {value[1]:d}>",
}
