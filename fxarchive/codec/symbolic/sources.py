"""Where symbols come from, as text: ``L['x'].size()[0]``.

Torch writes the text of a source into guards and evaluates guards as Python. So a text that is a plain path
comes back as a source, and any other as a string literal, which evaluates to itself.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from fxarchive.codec.fast import shape_env_names as names

SOURCE_LENGTH = 4_096
"""Characters of the text of a source."""

_ATTRIBUTE = r"\.(?!__)[A-Za-z_]\w*"
_READER = r"\.(?:size|stride|storage_offset)\(\)"
_ITEM = r"\[(?:-?\d+|'[^'\\\n{}]*'|\"[^\"\\\n{}]*\")\]"
_PLAIN_SOURCE = re.compile(rf"(?!__)[A-Za-z_]\w*(?:{_READER}|{_ATTRIBUTE}|{_ITEM})*", re.ASCII)
"""A path of attributes and items to an input; nothing is called but what reads a tensor's metadata."""


def is_plain_source(text: str) -> bool:
    """Whether ``text`` may stand in guards, which torch evaluates as Python."""
    return len(text) <= SOURCE_LENGTH and _PLAIN_SOURCE.fullmatch(text) is not None


def source_text(source: Any) -> str:
    """Return the text of a dynamo source, or of the label that an earlier load put in its place."""
    name = names.source_name(source)
    if name[:1] in ("'", '"') and len(name) <= 8 * SOURCE_LENGTH:
        try:
            label = ast.literal_eval(name)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return name
        return label if type(label) is str else name
    return name


def source_of_text(text: str) -> Any:
    """Return a dynamo source named by ``text`` if that is a plain path, else by a string literal."""
    from torch._dynamo.source import ConstantSource

    return ConstantSource(text if is_plain_source(text) else repr(text))
