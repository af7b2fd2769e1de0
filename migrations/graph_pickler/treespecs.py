"""Pytree specs of three generations: fields without underscore (to 2.9), with (2.10), and slots (since 2.11)."""

from __future__ import annotations

from typing import Any

from fxarchive.migrations.graph_pickler.translation import (
    MAX_DEPTH,
    Table,
    Translation,
    Untranslatable,
    is_name,
    sequence_of,
    shown,
)
from fxarchive.streams import Call

SPEC = "torch.utils._pytree.TreeSpec"
LEAF = "torch.utils._pytree.LeafSpec"
MAKE_LEAF = "torch.utils._pytree.treespec_leaf"
_SLOTS = ("type", "context", "children")
"""What the list holds first that is the state of a spec with slots; the counts that follow are derived."""


def _treespec(tr: Translation, call: Call) -> Any:
    with tr.metadata(inert=False):
        return ["treespec", _translate(tr, call, 0)]


def _translate(tr: Translation, spec: Any, depth: int) -> Any:
    if type(spec) is not Call or spec.name not in (SPEC, LEAF, MAKE_LEAF):
        raise Untranslatable.because(f"a TreeSpec is expected here and there is {shown(spec)}")
    if spec.name != SPEC:
        return None
    if depth > MAX_DEPTH:
        raise Untranslatable.because(f"its tree spec is nested more than {MAX_DEPTH} levels deep")
    facts = _facts(spec)
    if facts["type"] is None:
        return None
    try:
        kind = "namedtuple" if is_name(facts["type"], "collections.namedtuple") else tr.value(facts["type"])
        held = tr.value(facts["context"])
    except Untranslatable as refused:
        raise Untranslatable(refused.below(" (its tree spec)")) from None
    return [kind, held, [_translate(tr, child, depth + 1) for child in sequence_of(facts["children"])]]


def _facts(spec: Call) -> dict[str, Any]:
    if type(spec.state) is list:
        return dict(zip(_SLOTS, sequence_of(spec.state)[:3], strict=True))
    fields = spec.fields()
    return {
        "type": fields.get("type"),
        "context": fields.get("_context", fields.get("context")),
        "children": fields.get("_children", fields.get("children_specs", [])),
    }


CALLS: Table = dict.fromkeys((SPEC, LEAF, MAKE_LEAF), _treespec)
