"""Storages: the bytes under tensors, kept once however many tensors view them.

A row of `storages` is ``{"size": bytes, "device": str}`` and one of ``"data"`` (the bytes, when they are
few), ``"section"`` (name of the archive's section that holds them) or ``"omitted": True``. Bytes are
little-endian.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from typing import Any

import torch

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.geometry import check_integer, reason
from fxarchive.errors import FxArchiveError, InvalidDocument, MissingDevice

INLINE_BYTES = 256
"""Storages up to this size stand in the document itself: a graph may have thousands of small constants."""

CHUNK_BYTES = 16 * 1024 * 1024
"""Bytes that `chunks` hands out at a time, and that leave another device at a time."""

HOST_MEMORY = "host memory"
"""Where an encoder notes the storages that have an address in host memory."""

ALIGNMENT = 64
"""Bytes; what torch's own allocator gives. A buffer that is not so aligned is copied to one that is."""

CPU = torch.device("cpu")
META = torch.device("meta")


def encode_storage(enc: Encoder, storage: torch.UntypedStorage, *, keep: bool = False) -> int:
    """Return the row of ``storage`` in `storages`.

    Args:
        storage: one of any device but that of a FakeTensor.
        keep: store the bytes even where the encoder leaves weights out.

    Raises:
        Refused: this machine is big-endian.
    """
    if sys.byteorder != "little":
        raise Refused.because("tensors are stored little-endian; save on a little-endian machine")
    nbytes, device = storage.nbytes(), storage.device
    address = storage.data_ptr() if device.type != "meta" and nbytes else 0
    # two storages may be made over the same memory (torch.from_numpy twice); they come back as one
    key = (str(device), address, nbytes) if address else storage._cdata
    row = enc.row("storages", key)
    if row is None:
        enc.keep_alive(storage)
        row = enc.add("storages", key, {"size": nbytes, "device": str(device)})
        if address and device.type == "cpu":
            enc.state.setdefault(HOST_MEMORY, []).append(storage)
    record = enc.document["storages"][row]
    if device.type == "meta" or (enc.omit_weights and not keep):
        if len(record) == 2:
            record["omitted"] = True
    elif "data" not in record and "section" not in record:
        record.pop("omitted", None)
        if nbytes <= INLINE_BYTES:
            record["data"] = b"".join(chunks(storage))
        else:
            record["section"] = f"storages/{row}"
            enc.storages[record["section"]] = storage
    return row


def chunks(storage: torch.UntypedStorage, size: int = CHUNK_BYTES) -> Iterator[memoryview]:
    """Yield the bytes of ``storage`` in order, ``size`` at a time, without a copy if they are in host memory.

    Args:
        storage: one with bytes, on any device; those of other devices are copied to the host chunk by chunk.
        size: bytes of each chunk but the last.

    >>> storage = torch.arange(4, dtype=torch.uint8).untyped_storage()
    >>> [bytes(chunk) for chunk in chunks(storage, 3)]
    [b'\\x00\\x01\\x02', b'\\x03']
    """
    nbytes = storage.nbytes()
    if storage.device.type == "cpu":
        memory = _host_memory(storage)
        for start in range(0, nbytes, size):
            yield memory[start : start + size]
        return
    flat = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
    for start in range(0, nbytes, size):
        part = flat[start : start + size].cpu()
        yield _host_memory(part.untyped_storage())


def _host_memory(storage: torch.UntypedStorage) -> memoryview:
    """Return the bytes of a CPU storage; valid while the storage lives."""
    nbytes = storage.nbytes()
    if not nbytes:
        return memoryview(b"")
    array = (ctypes.c_char * nbytes).from_address(storage.data_ptr())
    return memoryview(array).cast("B")


def decode_storage(dec: Decoder, row: Any) -> torch.UntypedStorage:
    """Return the storage of ``row``: the same object for the same row.

    The bytes of a section are used where they are, so a mapped file is not read here, and a tensor written in
    place changes private pages only.

    Raises:
        InvalidDocument: the row breaks a rule of `spec/schema-2-tensors.md`.
        MissingDevice: the storage was on a device that this machine lacks, and the caller named no other.
    """
    known = dec.objects["storages"]
    storage: torch.UntypedStorage | None = known.get(row) if type(row) is int else None
    if storage is None:
        storage = known[row] = _build(dec, f"storages[{row}]", dec.entry("storages", row), dec.device)
    return storage


def decode_host_storage(dec: Decoder, row: Any, where: str) -> torch.UntypedStorage:
    """Return the storage of ``row`` in host memory, whatever device the caller named; tensors there share it.

    Args:
        dec: the decoder.
        row: a row of `storages`.
        where: what asks for it.

    Raises:
        InvalidDocument: the row breaks a rule of `spec/schema-2-tensors.md`, or holds no bytes of the CPU.
    """
    record = dec.entry("storages", row)
    if type(record) is not dict or record.get("device") != "cpu" or "omitted" in record:
        raise InvalidDocument(where, f"its storage, row {row}, is not one of the CPU with bytes")
    if dec.device is None or dec.device.type == "cpu":
        return decode_storage(dec, row)
    known = dec.objects.setdefault("host storages", {})
    storage: torch.UntypedStorage | None = known.get(row)
    if storage is None:
        storage = known[row] = _build(dec, f"storages[{row}]", record, CPU)
    return storage


def is_omitted(dec: Decoder, row: int, nbytes: int) -> bool:
    """Whether the storage of ``row`` has ``nbytes`` bytes and was saved without them: it comes back as a meta one."""
    record = dec.entry("storages", row)
    if type(record) is not dict or len(record) != 3 or record.get("omitted") is not True:
        return False
    size = record.get("size")
    if type(size) is not int or size != nbytes or type(record.get("device")) is not str:
        return False
    device_named(record["device"], f"storages[{row}]")
    return True


def _build(dec: Decoder, where: str, record: Any, wanted: torch.device | None) -> torch.UntypedStorage:
    """Return the storage of a row on the device ``wanted``, or, for None, where it was."""
    if type(record) is not dict or type(record.get("device")) is not str:
        raise InvalidDocument(where, "it is not a record of a storage")
    nbytes = check_integer(record.get("size"), "size", where)
    device = device_named(record["device"], where)
    if len(record) == 3 and "omitted" in record:
        if record["omitted"] is not True:
            raise InvalidDocument(where, "omitted is not true")
        return new_storage(nbytes, "meta")
    forms = record.keys() - {"size", "device"}
    if len(forms) != 1:
        raise InvalidDocument(where, f"it has {sorted(forms)!r} instead of one of data, section, omitted")
    (form,) = forms
    if device.type == "meta":
        raise InvalidDocument(where, "it has bytes and is on the meta device")
    if sys.byteorder != "little":
        raise FxArchiveError("Tensors are stored little-endian; load the archive on a little-endian machine.")
    if form == "data":
        storage = _from_bytes(record[form], nbytes, where)
    elif form == "section":
        storage = _from_section(dec, record[form], nbytes, where)
    else:
        raise InvalidDocument(where, f"it has {form!r} instead of one of data, section, omitted")
    return _on_device(storage, device if wanted is None else wanted, forced=wanted is not None)


def _from_bytes(data: Any, nbytes: int, where: str) -> torch.UntypedStorage:
    if type(data) is not bytes or len(data) != nbytes:
        raise InvalidDocument(where, f"its data is not {nbytes} bytes")
    storage = new_storage(nbytes, "cpu")
    if nbytes:
        ctypes.memmove(storage.data_ptr(), data, nbytes)
    return storage


def _from_section(dec: Decoder, name: Any, nbytes: int, where: str) -> torch.UntypedStorage:
    used: dict[str, str] = dec.state.setdefault("sections of storages", {})
    if type(name) is not str or used.setdefault(name, where) != where:
        raise InvalidDocument(where, f"section {name!r} is not a section of its own")
    buffer = dec.sections.writable(name)
    if buffer.nbytes != nbytes:
        raise InvalidDocument(
            where, f"section {name!r} has {buffer.nbytes} bytes where the storage has {nbytes}"
        )
    if not nbytes:
        return new_storage(0, "cpu")
    storage = torch.frombuffer(buffer, dtype=torch.uint8).untyped_storage()
    if storage.data_ptr() % ALIGNMENT == 0:
        return storage
    aligned = new_storage(nbytes, "cpu")
    ctypes.memmove(aligned.data_ptr(), storage.data_ptr(), nbytes)
    return aligned


def _on_device(storage: torch.UntypedStorage, device: torch.device, *, forced: bool) -> torch.UntypedStorage:
    if device.type == "cpu":
        return storage
    if device.type == "meta":
        return new_storage(storage.nbytes(), "meta")
    flat = torch.empty(0, dtype=torch.uint8, device=CPU).set_(storage)
    try:
        return flat.to(device).untyped_storage()
    except (RuntimeError, NotImplementedError, AssertionError, ImportError) as error:
        raise MissingDevice(str(device), forced, reason(error)) from None


def new_storage(nbytes: int, device: str) -> torch.UntypedStorage:
    """Return a storage of ``nbytes`` bytes, with whatever the memory held, on the CPU or meta device."""
    make: Any = torch.UntypedStorage
    storage: torch.UntypedStorage = make(nbytes, device=device)
    return storage


def view(
    storage: torch.UntypedStorage, dtype: torch.dtype, size: list[int], stride: list[int], offset: int
) -> torch.Tensor:
    """Return a tensor over ``storage``; the caller has checked that it fits, in elements."""
    made: torch.Tensor = torch.empty(0, dtype=dtype, device=storage.device).set_(
        storage, offset, size, stride
    )
    return made


_devices: dict[str, torch.device] = {}
MOST_DEVICES = 1000
"""Devices that are remembered by their names."""


def device_named(name: Any, where: str) -> torch.device:
    """Return the device whose ``str`` is ``name``; the machine need not have it."""
    try:
        found = _devices.get(name)
        if found is None:
            found = torch.device(name)
            if len(_devices) < MOST_DEVICES:
                _devices[name] = found
        return found
    except (RuntimeError, TypeError):
        raise InvalidDocument(where, f"torch {torch.__version__} has no device {name!r}") from None
