"""Classes as programs keep beside their graphs: configurations, records, plain objects. Archives of the corpus name
them, so they stay where they are, with the fields that they have."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import pathlib
import types
import typing
import uuid
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar

import torch


class Mode(enum.Enum):
    FAST = "fast"
    EXACT = "exact"


class Level(enum.IntEnum):
    NONE = 0
    PIECEWISE = 3


class Shape(typing.NamedTuple):
    batch: int
    length: int = 128


@dataclasses.dataclass
class CompileConfig:
    """As compilers have: defaults, a field that is a function, one that `__init__` does not take."""

    level: Level = Level.PIECEWISE
    sizes: list[int] = dataclasses.field(default_factory=list)
    activation: Callable[..., Any] = torch.relu
    cache: pathlib.Path | None = None
    started: bool = dataclasses.field(default=False, init=False)
    runs: ClassVar[int] = 0

    def __post_init__(self) -> None:
        CompileConfig.runs += 1
        self.started = True


@dataclasses.dataclass(frozen=True)
class Key:
    """Frozen, so that it can be hashed."""

    name: str
    shape: Shape
    dtype: torch.dtype = torch.float32


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    left: int
    right: Any = None


class Plain:
    """Attributes that `__init__` sets, one of them the instance itself, and a property of its own."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.me = self

    @functools.cached_property
    def doubled(self) -> Any:
        return self.value * 2


class Mangled:
    """Slots with a private name, one of them never set, and attributes beside them."""

    __slots__ = ("__dict__", "__secret", "__weakref__", "shown", "unset")

    def __init__(self) -> None:
        self.shown = 1
        self.__secret = 2
        self.extra = 3

    def secret(self) -> int:
        return self.__secret


T = typing.TypeVar("T")


class Box(Plain, typing.Generic[T]):
    """A generic class of a base with attributes."""


CLASSES = (Mode, Level, Shape, CompileConfig, Key, Slotted, Plain, Mangled, Box)
TRUST = tuple(f"{__name__}.{cls.__name__}" for cls in CLASSES)

ZONE = datetime.timezone(datetime.timedelta(hours=-3, minutes=-30), "NST")

STANDARD: tuple[Any, ...] = (
    pathlib.Path("cache/a b"),
    pathlib.Path(),
    pathlib.PurePosixPath("/a/../b"),
    pathlib.PureWindowsPath("c:/x/y"),
    datetime.date(2026, 2, 28),
    datetime.time(1, 2, 3, 4, fold=1),
    datetime.time(5, tzinfo=datetime.timezone.utc),
    datetime.datetime(2026, 11, 23, 8, 30, 0, 999_999),
    datetime.datetime(1, 1, 1, tzinfo=ZONE, fold=1),
    datetime.timedelta(days=-1, microseconds=7),
    datetime.timezone.utc,
    datetime.timezone(datetime.timedelta(seconds=90)),
    ZONE,
    Decimal("-0.00"),
    Decimal("1E+400"),
    Decimal("sNaN12"),
    Fraction(-3, 7),
    uuid.UUID(int=2**127 + 5),
    uuid.UUID(bytes=bytes(16), is_safe=uuid.SafeUUID.safe),
)


def instances() -> dict[str, Any]:
    """An instance of each class, some in two places, some as keys, and a namespace."""
    key = Key("k", Shape(2))
    box: Box[int] = Box([key])
    _ = box.value
    plain = Plain(4)
    _ = plain.doubled
    config = CompileConfig(sizes=[1, 2, 4], activation=len, cache=pathlib.Path("cache"))
    config.note = "an attribute that no field declares"  # type: ignore[attr-defined]
    return {
        "config": config,
        "again": config,
        "keys": {key: "first", Key("l", Shape(3, 4), torch.int8): "second"},
        "set": {Key("a", Shape(1)), Key("b", Shape(2)), Key("c", Shape(3))},
        "slotted": Slotted(1, Slotted(2)),
        "plain": plain,
        "mangled": Mangled(),
        "box": box,
        "mode": [Mode.EXACT, Level.NONE],
        "namespace": types.SimpleNamespace(a=1, nested=types.SimpleNamespace(config=config)),
    }
