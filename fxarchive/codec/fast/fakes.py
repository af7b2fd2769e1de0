"""Copies of a FakeTensor without its constructor.

The constructor of FakeTensor costs several times what it does to the object: a subclass instance over a
meta tensor, one flag, and a `__dict__`. `copier` does these three itself. Once a process it is compared
with the constructor in all that can be observed, and if anything differs, or a private name is gone,
callers get None and use the constructor.

Each copy has a meta tensor of its own. A copy-on-write clone of one (`torch._lazy_clone`) would be made
faster for symbolic sizes, but under the constructor it aborts the process on torch 2.8 to 2.15, so it is
not used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

META = torch.device("meta")


def copier(
    first: Any, mode: Any, size: list[int], stride: list[int], requires_grad: bool
) -> Callable[[], Any] | None:
    """Return a function that makes FakeTensors like ``first``, each over a storage of its own.

    Args:
        first: one of the official constructor, strided, with no offset and no more storage than it needs.
        mode: its FakeTensorMode.
        size, stride: its size and stride, in elements.
        requires_grad: whether the copies, which are leaves, require a gradient.

    Returns:
        The function, or None if the shortcut is not exact in the running torch.
    """
    unsafe = getattr(mode, "_allow_unsafe_data_ptr_access", None)
    if type(unsafe) is not bool or not is_exact(unsafe):
        return None
    return _copier(first, unsafe, size, stride, requires_grad)


def _copier(
    first: Any, unsafe: bool, size: list[int], stride: list[int], requires_grad: bool
) -> Callable[[], Any]:
    wrap = _wrapper(first, unsafe, requires_grad)
    empty: Any = torch.empty_strided
    dtype, shape, steps = first.dtype, tuple(size), tuple(stride)
    return lambda: wrap(empty(shape, steps, dtype=dtype, device=META))


def wrapper(first: Any, mode: Any, requires_grad: bool) -> Callable[[torch.Tensor], Any] | None:
    """Return a function that makes FakeTensors like ``first`` over the meta tensor that it is given.

    Args:
        first: one of the official constructor.
        mode: its FakeTensorMode.
        requires_grad: whether the new ones, which are leaves, require a gradient.

    Returns:
        The function, or None if the shortcut is not exact in the running torch.
    """
    unsafe = getattr(mode, "_allow_unsafe_data_ptr_access", None)
    if type(unsafe) is not bool or not is_exact(unsafe):
        return None
    return _wrapper(first, unsafe, requires_grad)


def _wrapper(first: Any, unsafe: bool, requires_grad: bool) -> Callable[[torch.Tensor], Any]:
    make: Any = torch.Tensor._make_subclass
    on_data_ptr: Any = (
        torch._C._set_warn_deprecated_on_mutable_data_ptr
        if unsafe
        else torch._C._set_throw_on_mutable_data_ptr
    )
    device = first.fake_device
    state = dict(vars(first))

    def wrap(meta: torch.Tensor) -> Any:
        fake = make(FakeTensor, meta, requires_grad, dispatch_device=True, device_for_backend_keys=device)
        on_data_ptr(fake)
        fake.__dict__ = state.copy()
        return fake

    return wrap


@functools.cache
def is_exact(unsafe: bool) -> bool:
    """Whether copies are the same as what the constructor makes, in the running torch.

    Args:
        unsafe: whether FakeTensors of the mode warn, rather than raise, when their address is asked for.
    """
    cases: list[tuple[torch.dtype, list[int], list[int], str, bool]] = [
        (torch.float32, [2, 3], [3, 1], "cpu", False),
        (torch.bfloat16, [4, 0, 2], [2, 2, 1], "cuda:1", False),
        (torch.complex64, [], [], "cpu", True),
        (torch.int64, [5, 2], [0, 7], "meta", False),
    ]
    try:
        mode = FakeTensorMode(allow_non_fake_inputs=True)
        mode._allow_unsafe_data_ptr_access = unsafe
        mode.allow_meta = True
        for dtype, size, stride, name, requires_grad in cases:
            first, second = (
                FakeTensor(
                    mode, torch.empty_strided(size, stride, dtype=dtype, device=META), torch.device(name)
                ).requires_grad_(requires_grad)
                for _ in range(2)
            )
            copy = _copier(first, unsafe, size, stride, requires_grad)()
            own = copy.untyped_storage()._cdata not in (
                first.untyped_storage()._cdata,
                second.untyped_storage()._cdata,
            )
            if not own or facts(copy, unsafe) != facts(second, unsafe):
                return False
    except (AttributeError, TypeError, RuntimeError, AssertionError, ImportError):
        return False
    return True


def facts(fake: Any, unsafe: bool) -> list[Any]:
    """Return what can be observed of a FakeTensor, as values that compare."""
    storage = fake.untyped_storage()
    pointer: Any = None
    if not unsafe:  # else this would use up the one warning that the user may need
        try:
            pointer = fake.data_ptr()
        except RuntimeError as error:
            pointer = str(error)
    state = vars(fake)
    return [
        type(fake), fake.dtype, fake.shape, fake.stride(), fake.storage_offset(), fake.layout, fake.device,
        fake.fake_device, fake.requires_grad, fake.is_leaf, fake.grad_fn, fake.grad, fake._base,
        fake._is_view(), fake.is_conj(), fake.is_neg(), fake.is_inference(), fake._version, fake.output_nr,
        fake.numel(), fake.is_contiguous(), fake.element_size(), fake.is_cpu, fake.is_cuda, fake.is_meta,
        str(torch._C._dispatch_keys(fake)), storage.nbytes(), storage.device, storage.resizable(), pointer,
        list(state), list(state.values()),
    ]  # fmt: skip
