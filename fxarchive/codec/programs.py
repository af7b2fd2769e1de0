"""ExportedPrograms: a graph module with its signature, state, constants, constraints and call graph.

A program is rebuilt from what it holds, without its constructor, which would generate code, run passes over the graph
and verify it. `fxarchive.codec.fast.programs` knows how, and falls back to the constructor.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.fast import programs as fast
from fxarchive.codec.modules import decode_module, encode_module
from fxarchive.codec.restated import restate_inputs, written
from fxarchive.document import EXPORTED_PROGRAMS, Program, Value
from fxarchive.errors import InvalidDocument, MissingOperator, Problem
from fxarchive.guards import is_guard, is_plain_text

_KEYS = frozenset(Program.__annotations__)
_REQUIRED = _KEYS - {"leaves", "guards"}

_PLAIN_NODES = frozenset(
    {tuple, list, dict, collections.OrderedDict, collections.defaultdict, collections.deque, torch.Size, slice,
     collections.namedtuple, None}
)  # fmt: skip
"""Types of tree specs whose containers are values of a document."""


def is_program(value: Any) -> bool:
    """Whether ``value`` is an ExportedProgram of torch's own class."""
    cls = type(value)
    return cls.__module__ == "torch.export.exported_program" and cls.__qualname__ == "ExportedProgram"


# encoding


def encode_program(enc: Encoder, program: Any) -> Value:
    """Return ``["program", row]``; what the program holds is encoded later."""
    row = enc.row("programs", id(program))
    if row is None:
        enc.features.add(EXPORTED_PROGRAMS)
        document: Any = enc.document  # the table is there only in documents that need it
        document.setdefault("programs", [])
        record: dict[str, Any] = {}
        row = enc.add("programs", id(program), record)
        enc.keep_alive(program)
        path = enc.here()
        enc.later(path, lambda: _fill_record(enc, program, path, record))
    return ["program", row]


_NO_PLACE = "an ExportedProgram has no place for it; keep it in a dict beside the program"
_NOT_OF_A_PROGRAM = {"_report": "it is what torch.export.draft_export reports; read it and delete it"}


def _fill_record(enc: Encoder, program: Any, path: str, record: dict[str, Any]) -> None:
    held = vars(program)
    problems = [
        Problem(f".{name}", _NOT_OF_A_PROGRAM.get(name, _NO_PLACE))
        for name in held
        if name not in fast.ATTRIBUTES
    ]
    missing = [name for name in fast.ATTRIBUTES if name not in held and name != fast.GUARDS]
    if missing or not isinstance(held["_graph_module"], GraphModule):
        raise Refused.because(
            f"the ExportedProgram is not whole (without {', '.join(missing) or 'a graph module'})"
        )
    for key, name, encode in (
        ("module", "graph_module", lambda value: encode_module(enc, value)[1]),
        ("signature", "graph_signature", enc.value),
        ("state", "state_dict", lambda value: _of_module(enc, enc.value, value)),
        ("constants", "constants", lambda value: _of_module(enc, partial(_kept, enc), value)),
        ("ranges", "range_constraints", enc.value),
        ("calls", "module_call_graph", enc.value),
        ("examples", "example_inputs", lambda value: _encode_examples(enc, value, record)),
        ("dialects", "verifiers", _encode_verifiers),
    ):
        enc.path = f"{path}.{name}"
        try:
            record[key] = encode(held[f"_{name}"])
        except Refused as refused:
            problems += refused.below(f".{name}")
    problems += _problems_of_inputs(held["_example_inputs"], held["_graph_module"].graph)
    if fast.GUARDS in held:
        record["guards"] = [written(guard) for guard in held[fast.GUARDS]]
        problems += _problems_of_guards(record["guards"])
    if problems:
        raise Refused(problems)


def _of_module(enc: Encoder, encode: Callable[[Any], Value], value: Any) -> Value:
    with enc.module():
        return encode(value)


def _kept(enc: Encoder, value: Any) -> Value:
    with enc.keeping():
        return enc.value(value)


def _encode_examples(enc: Encoder, examples: Any, record: dict[str, Any]) -> Value:
    """Encode example inputs as a value or, where they hold containers that users registered, as leaves of a tree."""
    if examples is None:
        return None
    leaves, spec = pytree.tree_flatten(examples)
    if _is_plain(spec):
        return _kept(enc, examples)
    record["leaves"] = _kept(enc, tuple(leaves))
    return enc.value(spec)


def _is_plain(spec: Any) -> bool:
    return spec.type in _PLAIN_NODES and all(
        [
            _is_plain(child)
            for child in (spec.children() if hasattr(spec, "children") else spec.children_specs)
        ]
    )


def _encode_verifiers(verifiers: Any) -> list[str]:
    for verifier in verifiers:
        if fast.verifier_of(verifier.dialect) is not verifier:
            raise Refused.because(
                f"the verifier {verifier.__qualname__} is not the one that torch knows for the dialect "
                f"{verifier.dialect!r}; keep a verifier with a dialect of its own"
            )
    return [verifier.dialect for verifier in verifiers]


def _problems_of_inputs(examples: Any, graph: Any) -> list[Problem]:
    """Find what torch would write into the source of guards and cannot: text with quotes."""
    why = "has quotes, a backslash or braces in it, so that torch can generate no guards; rename it"
    paths: Any = pytree.tree_leaves_with_path(examples)
    keys = {key.key: None for path, _ in paths for key in path if isinstance(getattr(key, "key", None), str)}
    problems = [
        Problem(".example_inputs", f"the key {key!r:.80} {why}") for key in keys if not is_plain_text(key)
    ]
    for node in graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        if isinstance(value, str) and not is_plain_text(value):
            problems.append(Problem(f".graph.{node.name}", f"the input {value!r:.80} {why}"))
    return problems


def _problems_of_guards(guards: list[Any]) -> list[Problem]:
    return [
        Problem(
            f"._guards_code[{at}]",
            "it is not a plain condition over inputs; give the inputs names without quotes, or remove the guard",
        )
        for at, guard in enumerate(guards)
        if type(guard) is not str or not is_guard(guard)
    ]


# decoding


def decode_program(dec: Decoder, tagged: Value) -> Any:
    """Return the program of a row, its contents still to come."""
    return dec.row("programs", tagged[1], lambda record: _new(dec, tagged[1], record))


def _new(dec: Decoder, row: int, record: Any) -> Any:
    where = f"row {row} of programs"
    if type(record) is not dict or not _REQUIRED <= record.keys() <= _KEYS:
        raise InvalidDocument(where, "it is not a record of a program")
    program = fast.new_program()
    dec.later(lambda: _fill(dec, program, where, record))
    return program


def _fill(dec: Decoder, program: Any, where: str, record: dict[str, Any]) -> None:
    module = decode_module(dec, ["module", record["module"]])
    held = {key: dec.value(record[key]) for key in ("signature", "state", "constants", "ranges", "calls")}
    examples = dec.value(record["examples"])
    if "leaves" in record:
        examples = _unflattened(dec, where, examples, record["leaves"])
    guards = record.get("guards", [])
    if type(guards) is not list or not all([type(guard) is str and is_guard(guard) for guard in guards]):
        raise InvalidDocument(where, "a guard is not a plain condition over inputs")
    contents = fast.Contents(
        module,
        held["signature"],
        held["state"],
        held["ranges"],
        held["calls"],
        examples,
        held["constants"],
        [_verifier(dialect) for dialect in record["dialects"]],
        list(guards),
    )
    # containers that others share are filled later, so what stands in them is checked when all is there
    dec.later(lambda: _check(where, contents))
    fast.fill(dec, program, contents)
    dec.last(lambda: restate_inputs(program))


def _unflattened(dec: Decoder, where: str, spec: Any, leaves: Value) -> Any:
    values = dec.value(leaves)
    if not isinstance(spec, pytree.TreeSpec) or type(values) is not tuple:
        raise InvalidDocument(where, "its example inputs are not leaves of a tree")
    return pytree.tree_unflatten(list(values), spec)


def _verifier(dialect: Any) -> Any:
    found = fast.verifier_of(dialect) if type(dialect) is str else None
    if found is None:
        raise MissingOperator(
            [Problem(f"dialect {dialect!r:.80}", "import the module that defines its Verifier first")]
        )
    return found


def _check(where: str, contents: fast.Contents) -> None:
    """Refuse contents of another kind than torch expects; what the values say is torch's to judge."""
    expected = {
        "module": (contents.module, GraphModule),
        "signature": (contents.signature, fast.signature_class()),
        "state": (contents.state, dict),
        "constants": (contents.constants, dict),
        "ranges": (contents.ranges, dict),
        "calls": (contents.calls, list),
    }
    for name, (value, kind) in expected.items():
        if not isinstance(value, kind):
            raise InvalidDocument(where, f"its {name} is a {type(value).__qualname__}")
    examples = contents.examples
    is_pair = isinstance(examples, tuple) and len(examples) == 2
    if examples is not None and not (
        is_pair and isinstance(examples[0], tuple) and isinstance(examples[1], dict)
    ):
        raise InvalidDocument(where, "its examples are not positional and keyword inputs")
    if not all([isinstance(entry, fast.entry_class()) for entry in contents.calls]) or not contents.verifiers:
        raise InvalidDocument(where, "its call graph or its verifiers are not complete")


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [
    (is_program, encode_program),
]
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"program": decode_program}
