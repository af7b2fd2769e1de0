"""FakeTensors: from torch's MetaTensorDesc to rows of `fakes` and `descriptions`."""

from __future__ import annotations

from typing import Any

from fxarchive.migrations.graph_pickler.geometry import contiguous_strides, needed_bytes
from fxarchive.migrations.graph_pickler.translation import (
    Table,
    Translation,
    Untranslatable,
    fields_of,
    sequence_of,
)
from fxarchive.migrations.graph_pickler.values import ITEM_BYTES, device_name, dtype_of, layout_of, size_items
from fxarchive.streams import Call

_UNPICKLE = "torch.fx._graph_pickler._TensorPickleData.unpickle"
_DATA = "torch.fx._graph_pickler._TensorPickleData"
DESCRIPTION = "torch._subclasses.meta_utils.MetaTensorDesc"
STORAGE = "torch._subclasses.meta_utils.MetaStorageDesc"

_REFUSED = {
    "is_mkldnn": "a FakeTensor of layout mkldnn",
    "is_nested": "a nested FakeTensor",
    "is_functorch_wrapped": "a FakeTensor of a torch.func transform",
    "is_batchedtensor": "a FakeTensor of a torch.func transform",
    "is_legacy_batchedtensor": "a FakeTensor of a torch.func transform",
    "is_gradtrackingtensor": "a FakeTensor of a torch.func transform",
    "is_traceable_wrapper_subclass": "a FakeTensor of a tensor subclass",
    "is_functional": "a FakeTensor of functionalization",
}
"""Flag of a description -> what it would be."""


class Fakes:
    """The FakeTensors met so far in one translation."""

    def __init__(self, tr: Translation) -> None:
        self.tr = tr
        self.rows: dict[int, int] = {}
        """Number that torch gave a tensor -> its row."""
        self.owners: dict[int, int] = {}
        """Number that torch gave a storage -> the first row over it."""
        self.described: dict[str, int] = {}
        self.columns = tr.document["fakes"]
        self.description: list[int] = self.columns.setdefault("description", [])

    def row(self, record: Any) -> int:
        """Return the row of the FakeTensor that a `MetaTensorDesc` describes."""
        fields = fields_of(record, DESCRIPTION)
        number = fields.get("id")
        if type(number) is not int:
            raise Untranslatable.because("a FakeTensor has no number")
        found = self.rows.get(number)
        return self._add(number, fields) if found is None else found

    def _add(self, number: int, fields: dict[str, Any]) -> int:
        for flag, what in _REFUSED.items():
            if fields.get(flag):
                raise Untranslatable.because(f"{what} cannot be kept; save the graph with plain ones")
        base_row = None
        if fields.get("is_view"):
            if fields.get("base") is None:
                raise Untranslatable.because("a view without its base cannot be kept")
            if fields_of(fields["base"], DESCRIPTION).get("is_view"):
                raise Untranslatable.because("the base of a view is a view itself")
            base_row = self.row(fields["base"])
        owner = None
        if fields.get("storage") is None:
            description = self._intern(self._sparse(fields))
        else:
            storage = fields_of(fields["storage"], STORAGE)
            address = storage.get("id")
            if type(address) is not int:
                raise Untranslatable.because("the storage of a FakeTensor has no number")
            owner = self.owners.get(address)
            description = self._intern(
                self._strided(fields, None if owner is not None else storage.get("size"))
            )
            if owner is None:
                self.owners[address] = len(self.description)
        row = self.rows[number] = len(self.description)
        self.description.append(description)
        if base_row is not None:
            self._put("base", row, base_row)
        elif owner is not None:
            self._put("storage", row, owner)
        if fields.get("grad") is not None:
            self._put("grad", row, ["fake", self.row(fields["grad"])])
        return row

    def _put(self, column: str, row: int, value: Any) -> None:
        rows, values = self.columns.setdefault(column, [[], []])
        rows.append(row)
        values.append(value)

    def _intern(self, entry: list[Any]) -> int:
        key = repr(entry)
        row = self.described.get(key)
        if row is None:
            rows = self.tr.document["descriptions"]
            row = self.described[key] = len(rows)
            rows.append(entry)
        return row

    def _strided(self, fields: dict[str, Any], nbytes: Any) -> list[Any]:
        size, stride = size_items(fields.get("size")), sequence_of(fields.get("stride"))
        offset = fields.get("storage_offset")
        numbers = (*size, *stride, offset, nbytes)
        if not all([type(number) is int or number is None for number in numbers]):
            return self._symbolic(fields, size, stride, offset, nbytes)
        others: dict[str, Any] = {}
        if offset:
            others["offset"] = offset
        contiguous = list(stride) == contiguous_strides(list(size))
        entry = self._finish(fields, list(size), None if contiguous else list(stride), others)
        needed = needed_bytes(list(size), list(stride), offset or 0, ITEM_BYTES[entry[0]])
        if nbytes is not None and nbytes != needed:
            if nbytes < needed:
                raise Untranslatable.because(f"its storage has {nbytes} bytes of the {needed} that it needs")
            others["nbytes"] = nbytes
        return entry if len(entry) == 5 or not others else [*entry, others]

    def _symbolic(
        self, fields: dict[str, Any], size: Any, stride: Any, offset: Any, nbytes: Any
    ) -> list[Any]:
        value = self.tr.value
        sizes, strides = [value(number) for number in size], [value(number) for number in stride]
        others: dict[str, Any] = {}
        if type(offset) is not int or offset:
            others["offset"] = value(offset)
        if nbytes is not None:
            others["nbytes"] = value(nbytes)
        return self._finish(fields, sizes, strides, others)

    def _sparse(self, fields: dict[str, Any]) -> list[Any]:
        layout = layout_of(fields.get("layout"))
        size = list(size_items(fields.get("size")))
        dense = fields.get("dense_dim")
        if layout != "sparse_coo" or type(dense) is not int or not all([type(n) is int for n in size]):
            raise Untranslatable.because(f"a FakeTensor of layout {layout} without a storage cannot be kept")
        # the description does not say how many values it had; torch itself makes one without values of it
        others: dict[str, Any] = {"layout": layout, "nnz": 0, "dense": dense}
        if fields.get("is_coalesced"):
            others["coalesced"] = True
        return self._finish(fields, size, None, others)

    def _finish(
        self, fields: dict[str, Any], size: list[Any], stride: list[Any] | None, others: dict[str, Any]
    ) -> list[Any]:
        requires_grad = bool(fields.get("requires_grad"))
        flags = {
            "requires_grad": requires_grad,
            "computed": requires_grad and not fields.get("is_leaf", True),
            "conj": fields.get("is_conj"),
            "neg": fields.get("is_neg"),
            "inference": fields.get("is_inference"),
            "parameter": fields.get("is_parameter"),
        }
        others.update({name: True for name, flag in flags.items() if flag})
        entry = [dtype_of(fields.get("dtype")), device_name(fields.get("device")), size, stride]
        return [*entry, others] if others else entry


def _fake(tr: Translation, call: Call) -> Any:
    data = fields_of(sequence_of(call.args, 2)[0], _DATA)
    fakes = tr.state.get("fakes")
    if fakes is None:
        fakes = tr.state["fakes"] = Fakes(tr)
    return ["fake", fakes.row(data.get("metadata"))]


CALLS: Table = {_UNPICKLE: _fake}
