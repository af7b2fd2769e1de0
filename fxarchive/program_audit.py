"""What an exported program must be before anything is built from it.

`ExportedProgram.module`, `unflatten` and `run_decompositions` generate source from what a program holds: names of
inputs, paths of parameters and modules, conditions on inputs, keys of example inputs. All of it is checked here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fxarchive.document import OPS, Value
from fxarchive.errors import InvalidDocument
from fxarchive.guards import is_guard, is_plain_text, split_path
from fxarchive.source_names import check_module_path, check_path, keyword_names, standing
from fxarchive.tables import entry, metadata_of, parts, reading
from fxarchive.trust import check_identifier

_PLACEHOLDER = OPS.index("placeholder")
_MAPPINGS = frozenset({"dict", "ordered", "default", "counter", "idict"})


def check_programs(document: Any) -> None:
    """Check every row of `programs`.

    Raises:
        InvalidDocument: a row has another form than the schema says.
        ForbiddenName: a name that would reach generated source is not safe to write there.
    """
    if type(document["programs"]) is not list:
        raise InvalidDocument("table programs", "it is not a list")
    for row, program in enumerate(document["programs"]):
        where = f"program {row}"
        with reading(where):
            _check_program(document, where, program)


def _check_program(document: Any, where: str, program: Any) -> None:
    for key in ("signature", "calls"):
        for name, fields in _records(document, program[key]):
            _check_record(document, where, name, fields)
    for key in ("state", "constants"):
        value = standing(document, program[key])
        for path in _keys(value):
            name = standing(document, path)
            if type(name) is not str:
                raise InvalidDocument(where, f"{key} has a key that is not a string")
            check_path(f"{where}, its {key},", name)
    for key in ("examples", "leaves"):
        _check_keys(document, where, program.get(key))
    guards = program.get("guards", [])
    if type(guards) is not list or not all([type(guard) is str and is_guard(guard) for guard in guards]):
        raise InvalidDocument(where, "a guard is not a plain condition over inputs")
    module = entry(document, "modules", program["module"])
    _check_graph(document, where, entry(document, "graphs", module["graph"]))


def _records(document: Any, value: Value) -> Iterator[tuple[str, list[Value]]]:
    """Yield class and fields of every record of torch.export at or below ``value``."""
    seen: set[int] = set()
    stack = [value]
    while stack:
        held = standing(document, stack.pop())
        if type(held) is list and id(held) not in seen:
            seen.add(id(held))
            if held[0] == "export":
                yield held[1], held[2]
            stack.extend(parts(held))


def _check_record(document: Any, where: str, name: str, fields: list[Value]) -> None:
    values = [standing(document, field) for field in fields]
    if name.endswith("Argument"):
        if values[0] != "":
            check_identifier(f"{where}, an argument of its signature,", values[0])
    elif name in ("InputSpec", "OutputSpec"):
        if values[2] is not None:
            check_path(f"{where}, a target of its signature,", values[2])
    elif name == "ModuleCallEntry":
        if values[0] != "":
            check_path(f"{where}, its call graph,", values[0])
    elif name == "ModuleCallSignature":
        if values[2] is not None:
            for key in keyword_names(document, where, values[2]):
                check_identifier(f"{where}, its input spec,", key)
        for argument in [] if values[4] is None else parts(values[4]):
            given = standing(document, argument)
            check_identifier(f"{where}, its arguments,", given.removeprefix("*").removeprefix("*"))


def _keys(value: Value) -> list[Value]:
    if type(value) is not list or value[0] not in _MAPPINGS:
        raise InvalidDocument("a program", "its state or its constants are not a dict")
    flat: list[Value] = value[1]
    return flat[::2]


def _check_keys(document: Any, where: str, value: Value) -> None:
    """Check every key below ``value``: torch writes the path to an example input into source, within quotes."""
    seen: set[int] = set()
    stack = [(value, False)]
    while stack:
        held, is_key = stack.pop()
        held = standing(document, held)
        if is_key and type(held) is str and not is_plain_text(held):
            raise InvalidDocument(
                where, f"a key of its example inputs has quotes, a backslash or braces in it ({held!r:.80})"
            )
        if type(held) is not list or (id(held) in seen and not is_key):
            continue
        seen.add(id(held))
        if held[0] == "treespec":
            stack += [(context, True) for context in _contexts(held[1])]
            continue
        below = parts(held)
        stack += [(part, is_key or (held[0] in _MAPPINGS and at % 2 == 0)) for at, part in enumerate(below)]


def _contexts(spec: Any) -> list[Value]:
    """Return the contexts of a spec and of those below it."""
    found: list[Value] = []
    stack = [spec]
    while stack:
        node = stack.pop()
        if node is not None:
            found.append(node[1])
            stack.extend(node[2])
    return found


def _check_graph(document: Any, where: str, graph: Any) -> None:
    """Check what torch takes from the metadata of the graph: strings that inputs must equal, paths of modules."""
    values = metadata_of(document, graph, "val")
    if values is not None:
        for op, value in zip(graph["ops"], values.each(), strict=True):
            if op == _PLACEHOLDER:
                held = standing(document, value)
                if type(held) is str and not is_plain_text(held):
                    raise InvalidDocument(where, f"an input must equal {held!r:.80}, which has quotes in it")
    stacks = metadata_of(document, graph, "nn_module_stack")
    seen: set[int] = set()
    for value in [] if stacks is None else stacks.each():
        held = standing(document, value)
        if type(held) is list and id(held) not in seen:
            seen.add(id(held))
            _check_stack(document, where, held)


def _check_stack(document: Any, where: str, stack: list[Any]) -> None:
    for level in parts(stack)[1::2]:
        below = parts(standing(document, level))
        path = standing(document, below[0]) if below else ""
        if type(path) is not str:
            raise InvalidDocument(where, "the path of a module in its metadata is not a string")
        if path:
            check_module_path(f"{where}, a module in its metadata,", path)


def check_guards(where: str, record: Any) -> None:
    """Check the conditions of a module that checks the inputs of another: ``[paths, conditions]``.

    Raises:
        InvalidDocument: one is not of the grammar of `fxarchive.guards`.
    """
    if type(record) is not list or len(record) != 2 or not all([type(part) is list for part in record]):
        raise InvalidDocument(where, "its guards are not paths and conditions")
    paths, guards = record
    if not all([type(path) is str and split_path(path) is not None for path in paths]):
        raise InvalidDocument(where, "a path of its guards is not a plain path to an input")
    if not all([type(guard) is str and is_guard(guard) for guard in guards]):
        raise InvalidDocument(where, "a guard is not a plain condition over inputs")
