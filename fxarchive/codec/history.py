"""Autograd facts of FakeTensors: being computed from something that requires a gradient, and being a view.

What it was computed by is not kept: a backward pass through a loaded FakeTensor has no meaning and raises.

Autograd asks the guard of a tensor's device for its stream, and where the machine lacks the device of a
FakeTensor this aborts the process (torch 2.13, `InputMetadata`). So history is made while the
FakeTensorMode says that it is inside a kernel, when its FakeTensors call themselves meta tensors, which
every machine has.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from fxarchive.codec.encoder import Refused
from fxarchive.codec.fast import zero_tensors
from fxarchive.codec.geometry import reason
from fxarchive.errors import InvalidDocument

if TYPE_CHECKING:
    from fxarchive.codec.descriptions import Description


class _FromArchive(torch.autograd.Function):
    """The history of FakeTensors that were loaded."""

    @staticmethod
    def forward(ctx: Any, fake: torch.Tensor, root: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(fake)
        return fake

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(
            "a FakeTensor from an archive has no history to go back through; run the graph instead"
        )


@contextmanager
def _as_meta(mode: Any) -> Iterator[None]:
    before, mode.in_kernel_invocation = mode.in_kernel_invocation, True
    try:
        yield
    finally:
        mode.in_kernel_invocation = before


def add_history(fake: Any, mode: Any) -> Any:
    """Make ``fake``, which requires no gradient, one that requires it and is no leaf; return it."""
    with torch.enable_grad(), _as_meta(mode):
        # not Function.apply, which takes the wrappers of ended torch.func transforms off
        apply: Any = super(torch.autograd.Function, _FromArchive).apply
        apply(fake, _root())
    return fake


@functools.cache
def _root() -> torch.Tensor:
    return torch.empty(0, device="cpu", requires_grad=True)


class _Views(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers autograd, which makes a view, with FakeTensors, while it is told that it is inside a kernel."""

    def __init__(self, mode: Any, make: Callable[[], Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.mode = mode
        self.make = make

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:
            return torch.device("meta")
        self.mode.in_kernel_invocation = False
        try:
            if func is torch.ops.aten.as_strided.default:
                return self.make()
            with self.mode:
                return func(*args, **(kwargs or {}))
        finally:
            self.mode.in_kernel_invocation = True


def check_view(fake: Any, base: Any) -> None:
    """Raise `Refused` if ``fake`` is no view of ``base`` that `view_of` can make again."""
    if fake.untyped_storage()._cdata != base.untyped_storage()._cdata:
        raise Refused.because("a view whose storage is no longer its base's cannot be kept; use .detach()")
    if fake.requires_grad and not fake.is_leaf and not base.requires_grad:
        raise Refused.because(
            "a computed view of a tensor that requires no gradient cannot be kept; use .detach()"
        )
    if base.is_inference() != fake.is_inference():
        raise Refused.because("an inference view of a normal tensor cannot be kept; use .clone()")


def view_of(base: Any, description: Description, mode: Any, where: str) -> Any:
    """Return the view of ``base`` that ``description`` describes.

    Raises:
        InvalidDocument: it does not fit the storage of its base, or torch refuses.
    """
    from fxarchive.codec.descriptions import build, finish

    d = description
    plain = replace(d, flags=d.flags & {"inference", "zero"}, state={})
    if d.sparse is not None or base.layout is not torch.strided or d.device != base.fake_device:
        raise InvalidDocument(where, "it is not a view of its base")
    computed = d.requires_grad and not d.is_leaf
    try:
        with (
            torch.inference_mode("inference" in d.flags),
            torch.set_grad_enabled(computed),
            _as_meta(mode),
            # where a view of such a tensor is made torch takes integers alone
            zero_tensors.below() if "zero" in d.flags or base._is_zerotensor() else nullcontext(),
            _Views(mode, lambda: build(plain, mode, base.untyped_storage(), where)),
        ):
            view = _as_dtype(base, d.dtype).as_strided(d.size, d.stride, d.offset)
        # releases differ in whether a view made under no_grad requires a gradient if its base does
        if d.requires_grad and not view.requires_grad:
            view.requires_grad_()
    except (RuntimeError, NotImplementedError) as error:
        raise InvalidDocument(where, f"torch cannot build the view ({reason(error)})") from None
    if not isinstance(view, FakeTensor) or view._base is not base or view.is_leaf != d.is_leaf:
        raise InvalidDocument(where, "its description contradicts that of its base")
    torch._C._set_conj(view, "conj" in d.flags)
    torch._C._set_neg(view, "neg" in d.flags)
    finish(view, d)
    return view


def _as_dtype(base: Any, dtype: torch.dtype) -> Any:
    if base.dtype is dtype:
        return base
    if base.dtype.is_complex and not dtype.is_complex and dtype.itemsize * 2 == base.dtype.itemsize:
        return torch.view_as_real(base)
    if dtype.is_complex and not base.dtype.is_complex and base.dtype.itemsize * 2 == dtype.itemsize:
        return torch.view_as_complex(base)
    return base.view(dtype)
