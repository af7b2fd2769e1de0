"""Records of quantization that are no dataclasses: constructors of observers, and plain configurations."""

from __future__ import annotations

import functools
from typing import Any

import torch

from fxarchive.codec import resolve
from fxarchive.codec.fact_fields import Unfit, Wrong
from fxarchive.inert import InertRecord

WRAPPERS_OF_OBSERVERS = (
    "torch.ao.quantization.observer._PartialWrapper",
    "torchao.quantization.pt2e.observer._PartialWrapper",
    "torchao.quantization.pt2e.observer.PartialWrapper",
)

QCONFIG = "torch.ao.quantization.qconfig.QConfig"
_OBSERVERS_ON_A_DEVICE = "torch.ao.quantization.qconfig._add_module_to_qconfig_obs_ctr"

# constructors of observers


def read_wrapper(value: Any) -> dict[str, Any]:
    """Of an observer's constructor; that it puts the observer on the device of a module is said by the module."""
    args = dict(value.callable_args)
    module = _module_of(args.get("factory_kwargs"))
    if module is not None:
        del args["factory_kwargs"]
    fields = {"p": value.p, "callable_args": args}
    if module is not None:
        fields["device_of"] = module
    if "__module__" in vars(value):  # what it prints that it is from
        fields["module"] = value.__module__
    return fields


def _module_of(function: Any) -> torch.nn.Module | None:
    """Return the module whose device torch's own closure asks for; None for any other function."""
    maker = resolve.look_up(_OBSERVERS_ON_A_DEVICE)
    code = getattr(function, "__code__", None)
    if maker is None or code is None or code not in maker.__code__.co_consts:
        return None
    (cell,) = function.__closure__ or (None,)
    found = None if cell is None else cell.cell_contents
    return found if isinstance(found, torch.nn.Module) else None


def _on_the_device_of(cls: Any, module: torch.nn.Module) -> Any:
    """Return what torch passes to constructors of observers so that they are on the device of ``module``."""
    maker: Any = resolve.imported(_OBSERVERS_ON_A_DEVICE)
    config: Any = resolve.imported(QCONFIG)
    try:
        nothing = cls(functools.partial(lambda factory_kwargs=None: None))
        made = maker(config(nothing, nothing), module).activation.callable_args["factory_kwargs"]
    except (AttributeError, TypeError, KeyError):
        raise Unfit from None
    if _module_of(made) is not module:
        raise Unfit
    return made


def check_wrapper(cls: type, fields: dict[str, Any]) -> None:
    if not {"p", "callable_args"} <= fields.keys() <= {"p", "callable_args", "device_of", "module"}:
        raise Unfit


def make_wrapper(cls: Any, fields: dict[str, Any]) -> Any:
    if type(fields["p"]) is InertRecord:
        raise Unfit
    if type(fields["p"]) is not functools.partial or type(fields["callable_args"]) is not dict:
        raise Wrong("an observer's constructor holds a partial")
    made = cls(fields["p"])
    made.callable_args = fields["callable_args"]
    if "module" in fields:
        if type(fields["module"]) is not str:
            raise Wrong("an observer's constructor is from a module of some name")
        made.__module__ = fields["module"]
    if "device_of" in fields:
        if not isinstance(fields["device_of"], torch.nn.Module):
            raise Wrong("an observer's constructor is on the device of a module")
        made.callable_args = {
            **fields["callable_args"], "factory_kwargs": _on_the_device_of(cls, fields["device_of"])
        }  # fmt: skip
    return made


# configurations: plain objects with a constructor that takes nothing


def check_plain(cls: type, fields: dict[str, Any]) -> None:
    if not fields.keys() <= vars(cls()).keys():
        raise Unfit


def fill_plain(made: Any, fields: dict[str, Any]) -> None:
    first = vars(type(made)())
    for name, value in fields.items():
        if first[name] is not None and type(value) is not type(first[name]):
            raise Wrong(f"{name} of a {type(made).__name__} is not {value!r:.40}")
    vars(made).update(first | fields)
