"""FakeTensors without their constructor.

The constructor of FakeTensor costs several times what it does to the object: a subclass instance over a
meta tensor, one flag, and a `__dict__` that depends on its mode and device only. `wrapper` does these three itself.
Once a process it is compared with the constructor in all that can be observed, and if anything differs, or a
private name is gone, callers get None and use the constructor.

Each FakeTensor has a meta tensor of its own. A copy-on-write clone of one (`torch._lazy_clone`) would be made
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

Wrap = Callable[[torch.Tensor], Any]
"""A meta tensor -> a FakeTensor over its storage."""


def wrapper(prototype: Any, mode: Any, requires_grad: bool, others: dict[str, Any]) -> Wrap | None:
    """Return a function that makes FakeTensors over the meta tensors that it is given.

    Args:
        prototype: a FakeTensor of the constructor, of the device and the mode that the new ones have.
        mode: its FakeTensorMode.
        requires_grad: whether the new ones, which are leaves, require a gradient.
        others: attributes that they have besides.

    Returns:
        The function, or None if the shortcut is not exact in the running torch.
    """
    unsafe = getattr(mode, "_allow_unsafe_data_ptr_access", None)
    if type(unsafe) is not bool or not is_exact(unsafe):
        return None
    return _wrapper(prototype, unsafe, requires_grad, others)


def _wrapper(prototype: Any, unsafe: bool, requires_grad: bool, others: dict[str, Any]) -> Wrap:
    make: Any = torch.Tensor._make_subclass
    on_data_ptr: Any = (
        torch._C._set_warn_deprecated_on_mutable_data_ptr
        if unsafe
        else torch._C._set_throw_on_mutable_data_ptr
    )
    device = prototype.fake_device
    copy = {**vars(prototype), **others}.copy

    def wrap(meta: torch.Tensor) -> Any:
        fake = make(FakeTensor, meta, requires_grad, dispatch_device=True, device_for_backend_keys=device)
        on_data_ptr(fake)
        fake.__dict__ = copy()
        return fake

    return wrap


@functools.cache
def is_exact(unsafe: bool) -> bool:
    """Whether what `wrapper` makes is the same as what the constructor makes, in the running torch.

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
            metas = [torch.empty_strided(size, stride, dtype=dtype, device=META) for _ in range(2)]
            prototype = FakeTensor(mode, torch.empty(0, device=META), torch.device(name))
            found = _wrapper(prototype, unsafe, requires_grad, {})(metas[0])
            expected = FakeTensor(mode, metas[1], torch.device(name)).requires_grad_(requires_grad)
            if (
                facts(found, unsafe) != facts(expected, unsafe)
                or found.untyped_storage()._cdata != metas[0].untyped_storage()._cdata
                or found.untyped_storage()._cdata == expected.untyped_storage()._cdata
            ):
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
