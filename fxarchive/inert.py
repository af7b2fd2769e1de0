"""A record that was not made into the object it stands for, because nothing here knows how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class InertRecord:
    """What an archive says of an object that this process does not rebuild: what it was, and its fields.

    Metadata holds small objects of torch whose classes come and go with its releases, and values of other packages.
    Where the class, or its registration, is missing, this comes back in place of the object. It can be
    looked at, compared and hashed, and it saves again as what it was.

    Args:
        kind: the qualified name of the class, or the tag of an extension.
        fields: name -> value. Fields read as attributes too, unless they are called `kind`, `fields` or `name`.
        version: of an extension; None for a class of torch.
        shared: whether the object has an identity, so that two equal ones are not one.

    >>> record = InertRecord("torch.future.Fact", {"idx": 0})
    >>> record, record.idx
    (<torch.future.Fact idx=0>, 0)
    """

    __slots__ = ("fields", "kind", "shared", "version")

    def __init__(
        self, kind: str, fields: Mapping[str, Any], version: int | None = None, shared: bool = False
    ) -> None:
        self.kind = kind
        self.fields = dict(fields)
        self.version = version
        self.shared = shared

    @property
    def name(self) -> str:
        """How the record prints: torch asks the sources of a graph's inputs for this."""
        return repr(self)

    def __getattr__(self, name: str) -> Any:
        if name not in InertRecord.__slots__ and name in self.fields:
            return self.fields[name]
        raise AttributeError(name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, InertRecord):
            return NotImplemented
        if self.shared or other.shared:
            return self is other
        return (self.kind, self.version, self.fields) == (other.kind, other.version, other.fields)

    def __hash__(self) -> int:
        return id(self) if self.shared else hash((self.kind, self.version, *self.fields.items()))

    def __repr__(self) -> str:
        version = "" if self.version is None else f" {self.version}"
        return (
            f"<{self.kind}{version}{''.join([f' {name}={value!r}' for name, value in self.fields.items()])}>"
        )
