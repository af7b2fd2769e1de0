"""Which release of torch wrote a stream: what its records and their fields prove.

Each piece of evidence bounds the release from one side or both. `fields of` below means names in the ``__dict__`` that
the pickle holds; torch 2.7 to 2.15 were compared for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fxarchive.streams import Call, Name, Pairs, Set
from fxarchive.streams.records import NOTHING

Release = tuple[int, int]

OLDEST: Release = (2, 7)
NEWEST: Release = (2, 15)
"""The releases whose streams are known."""

_TEXT = re.compile(r"\d{1,3}\.\d{1,3}[0-9A-Za-z.+]{0,40}( to \d{1,3}\.\d{1,3}| or later)?", re.ASCII)

_PICKLER = "torch.fx._graph_pickler."

_SINCE: dict[str, Release] = {
    f"{_PICKLER}_OpFunctionPickleData": (2, 10),
    f"{_PICKLER}_OpPrecompiledPickleData": (2, 10),
    f"{_PICKLER}_unpickle_as_none": (2, 12),
    f"{_PICKLER}_unpickle_as_weakref": (2, 12),
    f"{_PICKLER}_unpickle_as_dead_weakref": (2, 12),
    "torch.utils._pytree.treespec_leaf": (2, 14),
}
"""Name -> the first release that writes it."""

_UNTIL: dict[str, Release] = {
    f"{_PICKLER}_OpBuiltinPickleData": (2, 9),
    f"{_PICKLER}_OpOperatorPickleData": (2, 9),
    "itertools.count": (2, 9),
    "torch.utils._pytree.LeafSpec": (2, 13),
}
"""Name -> the last release that writes it."""

_FIELDS: dict[str, tuple[tuple[str, Release], ...]] = {
    f"{_PICKLER}_GraphPickleData": (("_codegen", (2, 11)),),
    "torch._subclasses.meta_utils.MetaTensorDesc": (
        ("dynamo_hint_overrides", (2, 9)),
        ("opaque_attrs", (2, 12)),
    ),
    "torch.fx.traceback.NodeSource": (("_action_string", (2, 9)),),
    "torch.fx.experimental.sym_node.SymNode": (("_expr_cache", (2, 12)),),
    "the __dict__ of a GraphModule": (("_prologue_start", (2, 10)),),
    "the __dict__ of a ShapeEnv": (
        ("trace_asserts", (2, 8)),
        ("specialization_stacks", (2, 9)),
        ("unbacked_inputs", (2, 10)),
        ("backed_var_to_val", (2, 11)),
        ("_equality_graph", (2, 12)),
        ("_shape_spec_pending_assumptions", (2, 13)),
        ("foreign_unbacked_symbol_cache", (2, 14)),
        ("_symop_cache", (2, 15)),
    ),
}
"""Class -> fields and the first release that has each; where a field is missing, the writer was older."""


@dataclass(frozen=True)
class Releases:
    """The releases that may have written a stream, both ends included.

    >>> str(Releases((2, 7), (2, 8))), str(Releases((2, 13), (2, 13))), str(Releases((2, 15), (2, 15), later=True))
    ('2.7 to 2.8', '2.13', '2.15 or later')
    """

    oldest: Release = OLDEST
    newest: Release = NEWEST
    later: bool = False
    """Whether nothing speaks against a release after the newest that is known."""

    def includes(self, release: Release) -> bool:
        """Whether ``release`` may have written the stream; one after the known ones counts as the newest."""
        return self.oldest <= release <= self.newest

    def __str__(self) -> str:
        first, last = (f"{major}.{minor}" for major, minor in (self.oldest, self.newest))
        if self.later:
            return f"{first} or later"
        return first if first == last else f"{first} to {last}"


def given(text: str) -> Releases | None:
    """Return the releases that a text says: ``2.9``, ``2.9.1+cpu``, ``2.7 to 2.8``, ``2.15 or later``; or None.

    >>> given("2.9.1+cpu"), given("unknown")
    (Releases(oldest=(2, 9), newest=(2, 9), later=False), None)
    """
    if not _TEXT.fullmatch(text):
        return None
    later = text.endswith(" or later")
    parts = [_release(part) for part in text.removesuffix(" or later").split(" to ")]
    if len(parts) > 2 or None in parts:
        return None
    first, last = parts[0], parts[-1]
    assert first is not None
    assert last is not None
    first, last = (min(max(release, OLDEST), NEWEST) for release in (first, last))
    return Releases(first, NEWEST if later else last, later) if first <= last else None


def _release(text: str) -> Release | None:
    parts = text.split(".")
    if len(parts) < 2 or not all(
        [part.isascii() and part.isdecimal() and len(part) < 4 for part in parts[:2]]
    ):
        return None
    return int(parts[0]), int(parts[1])


def recognise(root: Any) -> Releases:
    """Return the narrowest range of releases that the records of a stream prove.

    Evidence that contradicts itself proves nothing, as in a stream put together by hand.
    """
    oldest, newest = OLDEST, (NEWEST[0], NEWEST[1] + 1)
    for since, until in evidence(root):
        oldest, newest = max(oldest, since), min(newest, until)
    if oldest > newest or oldest > NEWEST:
        return Releases()
    return Releases(oldest, min(newest, NEWEST), newest > NEWEST and oldest > OLDEST)


_EVER: Release = (999, 0)


def evidence(root: Any) -> Iterator[tuple[Release, Release]]:
    """Yield what each record proves: the first and the last release that may have written it."""
    for record in records(root):
        if type(record) is Name:
            name = str(record)
            if name in _SINCE:
                yield _SINCE[name], _EVER
            if name in _UNTIL:
                yield OLDEST, _UNTIL[name]
        elif type(record) is Call:
            yield from _of_call(record)


def _of_call(call: Call) -> Iterator[tuple[Release, Release]]:
    name = call.name
    if name == "torch.utils._pytree.TreeSpec":
        if type(call.state) is list:
            yield (2, 11), _EVER
        else:
            yield ((2, 10), (2, 10)) if "_context" in call.fields() else (OLDEST, (2, 9))
    elif name == "torch._dynamo.source.LocalSource":
        if call.new:
            yield OLDEST, (2, 9)
        elif type(call.args) is tuple:
            yield ((2, 13), _EVER) if len(call.args) >= 6 else ((2, 10), (2, 12))
    elif name in _FIELDS:
        yield from _of_fields(name, call.fields())
    elif name == f"{_PICKLER}_GraphModulePickleData":
        held = call.fields().get("gm_dict")
        if type(held) is Pairs and "_code" in held.named():
            yield from _of_fields("the __dict__ of a GraphModule", held.named())
    elif name == f"{_PICKLER}_ShapeEnvPickleData":
        held = call.fields().get("data")
        if type(held) is Pairs:
            yield from _of_fields("the __dict__ of a ShapeEnv", held.named())


def _of_fields(name: str, fields: dict[str, Any]) -> Iterator[tuple[Release, Release]]:
    for field, since in _FIELDS[name]:
        yield (since, _EVER) if field in fields else (OLDEST, (since[0], since[1] - 1))


def records(root: Any) -> Iterator[Any]:
    """Yield every record that is reached from ``root``, once each."""
    pending, seen = [root], set()
    while pending:
        record = pending.pop()
        kind = type(record)
        if kind in _LEAVES:
            continue
        if id(record) in seen:
            continue
        seen.add(id(record))
        yield record
        if kind is Call:
            pending += (record.function, record.args, record.kwargs, *record.items)
            pending += [part for pair in record.entries for part in pair]
            if record.state is not NOTHING:
                pending.append(record.state)
        elif kind is Pairs:
            pending += [part for pair in record.items for part in pair]
        elif kind in (tuple, list):
            pending += record
        elif isinstance(record, Set):
            pending += record.items


_LEAVES = frozenset({type(None), bool, int, float, str, bytes})
