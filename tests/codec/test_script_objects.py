"""Objects of TorchBind classes, with the library that torch tests them with, and the fakes that stand for them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._library.fake_class_registry import FakeScriptObject

import fxarchive
from fxarchive import codec
from fxarchive.errors import InvalidDocument, MissingOperator, UnsupportedValue, UntrustedNames

from ..compare import assert_same, differences
from .through import through_the_codec

FOO = "__torch__.torch.classes._TorchScriptTesting._Foo"


@pytest.fixture(scope="module")
def library() -> Any:
    """Torch's test library of TorchBind classes, where the installation has it."""
    from torch.testing._internal import torchbind_impls

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torchbind_impls.init_torchbind_implementations()
    except OSError as error:
        pytest.skip(f"torch has no library of TorchBind test classes ({error})")
    return torch.classes._TorchScriptTesting


class Adds(nn.Module):
    def __init__(self, held: Any) -> None:
        super().__init__()
        self.held = held

    def forward(self, x: torch.Tensor) -> Any:
        return x + self.held.add_tensor(x)


def test_an_object_comes_back_to_whoever_trusts_its_class(library: Any) -> None:
    foo = library._Foo(10, 20)
    data = fxarchive.dumps([foo, foo, library._Foo(1, 2)])
    with pytest.raises(UntrustedNames) as raised:
        fxarchive.loads(data)
    assert raised.value.names == (FOO,)
    again = fxarchive.loads(data, trust=[FOO])
    assert_same([foo, foo, library._Foo(1, 2)], again)
    assert again[0].info() == foo.info()
    assert fxarchive.dumps(again) == data
    assert differences([foo], [library._Foo(10, 21)])


def test_state_with_tensors_comes_back(library: Any) -> None:
    queue = library._TensorQueue(torch.zeros(2))
    queue.push(torch.arange(3.0))
    (again,) = through_the_codec([queue], trust=("__torch__.torch.classes._TorchScriptTesting._TensorQueue",))
    assert again.size() == 1
    assert torch.equal(again.pop(), torch.arange(3.0))


@pytest.mark.filterwarnings("ignore")
def test_a_graph_that_calls_one_comes_back(library: Any) -> None:
    foo = library._Foo(10, 20)
    program = torch.export.export(Adds(foo), (torch.ones(2),), strict=False)
    module = program.graph_module
    data = fxarchive.dumps(module)
    again = fxarchive.loads(data)
    assert_same(module, again)
    assert fxarchive.dumps(again) == data
    held = next(node.meta["val"].fake_val for node in again.graph.nodes if node.op == "placeholder")
    assert type(held) is FakeScriptObject
    assert held.script_class_name == FOO
    inputs = (foo, torch.ones(2))
    assert_same(module(*inputs), again(*inputs))


def test_a_module_that_holds_one_comes_back(library: Any) -> None:
    module = Adds(library._Foo(3, 4))
    again = through_the_codec(module, trust=(FOO, f"{__name__}.Adds"))
    assert torch.equal(again(torch.ones(2)), module(torch.ones(2)))


def test_a_class_that_does_not_pickle_is_refused(library: Any) -> None:
    with pytest.raises(
        UnsupportedValue, match=r"does not pickle; give the class def_pickle, or make the object"
    ):
        fxarchive.dumps([library._ReLUClass()])


def test_fakes_need_no_library() -> None:
    fake = FakeScriptObject(None, FOO, None)
    again = through_the_codec([fake, fake])
    assert_same([fake, fake], again)
    assert differences([fake], [FakeScriptObject(None, "other", None)])
    assert codec.encode([fake]).features == {"script-objects"}


def test_a_class_that_is_not_registered_says_what_to_do() -> None:
    def change(document: dict[str, Any]) -> None:
        document["targets"].append(["class", "__torch__.torch.classes.gone.Gone"])
        document["script_objects"][0] = ["object", 0, 1]

    with pytest.raises(MissingOperator, match=r"load the library that registers it first"):
        through_the_codec(
            [FakeScriptObject(None, FOO, None)], change=change, trust=("__torch__.torch.classes.gone.Gone",)
        )


def put(record: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["targets"].append(["class", "builtins.dict"])
        document["script_objects"][0] = record

    return change


@pytest.mark.parametrize(
    "record",
    [
        ["object", 0, 1],
        ["object", 7, 1],
        ["object", 0],
        ["fake", 1],
        ["fake", "x" * 1001],
        ["other", "x"],
        [],
        "fake",
    ],
)
def test_hostile_rows_are_refused(record: Any) -> None:
    with pytest.raises(InvalidDocument):
        through_the_codec([FakeScriptObject(None, FOO, None)], change=put(record))


def test_hostile_state_is_refused(library: Any) -> None:
    def change(document: dict[str, Any]) -> None:
        document["script_objects"][0][2] = ["list", ["a", "b"]]

    with pytest.raises(InvalidDocument, match="does not take its state"):
        through_the_codec([library._Foo(1, 2)], change=change, trust=(FOO,))
