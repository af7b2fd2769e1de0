"""Stacks of modules in the metadata of nodes (``nn_module_stack``), most of which equal an earlier one.

torch.export writes addresses of modules as keys into them. They are numbered, in the order in which they are met.
"""

from __future__ import annotations

import marshal
import re
from itertools import chain
from typing import Any

from fxarchive.codec.containers import encode_pairs
from fxarchive.codec.encoder import Encoder
from fxarchive.document import Value

STACKS = frozenset({"nn_module_stack", "fwd_nn_module_stack"})
"""Keys of metadata that hold stacks of modules."""

_ADDRESS_KEY = re.compile(r"(\d{9,})(@\d+)?", re.ASCII)
"""A key that torch.export gives an entry of a stack: the address of the module, and which of its calls it is."""

_FIRST_ADDRESS = 10**14
"""Number in place of the first address: what was numbered once is numbered in the same way again."""


class _Stacks:
    """The stacks met so far in one encoding."""

    def __init__(self) -> None:
        self.encoded: dict[bytes, tuple[bool, list[Value]]] = {}
        """Bytes of a stack of strings -> whether it has addresses, its keys and values as they are encoded."""
        self.numbered: dict[int, dict[Any, Any]] = {}
        """Id of a stack with addresses -> the same with numbers; the encoder keeps the stack alive."""
        self.numbers: dict[str, int] = {}
        """Address of a module -> its number."""


def encode_stack(enc: Encoder, stack: Any) -> Value:
    """Encode what a node has under a key of `STACKS`.

    What equal stacks of strings hold is encoded once; each stack stays a container of its own, which may be shared.
    """
    if type(stack) is not dict:
        return enc.value(stack)
    stacks: _Stacks | None = enc.state.get("stacks")
    if stacks is None:
        stacks = enc.state["stacks"] = _Stacks()
    try:
        key = marshal.dumps(stack, 2)  # equal bytes for equal values of equal types only, see graphs
    except ValueError:  # it holds something else, such as classes
        return enc.value(_numbered(enc, stacks, stack))
    has_addresses, pairs = stacks.encoded.get(key, (True, None))
    shown = _numbered(enc, stacks, stack) if has_addresses else stack
    if pairs is None:
        if not _holds_strings_alone(shown):
            return enc.value(shown)
        pairs = encode_pairs(enc, shown)
        stacks.encoded[key] = shown is not stack, pairs
    return enc.container(shown, "dict", lambda enc, shown: [pairs])


def _holds_strings_alone(stack: dict[Any, Any]) -> bool:
    """Whether there is nothing in a stack but strings and tuples of them, which are the same wherever they stand."""
    values = stack.values()
    return set(map(type, values)) == {tuple} and set(map(type, chain(stack, *values))) == {str}


def _numbered(enc: Encoder, stacks: _Stacks, stack: dict[Any, Any]) -> dict[Any, Any]:
    """Return a stack with the addresses among its keys numbered; the stack itself if there are none."""
    found = stacks.numbered.get(id(stack))
    if found is None:
        matches = [type(key) is str and _ADDRESS_KEY.fullmatch(key) for key in stack]
        if not any(matches):
            return stack
        keys = [_number(stacks, match) if match else key for key, match in zip(stack, matches, strict=True)]
        found = stacks.numbered[id(stack)] = dict(zip(keys, stack.values(), strict=True))
        enc.keep_alive(stack)
    return found


def _number(stacks: _Stacks, address: re.Match[str]) -> str:
    number = stacks.numbers.setdefault(address[1], len(stacks.numbers))
    return f"{_FIRST_ADDRESS + number}{address[2] or ''}"
