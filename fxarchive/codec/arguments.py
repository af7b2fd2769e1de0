"""What callers of the API say in terms of torch: devices, modes, state dicts, the object itself."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode


def torch_release() -> str:
    """Return the release of the running torch."""
    return str(torch.__version__)


def kind_of(obj: Any) -> str:
    """The kind of the root object: GraphModule for any of them, else its class."""
    if isinstance(obj, torch.fx.GraphModule):
        return "GraphModule"
    return type(obj).__qualname__[:100].encode("ascii", "replace").decode()


def device_of(device: torch.device | str | None) -> torch.device | None:
    """Return the device that the caller names; None for where tensors were."""
    if device is None:
        return None
    if not isinstance(device, str | torch.device):
        raise TypeError(f"device is {device!r:.80}; give a torch.device or its name, such as 'cpu'.")
    try:
        return torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"device is {device!r:.80}, which torch {torch.__version__} does not know."
        ) from None


def mode_of(fake_mode: FakeTensorMode | None) -> FakeTensorMode | None:
    """Return the caller's mode, once it is sure to be one."""
    if fake_mode is not None and not isinstance(fake_mode, FakeTensorMode):
        raise TypeError(f"fake_mode is {fake_mode!r:.80}; give a FakeTensorMode.")
    return fake_mode


def fill(obj: Any, state_dict: Mapping[str, torch.Tensor]) -> None:
    """Put ``state_dict`` into a module or an exported program; one tensor under several names stays one."""
    is_program = isinstance(obj, torch.export.ExportedProgram)
    if not is_program and not isinstance(obj, torch.nn.Module):
        raise ValueError(
            f"state_dict fills a module, and the archive holds a {type(obj).__qualname__}; load it without "
            "state_dict and fill the modules in it."
        )
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"state_dict is a {type(state_dict).__qualname__}; give a mapping of names to tensors."
        )
    known = obj.state_dict if is_program else obj.state_dict(keep_vars=True)
    ties: dict[int, list[str]] = {}
    for name, tensor in known.items():
        if isinstance(tensor, torch.Tensor):
            ties.setdefault(id(tensor), []).append(name)
    given = dict(state_dict)
    for names in ties.values():
        held = [given[name] for name in names if name in given]
        if len(names) > 1 and held:
            if not all([_same(held[0], other) for other in held[1:]]):
                raise ValueError(f"state_dict has different tensors for {', '.join(names)}, which are tied.")
            given.update(dict.fromkeys(names, held[0]))
    if is_program:
        _fill_program(known, given, list(ties.values()))
        return
    try:
        obj.load_state_dict(given, assign=True)
    except RuntimeError as error:
        raise ValueError(f"state_dict does not fit: {' '.join(str(error).split())}") from None
    for first, *others in ties.values():
        for name in others:
            path, _, last = name.rpartition(".")
            setattr(obj.get_submodule(path), last, attrgetter(first)(obj))


def _fill_program(known: dict[str, Any], given: dict[str, Any], ties: list[list[str]]) -> None:
    """Put tensors into the state of a program, as `torch.nn.Module.load_state_dict` does with ``assign``."""
    problems = [f"missing {name}" for name in known if name not in given]
    problems += [f"unexpected {name}" for name in given if name not in known]
    problems += [
        f"{name} has shape {tuple(given[name].shape)} and not {tuple(held.shape)}"
        for name, held in known.items()
        if name in given and isinstance(held, torch.Tensor) and given[name].shape != held.shape
    ]
    if problems:
        raise ValueError(f"state_dict does not fit: {', '.join(problems)}")
    for names in ties:
        held, tensor = known[names[0]], given[names[0]]
        if isinstance(held, torch.nn.Parameter) and not isinstance(tensor, torch.nn.Parameter):
            tensor = torch.nn.Parameter(tensor, held.requires_grad)
        known.update(dict.fromkeys(names, tensor))


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left is right or left.dtype != right.dtype or left.device != right.device:
        return left is right
    return left.is_meta or torch.equal(left, right)
