"""Documents of programs that a writer of fxarchive would not make: refused before torch sees them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.export import _unlift

from fxarchive import codec, wire
from fxarchive.audit import audit
from fxarchive.errors import FxArchiveError

from ..material import programs
from .through import Sections

EVIL = "x'] or __import__('os').abort() or L['x"


@functools.cache
def encoded() -> tuple[bytes, Any, frozenset[str]]:
    program, _ = programs.exported(programs.state)
    made = codec.encode({"program": program, "module": program.module()})
    return wire.dumps(made.document), made.storages, made.features


def load(change: Callable[[Any], None]) -> Any:
    data, storages, features = encoded()
    document = wire.loads(data)
    change(document)
    audit(document, trust=(), features=features)
    return codec.decode(document, Sections(storages))


def records(document: Any, name: str) -> list[Any]:
    """Return every record of one class of torch.export."""
    found, stack = [], [document["programs"], document["shared"], document["values"], document["root"]]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list):
            if value[:2] == ["export", name]:
                found.append(value[2])
            stack.extend(value)
    return found


def shared(document: Any, value: Any) -> list[Any]:
    document["shared"].append(value)
    return ["shared", len(document["shared"]) - 1]


def rename_input(document: Any) -> None:
    records(document, "TensorArgument")[0][0] = "a, b=print()"


def target(document: Any) -> None:
    records(document, "InputSpec")[0][2] = "linear.weight'); print('"


def dunder_target(document: Any) -> None:
    records(document, "InputSpec")[0][2] = "linear.__class__"


def call_name(document: Any) -> None:
    records(document, "ModuleCallEntry")[-1][0] = 'linear")'


def argument_name(document: Any) -> None:
    records(document, "ModuleCallSignature")[0][4] = ["list", ["x", "more=print()"]]


def shared_argument_name(document: Any) -> None:
    records(document, "ModuleCallSignature")[0][4] = shared(document, ["list", ["x", "more=print()"]])


def keyword_name(document: Any) -> None:
    records(document, "ModuleCallSignature")[0][2][1][2][1][1] = ["list", ["more':print(),'"]]


def shared_keyword_name(document: Any) -> None:
    spec = records(document, "ModuleCallSignature")[0][2]
    spec[1][2][1][1] = shared(document, ["list", ["more':print(),'"]])


def keyword_of_a_codegen(document: Any) -> None:
    for graph in document["graphs"]:
        if graph["codegen"][0] == "pytree":
            spec = graph["codegen"][3]
            spec[1][2][1][1] = shared(document, ["list", ["more':print(),'"]])


def state_name(document: Any) -> None:
    document["programs"][0]["state"][1][0] = "linear.__class__"


def constant_name(document: Any) -> None:
    document["programs"][0]["constants"][1][0] = "a'b"


def key_of_an_input(document: Any) -> None:
    document["programs"][0]["examples"] = ["tuple", [["tuple", [["dict", [EVIL, 1]]]], ["dict", []]]]


def key_in_a_key(document: Any) -> None:
    inputs = ["dict", [["tuple", ["a", shared(document, ["list", [EVIL]])]], 1]]
    document["programs"][0]["examples"] = ["tuple", [["tuple", [inputs]], ["dict", []]]]


def guard(document: Any) -> None:
    document["programs"][0]["guards"] = ["print(L['x'])"]


def guard_of_a_module(document: Any) -> None:
    for module in document["modules"]:
        if "guards" in module:
            module["guards"][1][0] = "__import__('os').abort()"


def path_of_a_module(document: Any) -> None:
    for module in document["modules"]:
        if "guards" in module:
            module["guards"][0][0] = "x'] or print() or L['x"


def hook(document: Any) -> None:
    for module in document["modules"]:
        if "unlifted" in module:
            module["unlifted"][0] = ["enter", "__class__"]


def dialect(document: Any) -> None:
    document["programs"][0]["dialects"] = ["NONE"]


def no_dialect(document: Any) -> None:
    document["programs"][0]["dialects"] = []


def kind(document: Any) -> None:
    records(document, "InputSpec")[0][0] = "OTHER"


def other_class(document: Any) -> None:
    document["programs"][0]["signature"][1] = "ExportedProgram"


def other_signature(document: Any) -> None:
    document["programs"][0]["signature"] = 1


def other_calls(document: Any) -> None:
    document["programs"][0]["calls"] = ["list", [1]]


def other_state(document: Any) -> None:
    document["programs"][0]["state"] = ["list", []]


def other_examples(document: Any) -> None:
    document["programs"][0]["examples"] = ["tuple", [1]]


def other_argument(document: Any) -> None:
    records(document, "InputSpec")[0][1] = "x"


def other_key(document: Any) -> None:
    document["programs"][0]["code"] = "print()"


def no_such_module(document: Any) -> None:
    document["programs"][0]["module"] = 99


def circle(document: Any) -> None:
    document["programs"][0]["state"] = shared(document, ["shared", len(document["shared"])])


def value_of_an_input(document: Any) -> None:
    row = document["modules"][document["programs"][0]["module"]]["graph"]
    graph = document["graphs"][row]
    at = graph["keys"].index("val")
    payloads = graph["columns"][at][1]
    graph["columns"][at] = ["plain", [EVIL, *[None] * (_length(payloads) - 1)]]


def path_in_a_stack(document: Any) -> None:
    row = document["modules"][document["programs"][0]["module"]]["graph"]
    graph = document["graphs"][row]
    at = graph["keys"].index("nn_module_stack")
    stack = ["dict", ["k", ["tuple", ['linear")', "Linear"]]]]
    graph["columns"][at] = ["plain", [stack] * _length(graph["columns"][at][1])]


def _length(payloads: Any) -> int:
    return len(payloads) // 4 if isinstance(payloads, bytes) else len(payloads)


CHANGES = [
    *(rename_input, target, dunder_target, call_name, argument_name, shared_argument_name, keyword_name),
    *(shared_keyword_name, keyword_of_a_codegen, state_name, constant_name, key_of_an_input, key_in_a_key),
    *(guard, guard_of_a_module, path_of_a_module, hook, dialect, no_dialect, kind, other_class),
    *(other_signature, other_calls, other_state, other_examples, other_argument, other_key, no_such_module),
    *(circle, value_of_an_input, path_in_a_stack),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_hostile_program_is_refused(change: Callable[[Any], None]) -> None:
    before = wire.loads(encoded()[0])
    changed = wire.loads(encoded()[0])
    change(changed)
    if changed == before and not hasattr(_unlift, "GuardsFn"):
        pytest.skip("modules of this torch check no inputs")
    assert changed != before
    with pytest.raises(FxArchiveError):
        load(change)


def test_the_same_document_without_a_change_loads() -> None:
    loaded = load(lambda document: None)
    args, kwargs = loaded["program"].example_inputs
    assert torch.is_tensor(loaded["module"](*args, **kwargs)["sum"])
