"""FakeTensors from the columns of a document, which `fake_tables` writes.

After loading all of them are in one FakeTensorMode: the caller's, or one made when it is needed. Most are built in
bulk: what a description makes is settled once, and what shares a storage asks its owner once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from operator import lt
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from fxarchive.codec import descriptions, symbols
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.descriptions import Description
from fxarchive.codec.encoder import Encoder
from fxarchive.codec.fake_tables import EXTRAS, encode_fake, is_state
from fxarchive.codec.fast import fakes as fast
from fxarchive.codec.geometry import MAX_EXTENT, reason
from fxarchive.codec.history import add_history, view_of
from fxarchive.codec.storages import META
from fxarchive.codec.symbolic import fakes as symbolic_fakes
from fxarchive.codec.tensors import decode_attributes, tensor_of_row
from fxarchive.document import Value
from fxarchive.errors import InvalidDocument


class FakeReader:
    """The tables of FakeTensors of one document, checked, and what each description makes."""

    def __init__(self, dec: Decoder) -> None:
        self.dec = dec
        columns: Any = dec.document["fakes"]
        if type(columns) is not dict or not columns.keys() <= {"description", *EXTRAS}:
            raise InvalidDocument("fakes", "it is not the columns of FakeTensors")
        self.description = self._rows_of(
            "fakes.description", columns.get("description", []), len(dec.document["descriptions"])
        )
        count = len(self.description)
        self.extras: dict[str, dict[int, Any]] = {}
        for name in EXTRAS:
            column = columns.get(name, [[], []])
            if (
                type(column) is not list
                or list(map(type, column)) != [list, list]
                or len(column[0]) != len(column[1])
            ):
                raise InvalidDocument(f"fakes.{name}", "it is not a list of rows and a list of values")
            rows = self._rows_of(f"fakes.{name}", column[0], count)
            self.extras[name] = dict(zip(rows, column[1], strict=True))
            if len(self.extras[name]) != len(rows):
                raise InvalidDocument(f"fakes.{name}", "it has a row twice")
        self.special = frozenset().union(*self.extras.values())
        self.known: dict[int, Any] = dec.objects.setdefault("fakes", {})
        self.makers: dict[int, Callable[[], Any]] = {}
        self.prototypes: dict[tuple[int, torch.device], Any] = {}
        self.wraps: dict[tuple[int, torch.device, bool], fast.Wrap | None] = {}
        self.described: dict[int, Description] = {}
        self.mode = symbols.fake_mode(dec)
        self.sharing = self._plain_sharing() if symbols.have_one_mode(dec) else {}
        """Row -> owner of its storage, of those that only share one."""
        self.aliases: dict[int, tuple[int, Callable[[Any], Any]]] = {}
        """Row of a description -> bytes that it needs, how to build one over a storage."""
        self.wrappers: dict[tuple[int, int], fast.Wrap] = {}
        """Row of a description of symbolic numbers, id of a mode -> how a meta tensor becomes such a FakeTensor."""
        self.storages: dict[int, tuple[Any, Any]] = {}
        """Row of an owner -> bytes of its storage, a number or a symbol, and that."""

    def _plain_sharing(self) -> dict[int, int]:
        sharing, base = self.extras["storage"], self.extras["base"]
        owners = list(sharing.values())
        if (
            set(map(type, owners)) != {int}
            or min(owners) < 0
            or not all(map(lt, owners, sharing))
            or not sharing.keys().isdisjoint(owners)
            or not base.keys().isdisjoint(owners)
        ):
            return {}  # each is refused where it is met
        more = set().union(*[column for name, column in self.extras.items() if name != "storage"])
        return {row: owner for row, owner in sharing.items() if row not in more} if more else sharing

    @staticmethod
    def _rows_of(where: str, rows: Any, count: int) -> list[int]:
        if (
            type(rows) is not list
            or set(map(type, rows)) - {int}
            or (rows and not 0 <= min(rows) <= max(rows) < count)
        ):
            raise InvalidDocument(where, f"it is not a list of rows below {count}")
        return rows

    def fakes(self, rows: Any) -> list[Any]:
        """Return the FakeTensors of ``rows``."""
        self._rows_of("a column of FakeTensors", rows, len(self.description))
        known = self.known
        if not known.keys() >= set(rows):
            with torch.inference_mode(False), symbols.restoring(self.dec):
                # all that there are, unless this is asked for while they are built
                self._build(rows if known else list(range(len(self.description))))
        return list(map(known.__getitem__, rows))

    def _mode(self, description: Description, noted: Any = None) -> Any:
        """Return the mode for FakeTensors of a description: each environment of symbols has one."""
        environment = noted if description.environment is None else description.environment
        return self.mode if environment is None else symbols.fake_mode(self.dec, environment)

    def _build(self, rows: list[int]) -> None:
        """Build those of ``rows`` that are not built yet; an owner of a storage stands before those that share it."""
        known, makers, description = self.known, self.makers, self.description
        special, sharing = self.special, self.sharing
        for row in rows:
            if row in known:
                continue
            if row in sharing:
                known[row] = self._alias(row, sharing[row])
            elif row in special:
                known[row] = self._special(row)
            else:
                make = makers.get(description[row])
                known[row] = self._plain(row) if make is None else make()

    def describe(self, at: int) -> Description:
        """Return the description in row ``at``, checked."""
        found = self.described.get(at)
        if found is None:
            entry = self.dec.document["descriptions"][at]
            found = self.described[at] = descriptions.decode(self.dec, entry, f"descriptions[{at}]")
        return found

    def _plain(self, row: int) -> Any:
        at = self.description[row]
        make = self.makers.get(at)
        if make is not None:
            return make()
        d = self.describe(at)
        if d.environment is not None:
            return self._first_symbolic(at, d)
        make = self.makers[at] = self._maker(d)
        return make()

    def _maker(self, description: Description) -> Callable[[], Any]:
        """Settle how FakeTensors of a description, each with a storage of its own, are made."""
        d, mode = description, self._mode(description)
        wrap = self._wrap(d, mode) if d.is_plain and d.owns_what_it_needs else None
        if wrap is None:
            return lambda: descriptions.build(d, mode)
        empty: Any = torch.empty_strided
        dtype, size, stride = d.dtype, tuple(d.size), tuple(d.stride)
        if d.is_leaf:
            return lambda: wrap(empty(size, stride, dtype=dtype, device=META))
        return lambda: add_history(wrap(empty(size, stride, dtype=dtype, device=META)), mode)

    def _wrap(self, description: Description, mode: Any) -> fast.Wrap | None:
        """Return how a meta tensor becomes a FakeTensor without the constructor, which makes one for each device."""
        d = description
        leaf_grad = d.requires_grad and d.is_leaf
        key = id(mode), d.device, leaf_grad
        if key not in self.wraps:
            device = id(mode), d.device
            if device not in self.prototypes:
                self.prototypes[device] = descriptions.build(descriptions.plain_on(d.device), mode)
            self.wraps[key] = fast.wrapper(self.prototypes[device], mode, leaf_grad, {})
        wrap, others = self.wraps[key], d.others
        if wrap is None or not others:
            return wrap
        return fast.wrapper(self.prototypes[id(mode), d.device], mode, leaf_grad, others)

    def _alias(self, row: int, owner: int) -> Any:
        """Build one that does nothing but share the storage of ``owner``."""
        held = self.storages.get(owner)
        if held is None:
            found = self.known.get(owner)
            if found is None:
                found = self.known[owner] = (
                    self._special(owner) if owner in self.special else self._plain(owner)
                )
            try:
                storage = found.untyped_storage()
            except (NotImplementedError, RuntimeError):
                return self._special(row)  # which refuses it
            held = self.storages[owner] = (storage.nbytes(), storage)
        at = self.description[row]
        alias = self.aliases.get(at)
        if alias is None:
            alias = self.aliases[at] = self._aliaser(self.describe(at))
        nbytes, storage = held
        # a symbolic size settles nothing, and comparing it would add a guard
        fits = alias[0] <= nbytes if type(nbytes) is int else alias[0] <= MAX_EXTENT
        return alias[1](storage) if fits else self._special(row)

    def _aliaser(self, description: Description) -> tuple[int, Callable[[Any], Any]]:
        """Settle how FakeTensors of a description over the storage of another are made."""
        d, mode = description, self.mode
        usual = d.is_plain or (d.is_taken and not d.flags & descriptions.UNUSUAL)
        wrap = self._wrap(d, mode) if usual else None
        if wrap is None or not d.is_leaf:
            return MAX_EXTENT + 1, lambda storage: None  # not this way
        empty: Any = torch.empty
        dtype, size, stride, offset = d.dtype, tuple(d.size), tuple(d.stride), d.offset
        if d.environment is not None:
            view = symbolic_fakes.view_of_known
            return 0, lambda storage: wrap(view(storage, dtype, d.size, d.stride, offset))
        return d.needed, lambda storage: wrap(
            empty(0, dtype=dtype, device=META).set_(storage, offset, size, stride)
        )

    def _first_symbolic(self, at: int, d: Description) -> Any:
        """Build the first FakeTensor of a description of symbolic numbers, and settle how the others are made."""
        mode = self._mode(d)
        first = None
        if d.sparse or d.flags & descriptions.UNUSUAL:
            bare = None
        else:
            nbytes = d.nbytes if d.is_taken else None
            if nbytes is None:
                first = descriptions.build(d, mode)
                nbytes = first.untyped_storage().nbytes()
            bare = symbols.copier(self._wrap(d, mode), d.dtype, d.size, d.stride, d.offset, nbytes)
        make: Callable[[], Any]
        if bare is None:
            make = functools.partial(descriptions.build, d, mode)
        elif d.is_leaf or not d.requires_grad:
            make = bare
        else:
            make = lambda: add_history(bare(), mode)  # noqa: E731
        self.makers[at] = make
        return make() if first is None else first

    def _special(self, row: int) -> Any:
        """Build one that shares a storage, is a view, or carries more."""
        where = f"fakes[{row}]"
        extras = {name: column[row] for name, column in self.extras.items() if row in column}
        description = self.describe(self.description[row])
        if "base" in extras:
            base = self._earlier(row, extras["base"], where)
            fake = view_of(base, description, base.fake_mode, where)
        elif "storage" in extras:
            owner = self._earlier(row, extras["storage"], where)
            if description.sparse is not None:
                raise InvalidDocument(where, "a sparse FakeTensor has no storage to share")
            try:
                storage = owner.untyped_storage()
            except (NotImplementedError, RuntimeError):
                raise InvalidDocument(where, "it shares the storage of a FakeTensor that has none") from None
            fake = self._sharing(self.description[row], description, storage, owner.fake_mode, where)
        else:
            fake = descriptions.build(description, self._mode(description, extras.get("environment")))
        if "constant" in extras:
            fake.constant = self._constant(extras["constant"], fake, where)
            # so that an operator that writes to it makes FakeTensors forget the constant
            fake.fake_mode.fake_tensor_converter.add_constant_storage_mapping(fake)
        if "nested_int" in extras:
            fake.nested_int_memo = symbolic_fakes.decode_ragged(self.dec, extras["nested_int"], fake, where)
        if "grad" in extras or "attributes" in extras:
            self.dec.later(lambda: self._fill(fake, extras, where))
        return fake

    def _sharing(self, at: int, d: Description, storage: Any, mode: Any, where: str) -> Any:
        """Build one over the storage of another, the second and later of symbolic numbers by the shortcut."""
        wrap = self.wrappers.get((at, id(mode)))
        if wrap is not None and not descriptions.is_beyond(d, storage):
            return wrap(symbolic_fakes.view_of_known(storage, d.dtype, d.size, d.stride, d.offset))
        fake = descriptions.build(d, mode, storage, where)
        if d.environment is not None and d.is_leaf and not (d.sparse or d.flags & descriptions.UNUSUAL):
            wrap = fast.wrapper(fake, mode, d.requires_grad, {})
            if wrap is not None:
                self.wrappers[at, id(mode)] = wrap
        return fake

    def _earlier(self, row: int, other: Any, where: str) -> Any:
        if type(other) is not int or not 0 <= other < row:
            raise InvalidDocument(where, f"it refers to row {other!r}, which is not an earlier one")
        # an owner owns its storage and a base is no view, so this goes two deep at most
        if other in self.extras["base"] or (
            other in self.extras["storage"] and row not in self.extras["base"]
        ):
            raise InvalidDocument(where, f"it refers to row {other}, which refers to another itself")
        found = self.known.get(other)
        if found is None:
            found = self.known[other] = self._special(other) if other in self.special else self._plain(other)
        return found

    def _constant(self, row: Any, fake: Any, where: str) -> torch.Tensor:
        constant = tensor_of_row(self.dec, row)
        if constant.dtype is not fake.dtype or constant.shape != fake.shape or constant.is_meta:
            raise InvalidDocument(where, "its constant does not fit it")
        return constant

    def _fill(self, fake: Any, extras: dict[str, Any], where: str) -> None:
        if "attributes" in extras:
            vars(fake).update(decode_attributes(self.dec, extras["attributes"], _Reserved(), where))
        if "grad" in extras:
            grad = self.dec.value(extras["grad"])
            try:
                fake.grad = grad
            except (RuntimeError, TypeError) as error:
                raise InvalidDocument(where, f"its grad does not fit ({reason(error)})") from None


class _Reserved(frozenset[str]):
    """The names that FakeTensor itself uses."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and is_state(name)


def decode_fakes(dec: Decoder, rows: Any) -> list[Any]:
    """Return the FakeTensors of ``rows``: the same object for the same row.

    Args:
        dec: the decoder; it is given a FakeTensorMode if it has none.
        rows: rows of the columns of `fakes`, from the file.

    Raises:
        InvalidDocument: a row breaks a rule of `spec/schema-2-tensors.md`.
    """
    reader: FakeReader | None = dec.state.get("fakes")
    if reader is None:
        reader = dec.state["fakes"] = FakeReader(dec)
    return reader.fakes(rows)


def decode_fake(dec: Decoder, tagged: Value) -> Any:
    """Return the FakeTensor of ``["fake", row]``."""
    row = tagged[1]
    made = dec.objects.get("fakes", {}).get(row) if type(row) is int else None
    return decode_fakes(dec, [row])[0] if made is None else made


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {FakeTensor: encode_fake}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = []
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"fake": decode_fake}
