"""Graphs of `prepare_pt2e` and `convert_pt2e`: `train` and `eval` that quantization took over, annotations, guards."""

from __future__ import annotations

import copy
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx, nn

import fxarchive
from fxarchive import codec, errors
from fxarchive.codec.fast import unlifting
from fxarchive.codec.running_torch import RunningTorch
from fxarchive.codec.training_modes import FACTORIES, Missing
from fxarchive.document import FEATURES, TRAINING_MODES

from ..compare import assert_same
from .tables import Bytes

KINDS = sorted(FACTORIES)

SOURCE = """
import types
import torch

def _disallow_eval_train(model):
    error_message = "not for exported models"

    def _train(self, mode=True):
        raise NotImplementedError(error_message)

    def _eval(self, mode=True):
        raise NotImplementedError(error_message)

    model.train = types.MethodType(_train, model)
    model.eval = types.MethodType(_eval, model)
    return model

def _allow_exported_model_train_eval(model):
    def _train(self, mode=True):
        self.switched = mode

    def _eval(self):
        self.switched = False

    model.train = types.MethodType(_train, model)
    model.eval = types.MethodType(_eval, model)
    return model
"""


def plain() -> fx.GraphModule:
    return fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))


@pytest.fixture
def factory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The function of a package that stands in for the one that this process may lack."""
    module_name, _, name = FACTORIES[request.param].rpartition(".")
    module = types.ModuleType(module_name)
    exec(SOURCE, vars(module))
    monkeypatch.setitem(sys.modules, module_name, module)
    return vars(module)[name]


@pytest.mark.parametrize("factory", KINDS, ids=str, indirect=True)
def test_methods_of_a_package_that_is_there_come_back(factory: Any) -> None:
    module = factory(plain())
    loaded = fxarchive.loads(fxarchive.dumps(module))
    assert_same(module, loaded)
    for name in ("train", "eval"):
        method, own = vars(loaded)[name], vars(module)[name]
        assert method.__self__ is loaded
        assert method.__func__.__code__ is own.__func__.__code__
    assert fxarchive.dumps(loaded) == fxarchive.dumps(module)


@pytest.mark.parametrize("factory", [("torchao", "rewrite")], ids=str, indirect=True)
def test_methods_of_a_package_that_is_missing_say_so_and_are_saved_again(
    factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = fxarchive.dumps(factory(plain()))
    monkeypatch.delitem(sys.modules, FACTORIES["torchao", "rewrite"].rpartition(".")[0])
    loaded = fxarchive.loads(data)
    with pytest.raises(NotImplementedError, match=r"of torchao, which .* import torchao"):
        loaded.eval()
    with pytest.raises(NotImplementedError, match=r"torch 2\.10 or earlier"):
        loaded.train(False)
    assert fxarchive.dumps(loaded) == data
    assert loaded(torch.ones(1, 2)).shape == (1, 2)


@pytest.mark.parametrize("factory", [("torchao", "refuse")], ids=str, indirect=True)
def test_only_archives_with_such_a_module_name_the_flag(factory: Any) -> None:
    assert codec.encode(plain()).features == frozenset()
    assert codec.encode(factory(plain())).features == {TRAINING_MODES}


@pytest.mark.parametrize("factory", [("torchao", "refuse")], ids=str, indirect=True)
def test_other_methods_of_that_name_are_refused(factory: Any) -> None:
    def half(module: fx.GraphModule) -> Any:
        del vars(module)["eval"]
        return module

    def foreign(module: fx.GraphModule) -> Any:
        vars(module)["train"] = types.MethodType(lambda self, mode=True: self, module)
        return module

    def of_another(module: fx.GraphModule) -> Any:
        vars(module)["train"] = vars(factory(plain()))["train"]
        return module

    def exchanged(module: fx.GraphModule) -> Any:
        held = vars(module)
        held["train"], held["eval"] = held["eval"], held["train"]
        return module

    for change in (half, foreign, of_another, exchanged):
        with pytest.raises(errors.UnsupportedValue, match=r"train: .* takes the place of Module\.train"):
            fxarchive.dumps(change(factory(plain())))


def document() -> Any:
    module = plain()
    vars(module).update(train=Missing("torchao", "refuse"), eval=Missing("torchao", "refuse"))
    return codec.encode(module).document


@pytest.mark.parametrize(
    "record",
    [None, [], ["torchao"], ["torchao", "run"], ["os", "refuse"], [["torchao"], "refuse"], "torchao"],
)
def test_a_hostile_record_is_refused(record: Any) -> None:
    hostile, sections = document(), Bytes({})
    (row,) = [row for row in hostile["modules"] if "train_eval" in row]
    row["train_eval"] = record
    with pytest.raises(errors.InvalidDocument, match="no package and kind"):
        codec.decode(hostile, sections)


def test_only_a_graph_module_may_have_one_and_only_behind_the_flag() -> None:
    hostile, sections = document(), Bytes({})
    with pytest.raises(
        errors.InvalidDocument, match=r"train and eval: .* the feature flag 'training-modes' that it needs"
    ):
        codec.decode(hostile, sections, features=FEATURES - {TRAINING_MODES})
    for row in hostile["modules"]:
        if "graph" not in row:
            row["train_eval"] = ["torchao", "refuse"]
    with pytest.raises(errors.InvalidDocument, match="of a GraphModule alone"):
        codec.decode(hostile, sections)


@pytest.mark.skipif(
    unlifting.guards_class() is None, reason="torch has no modules that check inputs before 2.9"
)
def test_guards_outside_of_the_module_of_a_program_come_back() -> None:
    dims = {"x": {0: torch.export.Dim("rows", min=2, max=9)}}
    program = torch.export.export(nn.Linear(2, 2), (torch.ones(3, 2),), dynamic_shapes={"input": dims["x"]})
    module = program.module()
    moved = fx.GraphModule(module, module.graph)
    loaded = fxarchive.loads(fxarchive.dumps(moved))
    assert_same(moved, loaded)
    for each in (moved, loaded):
        assert each(torch.ones(4, 2)).shape == (4, 2)
        with pytest.raises((AssertionError, RuntimeError), match="Guard failed"):
            each(torch.ones(10, 2))


class Net(nn.Module):
    """A convolution with batch norm, an addition and a linear layer: what quantizers fuse."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.linear = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(self.conv(x)))
        found: torch.Tensor = self.linear((y + y).mean((2, 3)))
        return found


def quantizer_of(name: str, qat: bool) -> Any:
    if name == "xnnpack":
        xnnpack = pytest.importorskip("torch.ao.quantization.quantizer.xnnpack_quantizer")
        config = xnnpack.get_symmetric_quantization_config(is_per_channel=True, is_qat=qat)
        return xnnpack.XNNPACKQuantizer().set_global(config)
    x86 = pytest.importorskip("torch.ao.quantization.quantizer.x86_inductor_quantizer")
    return x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config(is_qat=qat))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(
    RunningTorch.release not in ("2.7", "2.8", "2.9", "2.10"), reason="quantize_pt2e went to torchao"
)
@pytest.mark.parametrize(("name", "qat"), [("xnnpack", False), ("x86", True)])
def test_programs_of_quantize_pt2e_come_back(name: str, qat: bool, tmp_path: Path) -> None:
    pt2e = pytest.importorskip("torch.ao.quantization.quantize_pt2e")
    torch.manual_seed(0)
    inputs = (torch.randn(2, 3, 6, 6),)
    module = torch.export.export(Net().train(qat), inputs, strict=True).module()
    prepared = (pt2e.prepare_qat_pt2e if qat else pt2e.prepare_pt2e)(module, quantizer_of(name, qat))
    prepared(*inputs)
    fxarchive.save(prepared, tmp_path / "prepared.fxa")
    loaded = fxarchive.load(tmp_path / "prepared.fxa")
    assert_same(prepared, loaded)
    with pytest.raises(NotImplementedError, match="move_exported_model_to_train"):
        loaded.train()
    converted, after = pt2e.convert_pt2e(copy.deepcopy(prepared)), pt2e.convert_pt2e(loaded)
    assert after.code == converted.code
    assert torch.equal(after(*inputs), converted(*inputs))
    back = fxarchive.loads(fxarchive.dumps(converted))
    assert_same(converted, back)
    # converted in place, annotations refer to nodes that are no more
    in_place = pt2e.convert_pt2e(prepared)
    if not qat:
        with pytest.raises(errors.UnsupportedValue, match=r"annotation.*erased.*on_unsupported"):
            fxarchive.dumps(in_place)
    back = fxarchive.loads(fxarchive.dumps(in_place, on_unsupported="drop"))
    assert torch.equal(back(*inputs), converted(*inputs))
