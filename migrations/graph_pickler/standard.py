"""Values of Python's standard library: paths, times, exact numbers, UUIDs, from the calls by which they pickle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fxarchive.document import RECORDS
from fxarchive.migrations.graph_pickler.translation import (
    Table,
    Translation,
    Untranslatable,
    sequence_of,
    shown,
)
from fxarchive.streams import Call

_PATHS = {
    **dict.fromkeys(("PosixPath", "WindowsPath", "Path"), "path"),
    "PurePosixPath": "posix_path",
    "PureWindowsPath": "windows_path",
}
_HOMES = ("pathlib", "pathlib._local")
"""Python 3.13 has the classes in the second module."""

_UUID_SAFETY = {0: "safe", -1: "unsafe", None: "unknown"}


def _known(call: Call, parts: list[Any]) -> Any:
    """Check what Python checks when it reads such a value, as far as a constructor would raise."""
    if not all([type(part) in (int, str, bytes, list, type(None)) for part in parts]):
        raise Untranslatable.because(f"{shown(call)} is not made of numbers and text")
    return parts


def _joined(call: Call, separator: str) -> list[Any]:
    parts = sequence_of(call.args)
    if not all([type(part) is str for part in parts]):
        raise Untranslatable.because("a path is not made of strings")
    root = parts[0] if parts and parts[0].endswith(separator) else ""
    rest = parts[1:] if root else parts
    return [root + separator.join(rest) if parts else "."]


def _path(tr: Translation, call: Call) -> list[Any]:
    name = call.name.rpartition(".")[2]
    return [_PATHS[name], _joined(call, "\\" if "Windows" in name else "/")]


def _bytes(call: Call, length: int) -> tuple[bytes, Any]:
    """Return the packed numbers of a date or time, and its zone."""
    args = sequence_of(call.args)
    if args and type(args[0]) is str and args[0].isascii():  # how Python 2 pickled them
        args = (args[0].encode("latin-1"), *args[1:])
    if not args or type(args[0]) is not bytes or len(args[0]) != length or len(args) > 2:
        raise Untranslatable.because(f"{shown(call)} is not packed as Python packs it")
    return args[0], args[1] if len(args) == 2 else None


def _date(tr: Translation, call: Call) -> list[Any]:
    packed, _ = _bytes(call, 4)
    return ["date", [packed[0] * 256 + packed[1], packed[2], packed[3]]]


def _clock(packed: bytes) -> list[int]:
    hour, minute, second = packed[:3]
    return [hour, minute, second, int.from_bytes(packed[3:6], "big")]


def _time(tr: Translation, call: Call) -> list[Any]:
    packed, zone = _bytes(call, 6)
    hour, *rest = _clock(packed)
    return ["time", [hour & 0x7F, *rest, hour >> 7, _zone(tr, zone)]]


def _datetime(tr: Translation, call: Call) -> list[Any]:
    packed, zone = _bytes(call, 10)
    day = [packed[0] * 256 + packed[1], packed[2] & 0x7F, packed[3]]
    return ["datetime", [*day, *_clock(packed[4:]), packed[2] >> 7, _zone(tr, zone)]]


def _zone(tr: Translation, zone: Any) -> Any:
    if zone is None:
        return None
    if type(zone) is not Call or zone.name != "datetime.timezone":
        raise Untranslatable.because(f"a time zone of class {shown(zone)} cannot be kept")
    return _standard(tr, zone)


def _timedelta(tr: Translation, call: Call) -> list[Any]:
    return ["timedelta", list(sequence_of(call.args, 3))]


def _timezone(tr: Translation, call: Call) -> list[Any]:
    offset, name = (*sequence_of(call.args), None, None)[:2]
    if type(offset) is not Call or offset.name != "datetime.timedelta":
        raise Untranslatable.because("a time zone has no offset")
    return ["timezone", [_standard(tr, offset), name]]


def _decimal(tr: Translation, call: Call) -> list[Any]:
    return ["decimal", list(sequence_of(call.args, 1))]


def _fraction(tr: Translation, call: Call) -> list[Any]:
    args = sequence_of(call.args)
    if len(args) == 1 and type(args[0]) is str:  # Python 3.11 and before
        numerator, _, denominator = args[0].partition("/")
        try:
            args = (int(numerator[:4096]), int(denominator[:4096] or 1))
        except ValueError:
            raise Untranslatable.because("a fraction is not made of two numbers") from None
    return ["fraction", list(sequence_of(args, 2))]


def _uuid(tr: Translation, call: Call) -> list[Any]:
    fields = call.fields()
    number, safe = fields.get("int"), fields.get("is_safe")
    if (
        type(number) is not int
        or not 0 <= number < 1 << 128
        or type(safe) not in (int, type(None))
        or safe not in _UUID_SAFETY
    ):
        raise Untranslatable.because("a UUID is not a number of 128 bits")
    return ["uuid", [number.to_bytes(16, "big"), _UUID_SAFETY[safe]]]


_KINDS: dict[str, Callable[[Translation, Call], list[Any]]] = {
    **{f"{home}.{name}": _path for home in _HOMES for name in _PATHS},
    "datetime.date": _date,
    "datetime.time": _time,
    "datetime.datetime": _datetime,
    "datetime.timedelta": _timedelta,
    "datetime.timezone": _timezone,
    "decimal.Decimal": _decimal,
    "fractions.Fraction": _fraction,
    "uuid.UUID": _uuid,
}


def _standard(tr: Translation, call: Call) -> Any:
    if tr.operands is not None:
        raise Untranslatable.because(f"a {call.name} cannot be an argument of a node")
    tr.features.add(RECORDS)
    kind, parts = _KINDS[call.name](tr, call)
    return ["standard", kind, _known(call, parts)]


CALLS: Table = dict.fromkeys(_KINDS, _standard)
