"""Migrations: one module a step from a schema to the next, pure functions on plain data, without torch.

`STEPS` lists the modules in order. Each has ``SOURCE`` (the schema it takes), ``upgrade(content)`` and
``downgrade(content)``. CONTRIBUTING.md says how to add one.
"""

from __future__ import annotations

from typing import Protocol

from fxarchive.migrations import schema_1_to_2
from fxarchive.migrations.content import Content


class Step(Protocol):
    """One migration."""

    SOURCE: int

    def upgrade(self, content: Content, /) -> Content:
        """Return the content in the next schema."""

    def downgrade(self, content: Content, /) -> Content:
        """Return the content, of the next schema, in this one."""


STEPS: tuple[Step, ...] = (schema_1_to_2,)
