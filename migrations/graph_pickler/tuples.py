"""Named tuples and structseqs: the class by name, and the items."""

from __future__ import annotations

from typing import Any

from fxarchive.migrations.graph_pickler.targets import class_row
from fxarchive.migrations.graph_pickler.translation import Translation
from fxarchive.streams import Call, Name, Pairs
from fxarchive.streams.records import NOTHING


def is_named_tuple(call: Call) -> bool:
    """Whether a call makes an instance of nothing but items: a named tuple, or a structseq of torch."""
    if type(call.function) is not Name or call.items or call.entries or call.state is not NOTHING:
        return False
    if call.new:
        return type(call.args) is tuple and len(call.args) > 0 and not call.kwargs
    return call.function.module == "torch.return_types" and _items_of_structseq(call) is not None


def named_tuple(tr: Translation, call: Call) -> Any:
    """Return ``["named", row of the class, items]``."""
    items = call.args if call.new else _items_of_structseq(call)
    return ["named", class_row(tr, call.function), tr.items(items)]


def _items_of_structseq(call: Call) -> Any:
    args = call.args
    if type(args) is tuple and len(args) == 2 and type(args[0]) is tuple:
        return args[0] if type(args[1]) is Pairs and not len(args[1]) else None
    return None
