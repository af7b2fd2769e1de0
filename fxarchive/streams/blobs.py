"""What ``torch.save`` makes of one object, read inertly: the pickle in it as records, storages as bytes.

A tensor in a stream holds such a blob for its storage. Both forms of `torch.save` are read: the zip file, and the
older one that `torch.storage` still writes for single storages, a row of pickles followed by the bytes.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import Any

from fxarchive.errors import BadStream, TooLarge
from fxarchive.streams.bounds import DEFAULT_BOUNDS, Bounds
from fxarchive.streams.interpreter import read, read_next
from fxarchive.streams.records import Call, Name, Pairs, PersistentId

_ZIP = b"PK\x03\x04"
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

ITEM_BYTES = {
    "UntypedStorage": 1, "ByteStorage": 1, "CharStorage": 1, "BoolStorage": 1, "ShortStorage": 2, "HalfStorage": 2,
    "BFloat16Storage": 2, "IntStorage": 4, "FloatStorage": 4, "LongStorage": 8, "DoubleStorage": 8,
    "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "QInt8Storage": 1, "QUInt8Storage": 1,
    "QUInt4x2Storage": 1, "QUInt2x4Storage": 1, "QInt32Storage": 4,
}  # fmt: skip
"""Class of a storage -> bytes of an element."""


@dataclass(frozen=True)
class Blob:
    """What one blob of ``torch.save`` holds.

    Attributes:
        root: the records of its pickle; storages in it are persistent ids that hold a key.
        storages: key -> bytes.
    """

    root: Any
    storages: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredStorage:
    """What a blob says of one storage."""

    item_bytes: int
    key: str
    device: str
    count: int
    """Elements."""

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return self.item_bytes * self.count


def storage_of(pid: Any, where: str) -> StoredStorage:
    """Return what the persistent id of a storage says: ``("storage", class, key, device, elements, ...)``.

    Raises:
        BadStream: it says something else.
    """
    value = pid.value if type(pid) is PersistentId else None
    if type(value) is tuple and len(value) >= 5 and value[0] == "storage":
        cls, key, device, count = value[1:5]
        known = type(cls) is Name and cls.module in ("torch", "torch.storage") and cls.qualname in ITEM_BYTES
        if known and type(key) is type(device) is str and type(count) is int and count >= 0:
            if len(value) > 5 and value[5] is not None:
                raise BadStream(
                    where, "a storage in it is a view of another, which no release since 2.0 writes"
                )
            return StoredStorage(ITEM_BYTES[cls.qualname], key, device, count)
    raise BadStream(where, "a reference in it is not to a storage")


def read_blob(data: bytes, where: str = "a torch.save blob", bounds: Bounds = DEFAULT_BOUNDS) -> Blob:
    """Return what the bytes of ``torch.save(obj, stream)`` say.

    Args:
        data: the whole blob.
        where: name of the blob, for errors.
        bounds: how much it may ask for.

    Raises:
        BadStream: it is no such blob, or a broken one.
        TooLarge: it is over a bound.
    """
    if len(data) > bounds.blob_bytes:
        raise TooLarge(f"The size of {where}", len(data), bounds.blob_bytes)
    if data[: len(_ZIP)] != _ZIP:
        return _read_row(data, where, bounds)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read_members(archive, len(data), where, bounds)
    except (
        zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, KeyError, OSError, ValueError, RuntimeError
    ) as error:  # fmt: skip
        raise BadStream(where, f"it is not a whole zip file ({error!s:.120})") from None


def _read_row(data: bytes, where: str, bounds: Bounds) -> Blob:
    """Read the older form: magic number, protocol, facts of the machine, the object, keys, storages."""
    at = 0
    parts: list[Any] = []
    for _ in range(5):
        part, at = read_next(data, at, where, bounds)
        parts.append(part)
    magic, protocol, machine, root, keys = parts
    if magic != _MAGIC or protocol != _PROTOCOL:
        raise BadStream(where, "it is not what torch.save writes")
    if type(machine) is not Pairs or machine.named().get("little_endian") is not True:
        raise BadStream(where, "its storages are not little-endian")
    if type(keys) is not list or not all([type(key) is str for key in keys]) or len(set(keys)) != len(keys):
        raise BadStream(where, "its list of storages is not one of keys")
    sizes = {found.key: found for found in _storages_in(root, where)}
    if set(sizes) != set(keys):
        raise BadStream(where, "its list of storages is not that of its object")
    storages = {}
    for key in keys:
        count = int.from_bytes(data[at : at + 8], "little", signed=True)
        at += 8
        if count != sizes[key].count or at + sizes[key].nbytes > len(data):
            raise BadStream(where, f"the storage {key!r:.40} has another size than it says")
        storages[key] = data[at : at + sizes[key].nbytes]
        at += sizes[key].nbytes
    if at != len(data):
        raise BadStream(where, f"{len(data) - at} bytes follow its last storage")
    return Blob(root, storages)


def _storages_in(root: Any, where: str) -> list[StoredStorage]:
    """Find the storages that the object of a blob refers to; a blob of a storage is nothing but one."""
    if type(root) is PersistentId:
        return [storage_of(root, where)]
    if type(root) is Call and type(root.args) is tuple:
        return [storage_of(arg, where) for arg in root.args if type(arg) is PersistentId]
    raise BadStream(where, "it is not of a storage or of a tensor")


def _read_members(archive: zipfile.ZipFile, size: int, where: str, bounds: Bounds) -> Blob:
    members = archive.infolist()
    if len(members) > bounds.blob_members:
        raise TooLarge(f"The number of files in {where}", len(members), bounds.blob_members)
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            raise BadStream(
                where, f"its file {member.filename!r:.80} is compressed, which torch.save never does"
            )
    total = sum([member.file_size for member in members])
    if total > bounds.blob_bytes:
        raise TooLarge(f"The size of {where}", total, bounds.blob_bytes)
    if total > size:
        raise BadStream(where, f"its files have {total} bytes and it has {size}, so that they overlap")
    held: dict[str, bytes] = {}
    for member in members:
        _, _, name = member.filename.partition("/")
        if not name or name in held:
            raise BadStream(where, f"it holds the file {member.filename!r:.80} twice, or outside its folder")
        with archive.open(member) as stream:
            held[name] = stream.read(member.file_size)
            if len(held[name]) != member.file_size or stream.read(1):
                raise BadStream(where, f"its file {member.filename!r:.80} has another size than it says")
    if "data.pkl" not in held:
        raise BadStream(where, "it holds no data.pkl")
    if held.get("byteorder", b"little") != b"little":
        raise BadStream(where, "its storages are big-endian")
    storages = {name[5:]: data for name, data in held.items() if name.startswith("data/")}
    return Blob(read(held["data.pkl"], f"{where}, data.pkl", bounds), storages)
