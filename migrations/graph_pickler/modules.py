"""Modules: GraphModules and those of torch.nn, from the ``__dict__`` that a pickle holds."""

from __future__ import annotations

from typing import Any

from fxarchive.errors import Problem
from fxarchive.migrations.graph_pickler.graphs import graph_row, tracer
from fxarchive.migrations.graph_pickler.targets import class_row
from fxarchive.migrations.graph_pickler.translation import (
    Live,
    Table,
    Translation,
    Untranslatable,
    fields_of,
    merged,
    pairs_of,
    sequence_of,
    shown,
)
from fxarchive.streams import Call, Name, Pairs, Set

_UNPICKLE = "torch.fx._graph_pickler._GraphModulePickleData.unpickle"
MODULE = "torch.fx._graph_pickler._GraphModulePickleData"

HOOKS = frozenset(
    {
        "_backward_pre_hooks", "_backward_hooks", "_forward_hooks", "_forward_pre_hooks", "_state_dict_hooks",
        "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
        "_replace_hooks", "_create_node_hooks", "_erase_node_hooks", "_deepcopy_hooks",
    }
)  # fmt: skip
"""What a module keeps its hooks in; they are code."""

DERIVED = frozenset(
    {
        "training", "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "_is_full_backward_hook",
        "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs",
    }
)  # fmt: skip
"""What every module holds besides, and the flags beside hooks."""

OF_GRAPH_MODULES = frozenset(
    {"_graph", "meta", "_tracer_cls", "_tracer_extras", "_code", "_lineno_map", "_prologue_start"}
)
"""What a GraphModule holds besides, and what is generated."""

PLAIN_DUNDERS = frozenset({"__constants__", "__overloads__", "__name__"})
"""Names of plain data that modules may hold though they begin and end with two underscores."""

RECURRENT = ("_flat_weights", "_flat_weight_refs")
"""Caches of parameters of recurrent modules; a reader makes them from ``_flat_weights_names``."""


def _graph_module(tr: Translation, call: Call) -> Any:
    return ["module", module_row(tr, call, tr.here())]


def is_module(call: Call) -> bool:
    """Whether a call makes a module: a GraphModule, or an instance with the parts that modules have."""
    if call.name == _UNPICKLE:
        return True
    return call.new and type(call.function) is Name and {"_parameters", "_modules"} <= call.fields().keys()


def module_row(tr: Translation, call: Any, path: str) -> int:
    """Return the row of a module in `modules`; what it holds is translated later."""
    row = tr.row("modules", id(call))
    if row is not None:
        return row
    if type(call) is not Call or not is_module(call):
        raise Untranslatable.because(f"a module is expected here and there is {shown(call)}")
    record: dict[str, Any] = {}
    graph: Any = None
    if call.name == _UNPICKLE:
        data = fields_of(sequence_of(call.args, 2)[0], MODULE)
        held = dict(_named(tr, pairs_of(data.get("gm_dict")), path))
        graph = data.get("graph")
    else:
        if type(call.args) is not tuple or call.args:
            raise Untranslatable.because(f"{call.name} is not made by object.__new__")
        held = dict(merged(list(call.fields().items())))
        record["klass"] = class_row(tr, call.function)
    row = tr.add("modules", id(call), record)
    filled = row
    tr.later(path, lambda: _fill(tr, call, held, graph, record, filled, path))
    return row


def _named(tr: Translation, pairs: list[tuple[Any, Any]], path: str) -> list[tuple[str, Any]]:
    for key, _ in pairs:
        if type(key) is not str:
            tr.note("An attribute of a module whose name is no string was left out", path.lstrip("."))
    return [(key, value) for key, value in pairs if type(key) is str]


def _fill(
    tr: Translation, call: Call, held: dict[str, Any], graph: Any, record: dict[str, Any], row: int, path: str
) -> None:
    problems: list[Problem] = []
    if type(held.get("training")) is not bool:
        problems.append(Problem(".training", "it is not True or False"))
    record["training"] = held.get("training")
    if held.get("_is_full_backward_hook") is not None:
        record["full_backward_hook"] = bool(held["_is_full_backward_hook"])
    covered = HOOKS | DERIVED
    _check_hooks(held, problems)
    if graph is not None:
        covered |= OF_GRAPH_MODULES | _fill_graph_module(tr, held, graph, record, row, path, problems)
    covered |= _recurrent(held)
    lists = {
        "parameters": _tensors(tr, held, "_parameters", problems),
        "buffers": _buffers(tr, held, problems),
        "modules": _modules(tr, held, path, problems),
        "attributes": _attributes(tr, held, covered, row, path, problems),
    }
    record.update((key, flat) for key, flat in lists.items() if flat)
    if problems:
        raise Untranslatable(problems)


def _check_hooks(held: dict[str, Any], problems: list[Problem]) -> None:
    for name in HOOKS & held.keys():
        value = held[name]
        if type(value) in (list, tuple, Pairs):
            count = len(value)
        else:
            count = len(pairs_of(value)) if type(value) is Call else 0
        if count:
            problems.append(
                Problem(f".{name}", "hooks are code and code is never stored; save again without them")
            )


def _fill_graph_module(
    tr: Translation,
    held: dict[str, Any],
    graph: Any,
    record: dict[str, Any],
    row: int,
    path: str,
    problems: list[Problem],
) -> frozenset[str]:
    """Put what fx keeps in a GraphModule into ``record``, and return the attributes that this covers."""
    record["graph"] = graph_row(tr, graph, held, path + ".graph")
    with tr.metadata():
        record["meta"] = _meta(tr, held.get("meta", Pairs()), row, path)
    fields = graph.fields()
    cls, extras = held.get("_tracer_cls"), held.get("_tracer_extras")
    if not _is_tracer_of(fields, cls, extras):
        try:
            record["tracer"] = tracer(tr, cls, Pairs() if extras is None else extras)
        except Untranslatable as refused:
            problems += refused.below("._tracer_extras")
    covered = set()
    if "_codegen" in fields:
        pytree = type(fields["_codegen"]) is Call and fields["_codegen"].name.endswith("._PyTreeCodeGen")
    else:
        pytree = held.get("_in_spec") is not None
    if pytree:
        covered |= {"_in_spec", "_out_spec"}  # recompile takes them from the codegen
    if held.get("shape_env", ...) is None:
        covered.add("shape_env")
    return frozenset(covered)


def _is_tracer_of(graph: dict[str, Any], cls: Any, extras: Any) -> bool:
    """Whether the constructor would have taken exactly this tracer from the graph."""
    expected = graph.get("tracer_cls")
    if type(expected) is Name and "<locals>" in expected.qualname:
        expected = None
    found = graph.get("tracer_extras")
    return str(cls) == str(expected) and (extras is found or (_is_empty(extras) and _is_empty(found)))


def _is_empty(extras: Any) -> bool:
    return extras is None or (type(extras) is Pairs and not len(extras))


def _meta(tr: Translation, meta: Any, row: int, path: str) -> Any:
    """Translate the module's metadata, without the entries that are left out."""
    pairs = pairs_of(meta)
    lasting = [pair for pair in pairs if not (pair[0] == "backend_id" and _names_compilation(pair[1]))]
    if len(lasting) < len(pairs):
        meta, pairs = Pairs(lasting), lasting
    kept = [pair for place, pair in enumerate(pairs) if ("module", row, place) not in tr.leave_out]
    if len(kept) == len(pairs):
        try:
            return _meta_value(tr, meta, pairs)
        except Untranslatable as refused:
            if type(meta) is not Pairs:
                raise
            whole = refused
    else:
        return _meta_value(tr, Pairs(kept), kept)
    for place, (key, value) in enumerate(pairs):
        try:
            tr.value(value)
        except Untranslatable as refused:
            tr.dropped["module", row, place] = refused.below(f"{path}.meta[{key!r:.80}]")
    if not any(entry[:2] == ("module", row) for entry in tr.dropped):
        raise whole
    return None


def _names_compilation(value: Any) -> bool:
    """Whether a value is the name of one compilation of dynamo, in which there is a random number."""
    return type(value) is str and value.startswith("__compiled_fn_")


CALLED = ("_checkpoint_context_fn", "_dynamo_bypassing_wrapper_fn")
"""Beginnings of the keys under which operators find a function in metadata that they call."""


def _meta_value(tr: Translation, meta: Any, pairs: list[tuple[Any, Any]]) -> Any:
    """Translate the metadata of a module; functions in it are names, but for those that operators call."""
    called = [type(key) is str and key.startswith(CALLED) for key, _ in pairs]
    if any(called):
        meta = Pairs([(key, Live(value) if is_called else value)
                      for (key, value), is_called in zip(pairs, called, strict=True)])  # fmt: skip
    return tr.value(meta)


def _recurrent(held: dict[str, Any]) -> frozenset[str]:
    names = held.get("_flat_weights_names")
    if type(names) is not list or not all([type(name) is str for name in names]):
        return frozenset()
    parameters = dict(_pairs(held, "_parameters"))
    flat = held.get("_flat_weights")
    same = type(flat) is list and len(flat) == len(names)
    if same and all([found is parameters.get(name) for found, name in zip(flat, names, strict=True)]):  # type: ignore[arg-type]
        return frozenset(RECURRENT)
    return frozenset()


def _pairs(held: dict[str, Any], name: str) -> list[tuple[Any, Any]]:
    found = held.get(name)
    return [] if found is None else pairs_of(found)


def _members(held: dict[str, Any], name: str, problems: list[Problem]) -> list[tuple[str, Any]]:
    found = []
    for key, value in _pairs(held, name):
        if type(key) is str and key and "." not in key:
            found.append((key, value))
        else:
            problems.append(
                Problem(f"[{key!r:.80}]", "names of parameters, buffers and modules are strings without dots")
            )
    return found


def _tensor(tr: Translation, value: Any) -> Any:
    tagged = tr.value(value)
    if tagged is not None and (type(tagged) is not list or tagged[0] not in ("tensor", "fake", "subclass")):
        raise Untranslatable.because("it is not a tensor")
    return tagged


def _tensors(tr: Translation, held: dict[str, Any], key: str, problems: list[Problem]) -> list[Any]:
    flat: list[Any] = []
    for name, value in _members(held, key, problems):
        try:
            flat += (name, _tensor(tr, value))
        except Untranslatable as refused:
            problems += refused.below(f".{name}")
    return flat


def _buffers(tr: Translation, held: dict[str, Any], problems: list[Problem]) -> list[Any]:
    passing = held.get("_non_persistent_buffers_set")
    names = set(passing.items) if type(passing) is Set and _are_texts(passing.items) else set()
    flat = _tensors(tr, held, "_buffers", problems)
    listed = flat[::2]
    for name in sorted(names - set(listed)):
        problems.append(Problem(f".{name}", "it is listed as a non-persistent buffer and is none"))
    return [part for name, value in zip(listed, flat[1::2], strict=True)
            for part in (name, value, name not in names)]  # fmt: skip


def _are_texts(items: list[Any]) -> bool:
    return all([type(item) is str for item in items])


def _modules(tr: Translation, held: dict[str, Any], path: str, problems: list[Problem]) -> list[Any]:
    flat: list[Any] = []
    for name, child in _members(held, "_modules", problems):
        try:
            flat += (name, None if child is None else module_row(tr, child, f"{path}.{name}"[-2000:]))
        except Untranslatable as refused:
            problems += refused.below(f".{name}")
    return flat


def _attributes(
    tr: Translation,
    held: dict[str, Any],
    covered: frozenset[str],
    row: int,
    path: str,
    problems: list[Problem],
) -> list[Any]:
    flat: list[Any] = []
    for name, value in held.items():
        if name in covered or (name == "_compiled_call_impl" and value is None):
            continue
        if name == "_is_torch_compile" or (name == "_backend_id" and _names_compilation(value)):
            continue
        if ("attribute", row, name) in tr.leave_out:
            continue
        tr.path = f"{path}.{name}"
        try:
            if name.startswith("__") and name.endswith("__") and name not in PLAIN_DUNDERS:
                raise Untranslatable.because("an attribute of such a name has a meaning to the interpreter")
            flat += (name, tr.value(value))
        except Untranslatable as refused:
            tr.dropped["attribute", row, name] = refused.below(f"{path}.{name}")
    return flat


def other_module(tr: Translation, call: Call) -> Any:
    """The value of an instance of a class of modules."""
    return ["module", module_row(tr, call, tr.here())]


CALLS: Table = {_UNPICKLE: _graph_module}
