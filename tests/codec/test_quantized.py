"""Graphs of FX graph mode quantization: prepared with observers, converted to reference modules, trained."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import fx, nn

import fxarchive
from fxarchive.errors import UnsupportedValue

from ..compare import assert_same
from .round_trip import problems_of_round_trip

quantization = pytest.importorskip("torch.ao.quantization")
quantize_fx: Any = pytest.importorskip("torch.ao.quantization.quantize_fx")

pytestmark = pytest.mark.filterwarnings("ignore")


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.out = nn.Linear(4 * 16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.norm(self.convolution(x))).flatten(1)
        return torch.sigmoid(self.out(hidden)) + 1


X = torch.linspace(-1, 1, 2 * 3 * 36).reshape(2, 3, 6, 6)

CONFIGURATIONS: dict[str, Any] = {
    "default": lambda: quantization.get_default_qconfig_mapping(),
    "dynamic": lambda: quantization.QConfigMapping().set_global(quantization.default_dynamic_qconfig),
    "histograms": lambda: quantization.QConfigMapping().set_global(
        quantization.QConfig(
            quantization.HistogramObserver.with_args(reduce_range=True), quantization.default_weight_observer
        )
    ),
    "some modules": lambda: (
        quantization.QConfigMapping()
        .set_module_name("out", quantization.default_qconfig)
        .set_object_type(torch.sigmoid, None)
        .set_module_name_regex("conv.*", None)
    ),
}


def prepared(name: str) -> fx.GraphModule:
    torch.manual_seed(0)
    module: fx.GraphModule = quantize_fx.prepare_fx(Network().eval(), CONFIGURATIONS[name](), (X,))
    with torch.no_grad():
        module(X)
    return module


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_prepared_graph_comes_back_and_converts_to_the_same(name: str) -> None:
    module = prepared(name)
    assert problems_of_round_trip(name, module, (X,)) == []
    loaded = fxarchive.loads(fxarchive.dumps(module))
    for convert in (quantize_fx.convert_to_reference_fx, quantize_fx.convert_fx):
        one, other = convert(copy.deepcopy(module)), convert(copy.deepcopy(loaded))
        assert other.code == one.code
        assert torch.equal(other(X), one(X))


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_graph_of_reference_modules_comes_back(name: str) -> None:
    module = quantize_fx.convert_to_reference_fx(prepared(name))
    assert problems_of_round_trip(name, module, (X,)) == []


def test_a_graph_for_training_comes_back() -> None:
    mapping = quantization.get_default_qat_qconfig_mapping("x86")
    module = quantize_fx.prepare_qat_fx(Network().train(), mapping, (X,))
    module(X).sum().backward()
    module.zero_grad()
    loaded = fxarchive.loads(fxarchive.dumps(module))
    assert_same(module, loaded)
    assert torch.equal(loaded(X), module(X))
    loaded(X).sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


def test_observers_are_made_on_the_device_of_their_module() -> None:
    module = prepared("default")
    loaded = fxarchive.loads(fxarchive.dumps(module))
    made = loaded.out.qconfig.weight.callable_args["factory_kwargs"]
    assert made() == {"device": torch.device("cpu")}
    assert made.__closure__[0].cell_contents is loaded.out
    assert "lambda" not in repr(fxarchive.dumps(module))


def test_another_function_in_that_place_is_refused() -> None:
    module = prepared("default")
    weight = quantization.default_weight_observer.with_callable_args(factory_kwargs=lambda: None)
    module.out.qconfig = quantization.QConfig(module.out.qconfig.activation, weight)
    with pytest.raises(UnsupportedValue, match=r"factory_kwargs.*not reachable by a module and a name"):
        fxarchive.dumps(module)


def test_packed_weights_are_refused_with_the_remedy() -> None:
    module = quantize_fx.convert_fx(prepared("default"))
    with pytest.raises(UnsupportedValue) as caught:
        fxarchive.dumps(module)
    reasons = {problem.path.partition("[")[0]: problem.why for problem in caught.value.problems}
    assert reasons.keys() == {"_state_dict_hooks", "_load_state_dict_pre_hooks", "convolution"}
    assert all("save the graph of prepare_fx and convert it after loading" in why for why in reasons.values())
