"""FakeTensors with symbols in their size, stride, offset or storage: their numbers, and their meta tensors.

In a description an integer stands for itself and a symbolic number is its tagged value. Strides are always given, and
so are the bytes of the storage unless another FakeTensor owns it: what torch computes for them can be another
expression than the one that was there.
"""

from __future__ import annotations

import marshal
from typing import Any, NamedTuple

import torch

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder
from fxarchive.codec.geometry import check_integer
from fxarchive.codec.storages import META, view
from fxarchive.document import NESTED_INT_SYMBOLS, Value
from fxarchive.errors import InvalidDocument


class Look:
    """Whether it is known that torch takes a size and a stride, which several descriptions may have."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken = False

    def settle(self, dec: Decoder, numbers: list[Any]) -> None:
        """Take ``numbers`` as torch does if the hints of their symbols make each an integer of at least 0.

        torch asks its environment a dozen questions about each size to learn the same.
        """
        known: dict[int, bool] = dec.state.setdefault("symbolic counts", {})
        for number in numbers:
            if type(number) is int:  # checked when it was read
                continue
            found = known.get(id(number))
            if found is None:
                found = known[id(number)] = _is_count(dec, number.node)
            if not found:
                return
        self.taken = True


def _is_count(dec: Decoder, node: Any) -> bool:
    # here, since graphs of static shapes need none of them
    import sympy

    from fxarchive.codec.fast.shape_env_names import hints
    from fxarchive.codec.symbolic import restore

    restore.answer(dec, node)
    value = node._expr.xreplace(hints(node.shape_env))
    return isinstance(value, (int, sympy.Integer)) and bool(value >= 0)


class Numbers(NamedTuple):
    """Integers and symbolic integers of one description; `nbytes` is None if another FakeTensor has the storage."""

    size: list[Any]
    stride: list[Any]
    offset: Any
    nbytes: Any
    environment: int
    look: Look


def has_symbols(fake: Any, nbytes: Any) -> bool:
    """Whether a number of a strided ``fake`` is symbolic; asked by type, since a comparison would add a guard."""
    numbers = (*fake.shape, *fake.stride(), fake.storage_offset(), nbytes)
    return not all([type(number) is int or number is None for number in numbers])


def is_symbolic(entry: list[Any]) -> bool:
    """Whether a row of `descriptions`, as it was encoded, has a symbolic number."""
    others = entry[4] if len(entry) == 5 else {}
    numbers = (*entry[2], *(entry[3] or ()), others.get("offset"), others.get("nbytes"))
    return any([type(number) is list for number in numbers])


def encode_numbers(enc: Encoder, fake: Any, nbytes: Any) -> tuple[list[Value], list[Value], dict[str, Value]]:
    """Return size, stride, and the other numbers of a strided ``fake``, for a row of `descriptions`."""
    size = [enc.value(number) for number in fake.shape]
    stride = [enc.value(number) for number in fake.stride()]
    offset = fake.storage_offset()
    others: dict[str, Value] = {}
    if type(offset) is not int or offset:
        others["offset"] = enc.value(offset)
    if nbytes is not None:
        others["nbytes"] = enc.value(nbytes)
    return size, stride, others


def decode_numbers(dec: Decoder, entry: list[Any], others: dict[str, Any], where: str) -> Numbers | None:
    """Return the numbers of a row of `descriptions`, or None if it has no symbolic one.

    Raises:
        InvalidDocument: a number is neither an integer nor a symbolic one, or they are of several environments.
    """
    size, stride = entry[2], [] if entry[3] is None else entry[3]
    if type(size) is not list or type(stride) is not list:
        return None
    offset, nbytes = others.get("offset", 0), others.get("nbytes")
    given = [*size, *stride, offset, nbytes]
    environments = {_environment_of(number, where) for number in given if type(number) is list}
    if not environments:
        return None
    if len(environments) > 1 or len(size) != len(stride) or "layout" in others:
        raise InvalidDocument(
            where, "its symbolic numbers do not describe a strided tensor of one environment"
        )
    looks: dict[bytes, Look] = dec.state.setdefault("looks at symbolic sizes", {})
    sizes = [_number(dec, number, "size", where) for number in size]
    strides = [_number(dec, number, "stride", where) for number in stride]
    key = marshal.dumps([size, stride], 2)
    look = looks.get(key)
    if look is None:
        look = looks[key] = Look()
        look.settle(dec, [*sizes, *strides])
    return Numbers(
        sizes,
        strides,
        _number(dec, offset, "offset", where),
        None if nbytes is None else _number(dec, nbytes, "nbytes", where),
        environments.pop(),
        look,
    )


def _environment_of(tagged: list[Any], where: str) -> int:
    if len(tagged) < 4 or tagged[0] != "symint" or type(tagged[1]) is not int:
        raise InvalidDocument(where, f"{tagged!r:.60} is not a symbolic integer")
    return tagged[1]


def _number(dec: Decoder, number: Any, name: str, where: str) -> Any:
    if type(number) is not list:
        return check_integer(number, name, where)
    found = dec.value(number)
    if NESTED_INT_SYMBOLS in dec.features and _is_ragged(found):
        raise InvalidDocument(
            where, f"its {name} is that of a jagged dimension, which only a jagged tensor has"
        )
    return found


def _is_ragged(number: Any) -> bool:
    from fxarchive.codec.symbolic import nested

    return nested.has_nested(number)


def decode_ragged(dec: Decoder, tagged: Value, fake: Any, where: str) -> Any:
    """Return the ragged size of the jagged tensors that ``fake`` is the offsets or lengths of.

    Raises:
        InvalidDocument: it is not a symbol for a nested integer, in the environment of ``fake``.
    """
    from fxarchive.codec.symbolic import nested

    dec.require(NESTED_INT_SYMBOLS, f"{where}, nested_int")
    size = dec.value(tagged)
    if type(size) is not torch.SymInt or not nested.stands_for_nested(size):
        raise InvalidDocument(where, "what it is the offsets of has a size that is not ragged")
    if size.node.shape_env is not fake.fake_mode.shape_env:
        raise InvalidDocument(where, "its ragged size belongs to another environment")
    return size


def meta_tensor(
    dtype: torch.dtype, size: list[Any], stride: list[Any], offset: Any, nbytes: Any, storage: Any, look: Look
) -> torch.Tensor:
    """Return the meta tensor of a description with symbolic numbers.

    `torch.empty_strided` asks whether the numbers can be those of a tensor, once for each size and stride.
    `Tensor.set_` would ask far more: whether the storage is long enough, which symbols do not settle.

    Args:
        dtype: its dtype.
        size, stride, offset: in elements.
        nbytes: bytes of its storage; None if it is given, or is to have what torch computes.
        storage: the meta storage that it shares, or None for one of its own.
        look: whether torch is known to take this size and stride.
    """
    if type(offset) is not int:
        return view(_storage_of(nbytes) if storage is None else storage, dtype, size, stride, offset)
    fits = storage is None and offset == 0
    if not look.taken or (fits and nbytes is None):
        made = torch.empty_strided(size, stride, dtype=dtype, device=META)
        look.taken = True
        if fits and (nbytes is None or _is_same(made.untyped_storage().nbytes(), nbytes)):
            return made
    return view_of_known(_storage_of(nbytes) if storage is None else storage, dtype, size, stride, offset)


def _storage_of(nbytes: Any) -> Any:
    if nbytes is None:
        raise ValueError("the bytes of its storage are not given")
    return torch.empty(nbytes, dtype=torch.uint8, device=META).untyped_storage()


def view_of_known(
    storage: Any, dtype: torch.dtype, size: list[Any], stride: list[Any], offset: Any
) -> torch.Tensor:
    """Return a meta tensor over ``storage`` with numbers that torch is known to take.

    `Tensor.set_` computes with each number; `Tensor.as_strided` of a meta tensor takes them as they are.
    """
    empty: Any = torch.empty(0, dtype=dtype, device=META)
    tensor: torch.Tensor = empty.set_(storage, 0, [0], [1]).as_strided(size, stride, offset)
    return tensor.data  # of version 0, as one that nobody changed


def _is_same(computed: Any, recorded: Any) -> bool:
    """Whether two numbers are written alike, which asks nothing of the environment."""
    if type(computed) is int or type(recorded) is int:
        return type(computed) is type(recorded) and bool(computed == recorded)
    return bool(computed.node._expr == recorded.node._expr)
