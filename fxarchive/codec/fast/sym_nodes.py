"""What torch asks symbolic integers again and again while FakeTensors are built of them, answered once.

`_make_wrapper_subclass` and `as_strided` ask each SymNode several times whether it is an integer, and whether it is
known which: `SymNode.maybe_as_int` has sympy walk its expression each time. While FakeTensors are restored no guard is
added and replacements are out of sight, so each answer stays what it is. It stands on the node, before the method of
its class, until the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_ANSWERS: dict[str, Any] = {"maybe_as_int": lambda: None, "is_int": lambda: True}


class Answering:
    """The nodes that answer by themselves."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []

    def add(self, node: Any) -> None:
        """Have ``node``, the SymNode of a SymInt, answer from now on, if its value is not known."""
        state = getattr(node, "__dict__", None)
        if (
            state is not None
            and _ANSWERS.keys().isdisjoint(state)
            and node.is_int()
            and node.maybe_as_int() is None
        ):
            state.update(_ANSWERS)
            self._nodes.append(node)

    def end(self) -> None:
        """Have all of them ask torch again."""
        for node in self._nodes:
            for name in _ANSWERS:
                vars(node).pop(name, None)


@contextmanager
def answering() -> Iterator[Answering]:
    """Give what collects nodes that answer by themselves until the end of the block."""
    collected = Answering()
    try:
        yield collected
    finally:
        collected.end()
