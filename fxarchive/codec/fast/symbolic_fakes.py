"""Copies of a FakeTensor of symbolic size, without asking its ShapeEnv anything.

`torch.empty_strided` of symbolic numbers computes with them (are they negative, how many bytes is that), which
takes half a millisecond. Where the answers are known, from the hints of the symbols or from a first FakeTensor of
torch's own constructor, what is left is to set the numbers on a new tensor over a new storage.
`Tensor._make_wrapper_subclass` does just that, down to the symbolic size of the storage. `copier` makes a
FakeTensor of what it gives. Once a process copies are compared with the constructor, as in `fast.fakes`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from fxarchive.codec.fast import fakes
from fxarchive.codec.fast.shape_env_names import sym_node_of

META = torch.device("meta")


class _Holder(torch.Tensor):
    """Numbers on their way into a FakeTensor; no operator ever sees one."""

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise NotImplementedError(f"{func} of a tensor that is being built")


def copier(
    wrap: fakes.Wrap | None, dtype: torch.dtype, size: list[Any], stride: list[Any], offset: Any, nbytes: Any
) -> Callable[[], Any] | None:
    """Return a function that makes FakeTensors of symbolic numbers, each over a storage of its own.

    Args:
        wrap: as `fakes.wrapper` gives it for their mode and device.
        dtype: their dtype.
        size, stride, offset: integers or symbols, in elements, that torch is known to take.
        nbytes: bytes of each storage, an integer or a symbol.

    Returns:
        The function, or None if the shortcut is not exact in the running torch.
    """
    return _copier(wrap, dtype, size, stride, offset, nbytes) if is_exact() else None


def _copier(
    wrap: fakes.Wrap | None, dtype: torch.dtype, size: list[Any], stride: list[Any], offset: Any, nbytes: Any
) -> Callable[[], Any] | None:
    if wrap is None:
        return None
    hold: Any = torch.Tensor._make_wrapper_subclass
    below_python: Any = torch._C._ExcludeDispatchKeyGuard
    python = torch._C.DispatchKeySet(torch._C.DispatchKey.Python)
    shape, steps = tuple(size), tuple(stride)

    def copy() -> Any:
        held = hold(_Holder, shape, steps, offset, dtype=dtype, device=META, storage_size=nbytes)
        with below_python(python):  # else torch would ask the holder's class for the tensor inside
            return wrap(held)

    return copy


@functools.cache
def is_exact() -> bool:
    """Whether copies are the same as what the constructor makes, in the running torch."""
    try:
        env = ShapeEnv()
        mode = FakeTensorMode(shape_env=env, allow_non_fake_inputs=True)
        a, b = (_number(env, name, hint) for name, hint in (("fxarchive_a", 5), ("fxarchive_b", 7)))
        cases: list[tuple[torch.dtype, list[Any], list[Any], str, bool]] = [
            (torch.float32, [a, b, 8], [b * 8, 8, 1], "cpu", True),
            (torch.bfloat16, [4, a], [1, b], "cuda:1", False),
            (torch.int64, [a + b], [0], "cpu", False),
        ]
        with env.suppress_guards():
            return all([_is_copied(mode, *case) for case in cases]) and not env.guards
    except (AttributeError, TypeError, RuntimeError, AssertionError, ImportError, LookupError):
        return False


def _is_copied(
    mode: Any, dtype: torch.dtype, size: list[Any], stride: list[Any], name: str, requires_grad: bool
) -> bool:
    device = torch.device(name)
    expected = FakeTensor(mode, torch.empty_strided(size, stride, dtype=dtype, device=META), device)
    expected.requires_grad_(requires_grad)
    prototype = FakeTensor(mode, torch.empty(0, device=META), device)
    wrap = fakes.wrapper(prototype, mode, requires_grad, {})
    make = _copier(wrap, dtype, size, stride, 0, expected.untyped_storage().nbytes())
    if make is None:
        return False
    copy, other = make(), make()
    storages = {fake.untyped_storage()._cdata for fake in (expected, copy, other)}
    return len(storages) == 3 and _facts(copy) == _facts(expected) and _facts(other) == _facts(expected)


def _number(env: Any, name: str, hint: int) -> Any:
    import sympy
    from torch.utils._sympy.value_ranges import ValueRanges

    symbol = sympy.Symbol(name, integer=True, positive=True)
    env.var_to_range[symbol] = ValueRanges(2, 1000)
    make: Any = torch.SymInt
    return make(sym_node_of(symbol, env, int, hint, None))


def _facts(fake: Any) -> list[str]:
    """Return what can be observed, with symbols as text: comparing them would add guards."""
    return list(map(str, fakes.facts(fake, fake.fake_mode._allow_unsafe_data_ptr_access)))
