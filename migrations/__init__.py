"""Migrations: one module a step from a schema to the next, pure functions on plain data, without torch.

`STEPS` lists the modules in order. Each has ``SOURCE`` (the schema it takes), ``upgrade(document)`` and
``downgrade(document)``. CONTRIBUTING.md says how to add one.
"""

from __future__ import annotations

from typing import Any, Protocol


class Step(Protocol):
    """One migration."""

    SOURCE: int

    def upgrade(self, document: dict[str, Any], /) -> dict[str, Any]:
        """Return the document in the next schema."""


STEPS: tuple[Step, ...] = ()
