"""What a document asks of torch beside what its graphs call: names of values that not every release has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fxarchive.document import Document
from fxarchive.tables import lists_in, resolved

CONSTANT = "torch."
FUNCTION = "torch.utils._sympy.functions."
KIND = "torch.export.graph_signature."
"""What stands before a constant, a function of symbolic expressions, and a kind of input or output of a program, in
the tables of `fxarchive.releases`."""

_CONSTANTS = frozenset({"dtype", "layout", "memory_format", "qscheme"})
_KINDS = {"InputSpec": "InputKind", "OutputSpec": "OutputKind"}


def demands(document: Document) -> tuple[str, ...]:
    """Return the dotted names of the constants, functions of expressions and kinds that a document holds, sorted.

    Args:
        document: audited. A list of its texts that reads as a constant is taken for one.

    >>> from fxarchive.document import empty_document
    >>> demands({**empty_document(), "root": ["tuple", [["dtype", "float8_e8m0fnu"], ["dtype", "float32"]]]})
    ('torch.float32', 'torch.float8_e8m0fnu')
    """
    held: Any = document
    found = {name for part in lists_in(held) for name in _named(held, part)}
    found.update(f"{CONSTANT}{record.get('dtype')}" for record in document["tensors"])
    for dtype, *others in document["descriptions"]:
        facts = others[3] if len(others) > 3 else {}
        found.update(f"{CONSTANT}{name}" for name in (dtype, facts.get("index")) if name is not None)
    for graph in document["graphs"]:
        for tag, payloads in graph["columns"]:
            if tag in _CONSTANTS:
                found.update(f"{CONSTANT}{name}" for name in payloads)
    expressions = held["symbolic"]["expressions"] if "symbolic" in held else ()
    found.update(f"{FUNCTION}{row[0]}" for row in expressions)
    return tuple(sorted(found))


def _named(document: Any, part: list[Any]) -> Iterator[str]:
    match part:
        case [str(tag), str(name)] if tag in _CONSTANTS:
            yield f"{CONSTANT}{name}"
        case ["export", str(record), [kind, *_]] if record in _KINDS:
            yield f"{KIND}{_KINDS[record]}.{resolved(document, kind)}"
