"""Objects of TorchBind classes: a stream holds the name of the class and the state that its ``__getstate__`` gave."""

from __future__ import annotations

from typing import Any

from fxarchive.document import SCRIPT_OBJECTS
from fxarchive.migrations.graph_pickler.targets import target_row
from fxarchive.migrations.graph_pickler.translation import Table, Translation, Untranslatable, sequence_of
from fxarchive.streams import Call

_CLASSES = "__torch__.torch.classes."

LONGEST_NAME = 1000
"""Characters that the name of a class may have."""


def _script_object(tr: Translation, call: Call) -> Any:
    row = tr.row("script_objects", id(call))
    if row is None:
        state, name = sequence_of(call.state, 2)
        if type(name) is not str or not name.startswith(_CLASSES):
            raise Untranslatable.because("an object of TorchScript has no class of torch.classes")
        tr.document.setdefault("script_objects", [])
        target = target_row(tr, "class", name)
        with tr.metadata(inert=False):
            (held,) = tr.items([state], lambda i: ".__getstate__()")
        tr.features.add(SCRIPT_OBJECTS)
        row = tr.add("script_objects", id(call), ["object", target, held])
    return ["script_object", row]


def _fake(tr: Translation, call: Call) -> Any:
    """A fake of such an object: torch up to 2.11 pickles it as it is, later releases leave it out."""
    row = tr.row("script_objects", id(call))
    if row is None:
        name = call.fields().get("script_class_name")
        if type(name) is not str or len(name) > LONGEST_NAME:
            raise Untranslatable.because("the fake of a TorchBind object has no class")
        tr.document.setdefault("script_objects", [])
        tr.features.add(SCRIPT_OBJECTS)
        row = tr.add("script_objects", id(call), ["fake", name])
    return ["script_object", row]


CALLS: Table = {
    **dict.fromkeys(("torch.ScriptObject", "torch._C.ScriptObject"), _script_object),
    "torch._library.fake_class_registry.FakeScriptObject": _fake,
}
