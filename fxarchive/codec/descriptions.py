"""What a FakeTensor looks like, and how to build one from its description. `description_rows` writes them.

A row is ``[dtype, device, size, stride or None if contiguous]`` and, where something is out of the
ordinary, a dict of it. An element of size and stride is an integer, or a symbolic number (`symbolic_fakes`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.fast import zero_tensors
from fxarchive.codec.geometry import (
    check_dtype,
    check_extent,
    check_flag,
    check_integer,
    check_integers,
    contiguous_strides,
    reason,
    silence,
)
from fxarchive.codec.history import add_history
from fxarchive.codec.layouts import LAYOUTS_BY_NAME, QUANTIZED
from fxarchive.codec.storages import META, device_named, new_storage, view
from fxarchive.codec.symbolic import fakes as symbolic_fakes
from fxarchive.document import FLAG_OF_FACT
from fxarchive.errors import InvalidDocument

FLAGS = ("requires_grad", "computed", "conj", "neg", "inference", "parameter", "zero")
"""Facts that are left out where they are false; computed: it requires a gradient and is no leaf; zero: it is a
ZeroTensor (`torch._efficientzerotensor`)."""

UNUSUAL = frozenset({"conj", "neg", "inference", "zero"})
SPARSE = frozenset({"layout", "nnz", "dense", "coalesced", "index", "block"})
OTHERS = frozenset({*FLAGS, *SPARSE, "offset", "nbytes", "pytype", "keys"})


@dataclass(frozen=True)
class Description:
    """A checked row of `descriptions`.

    Sizes, strides and the offset are in elements; `needed` is what they need of a storage in bytes,
    `nbytes` what the storage has if that is another number.
    """

    dtype: torch.dtype
    device: torch.device
    size: list[int]
    stride: list[int]
    offset: int = 0
    nbytes: int | None = None
    needed: int = 0
    flags: frozenset[str] = frozenset()
    sparse: dict[str, Any] | None = None
    state: dict[str, Any] = field(default_factory=dict)
    environment: int | None = None
    """Row of the environment of the symbols in its numbers; None if all are integers."""
    look: symbolic_fakes.Look | None = None
    """Of its size and stride, where a number is symbolic."""

    @property
    def requires_grad(self) -> bool:
        return "requires_grad" in self.flags

    @property
    def is_leaf(self) -> bool:
        return "computed" not in self.flags

    @property
    def layout(self) -> torch.layout:
        return self.sparse["layout"] if self.sparse else torch.strided

    @property
    def is_plain(self) -> bool:
        """Whether it is no more than a meta tensor of known numbers, a device, and a gradient or none."""
        if self.environment is not None or self.dtype is torch.complex32:  # torch warns of these
            return False
        return not (self.sparse or self.flags & UNUSUAL)

    @property
    def is_taken(self) -> bool:
        """Whether torch is known to take its symbolic numbers, of which the storage's is given."""
        return self.look is not None and self.look.taken and type(self.offset) is int

    @property
    def owns_what_it_needs(self) -> bool:
        """Whether `torch.empty_strided` makes its meta tensor, if it shares none."""
        return not self.offset and self.nbytes is None

    @property
    def others(self) -> dict[str, Any]:
        """Attributes that it has besides those of every FakeTensor."""
        return {"_is_param": True, **self.state} if "parameter" in self.flags else self.state


def decode(dec: Decoder, entry: Any, where: str) -> Description:
    """Return the description of a row, checked."""
    if type(entry) is not list or len(entry) not in (4, 5):
        raise InvalidDocument(where, "it is not a description of a FakeTensor")
    others = entry[4] if len(entry) == 5 else {}
    if type(others) is not dict or not others.keys() <= OTHERS:
        raise InvalidDocument(where, "it has facts that this schema does not have")
    for fact, flag in FLAG_OF_FACT.items():
        if fact in others:
            dec.require(flag, f"{where}[{fact!r}]")
    dtype = check_dtype(entry[0], where)
    if dtype in QUANTIZED:
        raise InvalidDocument(where, f"a FakeTensor cannot be of {dtype}")
    symbolic = symbolic_fakes.decode_numbers(dec, entry, others, where)
    if symbolic is not None:
        size, stride, offset, nbytes, environment, look = symbolic
        needed = 0
    else:
        environment, look = None, None
        size = check_integers(entry[2], "size", where)
        stride = contiguous_strides(size) if entry[3] is None else check_integers(entry[3], "stride", where)
        offset = check_integer(others.get("offset", 0), "offset", where)
        needed = check_extent(size, stride, offset, dtype.itemsize, where)
        nbytes = check_integer(others["nbytes"], "nbytes", where) if "nbytes" in others else None
        if nbytes is not None and nbytes < needed:
            raise InvalidDocument(where, f"it needs {needed} bytes and its storage has {nbytes}")
    flags = frozenset([name for name in FLAGS if name in others and check_flag(others, name, where)])
    if "requires_grad" in flags and not (dtype.is_floating_point or dtype.is_complex):
        raise InvalidDocument(where, f"it requires a gradient and is of {dtype}")
    if ("computed" in flags and "requires_grad" not in flags) or ("conj" in flags and not dtype.is_complex):
        raise InvalidDocument(where, f"the flags {sorted(flags)} of {dtype} contradict each other")
    if flags >= {"computed", "inference"}:
        raise InvalidDocument(where, "an inference tensor has no history")
    sparse = _sparse_facts(others, size, where) if "layout" in others else None
    if sparse is not None and (
        offset or nbytes is not None or entry[3] is not None or flags & {"conj", "neg", "zero"}
    ):
        raise InvalidDocument(where, "a sparse FakeTensor has facts of a strided one")
    device, state = device_named(entry[1], where), _state(dec, others, where)
    return Description(
        dtype, device, size, stride, offset, nbytes, needed, flags, sparse, state, environment, look
    )


def _state(dec: Decoder, others: dict[str, Any], where: str) -> dict[str, Any]:
    state: dict[str, Any] = {}
    if "pytype" in others:
        state["pytype"] = dec.value(others["pytype"])
        if not isinstance(state["pytype"], type):
            raise InvalidDocument(where, "its pytype is not a class")
    if "keys" in others:
        state["dispatch_keys"] = _keys_named(others["keys"], where)
    return state


def _keys_named(names: Any, where: str) -> Any:
    if type(names) is not list or set(map(type, names)) - {str}:
        raise InvalidDocument(where, "its dispatch keys are not a list of names")
    keys = None
    for name in names:
        try:
            key = torch._C.DispatchKeySet(torch._C._dispatch_key_parse(name))
        except RuntimeError:
            raise InvalidDocument(where, f"torch {torch.__version__} has no dispatch key {name!r}") from None
        keys = key if keys is None else keys | key
    return keys


def _sparse_facts(others: dict[str, Any], size: list[int], where: str) -> dict[str, Any]:
    layout = LAYOUTS_BY_NAME.get(others["layout"]) if type(others["layout"]) is str else None
    if layout is None or layout is torch.strided:
        raise InvalidDocument(where, f"its layout is {others['layout']!r}")
    nnz = check_integer(others.get("nnz"), "nnz", where)
    dense = check_integer(others.get("dense"), "count of dense dimensions", where)
    coo = layout is torch.sparse_coo
    if dense > len(size) - (0 if coo else 2):
        raise InvalidDocument(where, f"it has {dense} dense dimensions of {len(size)}")
    check_extent([nnz, *size], contiguous_strides([nnz, *size]), 0, 16, where)
    facts: dict[str, Any] = {
        "layout": layout,
        "nnz": nnz,
        "dense": dense,
        "coalesced": check_flag(others, "coalesced", where),
    }
    if not coo:
        facts["index"] = check_dtype(others.get("index"), where)
        facts["block"] = check_integers(others.get("block", []), "block", where)
        blocked = layout in (torch.sparse_bsr, torch.sparse_bsc)
        if len(facts["block"]) != (2 if blocked else 0) or 0 in facts["block"]:
            raise InvalidDocument(where, f"its block is {facts['block']}")
        if facts["index"] not in (torch.int32, torch.int64):
            raise InvalidDocument(where, f"its indices are of {facts['index']}")
    return facts


def plain_on(device: torch.device) -> Description:
    """Return the description of a FakeTensor on ``device`` that has nothing but that."""
    return Description(torch.float32, device, [], [], needed=4)


def is_beyond(description: Description, storage: Any) -> bool:
    """Whether a description of integers needs more bytes than ``storage`` has; a symbolic size settles nothing."""
    nbytes = storage.nbytes()
    return type(nbytes) is int and description.needed > nbytes


def build(description: Description, mode: Any, storage: Any = None, where: str = "a FakeTensor") -> Any:
    """Build a FakeTensor by its constructor.

    Args:
        description: what it looks like.
        mode: the FakeTensorMode that it joins.
        storage: the meta storage that it shares, or None for one of its own.
        where: name of the row for errors.

    Raises:
        InvalidDocument: the storage is too small, or torch refuses.
    """
    d = description
    if storage is not None and is_beyond(d, storage):
        raise InvalidDocument(
            where, f"it needs {d.needed} bytes and the storage that it shares has {storage.nbytes()}"
        )
    try:
        with silence(d.dtype, d.layout), torch.inference_mode("inference" in d.flags):
            fake: Any = FakeTensor(mode, _meta_tensor(d, storage), d.device)
            if d.requires_grad and d.is_leaf:
                fake.requires_grad_()
    except (RuntimeError, AssertionError, NotImplementedError, ValueError, IndexError) as error:
        raise InvalidDocument(where, f"torch cannot build it ({reason(error)})") from None
    if d.requires_grad and not d.is_leaf:
        add_history(fake, mode)
    finish(fake, d)
    return fake


def finish(fake: Any, description: Description) -> None:
    """Set what the constructor does not take."""
    if "conj" in description.flags:
        torch._C._set_conj(fake, True)
    if "neg" in description.flags:
        torch._C._set_neg(fake, True)
    vars(fake).update(description.others)


def _meta_tensor(d: Description, storage: Any) -> torch.Tensor:
    meta = _usual_meta_tensor(d, storage)
    return zero_tensors.like(meta) if "zero" in d.flags else meta


def _usual_meta_tensor(d: Description, storage: Any) -> torch.Tensor:
    if d.sparse is not None:
        return _sparse_meta_tensor(d, d.sparse)
    if d.look is not None:
        return symbolic_fakes.meta_tensor(d.dtype, d.size, d.stride, d.offset, d.nbytes, storage, d.look)
    if storage is None:
        if not d.offset and d.nbytes is None:
            return torch.empty_strided(d.size, d.stride, dtype=d.dtype, device=META)
        storage = new_storage(d.needed if d.nbytes is None else d.nbytes, "meta")
    return view(storage, d.dtype, d.size, d.stride, d.offset)


def _sparse_meta_tensor(d: Description, facts: dict[str, Any]) -> torch.Tensor:
    layout, nnz = facts["layout"], facts["nnz"]
    dense = d.size[len(d.size) - facts["dense"] :]
    if layout is torch.sparse_coo:
        indices = torch.empty((len(d.size) - facts["dense"], nnz), dtype=torch.int64, device=META)
        values = torch.empty((nnz, *dense), dtype=d.dtype, device=META)
        coo = torch.sparse_coo_tensor(
            indices, values, d.size, is_coalesced=facts["coalesced"], check_invariants=False
        )
        return coo._coalesced_(facts["coalesced"])
    plain = len(d.size) - facts["dense"]
    batch, rows_columns = d.size[: plain - 2], d.size[plain - 2 : plain]
    by_row = layout in (torch.sparse_csr, torch.sparse_bsr)
    lines = rows_columns[0 if by_row else 1]
    if facts["block"]:
        lines //= facts["block"][0 if by_row else 1]
    return torch.sparse_compressed_tensor(
        torch.empty((*batch, lines + 1), dtype=facts["index"], device=META),
        torch.empty((*batch, nnz), dtype=facts["index"], device=META),
        torch.empty((*batch, nnz, *facts["block"], *dense), dtype=d.dtype, device=META),
        d.size,
        layout=layout,
        check_invariants=False,
    )
