"""Storages: the bytes in the blobs of ``torch.save`` that tensors of a stream hold."""

from __future__ import annotations

from typing import Any

from fxarchive.errors import TooLarge
from fxarchive.migrations.graph_pickler.translation import Translation, Untranslatable, sequence_of, shown
from fxarchive.streams import Call, PersistentId, read_blob, storage_of

INLINE_BYTES = 256
"""Storages up to this size stand in the document itself."""

_LOAD = "torch.storage._load_from_bytes"


def storage_row(tr: Translation, record: Any) -> tuple[int, int]:
    """Return the row of a storage in `storages`, and its bytes in number.

    A pickle of a tensor holds ``torch.save`` of its storage, so two tensors over one storage hold it twice; that they
    shared it is not in the stream.
    """
    if type(record) is not Call or record.name != _LOAD:
        raise Untranslatable.because(f"a storage is expected here and there is {shown(record)}")
    row = tr.row("storages", id(record))
    if row is None:
        (data,) = sequence_of(record.args, 1)
        if type(data) is not bytes:
            raise Untranslatable.because("its storage is not made of bytes")
        count_bytes(tr, len(data))
        where = f"the storage at {tr.here().lstrip('.')[:200] or 'the root'}"
        blob = read_blob(data, where, tr.bounds)
        if type(blob.root) is not PersistentId:
            raise Untranslatable.because("its storage is a blob of something else")
        facts = storage_of(blob.root, where)
        if blob.storages.keys() != {facts.key} or len(blob.storages[facts.key]) != facts.nbytes:
            raise Untranslatable.because("the blob of its storage holds another storage")
        row = add_bytes(tr, record, facts.device, blob.storages[facts.key])
    return row, tr.document["storages"][row]["size"]


def count_bytes(tr: Translation, count: int) -> None:
    """Count the bytes of a storage; each is written into the stream, so that all together are no longer than it.

    Raises:
        TooLarge: they are longer, or over the bound.
    """
    spent = tr.state["bytes of blobs"] = tr.state.get("bytes of blobs", 0) + count
    most = min(tr.bounds.blob_bytes, tr.size)
    if spent > most:
        raise TooLarge("The size of the storages in the stream", spent, most)


def add_bytes(tr: Translation, record: Any, device: str, data: bytes) -> int:
    """Add the storage of ``record``, of a device and with these bytes, and return its row in `storages`."""
    entry: dict[str, Any] = {"size": len(data), "device": device}
    row = tr.add("storages", id(record), entry)
    if device == "meta":
        entry["omitted"] = True
    elif len(data) <= INLINE_BYTES:
        entry["data"] = data
    else:
        entry["section"] = f"storages/{row}"
        tr.sections[entry["section"]] = data
    return row


def meta_storage(tr: Translation, key: Any, size: int) -> int:
    """Return the row of a storage that has no bytes."""
    row = tr.row("storages", id(key))
    return (
        tr.add("storages", id(key), {"size": size, "device": "meta", "omitted": True}) if row is None else row
    )


def bytes_of(tr: Translation, row: int) -> bytes:
    """Return the bytes of a row of `storages`."""
    entry = tr.document["storages"][row]
    data: bytes = entry["data"] if "data" in entry else tr.sections[entry["section"]]
    return data
