"""Reading exported programs from a document without torch: kinds of inputs and outputs, names of state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fxarchive.document import Value
from fxarchive.source_names import standing
from fxarchive.tables import entry, parts, resolved

USER_INPUT, USER_OUTPUT = "USER_INPUT", "USER_OUTPUT"
"""Kinds of the inputs that a caller gives, and of the outputs that a caller gets."""


def root_program(document: Any) -> Any:
    """Return the program that stands at the root, or None."""
    root = resolved(document, document["root"])
    if type(root) is list and root[0] == "program":
        return entry(document, "programs", root[1])
    return None


def kinds(document: Any, program: Any) -> tuple[list[str], list[str]]:
    """Return the kinds of a program's inputs and outputs, in the order of its graph."""
    inputs, outputs = standing(document, program["signature"])[2]
    return [str(fields[0]) for fields in _specs(document, inputs)], [
        str(fields[0]) for fields in _specs(document, outputs)
    ]


def _specs(document: Any, specs: Value) -> Iterator[list[Value]]:
    for spec in parts(standing(document, specs)):
        yield standing(document, spec)[2]


def held_tensors(document: Any) -> Iterator[tuple[str, str, Value]]:
    """Yield (kind, name, value) of what the state and the constants of programs hold.

    The kind is that of the input that it is: ``PARAMETER``, ``BUFFER``, ``CONSTANT_TENSOR``, or "" where it is
    no input.
    """
    for program in document.get("programs", ()):
        inputs = standing(document, program["signature"])[2][0]
        by_name = {standing(document, spec[2]): str(spec[0]) for spec in _specs(document, inputs)}
        for key in ("state", "constants"):
            flat = parts(standing(document, program[key]))
            for path, value in zip(flat[::2], flat[1::2], strict=True):
                name = standing(document, path)
                yield by_name.get(name, ""), str(name), value
