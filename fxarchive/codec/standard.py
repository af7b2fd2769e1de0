"""Values that configurations hold: paths, times, exact numbers, UUIDs, numbers of numpy, the release of torch.

Each kind is a short list of parts, from which the value is built by its own constructor. `KINDS` is closed: a file can
ask for nothing else.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import pathlib
import sys
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch.torch_version import TorchVersion

from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.document import RECORDS, Value
from fxarchive.errors import InvalidDocument


class Kind(NamedTuple):
    """How values of one class are taken apart and built again."""

    cls: type
    types: tuple[Any, ...]
    """Of the parts; in a part whose type is `Any` stands another value of this family, or None."""
    apart: Callable[[Any], list[Any]]
    built: Callable[..., Any]


def _timezone(offset: datetime.timedelta, name: str | None) -> datetime.timezone:
    return datetime.timezone(offset) if name is None else datetime.timezone(offset, name)


def _zone_parts(zone: Any) -> list[Any]:
    offset, *name = zone.__getinitargs__()
    return [offset, *(name or [None])]


def _time(hour: int, minute: int, second: int, microsecond: int, fold: int, zone: Any) -> datetime.time:
    return datetime.time(hour, minute, second, microsecond, zone, fold=fold)


def _datetime(
    year: int,
    month: int,
    day: int,
    hour: int,
    minute: int,
    second: int,
    microsecond: int,
    fold: int,
    zone: Any,
) -> datetime.datetime:
    return datetime.datetime(year, month, day, hour, minute, second, microsecond, zone, fold=fold)


def _date_parts(value: Any) -> list[Any]:
    return [value.year, value.month, value.day]


def _time_parts(value: Any) -> list[Any]:
    return [value.hour, value.minute, value.second, value.microsecond, value.fold, value.tzinfo]


def _numbers() -> dict[str, Kind]:
    """Return the kinds of numpy's numbers; torch imports numpy where it is there, and values of it are only then."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return {}
    kinds: dict[str, Kind] = {}
    for name in _NUMPY:
        dtype = numpy.dtype(name).newbyteorder("<")
        kinds[f"numpy_{name}"] = Kind(
            dtype.type,
            (bytes,),
            partial(lambda dtype, value: [numpy.array(value, dtype).tobytes()], dtype),
            partial(_number, numpy, dtype),
        )
    return kinds


def _number(numpy: Any, dtype: Any, data: bytes) -> Any:
    if len(data) != dtype.itemsize:
        raise InvalidDocument(f"a number of {dtype}", f"it has {len(data)} bytes")
    return numpy.frombuffer(data, dtype)[0]


_NUMPY = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "complex64", "complex128",
)  # fmt: skip

_PATH = (str,)
_TIME = (int, int, int, int, int, Any)

KINDS: dict[str, Kind] = {
    "path": Kind(type(pathlib.Path()), _PATH, lambda value: [str(value)], pathlib.Path),
    "posix_path": Kind(pathlib.PurePosixPath, _PATH, lambda value: [str(value)], pathlib.PurePosixPath),
    "windows_path": Kind(pathlib.PureWindowsPath, _PATH, lambda value: [str(value)], pathlib.PureWindowsPath),
    "date": Kind(datetime.date, (int, int, int), _date_parts, datetime.date),
    "time": Kind(datetime.time, _TIME, _time_parts, _time),
    "datetime": Kind(
        datetime.datetime,
        (int, int, int, *_TIME),
        lambda value: [*_date_parts(value), *_time_parts(value)],
        _datetime,
    ),
    "timedelta": Kind(
        datetime.timedelta,
        (int, int, int),
        lambda value: [value.days, value.seconds, value.microseconds],
        datetime.timedelta,
    ),
    "timezone": Kind(datetime.timezone, (Any, str | None), _zone_parts, _timezone),
    "decimal": Kind(decimal.Decimal, (str,), lambda value: [str(value)], decimal.Decimal),
    "fraction": Kind(
        fractions.Fraction, (int, int), lambda value: [value.numerator, value.denominator], fractions.Fraction
    ),
    "uuid": Kind(
        uuid.UUID,
        (bytes, str),
        lambda value: [value.bytes, value.is_safe.name],
        lambda data, safe: uuid.UUID(bytes=data, is_safe=uuid.SafeUUID[safe]),
    ),
    "torch_version": Kind(TorchVersion, (str,), lambda value: [str(value)], TorchVersion),
    **_numbers(),
}
"""Name of each kind -> what it is; `spec/schema-2-records.md` lists the parts."""

_NAMES = {kind.cls: name for name, kind in KINDS.items()}


def encode_standard(enc: Encoder, value: Any) -> Value:
    if enc.operands is not None:
        raise Refused.because(
            f"a {type(value).__qualname__} cannot be an argument of a node; pass a number or a string instead"
        )
    enc.features.add(RECORDS)
    name = _NAMES[type(value)]
    kind = KINDS[name]
    parts: list[Value] = []
    for part, expected in zip(kind.apart(value), kind.types, strict=True):
        parts.append(part if expected is not Any or part is None else _encode_zone(enc, part))
    return ["standard", name, parts]


def _encode_zone(enc: Encoder, value: Any) -> Value:
    if type(value) not in (datetime.timezone, datetime.timedelta):
        raise Refused.because(
            f"a time zone of class {type(value).__qualname__} cannot be kept; convert the time to a fixed offset "
            "(value.astimezone(datetime.timezone.utc))"
        )
    return encode_standard(enc, value)


def decode_standard(dec: Decoder, tagged: Value) -> Any:
    _, name, parts = tagged
    kind = KINDS.get(name)
    if kind is None or type(parts) is not list or len(parts) != len(kind.types):
        raise InvalidDocument("a value of the standard library", f"{name!r:.40} is not a known kind of it")
    held: list[Any] = []
    for part, expected in zip(parts, kind.types, strict=True):
        if expected is Any:
            part = None if part is None else decode_standard(dec, part)
        elif type(part) is bool or not isinstance(part, expected):
            raise InvalidDocument(f"a {name}", f"its part {part!r:.40} is of the wrong type")
        held.append(part)
    return kind.built(*held)


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = dict.fromkeys(_NAMES, encode_standard)
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = []
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"standard": decode_standard}
