"""What torch does with a restored ShapeEnv: guards for inputs, errors, renamings, several archives in one mode."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import sympy
import torch
from torch import fx
from torch._dispatch.python import enable_python_dispatcher
from torch._dynamo.source import LocalSource
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode, ShapeEnv
from torch.fx.passes.fake_tensor_prop import FakeTensorProp
from torch.utils import _pytree as pytree

import fxarchive
from fxarchive.codec.fast import shape_env_names as names
from fxarchive.errors import FakeModeConflict, UnsupportedValue

from ..compare import assert_same
from .symbolic_cases import CASES, IN_ORDER, Case, backed, traced
from .symbolic_documents import again, encode


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Torch logs each guard that a probe makes fail."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def loaded(case: Case) -> Case:
    env, numbers = again(case.plain())
    return Case(env, numbers, case.inputs)


def round_trip(module: fx.GraphModule, **more: Any) -> Any:
    return fxarchive.loads(fxarchive.dumps(module), **more)


def mode() -> FakeTensorMode:
    return FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)


# guards


def _guarded(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if x.shape[0] * 2 > y.shape[0] and y.shape[0] % 4 == 0:
        return x.sum() * x.shape[0]
    return y.sum()


SHAPES = [((7, 3), (12,)), ((8, 3), (12,)), ((8, 5), (4,)), ((7, 3), (13,)), ((2, 3), (12,)), ((7, 3), (14,))]


def test_guards_for_inputs_accept_and_refuse_as_before() -> None:
    module = traced(_guarded, torch.ones(7, 3), torch.ones(12))
    back = round_trip(module)
    answers = [_accepted(each) for each in (module, back)]
    assert answers[0] == answers[1]
    assert len(set(answers[0])) == 2


def _accepted(module: fx.GraphModule) -> list[bool]:
    env: Any = module.shape_env
    fakes = [node.meta["val"] for node in module.graph.nodes if node.op == "placeholder"]
    return [env.evaluate_guards_for_args(fakes, [torch.ones(size) for size in sizes]) for sizes in SHAPES]


def test_a_guard_that_is_added_after_loading_is_produced_too() -> None:
    back = loaded(CASES["guarded"]())
    sources = [LocalSource(name) for name in back.inputs]
    numbers = [back.numbers[name] for name in back.inputs]
    before = back.env.produce_guards(numbers, sources)
    assert back.numbers["a"] + back.numbers["c"] < 100
    after = back.env.produce_guards(numbers, sources)
    assert len(after) > len(before)
    assert any("100" in line for line in after)


def test_a_loaded_environment_can_be_frozen_and_copied_into_a_checkpoint() -> None:
    case = CASES["guarded"]()
    back = loaded(case)
    back.env.check_equal(loaded(case).env)
    back.env.freeze()
    assert back.env.frozen


# unbacked symbols


def test_a_question_that_data_decides_is_the_error_of_torch() -> None:
    """Torch looks the symbol up in `var_to_stack` for the text; without it the error is a KeyError."""
    for case in (CASES["unbacked"](), loaded(CASES["unbacked"]())):
        with pytest.raises(GuardOnDataDependentSymNode, match="u"):
            bool(case.numbers["v"] > 100)


def test_what_asserts_imply_is_known() -> None:
    """Axioms are not stored: they follow from the asserts."""
    env = ShapeEnv()
    u, v = (env.create_unbacked_symint() for _ in range(2))
    torch._check(u % 4 == 0)
    torch._check(u + v <= 9)
    for first, second in ([u, v], again([u, v])):
        assert first % 4 == 0
        assert first + second <= 9
        with pytest.raises(GuardOnDataDependentSymNode):
            bool(first % 3 == 0)


def test_renamed_unbacked_symbols_stay_renamed() -> None:
    env = ShapeEnv()
    old, new = env.create_unbacked_symint(), env.create_unbacked_symint()
    env._rename_unbacked_to(new.node.expr, old.node.expr)
    both = {"old": old, "new": new}
    assert env.unbacked_renamings
    back_env, back = again([env, both])
    assert back_env.unbacked_renamings == env.unbacked_renamings
    assert {name: str(number.node.expr) for name, number in back.items()} == {
        name: str(number.node.expr) for name, number in both.items()
    }
    assert encode([back_env, back]) == encode([env, both])


def test_new_unbacked_symbols_of_every_kind_are_new() -> None:
    back = loaded(CASES["unbacked"]())
    known = {str(number.node._expr) for number in back.numbers.values()}
    env = back.env
    new = [env.create_unbacked_symint(), env.create_unbacked_symfloat(), env.create_unbacked_symbool()]
    assert not known & {str(symbol) for number in new for symbol in number.node._expr.free_symbols}


def test_hint_overrides_and_real_values_come_back() -> None:
    env = ShapeEnv()
    u = env.create_unbacked_symint()
    names.real_values(env)[u.node.expr] = sympy.Integer(9)
    if "var_to_hint_override" in vars(env):
        env.var_to_hint_override[u.node.expr] = 64
    back, _ = again([env, u])
    assert names.real_values(back) == names.real_values(env)
    assert names.optional(back, "var_to_hint_override", {}) == names.optional(env, "var_to_hint_override", {})


# names


def test_text_of_an_expression_finds_the_restored_symbols() -> None:
    """Inductor's cache reads the sizes that it stored so."""
    case = loaded(CASES["plain"]())
    number = case.numbers["area"]
    found = case.env.deserialize_symexpr(str(number.node.expr))
    assert str(found.node.expr) == str(number.node.expr)
    assert found.node.shape_env is case.env


# what cannot be kept


def test_specializations_are_refused_with_their_place() -> None:
    env = ShapeEnv()
    if "specializations" not in vars(env):
        pytest.skip("torch has them since 2.8")
    env.specializations.add(("a source", "a function"))
    with pytest.raises(UnsupportedValue, match="specialize_on") as caught:
        encode([env])
    assert [path for path, _ in caught.value.problems] == ["shape_env.specializations"]


def test_what_a_reader_would_refuse_is_refused_at_save() -> None:
    """A power whose exponent is worth much would take for ever to evaluate; only the hint tells."""
    env = ShapeEnv()
    small, large = backed(env, "small", 5), backed(env, "large", 5000)
    assert again([env, 2**small])
    with pytest.raises(UnsupportedValue, match="stands in an exponent and is 5000"):
        encode([env, 2**large])


# graphs in one mode


def _narrow(x: torch.Tensor) -> torch.Tensor:
    return x[1:].t() * x.shape[0]


def _wide(x: torch.Tensor, y: torch.Tensor) -> Any:
    return torch.cat([x, y]), x.numel()


def test_two_archives_of_one_program_share_their_symbols_in_one_mode() -> None:
    theirs = mode()
    module = traced(_narrow, torch.ones(5, 4))
    first, second = (round_trip(module, fake_mode=theirs) for _ in range(2))
    assert first.shape_env is second.shape_env is theirs.shape_env
    sizes = [next(iter(each.graph.nodes)).meta["val"].shape for each in (first, second)]
    assert str(sizes[0]) == str(sizes[1])
    assert sizes[0][0] == sizes[1][0]
    assert_same(module, first)
    assert fxarchive.dumps(second) == fxarchive.dumps(first)


def test_archives_whose_symbols_differ_do_not_fit_into_one_mode() -> None:
    theirs = mode()
    round_trip(traced(_narrow, torch.ones(5, 4)), fake_mode=theirs)
    with pytest.raises(FakeModeConflict, match="another symbol"):
        round_trip(traced(_wide, torch.ones(9, 4), torch.ones(3, 4)), fake_mode=theirs)


@IN_ORDER
def test_a_graph_joins_a_mode_that_has_symbols_already() -> None:
    theirs = mode()
    others = [backed(theirs.shape_env, name, 11) for name in ("p", "q")]
    assert others[0] > 3
    back = round_trip(traced(_narrow, torch.ones(5, 4)), fake_mode=theirs)
    fake = next(iter(back.graph.nodes)).meta["val"]
    assert fake.fake_mode is theirs
    assert len({str(fake.shape[0]), *map(str, others)}) == 2 or str(others[0]) != str(fake.shape[0])
    with theirs, enable_python_dispatcher():
        grown = fake.new_empty(fake.shape[0] + others[0])
    assert str(fake.shape[0]) in str(grown.shape[0])


def test_propagation_in_the_mode_of_the_caller() -> None:
    theirs = mode()
    module = traced(_narrow, torch.ones(5, 4))
    back = round_trip(module, fake_mode=theirs)
    fakes = [node.meta["val"] for node in back.graph.nodes if node.op == "placeholder"]
    before = _shapes(back)
    with enable_python_dispatcher():
        FakeTensorProp(back, theirs).propagate_dont_convert_inputs(*fakes)
    assert _shapes(back) == before == _shapes(module)


def _shapes(module: fx.GraphModule) -> list[str]:
    return [
        str(getattr(value, "shape", value))
        for node in module.graph.nodes
        if node.op != "output"  # propagation gives it a value
        for value in pytree.tree_leaves(node.meta.get("val"))
    ]


def test_a_loaded_graph_can_be_traced_again() -> None:
    module = traced(_narrow, torch.ones(5, 4))
    again_traced = [traced(each, torch.ones(6, 4)) for each in (module, round_trip(module))]
    assert again_traced[0].code == again_traced[1].code
    assert _shapes(again_traced[0]) == _shapes(again_traced[1])
