"""Names of nodes: fx names a node after its target and counts, so a name is mostly nothing but that.

`stems` gives what fx would begin with; a name that begins otherwise says with what.
"""

from __future__ import annotations

from typing import Any

from fxarchive.packing.numbers import pack_numbers, unpack_numbers
from fxarchive.packing.strings import (
    LONGEST,
    StepCounter,
    joined_counted,
    pack_strings,
    split_counted,
    unpack_strings,
)

CALL_FUNCTION = 2


def stems(ops: bytes, targets: list[int], texts: list[str], functions: list[Any]) -> list[str]:
    """Return for each node the name that its target suggests."""
    of_function = [_stem_of_function(record) for record in functions]
    of_text = [text.replace("*", "").replace(".", "_") for text in texts]
    return [
        (of_function if op == CALL_FUNCTION else of_text)[target]
        for op, target in zip(ops, targets, strict=True)
    ]


def _stem_of_function(record: list[Any]) -> str:
    """Return ``add`` for ``aten::add.Tensor`` and for ``operator.add``."""
    name: str = record[1]
    if "::" in name:
        return name.partition("::")[2].partition(".")[0]
    return name.rpartition(".")[2]


def pack_names(names: list[str], suggested: list[str]) -> list[Any]:
    """Return ``[bases, base of each, step of each]``; base 0 is the one suggested, the others are in ``bases``."""
    bases: dict[str, int] = {}
    picks: list[int] = []
    steps: list[int] = []
    counter = StepCounter()
    for name, stem in zip(names, suggested, strict=True):
        if name == stem:
            base, number = name, 0
        else:
            base, number = split_counted(name)
        picks.append(0 if base == stem else bases.setdefault(base, len(bases) + 1))
        steps.append(counter.step(base, number))
    return [pack_strings(list(bases)), pack_numbers(picks), pack_numbers(steps)]


def unpack_names(packed: Any, suggested: list[str]) -> list[str]:
    """Return the names of `pack_names`.

    Raises:
        ValueError, TypeError, LookupError: it is not what that returns.
    """
    bases, picks, steps = unpack_strings(packed[0]), unpack_numbers(packed[1]), unpack_numbers(packed[2])
    if len(picks) != len(suggested):
        raise ValueError("there are not as many names as nodes")
    chosen = suggested
    if max(picks, default=0):
        chosen = [bases[pick - 1] if pick else stem for pick, stem in zip(picks, suggested, strict=True)]
    if max(map(len, bases), default=0) > LONGEST or max(map(len, {*suggested}), default=0) > LONGEST:
        _check_long(chosen)
    return joined_counted(chosen, steps)


def _check_long(chosen: list[str]) -> None:
    """Check that long bases that occur again are not much together: a byte must not unfold to a text."""
    long = [base for base in chosen if len(base) > LONGEST]
    again = sum(map(len, long)) - sum(map(len, set(long)))
    if again > LONGEST * len(chosen):
        raise ValueError("the names of nodes repeat long texts")
