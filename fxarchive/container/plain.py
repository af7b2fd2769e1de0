"""Plain values as canonical msgpack: the same value gives the same bytes, and only those bytes are read back.

Plain values are None, bool, int (-2**63 to 2**64 - 1), float, str, bytes, list and dict with str keys; no
subclass of these, no extension type. Keys are sorted by code point. A reader encodes what it decoded and
compares, which refuses duplicate and unsorted keys, long forms of short numbers, and whatever else a writer
would not write.
"""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]

from ..errors import CorruptArchive, Problem, UnsupportedValue
from ..limits import Limits

_SCALARS = frozenset({type(None), bool, float, bytes})


def pack_plain(value: object, path: str, limits: Limits) -> bytes:
    """Encode a plain value.

    Args:
        value: what to encode.
        path: name of the value, the start of the paths in the error.
        limits: `header_depth` and `header_items` are kept.

    Raises:
        UnsupportedValue: lists every part that is not plain or over a limit.
    """
    problems: list[Problem] = []
    canonical = _canonical(value, path, 1, limits, problems)
    if problems:
        raise UnsupportedValue(problems)
    return pack(canonical)


def mapping_problems(value: object, path: str, limits: Limits) -> list[Problem]:
    """All that keeps `value` from being one of the maps within the header; empty if nothing does."""
    if type(value) is not dict:
        return [Problem(path, f"is a {type(value).__qualname__}, not a dict")]
    problems: list[Problem] = []
    _canonical(value, path, 2, limits, problems)
    return problems


def unpack_plain(data: bytes, where: str, limits: Limits) -> Any:
    """Decode what `pack_plain` wrote.

    Raises:
        CorruptArchive: anything else, including other encodings of the same value.
    """
    value = unpack(data, where, limits.header_items)
    problems: list[Problem] = []
    canonical = _canonical(value, where, 1, limits, problems)
    if problems:
        raise CorruptArchive(where, f"{problems[0].path} {problems[0].why}")
    if pack(canonical) != data:
        raise CorruptArchive(where, "its msgpack is not in canonical form")
    return value


def pack(value: object) -> bytes:
    """Encode a value that is known to be canonical."""
    packed: bytes = msgpack.packb(value)
    return packed


def unpack(data: bytes, where: str, max_items: int) -> Any:
    """Decode msgpack without looking at the values; no list or map may declare more than `max_items` entries.

    Raises:
        CorruptArchive: not msgpack, a string that is not UTF-8, bytes after the value, an extension type.
    """
    items = min(max_items, len(data))
    try:
        return msgpack.unpackb(data, max_array_len=items, max_map_len=items, max_ext_len=0)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CorruptArchive(where, f"its msgpack is invalid ({reason.rstrip('.')[:120]})") from None


def _canonical(value: Any, path: str, depth: int, limits: Limits, problems: list[Problem]) -> Any:
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is str:
        if not _is_utf8(value):
            problems.append(Problem(path, "holds a lone surrogate, which UTF-8 cannot encode"))
        return value
    if kind is int:
        if not -(2**63) <= value < 2**64:
            problems.append(Problem(path, "is an int outside -2**63 to 2**64 - 1; store it as a str"))
        return value
    if kind is not list and kind is not dict:
        problems.append(Problem(path, f"is a {kind.__module__}.{kind.__qualname__}, not a plain value"))
        return None
    if depth > limits.header_depth:
        problems.append(Problem(path, f"is nested deeper than {limits.header_depth} levels"))
        return None
    if len(value) > limits.header_items:
        problems.append(Problem(path, f"has {len(value)} entries, over the limit of {limits.header_items}"))
        return None
    if kind is list:
        return [_canonical(item, f"{path}[{i}]", depth + 1, limits, problems) for i, item in enumerate(value)]
    bad_keys = [key for key in value if type(key) is not str or not _is_utf8(key)]
    if bad_keys:
        problems.extend(
            Problem(path, f"has the key {key!r:.80}, which is not a str in UTF-8") for key in bad_keys
        )
        return None
    return {
        key: _canonical(value[key], f"{path}[{key!r:.80}]", depth + 1, limits, problems)
        for key in sorted(value)
    }


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
