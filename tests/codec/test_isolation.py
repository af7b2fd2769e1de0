"""Saving and loading inside of whatever the caller has switched on give what they give outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import fxarchive

from ..corpus import values
from ..material import symbolic

_functorch: Any = torch._C._functorch


@contextmanager
def vmapped() -> Iterator[None]:
    _functorch._vmap_increment_nesting(3, "error")
    try:
        yield
    finally:
        _functorch._vmap_decrement_nesting()


@contextmanager
def differentiated() -> Iterator[None]:
    _functorch._grad_increment_nesting()
    try:
        yield
    finally:
        _functorch._grad_decrement_nesting()


@contextmanager
def functionalized() -> Iterator[None]:
    _functorch._func_increment_nesting(True)
    try:
        yield
    finally:
        _functorch._func_decrement_nesting()


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def in_double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


class Raising(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} was called in the caller's mode")


class RaisingFunctions(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} was called in the caller's mode")


CONTEXTS: list[Callable[[], AbstractContextManager[Any]]] = [
    vmapped, differentiated, functionalized, deterministic, in_double, Raising, RaisingFunctions, FakeTensorMode,
    torch.inference_mode, torch.no_grad, lambda: torch.device("meta"), lambda: torch.autocast("cpu"),
]  # fmt: skip
NAMES = (
    "vmap", "grad", "functionalize", "deterministic", "float64", "dispatch", "function", "fake", "inference", "no_grad",
    "meta", "autocast",
)  # fmt: skip

MADE: dict[str, Callable[[], Any]] = {
    "tensors": values.strided_tensors,
    "dtypes": values.dtypes,
    "fakes": values.fake_tensors,
    "modules": values.modules,
    "subclasses": values.tensors_around_tensors,
    "symbols": lambda: symbolic.symbolic_guards()[0],
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("context", CONTEXTS, ids=NAMES)
def test_the_caller_s_modes_do_not_matter(context: Callable[[], Any], name: str) -> None:
    original = MADE[name]()
    saved = fxarchive.dumps(original)
    with context():
        loaded = fxarchive.loads(saved)
        again = fxarchive.dumps(original)
    assert again == saved
    assert fxarchive.dumps(loaded) == saved
