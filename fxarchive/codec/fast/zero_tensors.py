"""Tensors of zeros without elements (`torch._efficientzerotensor`) over a storage that is there.

Torch makes them with a storage of their own and calls them immutable, so that no operator puts another storage under
one. Below the dispatch key of such tensors `Tensor.set_` does, and a view needs no integers. There is no official way
to do either.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch

META = torch.device("meta")


def below() -> AbstractContextManager[Any]:
    """Return a context in which operators do not see that a tensor is a ZeroTensor.

    Raises:
        RuntimeError: the running torch has no such context.
    """
    guard: Any = getattr(torch._C, "_ExcludeDispatchKeyGuard", None)
    key = getattr(torch._C.DispatchKey, "ZeroTensor", None)
    if guard is None or key is None:
        raise RuntimeError(f"torch {torch.__version__} hides ZeroTensors from its operators in another way")
    context: AbstractContextManager[Any] = guard(torch._C.DispatchKeySet(key))
    return context


def like(meta: torch.Tensor) -> torch.Tensor:
    """Return a ZeroTensor of the dtype, numbers and storage of a meta tensor, whose numbers may be symbolic.

    Raises:
        RuntimeError: the running torch cannot make it.
    """
    zeros: Any = torch._efficientzerotensor((0,), dtype=meta.dtype, device=META)
    with below():
        zeros.set_(meta.untyped_storage(), 0, [0], [1])
        made: torch.Tensor = zeros.as_strided(meta.shape, meta.stride(), meta.storage_offset()).data
    if not made._is_zerotensor():
        raise RuntimeError(f"torch {torch.__version__} makes no ZeroTensors over a storage")
    return made
