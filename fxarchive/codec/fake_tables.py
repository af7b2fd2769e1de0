"""FakeTensors on their way into a document: most become one number each, the row of their description.

`descriptions` holds what distinct FakeTensors look like, `fakes` which of them each is, and for the few
that share a storage, are views, or carry more, sparse columns. `spec/schema-2-tensors.md` gives every
field. `fakes` leads the way back.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from fxarchive.codec import description_rows, symbols
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.history import check_view
from fxarchive.codec.symbolic import fakes as symbolic_fakes
from fxarchive.codec.tensors import encode_attributes, row_of_tensor
from fxarchive.document import Value

EXTRAS = ("storage", "base", "constant", "grad", "attributes", "environment", "nested_int")
"""Columns ``[rows, values]`` of the FakeTensors that have one."""

NESTED_INT = "_nested_int_memo"
"""Where FakeTensor keeps the ragged size of the jagged tensors that it is the offsets or lengths of."""


class FakeTable:
    """The FakeTensors met so far in one encoding."""

    def __init__(self, enc: Encoder) -> None:
        self.enc = enc
        self.rows: dict[int, int] = {}
        self.owners: dict[int, int] = {}
        """Address of a storage -> the first row over it."""
        self.described: dict[Any, int] = {}
        self.needed: dict[int, int] = {}
        """Row of a description -> bytes that it needs of a storage."""
        self.columns = enc.document["fakes"]
        self.description: list[int] = self.columns.setdefault("description", [])
        self.state_length = len(state_of_fakes())
        self.device = "_fake_device" if "_fake_device" in state_of_fakes() else "fake_device"
        self.alive: list[Any] = []
        enc.at_end(self._note_environments)

    def add(self, fake: Any) -> int:
        """Give ``fake`` a row."""
        state = fake.__dict__
        base = fake._base
        if base is not None and base.layout is torch.jagged:
            base = None  # `values()` of a jagged tensor, which has no storage to view
        requires_grad = fake.requires_grad
        computed = requires_grad and not fake.is_leaf
        grad = None if computed else fake._grad
        if requires_grad:
            _check_gradient(fake, computed)
        plain = base is None and grad is None and len(state) == self.state_length
        plain = plain and state.get(NESTED_INT) is None
        if state["constant"] is not None or state["real_tensor"] is not None:
            plain = False
            if state["real_tensor"] is not None:
                raise Refused.because(
                    "a FakeTensor with a real_tensor (propagate_real_tensors) cannot be kept; set it to None"
                )
        if base is not None:
            check_view(fake, base)
            base_row = self.row(base)
        owner = None
        try:
            storage = fake.untyped_storage()
        except (NotImplementedError, RuntimeError):
            # sparse layouts have none, others are refused by name
            description = description_rows.encode_sparse(self.enc, fake, self.described)
        else:
            address = storage._cdata
            owner = self.owners.get(address)
            nbytes = None if owner is not None else storage.nbytes()
            description = description_rows.encode_strided(
                self.enc, fake, state[self.device], requires_grad, computed, nbytes, self.described
            )
            if owner is None:
                self.owners[address] = len(self.description)
            elif self._is_beyond(description, storage.nbytes()):
                raise Refused.because("it needs more bytes than its storage has; resize the storage back")
        row = self.rows[id(fake)] = len(self.description)
        self.description.append(description)
        self.alive.append(fake)
        if base is not None:
            self._put("base", row, base_row)
        elif owner is not None:
            self._put("storage", row, owner)
        if not plain:
            self._encode_extras(fake, row, grad)
        return row

    def _note_environments(self) -> None:
        """Note which static FakeTensors are in the mode of a later environment than the first."""
        rows = symbols.environment_rows(self.enc)
        if len(rows) < 2:
            return
        for row, fake in enumerate(self.alive):
            environment = rows.get(id(fake.fake_mode.shape_env), 0)
            if environment and not symbolic_fakes.is_symbolic(self._entry(row)):
                self._put("environment", row, environment)

    def _entry(self, row: int) -> Any:
        return self.enc.document["descriptions"][self.description[row]]

    def row(self, fake: Any) -> int:
        """Return the row of ``fake``, whose type is checked here."""
        if type(fake) is not FakeTensor:
            raise Refused.because(
                f"a view of a {type(fake).__qualname__} cannot be kept as a FakeTensor; use .detach()"
            )
        found = self.rows.get(id(fake))
        return self.add(fake) if found is None else found

    def _is_beyond(self, description: int, nbytes: Any) -> bool:
        """Whether a FakeTensor needs more than the storage of another has; a symbolic size settles nothing."""
        return type(nbytes) is int and self._needed(description) > nbytes

    def _needed(self, description: int) -> int:
        needed = self.needed.get(description)
        if needed is None:
            entry = self.enc.document["descriptions"][description]
            needed = self.needed[description] = description_rows.needed_bytes(entry)
        return needed

    def _put(self, column: str, row: int, value: Any) -> None:
        rows, values = self.columns.setdefault(column, [[], []])
        rows.append(row)
        values.append(value)

    def _encode_extras(self, fake: Any, row: int, grad: Any) -> None:
        try:
            if fake.constant is not None:
                self._put("constant", row, row_of_tensor(self.enc, fake.constant, keep=True))
            if grad is not None:
                self._put("grad", row, self.enc.items([grad], lambda i: ".grad")[0])
            size = vars(fake).get(NESTED_INT)
            if size is not None:
                self._put("nested_int", row, self.enc.items([size], lambda i: ".nested_int_memo")[0])
            attributes = {name: value for name, value in vars(fake).items() if not is_state(name)}
            if attributes:
                self._put("attributes", row, encode_attributes(self.enc, attributes))
        except Refused:
            del self.rows[id(fake)]  # so that each place that holds it is named
            raise


def _check_gradient(fake: Any, computed: bool) -> None:
    if fake._backward_hooks or getattr(fake, "_post_accumulate_grad_hooks", None):
        raise Refused.because(
            "a FakeTensor with hooks cannot be kept, since hooks are code; remove them with their handles"
        )
    if computed and fake.retains_grad:
        raise Refused.because("a computed FakeTensor that retains its gradient cannot be kept; use .detach()")


def encode_fake(enc: Encoder, fake: Any) -> Value:
    """Return ``["fake", row]``.

    Raises:
        Refused: it has sizes that are symbols, or something on it cannot be kept.
    """
    table: FakeTable | None = enc.state.get("fakes")
    if table is None:
        table = enc.state["fakes"] = FakeTable(enc)
    row = table.rows.get(id(fake))
    return ["fake", table.add(fake) if row is None else row]


@functools.cache
def state_of_fakes() -> frozenset[str]:
    """Return the names of the attributes that every FakeTensor of the running torch has."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    return frozenset(vars(FakeTensor(mode, torch.empty(0, device="meta"), torch.device("cpu"))))


def is_state(name: str) -> bool:
    """Whether FakeTensor itself uses the attribute ``name``: state, memoized results, how it came about."""
    return name in state_of_fakes() or "_memo" in name or name in ("_debug_trace", "_is_param")
