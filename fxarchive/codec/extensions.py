"""Registered values: rows ``[tag, version, needed, value]`` of the table `extensions`.

A value that stands in metadata alone comes back as an `InertRecord` where its tag is not registered; one that stands
elsewhere is needed, and loading ends with an error that names all tags.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from fxarchive import extensions
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import MAX_DEPTH, Encoder, Refused
from fxarchive.document import EXTENSIONS, Value
from fxarchive.errors import ExtensionFailed, InvalidDocument, Problem, UnknownExtension
from fxarchive.inert import InertRecord

_FIELD = "value"
"""The one field of an inert record that stands for an unregistered value."""

# encoding


def encode_extension(enc: Encoder, value: Any) -> Value:
    known = extensions.of_class(type(value))
    assert known is not None  # as `is_registered` found
    return _encode(enc, value, known.tag, known.version, lambda: _encoded(known, value))


def encode_inert(enc: Encoder, record: InertRecord) -> Value:
    assert record.version is not None
    return _encode(enc, record, record.kind, record.version, lambda: record.fields.get(_FIELD))


def _encoded(known: extensions.Extension, value: Any) -> Any:
    try:
        return known.encode(value)
    except Refused:
        raise
    except Exception as error:
        raise Refused.because(
            f"the registered encoder of {known.tag} failed ({error!r:.200}); correct it"
        ) from error


def _encode(enc: Encoder, value: Any, tag: str, version: int, content: Callable[[], Any]) -> Value:
    enc.refuse_argument(value)
    rows: dict[int, int | None] = enc.state.setdefault("extensions", {})
    if id(value) in rows:
        row = rows[id(value)]
        if row is None:
            raise Refused.because(f"a {tag} holds itself; encode it without that reference")
        enc.document["extensions"][row][2] |= not enc.inert  # type: ignore[typeddict-item]
        return ["extension", row]
    rows[id(value)] = None
    enc.keep_alive(value)
    try:
        held = _apart(content())
        enc.keep_alive(held)
        try:
            encoded = enc.value(held)
        except Refused as refused:
            raise Refused(refused.below(f".<{tag}>")) from None
    except Refused:
        del rows[id(value)]
        raise
    document: dict[str, Any] = enc.document  # type: ignore[assignment]
    table = document.setdefault("extensions", [])
    enc.features.add(EXTENSIONS)
    table.append([tag, version, not enc.inert, encoded])
    rows[id(value)] = len(table) - 1
    return ["extension", len(table) - 1]


def _apart(held: Any, depth: int = 0) -> Any:
    """Copy containers, so that no place outside shares them: a decoder gets them filled."""
    kind = type(held)
    if depth > MAX_DEPTH:
        raise Refused.because(f"it is nested more than {MAX_DEPTH} containers deep")
    if kind in (list, tuple, set, frozenset):
        return kind([_apart(item, depth + 1) for item in held])
    if kind in (dict, OrderedDict):
        return kind([(key, _apart(item, depth + 1)) for key, item in held.items()])
    return held


# decoding


def check_registered(document: Any) -> None:
    """Raise one error that names every tag without which the document cannot be rebuilt."""
    missing = {}
    for tag, version, needed, _ in document.get("extensions", ()):
        known = extensions.of_tag(tag)
        if needed and known is None:
            missing[tag] = (
                f"import {extensions.package_of(tag)}, or the module that registers it with fxarchive.register, "
                "before loading"
            )
        elif known is not None and version > known.version:
            missing[tag] = (
                f"the archive has its version {version} and version {known.version} is registered; "
                f"install a newer {extensions.package_of(tag)}"
            )
    if missing:
        raise UnknownExtension([Problem(tag, remedy) for tag, remedy in sorted(missing.items())])


def decode_extension(dec: Decoder, tagged: Value) -> Any:
    if "extensions" not in dec.document:
        raise InvalidDocument("table extensions", "there is none")
    return dec.row("extensions", tagged[1], lambda entry: _build(dec, entry))


def _build(dec: Decoder, entry: Any) -> Any:
    tag, version, _, encoded = entry
    known = extensions.of_tag(tag)
    held = dec.value(encoded)
    if known is None:
        return InertRecord(tag, {_FIELD: held}, version=version, shared=True)
    try:
        return known.decode(held, version)
    except Exception as error:
        raise ExtensionFailed(tag, version, f"{error!r:.200}") from error


def is_registered(value: Any) -> bool:
    """Whether the caller's program registered the class of ``value``."""
    return extensions.of_class(type(value)) is not None


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [
    (is_registered, encode_extension)
]
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"extension": decode_extension}
