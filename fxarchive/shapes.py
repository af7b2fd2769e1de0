"""What a tensor of a document is, read without torch: dtype, sizes, device; symbolic sizes are text."""

from __future__ import annotations

from typing import Any, NamedTuple

from fxarchive.document import Value
from fxarchive.errors import InvalidDocument
from fxarchive.expressions import number_text
from fxarchive.tables import MAX_EXTENT, entry, resolved


class TensorFacts(NamedTuple):
    """What a tensor is, as far as a document says it: sizes are numbers, or text such as ``s0``."""

    dtype: str
    """Name without ``torch.``."""
    shape: tuple[int | str, ...]
    device: str | None
    """As `torch.device` prints it, or None where it is not said."""


def tensor_facts(document: Any, value: Value) -> TensorFacts | None:
    """Return what the tensor is that a value stands for, or None if it stands for something else."""
    value = resolved(document, value)
    if type(value) is not list or len(value) < 2:
        return None
    read = _FACTS.get(value[0])
    facts = None if read is None else read(document, value)
    if facts is not None and not (
        type(facts.dtype) is str
        and (facts.device is None or type(facts.device) is str)
        and all([type(n) is str or 0 <= n <= MAX_EXTENT for n in facts.shape])
    ):
        raise InvalidDocument("a tensor", "its dtype, its device or a size of it is none")
    return facts


def _of_tensor(document: Any, value: Value) -> TensorFacts:
    record = entry(document, "tensors", value[1])
    # a sparse tensor has the dtype and the device of its values
    held = entry(document, "tensors", record["values"]) if "values" in record else record
    stored = entry(document, "storages", held["storage"]) if "storage" in held else held
    return TensorFacts(
        held["dtype"], tuple([_size(document, n) for n in record.get("size", ())]), stored["device"]
    )


def _of_fake(document: Any, value: Value) -> TensorFacts:
    described = entry(document["fakes"], "description", value[1])
    dtype, device, size = entry(document, "descriptions", described)[:3]
    return TensorFacts(dtype, tuple([_size(document, n) for n in size]), device)


def _of_named(document: Any, value: Value) -> TensorFacts | None:
    """A `torch.fx.passes.shape_prop.TensorMetadata`: shape, dtype, and what else a ShapeProp pass notes."""
    if entry(document, "targets", value[1])[1] != "torch.fx.passes.shape_prop.TensorMetadata":
        return None
    shape, dtype = resolved(document, value[2][0]), resolved(document, value[2][1])
    if type(shape) is not list or type(dtype) is not list or dtype[0] != "dtype":
        return None
    return TensorFacts(str(dtype[1]), tuple([_size(document, n) for n in shape[1]]), None)


_FACTS: dict[str, Any] = {"tensor": _of_tensor, "fake": _of_fake, "named": _of_named}


def _size(document: Any, size: Value) -> int | str:
    return size if type(size) is int else number_text(document, size)
