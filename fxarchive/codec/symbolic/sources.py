"""Where symbols come from, as text: ``L['x'].size()[0]``.

Torch writes the text of a source into guards and evaluates guards as Python. So a text that is a plain path
comes back as a source, and any other as a string literal, which evaluates to itself.
"""

from __future__ import annotations

import ast
import re
from typing import Any

SOURCE_LENGTH = 4_096
"""Characters of the text of a source."""

_ATTRIBUTE = r"\.(?!__)[A-Za-z_]\w*"
_READER = r"\.(?:size|stride|storage_offset)\(\)"
_ITEM = r"\[(?:-?\d+|'[^'\\\n{}]*'|\"[^\"\\\n{}]*\")\]"
_PLAIN_SOURCE = re.compile(rf"(?!__)[A-Za-z_]\w*(?:{_READER}|{_ATTRIBUTE}|{_ITEM})*", re.ASCII)
_READ = re.compile(r"\.(?:(size|stride)\(\)\[(\d+)\]|storage_offset\(\))")
_LAST_STEP = re.compile(rf"(.*?)({_READER}(?:\[\d+\])?|{_ATTRIBUTE}|{_ITEM}|)", re.ASCII)
"""A path of attributes and items to an input; nothing is called but what reads a tensor's metadata."""
_EPHEMERAL = re.compile(rf"<ephemeral: (\w+)>((?:{_READER}(?:\[\d+\])?|{_ATTRIBUTE}|{_ITEM})*)", re.ASCII)
"""A path to what torch makes while it traces: no input, and nothing that a guard can name."""
_STEP = re.compile(rf"{_READER}(?:\[\d+\])?|{_ATTRIBUTE}|{_ITEM}", re.ASCII)
_WRITTEN = "_fxarchive_text"
"""Attribute of a source that the running torch must call otherwise: the text that an archive keeps."""


def is_plain_source(text: str) -> bool:
    """Whether ``text`` may stand in guards, which torch evaluates as Python."""
    return len(text) <= SOURCE_LENGTH and _PLAIN_SOURCE.fullmatch(text) is not None


def source_text(source: Any) -> str:
    """Return the text of a dynamo source, or of what an earlier load put in its place."""
    written: str | None = getattr(source, _WRITTEN, None)
    if written is not None:
        return written
    name = _name_of(source)
    if name[:1] in ("'", '"') and len(name) <= 8 * SOURCE_LENGTH:
        try:
            label = ast.literal_eval(name)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return name
        return label if type(label) is str else name
    return name


def _name_of(source: Any) -> str:
    from fxarchive.codec.fast.shape_env_names import (
        source_name,
    )  # it imports sympy, and texts are checked without

    return source_name(source)


def source_of_text(text: str) -> Any:
    """Return a dynamo source named by ``text`` if that is a plain or ephemeral path, else by a string literal.

    A path of more than a name is a source of its kind over one that is only text: torch.export leaves out
    guards over symbols whose own source is a `ConstantSource`.
    """
    from torch._dynamo.source import ConstantSource

    if is_ephemeral(text):
        return _ephemeral(text)
    if not is_plain_source(text):
        return ConstantSource(repr(text))
    found = _of_kind(text)
    return ConstantSource(text) if found is None or _name_of(found) != text else found


def restated_source(source: Any, text: str) -> Any:
    """Return a source named by ``text`` that is written as ``source`` is; ``source`` if it is called so."""
    if text == source_text(source):
        return source
    found = source_of_text(text)
    object.__setattr__(found, _WRITTEN, source_text(source))  # sources are frozen dataclasses
    return found


def _of_kind(text: str) -> Any:
    """Return what the last step of a plain path is to dynamo; None for a name alone."""
    from torch._dynamo import source

    base, step = _LAST_STEP.fullmatch(text).groups()  # type: ignore[union-attr]
    if not step:
        return None
    if base == "L" and step[1] in "'\"":
        return source.LocalSource(step[2:-2])
    return _stepped(source.ConstantSource(base), step)


def is_ephemeral(text: str) -> bool:
    """Whether ``text`` is the name of a source of something that torch makes while it traces."""
    return len(text) <= SOURCE_LENGTH and _EPHEMERAL.fullmatch(text) is not None


def _ephemeral(text: str) -> Any:
    """Return the ephemeral source named ``text``: torch replaces symbols of such sources before all others."""
    from torch._dynamo import source

    label, path = _EPHEMERAL.fullmatch(text).groups()  # type: ignore[union-attr]
    found: Any = source.EphemeralSource(label)
    for step in _STEP.findall(path):
        found = None if found is None else _stepped(found, step)
    return source.ConstantSource(repr(text)) if found is None or _name_of(found) != text else found


def _stepped(inner: Any, step: str) -> Any:
    """Return the source of ``step`` from another source; None where dynamo has none."""
    from torch._dynamo import source

    read = _READ.fullmatch(step)
    if read is not None:
        kind = source.TensorProperty[(read[1] or "storage_offset").upper()]
        return source.TensorPropertySource(inner, kind, None if read[2] is None else int(read[2]))
    if step[0] == ".":
        return None if step.endswith(")") else source.AttrSource(inner, step[1:])
    return source.GetItemSource(inner, step[2:-2] if step[1] in "'\"" else int(step[1:-1]))
