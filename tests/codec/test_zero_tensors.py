"""FakeTensors that are zeros without elements, behind a feature flag of their own."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import fxarchive
from fxarchive import codec, errors
from fxarchive.codec.fast import zero_tensors
from fxarchive.document import FEATURES, FLAG_OF_FACT, ZERO_TENSORS

from ..compare import assert_same
from .round_trip import problems_of_round_trip
from .tables import Bytes, again, decode, encode


@pytest.fixture
def mode() -> FakeTensorMode:
    FakeTensorMode.cache_clear()  # a view that torch remembers from usual tensors is a usual one
    return FakeTensorMode(allow_non_fake_inputs=True)


def zeros(mode: FakeTensorMode, *size: Any, **options: Any) -> Any:
    with mode:
        return torch._efficientzerotensor(size, **options)


def views(mode: FakeTensorMode) -> list[Any]:
    base = zeros(mode, 4, 6)
    with mode:
        return [
            base,
            base.t(),
            base[1:, ::2],
            base.view(torch.int32),
            base.expand(2, 4, 6),
            base[2:].detach(),
        ]


def of_complex_numbers(mode: FakeTensorMode) -> list[Any]:
    base = zeros(mode, 4, 2, dtype=torch.complex64)
    with mode:
        return [base, base.conj(), base.real, base.imag, base.conj().imag, torch.view_as_real(base)]


def of_symbols(mode: FakeTensorMode) -> list[Any]:
    mode = FakeTensorMode(shape_env=ShapeEnv())
    usual = mode.from_tensor(torch.empty(5, 7))
    with mode:
        base = torch._efficientzerotensor(usual.shape)
        again = torch._efficientzerotensor(usual.shape)
        trained = torch._efficientzerotensor((usual.shape[0], 3)).requires_grad_()
        return [usual, base, again, base.t(), base[2:], base.t().detach(), again[1:].detach(), trained]


def with_more(mode: FakeTensorMode) -> list[Any]:
    leaf, constant = zeros(mode, 3, requires_grad=True), zeros(mode, 3)
    leaf.grad, constant.constant = zeros(mode, 3), torch.zeros(3)
    constant.note = "seven"
    return [leaf, constant, torch.nn.Parameter(zeros(mode, 3))]


def in_inference(mode: FakeTensorMode) -> list[Any]:
    with torch.inference_mode():
        base = zeros(mode, 3, 4)
        with mode:
            return [base, base.t()]


CASES: dict[str, Callable[[FakeTensorMode], list[Any]]] = {
    "sizes and dtypes": lambda mode: [
        *[zeros(mode, *size) for size in ((), (0, 2), (3,), (3,))],
        *[zeros(mode, 2, dtype=dtype) for dtype in (torch.int64, torch.bool, torch.complex64)],
    ],
    "beside usual ones": lambda mode: [zeros(mode, 2), mode.from_tensor(torch.zeros(2)), zeros(mode, 2)],
    "views": views,
    "only a view": lambda mode: [views(mode)[2]],
    "complex numbers": of_complex_numbers,
    "symbols": of_symbols,
    "more": with_more,
    "inference": in_inference,
}


@pytest.mark.parametrize("name", CASES)
def test_every_kind_comes_back(name: str, mode: FakeTensorMode) -> None:
    values = CASES[name](mode)
    loaded = again(values)
    assert_same(values, loaded)
    assert [value._is_zerotensor() for value in loaded] == [value._is_zerotensor() for value in values]
    assert True in [value._is_zerotensor() for value in loaded]
    assert encode(loaded)[0] == encode(values)[0]


def test_a_usual_view_of_zeros_comes_back(mode: FakeTensorMode) -> None:
    """Torch gives it where it remembers the call from usual tensors."""
    with mode:
        torch.empty(4, 6)[1:, ::2]
    found = views(mode)[:3]
    if found[2]._is_zerotensor():
        pytest.skip("this torch does not remember calls across both")
    loaded = again(found)
    assert_same(found, loaded)
    assert [value._is_zerotensor() for value in loaded] == [True, True, False]
    assert loaded[2]._base is loaded[0]


def hessian() -> Any:
    return torch.func.hessian(lambda x: (x**3).sum())


def forward_twice() -> Any:
    def first(x: torch.Tensor) -> Any:
        return torch.func.jvp(lambda y: y.sin() * 2, (x,), (torch.ones_like(x),))[1]

    return lambda x: torch.func.jvp(first, (x,), (torch.ones_like(x),))[1]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("tracing_mode", ["fake", "symbolic"])
@pytest.mark.parametrize("function", [hessian, forward_twice])
def test_graphs_of_second_derivatives_come_back(function: Any, tracing_mode: str) -> None:
    module = make_fx(function(), tracing_mode=tracing_mode)(torch.randn(3))
    values = [node.meta.get("val") for node in module.graph.nodes]
    assert any(isinstance(value, torch.Tensor) and value._is_zerotensor() for value in values)
    assert problems_of_round_trip("graph", module, (torch.randn(3),)) == []
    assert ZERO_TENSORS in fxarchive.inspect(io.BytesIO(fxarchive.dumps(module))).features


def test_operators_treat_a_loaded_one_as_they_treat_a_traced_one(mode: FakeTensorMode) -> None:
    (loaded,) = again([zeros(mode, 3)])
    with loaded.fake_mode:
        usual = torch.empty(3)
        assert (loaded * usual)._is_zerotensor()
        assert not (loaded + usual)._is_zerotensor()
        with pytest.raises(RuntimeError, match="immutable"):
            loaded.add_(1)


def test_only_archives_with_one_name_the_flag(mode: FakeTensorMode) -> None:
    assert ZERO_TENSORS in FEATURES
    assert codec.encode([zeros(mode, 2)]).features == {ZERO_TENSORS}
    assert codec.encode([mode.from_tensor(torch.zeros(2))]).features == frozenset()


def test_a_reader_without_the_flag_refuses(mode: FakeTensorMode, monkeypatch: pytest.MonkeyPatch) -> None:
    data = fxarchive.dumps([zeros(mode, 2)])
    monkeypatch.setattr("fxarchive.api.FEATURES", FEATURES - {ZERO_TENSORS})
    with pytest.raises(errors.TooNew, match=ZERO_TENSORS):
        fxarchive.loads(data)


@pytest.mark.parametrize("fact", sorted(FLAG_OF_FACT))
@pytest.mark.parametrize("value", [True, False])
def test_a_fact_is_refused_without_its_flag(mode: FakeTensorMode, fact: str, value: bool) -> None:
    document = codec.encode([mode.from_tensor(torch.zeros(2))]).document
    document["descriptions"][0].append({fact: value})
    sections: Any = Bytes({})
    flag = FLAG_OF_FACT[fact]
    with pytest.raises(
        errors.InvalidDocument, match=rf"descriptions\[0\]\['{fact}'\].* flag '{flag}' that it needs"
    ):
        codec.decode(document, sections, features=FEATURES - {flag})
    (loaded,) = codec.decode(document, sections, features=frozenset({flag}))
    assert loaded._is_zerotensor() == value


HOSTILE: list[list[Any]] = [
    ["float32", "cpu", [3], None, {"zero": 1}],
    ["float32", "cpu", [3, 3], None, {"layout": "sparse_coo", "nnz": 0, "dense": 0, "zero": True}],
    ["float32", "cpu", [3], [2**62], {"zero": True}],
    ["float32", "cpu", [3], None, {"zero": True, "nbytes": 11}],
]


@pytest.mark.parametrize("description", HOSTILE, ids=str)
def test_hostile_descriptions_are_refused(mode: FakeTensorMode, description: Any) -> None:
    document, sections = encode([zeros(mode, 3)])
    document["descriptions"][0] = description
    with pytest.raises(errors.InvalidDocument, match=r"descriptions\[0\]"):
        decode(document, sections)


def test_a_torch_that_cannot_make_one_over_a_storage_refuses(
    mode: FakeTensorMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, sections = encode([zeros(mode, 3)])
    monkeypatch.delattr("torch._C._ExcludeDispatchKeyGuard")
    with pytest.raises(errors.InvalidDocument, match="hides ZeroTensors"):
        decode(document, sections)
    monkeypatch.undo()
    monkeypatch.setattr(torch.Tensor, "_is_zerotensor", lambda self: False)
    with pytest.raises(RuntimeError, match="makes no ZeroTensors"):
        zero_tensors.like(torch.empty(3, device="meta"))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_real_one_is_refused_with_its_path(device: str) -> None:
    value = torch._efficientzerotensor((3,), device=device)
    module = torch.fx.symbolic_trace(torch.nn.ReLU())
    module.held = value
    with pytest.raises(errors.UnsupportedValue, match=r"held: .*use \.clone\(\)"):
        fxarchive.dumps(module)
    module.held = value.clone()
    assert_same(module, fxarchive.loads(fxarchive.dumps(module)))
