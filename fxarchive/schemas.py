"""Operator schemas as torch prints them, taken apart without torch: ``aten::add.Tensor(Tensor self, ...) -> Tensor``.

The grammar is that of torch's native functions (`aten/src/ATen/native/README.md` in the source of torch).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

_ARGUMENT = re.compile(r"(?P<type>.*\S)\s+(?P<name>\w+)(?:=(?P<default>.*))?", re.DOTALL)
_ALIAS = re.compile(r"\([a-z0-9!|* >-]*\)")
_NAME = re.compile(r"\s+\w+$")
_OPEN, _CLOSE = "([", ")]"


@dataclass(frozen=True)
class Argument:
    """One argument of an operator.

    Attributes:
        name: as calls by keyword give it.
        kind: type without alias annotations: ``Tensor``, ``SymInt[2]``, ``str?``.
        default: text of the default value, or None where there is none.
        keyword: whether it is taken by keyword alone.
    """

    name: str
    kind: str
    default: str | None
    keyword: bool


@dataclass(frozen=True)
class Schema:
    """An operator's schema.

    Attributes:
        name: ``namespace::operator`` or ``namespace::operator.overload``.
        arguments: in order.
        returns: the text behind the arrow, without alias annotations and names.
        variadic: whether any number of further arguments may follow (``...``).
    """

    name: str
    arguments: tuple[Argument, ...]
    returns: str
    variadic: bool = False

    def named(self, name: str) -> Argument | None:
        """Return the argument of that name, or None."""
        return next((argument for argument in self.arguments if argument.name == name), None)

    @property
    def positional(self) -> tuple[Argument, ...]:
        """The arguments that may be given by position."""
        return tuple([argument for argument in self.arguments if not argument.keyword])


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Schema:
    """Return the schema that ``text`` says.

    Args:
        text: as ``str(torch.ops.aten.add.Tensor._schema)`` gives it.

    Raises:
        ValueError: it is not a schema.

    >>> schema = parse("aten::cholesky(Tensor self, bool upper=False) -> Tensor")
    >>> schema.name, [(a.name, a.kind, a.default) for a in schema.arguments]
    ('aten::cholesky', [('self', 'Tensor', None), ('upper', 'bool', 'False')])
    """
    name, opened, rest = text.partition("(")
    end = _closing(rest)
    arrow = rest[end + 1 :].strip()
    if not opened or not name.isprintable() or "::" not in name or not arrow.startswith("->"):
        raise ValueError(f"{text!r:.120} is not the schema of an operator")
    arguments = []
    keyword = False
    parts = _split(rest[:end])
    variadic = parts[-1:] == ["..."]
    for part in parts[:-1] if variadic else parts:
        if part == "*":
            keyword = True
            continue
        found = _ARGUMENT.fullmatch(part)
        if found is None:
            raise ValueError(f"{part!r:.80} is not an argument, in the schema {text!r:.120}")
        kind = _ALIAS.sub("", found["type"])
        arguments.append(Argument(found["name"], kind, found["default"], keyword))
    return Schema(name, tuple(arguments), _returns(arrow.removeprefix("->").strip()), variadic)


def _returns(text: str) -> str:
    if not text.startswith("("):
        return _without_name(text)
    return f"({', '.join([_without_name(part) for part in _split(text[1:-1])])})"


def _without_name(text: str) -> str:
    return _NAME.sub("", _ALIAS.sub("", text))


def _closing(text: str) -> int:
    """Return where the parenthesis is closed that was open before ``text``."""
    depth = 1
    for at, character in _outside_quotes(text):
        depth += (character in _OPEN) - (character in _CLOSE)
        if depth == 0:
            return at
    raise ValueError(f"a parenthesis is not closed in the schema (...({text!r:.120}")


def _split(text: str) -> list[str]:
    """Split at commas that stand in no bracket and no quotes."""
    parts, depth, start = [], 0, 0
    for at, character in _outside_quotes(text):
        depth += (character in _OPEN) - (character in _CLOSE)
        if character == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    last = text[start:].strip()
    return parts + [last] if last else parts


def _outside_quotes(text: str) -> Iterator[tuple[int, str]]:
    quote = ""
    escaped = False
    for at, character in enumerate(text):
        if quote:
            if not escaped and character == quote:
                quote = ""
            escaped = character == "\\" and not escaped
        elif character in "\"'":
            quote = character
        else:
            yield at, character
