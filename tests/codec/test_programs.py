"""ExportedPrograms and the modules that they give: everything comes back, and does what it did."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._higher_order_ops import while_loop
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram, export

import fxarchive
from fxarchive.codec.running_torch import RunningTorch
from fxarchive.errors import UnsupportedValue, UntrustedNames

from ..compare import assert_same, differences
from ..material import programs
from ..material.programs import TRUST, Inputs


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def outcome(run: Any, inputs: Inputs) -> Any:
    """Return what a call gives, or how it fails; what runs is a copy, since calls change buffers and inputs."""
    torch.manual_seed(0)
    args, kwargs = copy.deepcopy(inputs)
    try:
        with torch.no_grad():
            return run(*args, **kwargs), args
    except Exception as error:
        return type(error).__qualname__, str(error)


def loaded_again(saved: Any) -> Any:
    """Save and load, check that a second save gives the same bytes, and return what was loaded."""
    data = fxarchive.dumps(saved)
    loaded = fxarchive.loads(data, trust=TRUST)
    assert fxarchive.dumps(loaded) == data
    return fxarchive.loads(data, trust=TRUST)


@pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
@pytest.mark.parametrize("build", programs.BUILDERS, ids=lambda build: build.__name__)
def test_a_program_comes_back(build: Any, strict: bool) -> None:
    program, inputs = programs.exported(build, strict=strict)
    loaded = loaded_again(program)
    assert_same(program, loaded)
    assert str(loaded) == str(program)
    assert loaded.graph_signature == program.graph_signature
    assert loaded.call_spec == program.call_spec
    loaded.validate()
    module = program.module()
    again = loaded_again(module)
    assert_same(module, again)
    runs = [copy.deepcopy(run) for run in (module, loaded.module(), again)]
    expected, *found = [outcome(run, inputs) for run in runs]
    for result in found:
        assert_same(expected, result)
    assert_same(runs[0].state_dict(), runs[1].state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("build", programs.BUILDERS, ids=lambda build: build.__name__)
def test_a_loaded_program_gives_what_the_saved_one_gives(build: Any) -> None:
    program, inputs = programs.exported(build)
    loaded = fxarchive.loads(fxarchive.dumps(program), trust=TRUST)
    mine, other = program.run_decompositions(), loaded.run_decompositions()
    assert str(other) == str(mine)
    before, after = (getattr(held, "_guards_code", None) or [] for held in (mine, other))
    if (
        RunningTorch.release == "2.9"
    ):  # it forgets between passes that max(1, x) > 1 says x > 1, and adds that
        after = [guard for guard in after if f"max(1, {guard.removesuffix(' > 1')}) > 1" not in before]
    assert after == before
    assert_same(mine, loaded_again(mine))
    for saved, found in ((program, loaded), (mine, other)):
        exported = [io.BytesIO(), io.BytesIO()]
        torch.export.save(saved, exported[0])
        torch.export.save(found, exported[1])
    mine, other = torch.export.unflatten(program), torch.export.unflatten(loaded)
    assert str(other) == str(mine)
    assert_same(outcome(mine, inputs), outcome(other, inputs))


def wrong_inputs() -> dict[str, Inputs]:
    rows = torch.randn(6)
    return {
        "below the range": ((torch.randn(2, 4),), {"more": {"k": rows}}),
        "specialized size": ((torch.randn(6, 5),), {"more": {"k": rows}}),
        "other tree": ((torch.randn(6, 4),), {"more": rows}),
        "missing": ((torch.randn(6, 4),), {}),
        "other key": ((torch.randn(6, 4),), {"more": {"other": rows}}),
    }


GUARDED = RunningTorch.release not in ("2.7", "2.8")
needs_guards = pytest.mark.skipif(not GUARDED, reason="torch 2.9 brought modules of programs with guards")


@pytest.mark.parametrize(
    "guards", [pytest.param(True, id="guards", marks=needs_guards), pytest.param(False, id="constraints")]
)
def test_a_loaded_module_refuses_what_the_saved_one_refuses(guards: bool) -> None:
    program, inputs = programs.exported(programs.state)
    saved = program.module(check_guards=guards) if GUARDED else program.module()
    loaded = loaded_again(saved)
    assert not isinstance(outcome(copy.deepcopy(loaded), inputs)[0], str)
    for name, wrong in wrong_inputs().items():
        expected, found = outcome(saved, wrong), outcome(loaded, wrong)
        assert isinstance(expected[0], str), name
        assert found == expected
    for method in ("train", "eval"):
        with pytest.raises(NotImplementedError):
            getattr(loaded, method)()


def test_buffers_of_a_loaded_module_change_as_those_of_the_saved_one() -> None:
    program, inputs = programs.exported(programs.state)
    saved = program.module()
    loaded = loaded_again(saved)
    for _ in range(3):
        assert_same(outcome(saved, inputs), outcome(loaded, inputs))
    assert loaded.count.tolist() == [3.0] * 4


def test_a_program_and_its_module_share_what_they_shared() -> None:
    program, _ = programs.exported(programs.tied)
    saved = {"program": program, "module": program.module(), "again": program}
    loaded = loaded_again(saved)
    assert_same(saved, loaded)
    assert loaded["again"] is loaded["program"]
    state = loaded["program"].state_dict
    assert state["embedding.weight"] is state["head.weight"] is loaded["module"].head.weight
    assert isinstance(state["head.weight"], torch.nn.Parameter)
    constants = loaded["program"].constants
    assert len({constant.untyped_storage().data_ptr() for constant in constants.values()}) < len(constants)


def test_a_copy_of_a_module_has_no_hooks_and_comes_back_without() -> None:
    saved = copy.deepcopy(programs.exported(programs.state)[0].module())
    assert not saved._forward_pre_hooks
    assert_same(saved, loaded_again(saved))


def test_registered_containers_must_be_trusted() -> None:
    program, _ = programs.exported(programs.registered)
    data = fxarchive.dumps(program)
    with pytest.raises(UntrustedNames) as raised:
        fxarchive.loads(data)
    assert raised.value.names == TRUST
    assert_same(program.example_inputs, fxarchive.loads(data, trust=TRUST).example_inputs)


@pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
def test_signatures_of_submodules_are_kept(strict: bool) -> None:
    torch.manual_seed(0)
    program = export(
        programs.Layers(),
        (torch.randn(5, 7, 4),),
        preserve_module_call_signature=("first", "layer"),
        strict=strict,
    )
    loaded = loaded_again(program)
    signed = [entry.fqn for entry in loaded.module_call_graph if entry.signature is not None]
    assert signed == ["", "first", "layer", *(["first@1"] if strict else [])]
    assert_same(program, loaded)


def test_what_is_saved_without_weights_takes_them_from_a_state_dict() -> None:
    program, inputs = programs.exported(programs.tied)
    data = fxarchive.dumps(program, weights="omit")
    state = {name: tensor for name, tensor in program.state_dict.items() if name != "head.weight"}
    loaded = fxarchive.loads(data, state_dict=state)
    assert loaded.state_dict["head.weight"] is state["embedding.weight"]
    assert_same(program.state_dict, loaded.state_dict)
    assert_same(outcome(program.module(), inputs), outcome(loaded.module(), inputs))
    for wrong, text in (({}, "missing embedding.weight"), ({**state, "x": state["first"]}, "unexpected x")):
        with pytest.raises(ValueError, match=text):
            fxarchive.loads(data, state_dict=wrong)
    with pytest.raises(ValueError, match="first has shape"):
        fxarchive.loads(data, state_dict={**state, "first": torch.ones(5), "second": torch.ones(5)})
    plain = {name: tensor.detach() for name, tensor in state.items()}
    assert isinstance(fxarchive.loads(data, state_dict=plain).state_dict["head.weight"], torch.nn.Parameter)


@pytest.mark.parametrize("what", ["program", "module"])
def test_example_inputs_are_replayed(what: str) -> None:
    program, inputs = programs.exported(programs.mutating)
    saved = program if what == "program" else program.module()
    path = f"memory://{what}-of-test-programs.fxa"
    fxarchive.save(saved, path, example_inputs=inputs[0])
    assert fxarchive.verify(path, run=True).outputs_compared == 2
    assert program.state_dict["steps"].item() == 0


def test_example_inputs_of_a_program_may_be_its_own() -> None:
    program, _ = programs.exported(programs.state)
    fxarchive.save(program, "memory://own-inputs.fxa", example_inputs=program.example_inputs)
    assert fxarchive.verify("memory://own-inputs.fxa", run=True).outputs_compared == 2


def test_inspect_shows_the_inputs_and_outputs_of_the_caller() -> None:
    program, _ = programs.exported(programs.mutating)
    fxarchive.save(program.run_decompositions({}), "memory://inspected.fxa")
    info = fxarchive.inspect("memory://inspected.fxa")
    contents = info.contents
    assert info.root == "ExportedProgram"
    assert "exported-programs" in info.features
    assert [port.text for port in contents.inputs] == ["f32[3, 4]", "f32[3, 4]"]
    assert [port.text for port in contents.outputs] == ["f32[3, 4]", "i64[]"]
    assert (contents.parameters, contents.buffers) == (0, 5)
    assert {name for weight in contents.weights for name in weight.names} == {"total", "steps"}


def test_archives_without_programs_do_not_carry_the_flag() -> None:
    fxarchive.save(torch.fx.symbolic_trace(torch.nn.ReLU()), "memory://plain.fxa")
    assert "exported-programs" not in fxarchive.inspect("memory://plain.fxa").features


# what cannot be kept


def refusals(obj: Any) -> dict[str, str]:
    with pytest.raises(UnsupportedValue) as raised:
        fxarchive.dumps(obj)
    return dict(raised.value.problems)


def test_hooks_of_the_user_are_refused() -> None:
    module = programs.exported(programs.custom)[0].module()
    module.register_forward_pre_hook(lambda module, args: None)
    assert "is code and code is never stored" in next(iter(refusals(module).values()))


def test_attributes_of_the_user_are_refused() -> None:
    program, _ = programs.exported(programs.custom)
    program.note = "mine"
    assert "keep it in a dict beside the program" in refusals([program])["[0].note"]


@pytest.mark.skipif(not hasattr(torch.export, "draft_export"), reason="this torch exports no drafts")
@pytest.mark.filterwarnings("ignore")
def test_a_draft_is_kept_without_its_report_and_its_inputs() -> None:
    class Found(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.nonzero() + 1

    x = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    draft: Any = torch.export.draft_export(Found(), (x,))
    found = refusals(draft)
    assert "read it and delete it" in found["_report"]
    assert "set it to None" in found["graph_module.graph.x.meta['val']"]
    del draft._report
    for node in draft.graph.nodes:
        if isinstance(node.meta.get("val"), FakeTensor):
            node.meta["val"].real_tensor = None
    loaded = fxarchive.loads(fxarchive.dumps(draft))
    assert_same(draft, loaded)
    assert torch.equal(loaded.module()(x), Found()(x))


@needs_guards
def test_guards_that_were_replaced_are_refused() -> None:
    module = programs.exported(programs.state)[0].module()
    module._guards_fn.forward = lambda *args: print("hello")
    assert "save the ExportedProgram itself" in refusals(module)["_guards_fn"]


def test_unflattened_modules_are_refused_with_the_remedy() -> None:
    module = torch.export.unflatten(programs.exported(programs.custom)[0])
    assert "save that and unflatten it after loading" in refusals(module)["the object"]


def test_a_program_that_was_unflattened_is_saved_as_before() -> None:
    program, _ = programs.exported(programs.custom)
    before = fxarchive.dumps(program)
    unflattened = torch.export.unflatten(program)
    assert program.graph_module.meta["unflattened_module"] is unflattened
    assert fxarchive.dumps(program) == before
    assert program.graph_module.meta["unflattened_module"] is unflattened
    program.graph_module.meta["unflattened_module"] = "a note of the user's"
    assert fxarchive.loads(fxarchive.dumps(program)).graph_module.meta == program.graph_module.meta


def test_a_program_is_the_same_before_and_after_its_module_was_compiled() -> None:
    program, _ = programs.exported(programs.tied)
    args, kwargs = program.example_inputs
    before = fxarchive.dumps(program)
    torch.compile(program.module(), backend="eager")(*args, **kwargs)
    torch._dynamo.reset()
    assert fxarchive.dumps(program) == before


class Loop(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return while_loop(lambda i, t: i < 3, lambda i, t: (i + 1, t * 2), (torch.tensor(0), x))


def test_a_loop_without_symbols_decomposes_after_loading() -> None:
    program = export(Loop(), (torch.ones(2),))
    loaded = fxarchive.loads(fxarchive.dumps(program))
    assert str(loaded.run_decompositions()) == str(program.run_decompositions())
    module = fxarchive.loads(fxarchive.dumps(program.graph_module))
    mode = next(node.meta["val"].fake_mode for node in module.graph.nodes if node.op == "placeholder")
    assert mode.shape_env is not None


def test_what_dynamo_captures_with_a_codegen_of_its_own_is_refused_with_the_remedy() -> None:
    functional_export = pytest.importorskip("torch._dynamo.functional_export", reason="torch 2.9 brought it")
    capture = getattr(functional_export, "dynamo_graph_capture_for_export", None)
    if capture is None:
        pytest.skip("this torch has no such capture")
    module = capture(programs.State())(torch.randn(5, 4), more={"k": torch.randn(5)})
    if type(module.graph._codegen).__name__ in ("CodeGen", "_PyTreeCodeGen"):
        pytest.skip("this torch captures with a plain codegen")
    assert "save the ExportedProgram" in refusals(module)["graph.codegen"]


def test_names_with_quotes_are_refused() -> None:
    class Keys(torch.nn.Module):
        def forward(self, x: dict[str, torch.Tensor], name: str) -> torch.Tensor:
            return x["it's"] + 1

    program = export(Keys(), ({"it's": torch.ones(2)}, 'say "x"'))
    found = refusals(program)
    assert "has quotes" in found["example_inputs"]
    assert "has quotes" in found["graph.name"]


def test_a_verifier_that_torch_does_not_know_is_refused() -> None:
    program, _ = programs.exported(programs.custom)
    ATEN = type("Mine", (), {"dialect": "ATEN"})
    program._verifiers = [ATEN]
    assert "keep a verifier with a dialect of its own" in refusals(program)["verifiers"]


def test_the_comparer_sees_what_changes_in_a_program() -> None:
    program, _ = programs.exported(programs.state)

    def changed(change: Any) -> list[str]:
        loaded = fxarchive.loads(fxarchive.dumps(program))
        change(loaded)
        return differences(program, loaded)

    def swap(held: dict[str, Any], name: str) -> None:
        held[name] = held[name] + 1

    assert changed(lambda p: None) == []
    assert changed(lambda p: setattr(p.graph_signature.input_specs[0], "target", "other"))
    assert changed(lambda p: setattr(p.graph_signature.input_specs[2], "persistent", None))
    assert changed(lambda p: p.graph_signature.output_specs.pop())
    assert changed(lambda p: swap(p.state_dict, "count"))
    assert changed(lambda p: swap(p.constants, "shift"))
    assert changed(lambda p: p.range_constraints.popitem())
    assert changed(lambda p: p.module_call_graph.pop())
    assert changed(lambda p: setattr(p.module_call_graph[0].signature, "forward_arg_names", ["x"]))
    assert changed(lambda p: setattr(p, "_example_inputs", None))
    assert changed(lambda p: setattr(p, "_verifiers", []))
    assert changed(lambda p: setattr(p, "_guards_code", []))


def test_the_comparer_sees_what_changes_in_a_module_of_a_program() -> None:
    module = programs.exported(programs.state)[0].module()

    def changed(change: Any) -> list[str]:
        loaded = fxarchive.loads(fxarchive.dumps(module))
        change(loaded)
        return differences(module, loaded)

    def without_flag(loaded: Any) -> None:
        loaded._forward_pre_hooks_with_kwargs.clear()

    def other_guards(loaded: Any) -> None:
        loaded._guards_fn = programs.exported(programs.layers)[0].module()._guards_fn

    assert changed(lambda m: None) == []
    assert changed(lambda m: m._forward_hooks.clear())
    assert changed(lambda m: m._forward_pre_hooks.popitem())
    assert changed(without_flag)
    if GUARDED:
        assert changed(other_guards)
    assert changed(lambda m: setattr(m, "train", m.eval))
    assert changed(lambda m: vars(m).pop("eval"))
    assert changed(lambda m: m.range_constraints.clear())
    assert changed(lambda m: setattr(m, "validate_inputs", False))


def test_a_program_is_a_program() -> None:
    loaded = loaded_again(programs.exported(programs.custom)[0])
    assert type(loaded) is ExportedProgram


def test_what_strict_exports_of_some_releases_leave_in_metadata_is_a_dict() -> None:
    """Since torch 2.9 it is of a class of its own, by which torch finds it again."""
    from torch.export import _trace

    kind = getattr(_trace, "_ExportModuleSpecTrackerDict", dict)
    back = fxarchive.loads(fxarchive.dumps([kind({"linear": {"in_spec": 1}})]))
    assert back == [{"linear": {"in_spec": 1}}]
    assert type(back[0]) is dict


def test_a_strict_export_comes_back() -> None:
    """In torch 2.7 and 2.8 its metadata names modules by how dynamo reaches them."""
    x = torch.randn(2, 4)
    program = torch.export.export(
        torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()), (x,), strict=True
    )
    back = fxarchive.loads(fxarchive.dumps(program))
    stacks = [  # keys are addresses in some releases, and numbered anew
        [list(node.meta.get("nn_module_stack", {}).values()) for node in held.graph.nodes]
        for held in (program, back)
    ]
    assert stacks[0] == stacks[1]
    assert torch.equal(back.module()(x), program.module()(x))
