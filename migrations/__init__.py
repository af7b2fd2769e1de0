"""Migrations: one module a step from a schema to the next, pure functions on plain data, without torch.

`STEPS` lists the steps in order. Each has ``SOURCE`` (the schema it takes), ``upgrade(content)`` and
``downgrade(content)``; its module is imported when the step is taken, since most archives need none.
CONTRIBUTING.md says how to add one.
"""

from __future__ import annotations

from typing import Protocol

from fxarchive.migrations.content import Content


class Step(Protocol):
    """One migration."""

    SOURCE: int

    def upgrade(self, content: Content, /) -> Content:
        """Return the content in the next schema."""

    def downgrade(self, content: Content, /) -> Content:
        """Return the content, of the next schema, in this one."""


class FromGraphPickler:
    """torch's own GraphPickler stream becomes the first document of fxarchive."""

    SOURCE = 1

    def upgrade(self, content: Content, /) -> Content:
        """As `schema_1_to_2.upgrade`."""
        from fxarchive.migrations import schema_1_to_2

        return schema_1_to_2.upgrade(content)

    def downgrade(self, content: Content, /) -> Content:
        """As `schema_1_to_2.downgrade`."""
        from fxarchive.migrations import schema_1_to_2

        return schema_1_to_2.downgrade(content)


STEPS: tuple[Step, ...] = (FromGraphPickler(),)
