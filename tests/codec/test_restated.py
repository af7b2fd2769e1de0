"""Programs whose guards name inputs in the way of another release than the running one.

Strict exports of torch 2.10 and later are asked of every release as of 2.9: where torch knows numbered inputs, it is
told that it does not.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim, ExportedProgram, export
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import fxarchive
from fxarchive import codec
from fxarchive.codec.fast import unlifting
from fxarchive.codec.restated import restated, written

from ..compare import assert_same
from ..corpus.files import document_of
from ..material import guarded_programs, programs
from .test_programs import outcome

pytestmark = [
    pytest.mark.skipif(unlifting.guards_class() is None, reason="this torch has no guards"),
    pytest.mark.filterwarnings("ignore"),
]

GUARDS = {
    "state": {"L['x'].size()[0] > 3"},
    "shifted": {"L['x'].size()[0] == ((-1) + L['y'].size()[0])"},
    "convolution": {"L['x'].size()[3] >= 3", "((-2) + L['x'].size()[3]) != 1"},
}
"""Some of the guards that each program of the archives must have."""

REFUSED = {
    "state": ((torch.randn(3, 4),), {"more": {"k": torch.randn(5)}}),
    "shifted": ((torch.randn(5), torch.randn(7)), {}),
    "convolution": ((torch.randn(2, 3, 8, 3),), {}),
}
"""Inputs that the guards refuse."""


@pytest.fixture
def names_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this torch know inputs by their names alone."""
    monkeypatch.setattr(unlifting, "knows_numbered_inputs", lambda: False)


def numbers_inputs(program: ExportedProgram) -> bool:
    return any(["L['flat_args']" in guard for guard in program._guards_code])


def check(name: str, program: ExportedProgram) -> None:
    """Run a program with its guards and without, and with inputs that they refuse."""
    inputs = getattr(programs, name)()[1]
    # copies, since buffers change
    expected = outcome(copy.deepcopy(program.module(check_guards=False)), inputs)
    assert not isinstance(expected[0], str), expected
    assert_same(expected, outcome(copy.deepcopy(program.module()), inputs))
    error, text = outcome(program.module(), REFUSED[name])
    assert (error, text[:12]) == ("AssertionError", "Guard failed"), text


@pytest.mark.parametrize("path", guarded_programs.STRICT, ids=lambda path: path.stem)
@pytest.mark.usefixtures("names_alone")
def test_archives_of_other_releases_run(path: Path) -> None:
    loaded = fxarchive.load(path)
    assert loaded.keys() == GUARDS.keys()
    for name, program in loaded.items():
        assert GUARDS[name] <= set(program._guards_code)
        assert not numbers_inputs(program)
        check(name, program)


@pytest.mark.parametrize("path", guarded_programs.STRICT, ids=lambda path: path.stem)
@pytest.mark.usefixtures("names_alone")
def test_what_they_are_decomposed_into_runs(path: Path) -> None:
    for name, program in fxarchive.load(path).items():
        other = program.run_decompositions()
        assert GUARDS[name] <= set(other._guards_code)
        check(name, other)
        check(name, fxarchive.loads(fxarchive.dumps(other)))


@pytest.mark.parametrize("path", guarded_programs.STRICT, ids=lambda path: path.stem)
def test_they_are_saved_again_as_they_were(path: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unlifting, "knows_numbered_inputs", lambda: False)
        loaded = fxarchive.load(path)
        for program in loaded.values():
            program.module()
        again = fxarchive.dumps(loaded)
        assert fxarchive.dumps(fxarchive.loads(again)) == again
    (tmp_path / "again.fxa").write_bytes(again)
    before, after = document_of(path), document_of(tmp_path / "again.fxa")
    assert [program["guards"] for program in after["programs"]] == [
        program["guards"] for program in before["programs"]
    ]
    assert [env["sources"] for env in after["symbolic"]["environments"]] == [
        env["sources"] for env in before["symbolic"]["environments"]
    ]
    # what was saved there runs where numbered inputs are known
    for name, program in fxarchive.loads(again).items():
        check(name, program)


def test_programs_of_torch_2_7_can_be_decomposed() -> None:
    data = guarded_programs.OF_TORCH_2_7.read_bytes()
    loaded = fxarchive.loads(data)
    again = fxarchive.dumps(loaded)
    assert fxarchive.dumps(fxarchive.loads(again)) == again
    for found in (loaded, fxarchive.loads(again)):
        for name in (
            "state",
            "convolution",
        ):  # the sizes of `shifted` are one symbol there, which needs no guard
            other = found[name].run_decompositions()
            assert GUARDS[name] <= set(other._guards_code)
            check(name, other)


class Listed(nn.Module):
    """Its second input is called as torch calls the list of all."""

    def forward(self, x: torch.Tensor, flat_args: list[torch.Tensor]) -> torch.Tensor:
        if flat_args[0].shape[0] > 3 and x.shape[0] > 4:
            x = x + 1
        return x.sum() + flat_args[0].sum() + flat_args[1].sum()


class Alone(nn.Module):
    def forward(self, x: torch.Tensor, flat_args: torch.Tensor) -> torch.Tensor:
        return x.sum() + flat_args.sum() if flat_args.shape[0] > 3 else x.sum()


class Variadic(nn.Module):
    def forward(self, x: torch.Tensor, *flat_args: torch.Tensor) -> torch.Tensor:
        return x.sum() + flat_args[0].sum() if flat_args[0].shape[0] > 3 else x.sum()


class Others(nn.Module):
    def forward(self, x: torch.Tensor, *args: torch.Tensor) -> torch.Tensor:
        return x.sum() + args[0].sum() if args[0].shape[0] > 3 else x.sum()


ROWS = {0: Dim.AUTO}
CALLED_SO = {
    "listed": (
        Listed,
        (torch.randn(7), [torch.randn(8), torch.randn(2)]),
        (ROWS, [ROWS, None]),
        {"L['flat_args'][0].size()[0] > 3", "L['x'].size()[0] > 4"},
    ),
    "listed-alone-dynamic": (
        Listed,
        (torch.randn(7), [torch.randn(8), torch.randn(2)]),
        (None, [ROWS, None]),
        {"L['flat_args'][0].size()[0] > 3"},
    ),
    "alone": (
        Alone,
        (torch.randn(7), torch.randn(8)),
        (ROWS, ROWS),
        {"L['flat_args'].size()[0] > 3"},
    ),
    "variadic": (
        Variadic,
        (torch.randn(7), torch.randn(8)),
        (None, (ROWS,)),
        {"L['flat_args_0'].size()[0] > 3"},
    ),
    "others": (Others, (torch.randn(7), torch.randn(8)), (None, (ROWS,)), {"L['args_0'].size()[0] > 3"}),
}
"""Modules whose inputs are called as torch calls lists of inputs, with inputs, dynamic shapes and guards."""


@pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
@pytest.mark.parametrize("name", CALLED_SO)
@pytest.mark.usefixtures("names_alone")
def test_inputs_that_are_called_as_a_list_of_inputs(name: str, strict: bool) -> None:
    cls, args, shapes, guards = CALLED_SO[name]
    program = export(cls(), args, dynamic_shapes=shapes, strict=strict)
    data = fxarchive.dumps(program)
    loaded = fxarchive.loads(data)
    assert set(loaded._guards_code) == guards
    for held in (loaded, loaded.run_decompositions()):
        assert_same(outcome(cls(), (args, {})), outcome(held.module(), (args, {})))
    assert fxarchive.dumps(loaded) == data


@pytest.mark.usefixtures("names_alone")
def test_two_loads_into_one_mode_share_their_symbols() -> None:
    mode = FakeTensorMode(shape_env=ShapeEnv())
    data = fxarchive.dumps(fxarchive.load(guarded_programs.STRICT[0])["shifted"])
    first, second = (fxarchive.loads(data, fake_mode=mode) for _ in range(2))
    assert first._guards_code == second._guards_code
    assert len(mode.shape_env.var_to_sources) == 2
    for program in (first, second, first.run_decompositions(), second.run_decompositions()):
        check("shifted", program)


@pytest.mark.usefixtures("names_alone")
def test_a_program_without_a_call_graph_loads() -> None:
    program, _ = programs.exported(programs.shifted, strict=True)
    program.module_call_graph.clear()
    assert fxarchive.loads(fxarchive.dumps(program)).module_call_graph == []


def test_programs_stay_as_they_are_where_torch_knows_numbered_inputs() -> None:
    program, _ = programs.exported(programs.shifted, strict=True)
    loaded = fxarchive.loads(fxarchive.dumps(program))
    assert loaded._guards_code == program._guards_code
    assert [type(guard) for guard in loaded._guards_code] == [str]


def test_nothing_is_looked_up_where_nothing_names_an_item_of_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = []
    monkeypatch.setattr(codec.restated, "_names_of_pairs", lambda *_: looked_up.append("pairs") or {})
    program, _ = programs.exported(programs.shifted, strict=False)
    assert program._guards_code
    assert fxarchive.loads(fxarchive.dumps(program))._guards_code == program._guards_code
    assert looked_up == []
    fxarchive.load(guarded_programs.OF_TORCH_2_7)
    assert looked_up


def test_a_guard_that_would_be_none_stays() -> None:
    numbered = "L['flat_args'][0].size()[0] > 3"
    plain = restated(numbered, {"L['flat_args'][0]": "L['x']['k']"})
    assert (plain, written(plain)) == ("L['x']['k'].size()[0] > 3", numbered)
    assert restated(plain, {"L['flat_args'][0]": "L['y']"}) == "L['y'].size()[0] > 3"
    other: Any = restated(numbered, {"L['flat_args'][0]": "L['x'][(1, 2)]"})
    assert other is numbered
    inner = "L['x'].L['flat_args'][0].size()[0] > 3"  # an attribute that is called L
    assert restated(inner, {"L['flat_args'][0]": "L['y']"}) is inner
