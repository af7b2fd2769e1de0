"""torch.nn modules: a class by name, and everything that an instance holds.

A module is rebuilt from what it holds, without its constructor, without ``__setstate__`` and without any
other code of its class. `module_rules` says what cannot be rebuilt so.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch.fx import GraphModule
from torch.nn.modules.lazy import LazyModuleMixin

from fxarchive.codec import lazy_modules
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import ATOMS, Encoder, Refused
from fxarchive.codec.graph_modules import (
    encode_graph_module,
    fill_graph_module,
    made_from,
    new_graph_module,
)
from fxarchive.codec.guard_modules import encode_guards, is_guard_module, new_guards
from fxarchive.codec.module_rules import (
    COMPILED,
    first_names,
    fresh_values,
    hooks,
    is_member_name,
    refuse_class,
    why_not_an_attribute,
)
from fxarchive.codec.operators import decode_class, encode_class
from fxarchive.codec.tensors import tensor_of_row
from fxarchive.codec.training_modes import METHODS, encode_training_modes, set_training_modes
from fxarchive.codec.unlifted import encode_unlifted, is_unlifted_class, note_guards, put_around
from fxarchive.document import Module, Value
from fxarchive.errors import InvalidDocument, Problem, shortened

LONGEST_PATH = 2000
"""Characters of a path that are kept for an error message."""

_KEYS = frozenset(Module.__annotations__)

_DERIVED_OF_RNNS = ("_flat_weights", "_flat_weight_refs")
"""Caches of parameters that `torch.nn.RNNBase` keeps; `_flat_weights_names` says what is in them."""

_WAS_COMPILED = "_is_torch_compile"
"""Attribute that torch.compile leaves in a module that was given to it; it says nothing about the module."""

# encoding


def encode_module(enc: Encoder, module: torch.nn.Module) -> Value:
    """Return ``["module", row]``; what the module holds is encoded later.

    Raises:
        Refused: modules of this class cannot be kept.
    """
    return ["module", _row(enc, module, enc.here())]


def _row(enc: Encoder, module: torch.nn.Module, path: str) -> int:
    row = enc.row("modules", id(module))
    if row is None:
        record: dict[str, Any] = {}
        refuse_class(module, enc.state.setdefault("classes of modules", set()))
        if not (isinstance(module, GraphModule) or is_guard_module(module)):
            record["klass"] = encode_class(enc, type(module))
        row = enc.add("modules", id(module), record)
        enc.keep_alive(module)
        enc.later(path, lambda: _fill_record(enc, module, path, record))
    return row


def _fill_record(enc: Encoder, module: torch.nn.Module, path: str, record: dict[str, Any]) -> None:
    held = vars(module)
    problems: list[Problem] = []
    if type(held.get("training")) is not bool:
        problems.append(Problem(".training", "it is not True or False; call train() or eval()"))
    record["training"] = held.get("training")
    if held.get("_is_full_backward_hook") is not None:
        record["full_backward_hook"] = bool(held["_is_full_backward_hook"])
    waits = lazy_modules.waits(module)
    own = frozenset(lazy_modules.own_hooks(module) if waits else ())
    covered = first_names()
    if isinstance(module, GraphModule) and is_unlifted_class(made_from(module)):
        record["unlifted"], mine, methods = encode_unlifted(enc, module)
        own, covered = own | mine, covered | methods
    if isinstance(module, GraphModule):
        note_guards(enc, module)
        train_eval = encode_training_modes(enc, module)
        if train_eval is not None:
            record["train_eval"] = train_eval
            covered |= set(METHODS)
    if is_guard_module(module):
        record["guards"] = encode_guards(enc, module)
        covered |= {"forward", "paths", "guards"}
    problems += hooks(held, own)
    if waits:
        record["waits"] = True
        covered |= set(lazy_modules.HANDLES)
    if isinstance(module, GraphModule):
        covered |= encode_graph_module(enc, module, path, record, problems)
    if isinstance(module, torch.nn.RNNBase) and _is_derived(module):
        covered |= set(_DERIVED_OF_RNNS)
    with enc.module():
        lists = {
            "parameters": _parameters(enc, held, problems),
            "buffers": _buffers(enc, held, problems),
            "modules": _modules(enc, held, path, problems),
            "attributes": _attributes(enc, module, path, covered, problems),
        }
    record.update((key, flat) for key, flat in lists.items() if flat)
    if problems:
        raise Refused(problems)


def _parameters(enc: Encoder, held: dict[str, Any], problems: list[Problem]) -> list[Any]:
    flat: list[Any] = []
    for name, value in _named(held["_parameters"], problems):
        with _below(name, problems):
            flat += (name, enc.value(value))
    return flat


def _buffers(enc: Encoder, held: dict[str, Any], problems: list[Problem]) -> list[Any]:
    flat: list[Any] = []
    passing = held["_non_persistent_buffers_set"]
    for name, value in _named(held["_buffers"], problems):
        with _below(name, problems), enc.keeping() if name in passing else nullcontext():
            flat += (name, enc.value(value), name not in passing)
    for name in sorted(map(str, passing - held["_buffers"].keys())):
        problems.append(
            Problem(
                f".{name}", "it is listed as a non-persistent buffer and is none; register it or discard it"
            )
        )
    return flat


def _modules(enc: Encoder, held: dict[str, Any], path: str, problems: list[Problem]) -> list[Any]:
    flat: list[Any] = []
    for name, child in _named(held["_modules"], problems):
        with _below(name, problems):
            flat += (name, None if child is None else _row(enc, child, _step(path, name)))
    return flat


def _attributes(
    enc: Encoder, module: torch.nn.Module, path: str, covered: frozenset[str], problems: list[Problem]
) -> list[Any]:
    flat: list[Any] = []
    cls = type(module)
    reasons: dict[tuple[type, str], str | None] = enc.state.setdefault("attributes of classes", {})
    for name, value in vars(module).items():
        if name in covered or name == _WAS_COMPILED or (name == COMPILED and value is None):
            continue
        key = cls, name
        why = reasons[key] if key in reasons else reasons.setdefault(key, why_not_an_attribute(cls, name))
        if why is not None:
            problems.append(Problem(f".{name}", f"an attribute of this name cannot be kept: {why}"))
            continue
        if type(value) in ATOMS:  # quick, since most are
            flat += (name, value)
            continue
        enc.path = _step(path, name)
        with _below(name, problems), enc.keeping():
            flat += (name, enc.value(value))
    return flat


def _step(path: str, name: str) -> str:
    """Return ``path`` with ``name`` below it, without its middle if copying it would take long."""
    return f"{shortened(path, LONGEST_PATH)}.{name}"


def _named(items: dict[str, Any], problems: list[Problem]) -> Iterator[tuple[str, Any]]:
    for name, value in items.items():
        if is_member_name(name):
            yield name, value
        else:
            problems.append(
                Problem(f"[{name!r}]", "names of parameters, buffers and modules are strings without dots")
            )


class _below:
    """Collects what is refused inside as problems of the attribute ``name``."""

    __slots__ = ("name", "problems")

    def __init__(self, name: str, problems: list[Problem]) -> None:
        self.name = name
        self.problems = problems

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        if not isinstance(error, Refused):
            return False
        self.problems += error.below(f".{self.name}")
        return True


def _is_derived(module: torch.nn.RNNBase) -> bool:
    held: dict[str, Any] = vars(module)
    weights = _flat_weights(held)
    if weights is None:
        return False
    flat, references = held.get("_flat_weights", []), held.get("_flat_weight_refs", [])
    if not len(flat) == len(weights) == len(references):
        return False
    if not all([found is None or isinstance(found, weakref.ref) for found in references]):
        return False
    pairs = zip(references, weights, strict=True)
    if any([found and weight is not None and found() is not weight for found, weight in pairs]):
        return True  # other weights took their place (torch.func.functional_call), so forward fills both anew
    return all([found is weight for found, weight in zip(flat, weights, strict=True)]) and all(
        [(found and found()) is weight for found, weight in zip(references, weights, strict=True)]
    )


def _flat_weights(held: dict[str, Any]) -> list[Any] | None:
    names = held.get("_flat_weights_names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return [held["_parameters"].get(name) for name in names]


# decoding


def decode_module(dec: Decoder, tagged: Value) -> torch.nn.Module:
    """Return the module of a row, its contents still to come."""
    return _module(dec, tagged[1])


def _module(dec: Decoder, row: Any) -> torch.nn.Module:
    found: torch.nn.Module = dec.row("modules", row, lambda record: _new(dec, row, record))
    return found


def _new(dec: Decoder, row: int, record: Any) -> torch.nn.Module:
    where = f"row {row} of modules"
    if type(record) is not dict or not _KEYS.issuperset(record):
        raise InvalidDocument(where, "it is not a record of a module")
    module: torch.nn.Module
    if "graph" in record:
        module = new_graph_module(where, record)
    elif "guards" in record:
        module = new_guards(where, record["guards"])
        dec.later(lambda: _fill(dec, module, where, record))
        return module
    else:
        module = object.__new__(_class_of(dec, where, record.get("klass", -1)))
    vars(module).update(fresh_values())
    dec.later(lambda: _fill(dec, module, where, record))
    return module


def _class_of(dec: Decoder, where: str, row: Any) -> type[torch.nn.Module]:
    known: dict[int, type[torch.nn.Module]] = dec.state.setdefault("classes of modules", {})
    cls = known.get(row) if type(row) is int else None
    if cls is None:
        cls = decode_class(dec, row, use="module")
        if not issubclass(cls, torch.nn.Module) or issubclass(cls, (GraphModule, torch.jit.ScriptModule)):
            raise InvalidDocument(where, f"no module is rebuilt from the class {cls.__qualname__}")
        known[row] = cls
    return cls


def _fill(dec: Decoder, module: torch.nn.Module, where: str, record: dict[str, Any]) -> None:
    held: dict[str, Any] = vars(module)
    training, full = record.get("training"), record.get("full_backward_hook")
    if type(training) is not bool or not (full is None or type(full) is bool):
        raise InvalidDocument(where, "training or full_backward_hook is neither True nor False")
    held["training"], held["_is_full_backward_hook"] = training, full
    if "parameters" in record:
        parameters = held["_parameters"]
        for name, value in _groups(dec, where, record, "parameters", 2):
            parameters[name] = _tensor(dec, where, name, value)
    if "buffers" in record:
        for name, value, persistent in _groups(dec, where, record, "buffers", 3):
            held["_buffers"][name] = _tensor(dec, where, name, value)
            if type(persistent) is not bool:
                raise InvalidDocument(
                    where, f"whether the buffer {name!r} is persistent is neither True nor False"
                )
            if not persistent:
                held["_non_persistent_buffers_set"].add(name)
    if "modules" in record:
        modules = held["_modules"]
        for name, child in _groups(dec, where, record, "modules", 2):
            modules[name] = None if child is None else _module(dec, child)
    if "attributes" in record:
        _fill_attributes(dec, module, where, record)
    if isinstance(module, GraphModule):
        fill_graph_module(dec, module, where, record)
        if "unlifted" in record:
            put_around(module, record["unlifted"])
    if "train_eval" in record:
        set_training_modes(dec, module, where, record["train_eval"])
    if isinstance(module, torch.nn.RNNBase) and "_flat_weights" not in held:
        _fill_rnn(held, where)
    if "waits" in record:
        if record["waits"] is not True or not isinstance(module, LazyModuleMixin):
            raise InvalidDocument(where, "only a lazy module waits for its first input")
        lazy_modules.make_wait(module)


def _fill_attributes(dec: Decoder, module: torch.nn.Module, where: str, record: dict[str, Any]) -> None:
    held: dict[str, Any] = vars(module)
    cls = type(module)
    reasons = dec.state.setdefault("attributes of classes", {})
    for name, value in _groups(dec, where, record, "attributes", 2):
        key = cls, name
        if key not in reasons:
            reasons[key] = why_not_an_attribute(*key)
        why = reasons[key]
        if why is not None:
            raise InvalidDocument(where, f"the attribute {name!r:.80} is not allowed: {why}")
        held[name] = value if type(value) is not list else dec.value(value)


def _groups(
    dec: Decoder, where: str, record: dict[str, Any], key: str, size: int
) -> Iterator[tuple[Any, ...]]:
    """Yield the groups of ``size`` entries of a flat list; each begins with a name, which occurs once."""
    flat = record[key]
    if type(flat) is not list or len(flat) % size:
        raise InvalidDocument(where, f"{key} is not a list of groups of {size}")
    names = tuple(flat[::size])
    checked: set[Any] = dec.state.setdefault("names of members", set())
    if (key, names) not in checked:
        if key != "attributes" and not all(map(is_member_name, names)):
            raise InvalidDocument(where, f"{key} holds a name that is not a string without dots")
        if not all([type(name) is str for name in names]) or len(set(names)) != len(names):
            raise InvalidDocument(where, f"{key} holds a name twice, or one that is not a string")
        checked.add((key, names))
    entries = iter(flat)
    return zip(*[entries] * size, strict=True)


def _tensor(dec: Decoder, where: str, name: str, value: Value) -> torch.Tensor | None:
    if type(value) is list and value[0] == "tensor":
        return tensor_of_row(dec, value[1])
    tensor = dec.value(value)
    if not (tensor is None or isinstance(tensor, torch.Tensor)):
        raise InvalidDocument(where, f"{name!r} is not a tensor")
    return tensor


def _fill_rnn(held: dict[str, Any], where: str) -> None:
    weights = _flat_weights(held)
    if weights is None:
        raise InvalidDocument(where, "_flat_weights_names is not a list of names")
    # Not by _init_flat_weights, which would copy the weights together in the memory of a GPU.
    held["_flat_weights"] = weights
    held["_flat_weight_refs"] = [None if weight is None else weakref.ref(weight) for weight in weights]


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [
    (lambda value: isinstance(value, torch.nn.Module), encode_module),
]
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"module": decode_module}
