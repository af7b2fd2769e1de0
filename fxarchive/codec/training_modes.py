"""GraphModules whose `train` and `eval` quantization of exported programs took over: `prepare_pt2e`, `convert_pt2e`.

An archive says which package did so and what the two do; the functions are those of the package that the reader has.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule

from fxarchive.codec import resolve
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder
from fxarchive.document import TRAINING_MODES
from fxarchive.errors import InvalidDocument

METHODS = ("train", "eval")

FACTORIES = {
    ("torch.ao", "refuse"): "torch.ao.quantization.pt2e.utils._disallow_eval_train",
    ("torch.ao", "rewrite"): "torch.ao.quantization.pt2e.export_utils._allow_exported_model_train_eval",
    ("torchao", "refuse"): "torchao.quantization.pt2e.utils._disallow_eval_train",
    ("torchao", "rewrite"): "torchao.quantization.pt2e.export_utils._allow_exported_model_train_eval",
}
"""Package and what `train` and `eval` do -> what gives them to a module: they raise, or they rewrite dropout and batch
norm in its graph. Torch has the first two through 2.10."""


@dataclass(frozen=True)
class Missing:
    """`train` or `eval` of a module where no package is there that has them."""

    package: str
    kind: str

    def __call__(self, mode: bool = True) -> None:
        """Raise an error, as those that refuse do."""
        raise NotImplementedError(
            f"train() and eval() of this module are those of {self.package}, which torch {torch.__version__} lacks; "
            "import torchao.quantization.pt2e before it is loaded, or load it with torch 2.10 or earlier"
        )


# encoding


def encode_training_modes(enc: Encoder, module: GraphModule) -> list[str] | None:
    """Return ``[package, kind]``, or None if `train` and `eval` of ``module`` are those of its class."""
    found = [vars(module).get(name) for name in METHODS]
    if None in found:
        return None
    if isinstance(found[0], Missing) and found[0] == found[1]:
        record = [found[0].package, found[0].kind]
    else:
        made = [list(key) for key, name in FACTORIES.items() if _made_both(name, found, module)]
        if not made:
            return None
        record = made[0]
    enc.features.add(TRAINING_MODES)
    return record


def _made_both(name: str, methods: list[Any], module: GraphModule) -> bool:
    """Whether the factory of that name, if it is imported, made two methods of ``module``."""
    factory = resolve.look_up(name)
    if not isinstance(factory, types.FunctionType):
        return False
    inside = factory.__code__.co_consts
    return all(
        [
            isinstance(method, types.MethodType)
            and method.__self__ is module
            and isinstance(method.__func__, types.FunctionType)
            and method.__func__.__code__ in inside
            and method.__func__.__name__ == f"_{own}"
            and all([cell.cell_contents in inside for cell in method.__func__.__closure__ or ()])
            for own, method in zip(METHODS, methods, strict=True)
        ]
    )


# decoding


def import_factories() -> None:
    """Let torch import its factories: through 2.7 imports fail in `isolation.isolated`."""
    for name in FACTORIES.values():
        resolve.imported(name)


def set_training_modes(dec: Decoder, module: torch.nn.Module, where: str, record: Any) -> None:
    """Give ``module`` the `train` and `eval` of a record.

    Raises:
        InvalidDocument: it is no package and kind, the module no GraphModule, or the archive does not name the flag.
    """
    dec.require(TRAINING_MODES, f"{where}, its train and eval")
    if type(record) is not list or len(record) != 2 or tuple(map(str, record)) not in FACTORIES:
        raise InvalidDocument(where, "its train and eval are of no package and kind that is known")
    if not isinstance(module, GraphModule):
        raise InvalidDocument(where, "quantization takes over train and eval of a GraphModule alone")
    package, kind = record
    factory: Callable[[GraphModule], Any] | None = resolve.imported(FACTORIES[package, kind])
    if factory is not None:
        factory(module)
    else:
        vars(module).update(dict.fromkeys(METHODS, Missing(package, kind)))
