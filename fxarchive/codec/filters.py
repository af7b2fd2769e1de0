"""What a caller of `fxarchive.GraphPickler` leaves out or refuses: operators, keys of metadata, nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Filters:
    """Choices beyond what can be kept; the defaults keep everything.

    Args:
        operators: given the name of an operator as fx prints it (``torch.ops.aten.add.Tensor``), whether it may be
            kept.
        metadata_keys: given a key of the metadata of nodes, whether it is kept.
        nodes: a node that stands elsewhere than in the arguments of another: "keep" it, keep "none" in place of it, or
            "refuse" it.
    """

    operators: Callable[[str], bool] | None = None
    metadata_keys: Callable[[Any], bool] | None = None
    nodes: Literal["keep", "none", "refuse"] = "keep"


KEEP_ALL = Filters()
