"""Graphs with higher-order operators and their subgraphs come back exact, however torch captured them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch.fx import GraphModule

import fxarchive
from fxarchive import releases
from fxarchive.codec.operators import PROCESS_BOUND
from fxarchive.codec.running_torch import RunningTorch
from fxarchive.errors import MissingOperator, UnsupportedValue, UntrustedNames

from ..material import capture, higher_order, hop_db
from .round_trip import problems_of_round_trip
from .through import through_the_codec

RELEASE = releases.number_of(RunningTorch.release)

# What torch 2.13 refuses to capture on the CPU: flex_attention over fakes with a mask of real tensors and
# without a joint graph, which only dynamo makes; a hook and a placement that dynamo does not know; and
# assembly that runs on a GPU alone.
EAGER = {"make_fx real", "make_fx fake", "make_fx symbolic", "export"}
DYNAMO = {"compile", "compile dynamic", "aot", "aot dynamic"}
UNTRACED = {
    "flex_attention.simple": EAGER - {"make_fx real"},
    "flex_attention_backward.simple": EAGER,
    "flex_attention_backward.explicit_buffers": EAGER,
    "invoke_quant.simple": {"export"},
    "local_map_hop.simple": {"export"} | DYNAMO,
    "register_hook.simple": DYNAMO,
    "inline_asm_elementwise.simple": {"make_fx real"} | DYNAMO,
}
RUNS_ON_A_GPU = {"inline_asm_elementwise.simple"}
NESTED = {
    "map.nested": {"make_fx symbolic", "export", "compile", "aot"},
    "map.triple_nested": {"make_fx real", "compile"},
}
"""Entries that are others once more in each other, which take long: in these ways alone."""

TRAINED_WAYS = ("compile", "aot")
UNTRAINED = {"flex_attention.simple", "local_map_hop.simple", "invoke_quant.simple"}

if not higher_order.MAPS_TREES:
    UNTRACED |= dict.fromkeys(("map.simple", *NESTED), DYNAMO)
    UNTRAINED |= {"map.simple"}


@functools.cache
def operators() -> dict[str, Any]:
    """The entries of hop_db by name; importing them takes seconds."""
    return {hop_db.operator_name(operator): operator for operator in hop_db.operators()}


def targets(module: GraphModule) -> Iterator[Any]:
    """Every target of a graph and of its subgraphs."""
    for part in module.modules():
        if isinstance(part, GraphModule):
            yield from (node.target for node in part.graph.nodes)


def higher_order_targets(module: GraphModule) -> set[str]:
    operators = (target for target in targets(module) if isinstance(target, torch._ops.HigherOrderOperator))
    return {str(operator) for operator in operators}


@pytest.mark.slow
@pytest.mark.parametrize("way", capture.WAYS)
def test_every_entry_of_hop_db_comes_back_exact(way: str) -> None:
    problems: list[str] = []
    tested = set()
    for name, operator in operators().items():
        if way not in NESTED.get(name, capture.WAYS):
            continue
        for found in hop_db.traced(operator, (way,)):
            if isinstance(found, capture.Refused):
                continue
            tested.add(name)
            runs = name not in RUNS_ON_A_GPU
            problems += problems_of_round_trip(found.name, found.graph_module, found.inputs, run=runs)
    assert problems == [], "\n".join(problems)
    untested = {
        name
        for name in operators()
        if way in UNTRACED.get(name, ()) or way not in NESTED.get(name, capture.WAYS)
    }
    assert operators().keys() - tested <= untested, "entries of which nothing was tested"


@pytest.mark.slow
@pytest.mark.parametrize("way", TRAINED_WAYS)
def test_every_entry_of_hop_db_that_trains_comes_back_exact(way: str) -> None:
    problems: list[str] = []
    tested = set()
    for name, operator in operators().items():
        if not operator.supports_autograd or name in NESTED:
            continue
        for found in hop_db.traced(operator, (way,), gradient=True):
            if isinstance(found, capture.Refused):
                continue
            tested.add(name)
            problems += problems_of_round_trip(found.name, found.graph_module, found.inputs)
    assert problems == [], "\n".join(problems)
    trained = {name for name, operator in operators().items() if operator.supports_autograd}
    assert trained - tested <= UNTRAINED | set(NESTED)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", higher_order.PROGRAMS)
def test_other_programs_come_back_exact(name: str) -> None:
    wanted = higher_order.PROGRAMS[name]
    brought = releases.span_of(f"torch.ops.higher_order.{wanted.operator}")
    if brought is not None and releases.number_of(brought[0]) > RELEASE:
        pytest.skip(f"torch {brought[0]} brought the operator {wanted.operator}")
    problems, ways, called = [], [], set()
    for found in higher_order.graphs_of(name):
        assert isinstance(found, capture.Captured), found
        ways.append(found.name)
        called |= higher_order_targets(found.graph_module)
        problems += problems_of_round_trip(
            found.name, found.graph_module, found.inputs, trust=wanted.trust, run=wanted.runs
        )
    assert problems == [], "\n".join(problems)
    assert len(ways) >= len(wanted.ways)
    assert wanted.operator in called


def test_graphs_that_only_passes_make_come_back_exact() -> None:
    for operator, found, trust in higher_order.made():
        runs = operator != "executorch_call_delegate"  # it asks its module for an ExportedProgram
        assert operator in higher_order_targets(found.graph_module)
        assert problems_of_round_trip(operator, found.graph_module, found.inputs, trust=trust, run=runs) == []


def test_every_operator_of_this_torch_is_kept_or_refused_with_a_reason() -> None:
    refused: dict[str, str] = {}
    for name, operator in sorted(torch._ops._higher_order_ops.items()):
        graph = fx.Graph()
        graph.output(graph.call_function(operator, (graph.placeholder("x"),) * 2))
        module = GraphModule(nn.Module(), graph)
        try:
            again = fxarchive.loads(fxarchive.dumps(module))
        except UnsupportedValue as error:
            refused[name] = error.problems[0].why
        else:
            assert next(n for n in again.graph.nodes if n.op == "call_function").target is operator
    assert set(refused) == set(PROCESS_BOUND) & set(torch._ops._higher_order_ops)
    for name, why in refused.items():
        assert why.startswith(f"it is the operator {name}, ")
        assert "; " in why, "the remedy"


# functions in metadata that operators call


def checkpointed(function: Any) -> GraphModule:
    module = fx.symbolic_trace(nn.ReLU())
    module.meta["_checkpoint_context_fn"] = function
    return module


def contexts() -> Any:
    """What a user gives to checkpoint(context_fn=)."""


CONTEXTS = f"{__name__}.contexts"


def test_a_function_that_an_operator_calls_must_be_trusted() -> None:
    data = fxarchive.dumps(checkpointed(contexts))
    with pytest.raises(UntrustedNames) as raised:
        fxarchive.loads(data)
    assert raised.value.names == (CONTEXTS,)
    assert fxarchive.loads(data, trust=[CONTEXTS]).meta["_checkpoint_context_fn"] is contexts


def test_a_local_function_that_an_operator_calls_is_refused() -> None:
    with pytest.raises(UnsupportedValue, match=r"meta\['_checkpoint_context_fn'\].*lambdas"):
        fxarchive.dumps(checkpointed(lambda: None))


# operators that are not there


def test_an_operator_that_a_package_registers_names_its_module() -> None:
    def change(document: dict[str, Any]) -> None:
        document["targets"][0] = ["higher_order", "somebodys_operator", "somebody.operators"]

    with pytest.raises(MissingOperator, match=r"import somebody\.operators first, which registers it"):
        through_the_codec(calling(torch.ops.higher_order.cond), change=change)


def test_an_operator_of_another_torch_says_so() -> None:
    def change(document: dict[str, Any]) -> None:
        document["targets"][0] = ["higher_order", "flux", "torch._higher_order_ops.flux"]

    with pytest.raises(
        MissingOperator, match="no such higher-order operator; load with a release that has it"
    ):
        through_the_codec(calling(torch.ops.higher_order.cond), change=change)


def calling(operator: Any) -> GraphModule:
    graph = fx.Graph()
    graph.output(graph.call_function(operator, (graph.placeholder("x"),) * 2))
    return GraphModule(nn.Module(), graph)


LAZY = """
import sys, torch, fxarchive
assert "torch._higher_order_ops.register_hook" not in sys.modules
module = fxarchive.load(sys.argv[1])
print([str(node.target) for node in module.graph.nodes if node.op == "call_function"])
"""


def test_a_module_of_torch_that_registers_an_operator_is_imported(tmp_path: Any) -> None:
    import subprocess
    import sys

    registered = pytest.importorskip("torch._higher_order_ops.register_hook")
    path = tmp_path / "hook.fxa"
    fxarchive.save(calling(registered.register_hook_op), path)
    done = subprocess.run(
        [sys.executable, "-c", LAZY, str(path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "['register_hook']", done.stderr
