"""Looking things up in a document without torch: rows, columns of metadata, paths of modules.

The document may come from a hostile file and need not have been audited; whoever uses this module does so
within `reading`, which turns whatever does not fit the schema into one error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from fxarchive.document import OPS, Value
from fxarchive.errors import FxArchiveError, InvalidDocument

OP_NUMBERS = {op: number for number, op in enumerate(OPS)}

VALUE_KEYS = ("val", "example_value", "tensor_meta")
"""Metadata keys under which a node's value is described, the best first."""

GRAPH_MODULE = "torch.fx.graph_module.GraphModule"
"""The class of a module that has a graph; such a row of `modules` names none."""

GUARD_MODULE = "torch.export._unlift.GuardsFn"
"""The class of a module that checks the inputs of another; such a row names none either."""

MAX_EXTENT = 2**63 - 1
"""Bound of the elements and bytes of a tensor: torch computes with signed 64-bit integers."""

LONGEST_PATH = 250
"""Characters of an attribute path; modules can be nested so deep that their paths would fill the memory."""

_ROW_TABLES = {"shared": "shared", "value": "values", "text": "texts"}


_MISFITS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, StopIteration, RuntimeError)
"""RuntimeError: recursion that is too deep, and columns that end too early within a generator."""


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn what a malformed document causes within this context into `InvalidDocument`.

    >>> with reading("graph 0"):
    ...     {}["names"]
    Traceback (most recent call last):
    fxarchive.errors.InvalidDocument: The archive is corrupt in graph 0: ...
    """
    try:
        yield
    except FxArchiveError:
        raise
    except _MISFITS as error:
        raise InvalidDocument(where, f"it does not hold what its schema says ({error!r:.200})") from error


def check_rows(where: str, column: str, rows: list[Any], end: int, start: int = 0) -> None:
    """Check that each of ``rows`` is a number from ``start`` up to and without ``end``.

    Raises:
        InvalidDocument: one is not, in ``column`` of ``where``.
    """
    if rows and (set(map(type, rows)) != {int} or min(rows) < start or max(rows) >= end):
        raise InvalidDocument(where, f"{column} holds a number that is not from {start} to {end - 1}")


def entry(document: Any, table: str, row: Any) -> Any:
    """Return row ``row`` of a table.

    Raises:
        InvalidDocument: there is none.
    """
    rows = document[table]
    if type(row) is not int or not 0 <= row < len(rows):
        raise InvalidDocument(f"table {table}", f"there is no row {row!r:.80}")
    return rows[row]


def resolved(document: Any, value: Value) -> Value:
    """Return what a reference into `shared`, `values` or `texts` stands for; any other value as it is.

    >>> resolved({"texts": ["a long string"]}, ["text", 0])
    'a long string'
    """
    if type(value) is list and value and value[0] in _ROW_TABLES:
        return entry(document, _ROW_TABLES[value[0]], value[1])
    return value


def device_name(kind: str, index: int | None) -> str:
    """Return how torch prints a device.

    >>> device_name("cuda", 1), device_name("cpu", None)
    ('cuda:1', 'cpu')
    """
    return str(kind) if index is None else f"{kind}:{index}"


def node_names(graph: Any) -> list[str]:
    """Return the names of the nodes of a graph, in order."""
    names: list[str] = graph["names"].split("\n") if graph["ops"] else []
    if len(names) != len(graph["ops"]):
        raise InvalidDocument("a graph", "its columns differ in length")
    return names


def metadata_of(document: Any, graph: Any, key: str) -> Metadata | None:
    """Return what the nodes of ``graph`` have under one metadata key, or None if no node has it."""
    keys = [resolved(document, held) for held in graph["keys"]]
    if key not in keys:
        return None
    at = keys.index(key)
    has = [at in layout for layout in graph["layouts"]]
    tag, payloads = graph["columns"][at]
    return Metadata(bytes([has[row] for row in graph["layout"]]), tag, payloads)


@dataclass(frozen=True)
class Metadata:
    """One metadata column of a graph, and who has a value in it."""

    has: bytes
    """One byte a node: 1 if the node has a value, else 0."""
    tag: str
    payloads: list[Any]

    def of(self, number: int) -> Value:
        """Return the value of node ``number``, or None if it has none."""
        if not self.has[number]:
            return None
        payload = self.payloads[self.has.count(1, 0, number)]
        return payload if self.tag == "plain" else [self.tag, payload]

    def each(self) -> Iterator[Value]:
        """Yield the value of each node, None for those that have none."""
        payloads = iter(self.payloads)
        for has in self.has:
            if not has:
                yield None
            elif self.tag == "plain":
                yield next(payloads)
            else:
                yield [self.tag, next(payloads)]


def column_values(column: Any) -> list[Value]:
    """Return the values of a column, each in its own form."""
    tag, payloads = column
    return list(payloads) if tag == "plain" else [[tag, payload] for payload in payloads]


def value_columns(document: Any, graph: Any) -> list[Metadata]:
    """Return the columns that say what the nodes' values are, the best first."""
    return [column for key in VALUE_KEYS if (column := metadata_of(document, graph, key)) is not None]


def parts(value: Value) -> list[Value]:
    """Return the values that a tagged value directly holds, in order.

    >>> parts(["tuple", [1, ["hole"]]]), parts(["device", "cpu", None])
    ([1, ['hole']], [])
    """
    at = _PARTS.get(value[0])
    return [] if at is None or value[at] is None else value[at]


_PARTS = {
    "tuple": 1, "list": 1, "dict": 1, "set": 1, "frozenset": 1, "ordered": 1, "default": 1, "counter": 1, "deque": 1,
    "size": 1, "ilist": 1, "idict": 1, "slice": 1, "named": 2, "annotation": 2, "export": 2,
}  # fmt: skip
"""Tag -> where in the tagged value the list of its parts stands; other values have none."""

_MAPPINGS = frozenset({"dict", "ordered", "default", "counter", "idict"})
CONTAINERS = frozenset(_PARTS)
"""Tags of values that hold others."""


def holes(values: list[Value]) -> int:
    """Return how many operands ``values`` take: how many of them, or of their parts, are ``["hole"]``.

    >>> holes([["hole"], ["tuple", [["hole"], "hole"]]])
    2
    """
    count = 0
    stack = list(values)
    while stack:
        value = stack.pop()
        if type(value) is list:
            if value[0] == "hole":
                count += 1
            else:
                stack.extend(parts(value))
    return count


def operand_starts(graph: Any) -> list[int]:
    """Return for each node where its operands start in ``graph["operands"]``; the last entry is the end."""
    counts = [holes(args) + holes(kwargs[1::2]) for args, kwargs in graph["patterns"]]
    return list(accumulate([counts[row] for row in graph["pattern"]], initial=0))


def operands_of(graph: Any, number: int, start: int, end: int) -> list[int]:
    """Return the numbers of the nodes that stand in the holes of node ``number``."""
    found = [number - distance for distance in graph["operands"][start:end]]
    if len(found) != end - start or min(found, default=0) < 0 or max(found, default=-1) >= number:
        raise InvalidDocument(f"node {number} of a graph", "an operand is not an earlier node")
    return found


def class_name(document: Any, row: Any) -> str:
    """Return the qualified name of the class of a module."""
    module = entry(document, "modules", row)
    if "klass" in module:
        return str(entry(document, "targets", module["klass"])[1])
    return GUARD_MODULE if "guards" in module else GRAPH_MODULE


def members(document: Any, key: str, step: int) -> Iterator[tuple[int, str, Value]]:
    """Yield (row of the module, name, value) of what modules hold and is not None.

    Args:
        document: of the current schema.
        key: "parameters", "buffers" or "attributes".
        step: how many items of the module's list belong to one of them.
    """
    for row, module in enumerate(document["modules"]):
        flat = module.get(key, [])
        for name, value in zip(flat[::step], flat[1::step], strict=True):
            if value is not None:
                yield row, name, value


def held_by_root(document: Any) -> Iterator[tuple[str, Value]]:
    """Yield (path, value) of the modules, programs, graphs and tensors in the containers at the root.

    The path is what Python writes behind the object: ``['graph']``, ``[0]``, or "" for the object itself.
    """
    stack: list[tuple[str, Value]] = [("", document["root"])]
    seen: set[Any] = set()
    while stack:
        path, value = stack.pop()
        if type(value) is not list:
            continue
        if value[0] == "shared":
            if value[1] in seen:
                continue
            seen.add(value[1])
        held = resolved(document, value)
        if type(held) is not list:
            continue
        if held[0] in ("module", "program", "graph", "tensor", "array"):
            yield path, held
        elif held[0] in CONTAINERS:
            found = parts(held)
            if held[0] in _MAPPINGS:
                steps = [_step(resolved(document, key)) for key in found[::2]]
                found = found[1::2]
            else:
                steps = [f"[{at}]" for at in range(len(found))]
            inner = [(f"{path}{step}"[:LONGEST_PATH], part) for step, part in zip(steps, found, strict=True)]
            stack.extend(reversed(inner))


def _step(key: Any) -> str:
    return f"[{key!r:.80}]" if isinstance(key, str | int | float | bytes) else "[...]"


def module_paths(document: Any, start: int | None = None) -> dict[int, str]:
    """Return for each module at or below ``start`` the shortest path that leads to it; "" for itself.

    Args:
        document: of the current schema.
        start: a row of `modules`; None for the modules that the root holds.
    """
    found = {start: ""} if start is not None else {}
    for path, value in held_by_root(document) if start is None else ():
        if value[0] == "program":
            found.setdefault(int(entry(document, "programs", value[1])["module"]), path)
        elif value[0] == "module":
            found.setdefault(int(value[1]), path)
    queue = list(found)
    for row in queue:
        flat = entry(document, "modules", row).get("modules", [])
        for name, child in zip(flat[::2], flat[1::2], strict=True):
            if child is not None and child not in found:
                path = f"{found[row]}.{name}" if found[row] else name
                found[child] = path if len(path) <= LONGEST_PATH else "..."
                queue.append(child)
    return found


_ROOTS = {
    "ordered": "OrderedDict", "default": "defaultdict", "counter": "Counter",
    "ilist": "immutable_list", "idict": "immutable_dict",
    "size": "Size", "array": "ndarray", "fake": "FakeTensor", "graph": "Graph", "symint": "SymInt",
    "symfloat": "SymFloat", "symbool": "SymBool", "shape_env": "ShapeEnv", "text": "str",
}  # fmt: skip
"""Tag of a root value -> its class, where that is not the tag itself."""


def root_kind(document: Any) -> str:
    """Return the kind of the object at the root: GraphModule, or the name of its class without the module.

    >>> root_kind({"root": ["tuple", []]}), root_kind({"root": 1.5})
    ('tuple', 'float')
    """
    value = resolved(document, document["root"])
    if type(value) is not list:
        return type(value).__name__
    if value[0] == "module":
        name = class_name(document, value[1])
    elif value[0] == "named":
        name = str(entry(document, "targets", value[1])[1])
    elif value[0] == "tensor":
        parameter = entry(document, "tensors", value[1]).get("class") == "parameter"
        name = "Parameter" if parameter else "Tensor"
    else:
        name = _ROOTS.get(value[0], str(value[0]))
    return name.rpartition(".")[2][:100].encode("ascii", "replace").decode()


def lists_in(value: Any) -> Iterator[list[Any]]:
    """Yield every list in a plain value that is not empty, however deep.

    >>> list(lists_in({"a": [1, [2], []]}))
    [[1, [2], []], [2]]
    """
    stack = [value]
    while stack:
        item = stack.pop()
        if type(item) is dict:
            stack.extend(item.values())
        elif type(item) is list and item:
            yield item
            stack.extend([part for part in item if type(part) in (list, dict)])
