"""Running an object on its example inputs, the same way at save and at verification."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fxarchive.codec.unlifted import copied

SEED = 0
"""Seed of the random number generator for a replay, so that random graphs give the same numbers."""


def examples_of(obj: Any, example_inputs: tuple[Any, ...] | Mapping[str, Any] | None) -> Any:
    """Return ``(args, kwargs, outputs)`` for the document, or None without inputs.

    ``obj`` and the inputs are left as they are: what runs is a copy.

    Raises:
        TypeError: the inputs are neither a tuple nor a mapping, or ``obj`` cannot be called.
    """
    if example_inputs is None:
        return None
    if not callable(obj):
        raise TypeError(
            f"example_inputs need an object that can be called, and this is a {type(obj).__qualname__}."
        )
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    if _is_pair(obj, example_inputs):
        given: Any = example_inputs
        args, kwargs = given
    elif isinstance(example_inputs, Mapping):
        args, kwargs = (), dict(example_inputs)
    elif isinstance(example_inputs, tuple):
        args, kwargs = example_inputs, {}
    else:
        raise TypeError(
            f"example_inputs is a {type(example_inputs).__qualname__}; give a tuple of positional arguments or a "
            "mapping of keyword arguments."
        )
    return args, kwargs, _run(copied(_callable(obj)), args, kwargs)


def _is_pair(obj: Any, inputs: Any) -> bool:
    """Whether ``inputs`` are ``(args, kwargs)`` of a program, in the form of its own example inputs."""
    if not isinstance(obj, torch.export.ExportedProgram) or type(inputs) is not tuple:
        return False
    return bool(pytree.tree_structure(inputs) == obj.call_spec.in_spec)


def _callable(obj: Any) -> Any:
    """Return what runs in place of ``obj``: of an exported program its module."""
    return obj.module() if isinstance(obj, torch.export.ExportedProgram) else obj


def replay(obj: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Return what ``obj`` computes from copies of the inputs, without gradients, from a fixed seed."""
    return _run(_callable(obj), args, kwargs)


def _run(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    args, kwargs = copy.deepcopy((tuple(args), dict(kwargs)))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        return function(*args, **kwargs)
