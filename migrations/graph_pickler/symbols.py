"""Values with symbols in them: symbolic numbers, expressions, ranges, elements of key paths."""

from __future__ import annotations

from typing import Any

from fxarchive.migrations.graph_pickler.environments import RANGE, environment_row
from fxarchive.migrations.graph_pickler.expressions import NAMES, expressions
from fxarchive.migrations.graph_pickler.translation import (
    Table,
    Translation,
    Untranslatable,
    fields_of,
    is_name,
    sequence_of,
    shown,
)
from fxarchive.streams import Call

_UNPICKLE = "torch.fx._graph_pickler._SymNodePickleData.unpickle_sym_int"
_DATA = "torch.fx._graph_pickler._SymNodePickleData"
_NODE = "torch.fx.experimental.sym_node.SymNode"

_KINDS = {
    "symint": ("builtins.int", int),
    "symfloat": ("builtins.float", float),
    "symbool": ("builtins.bool", bool),
}
_TAGS = {"torch.SymInt": "symint", "torch.SymFloat": "symfloat", "torch.SymBool": "symbool"}

_SHAPES = "torch.fx.experimental.symbolic_shapes."
_KEYS = {
    "torch.utils._pytree.SequenceKey": ("SequenceKey", "idx"),
    "torch.utils._pytree.MappingKey": ("MappingKey", "key"),
    "torch.utils._pytree.GetAttrKey": ("GetAttrKey", "name"),
    f"{_SHAPES}ConvertIntKey": ("ConvertIntKey", None),
    f"{_SHAPES}CallMethodKey": ("CallMethodKey", "name"),
    f"{_SHAPES}InnerTensorKey": ("InnerTensorKey", "inner_name"),
    f"{_SHAPES}DivideByKey": ("DivideByKey", "divisor"),
}
"""Class of an element of a key path -> its name and its field."""


def _symint(tr: Translation, call: Call) -> Any:
    fields = fields_of(sequence_of(call.args, 2)[0], _DATA)
    facts = {"expr": fields.get("expr"), "hint": fields.get("hint"), "constant": None}
    return _number(tr, call, "symint", {**fields, **facts})


def _symbolic(tr: Translation, call: Call) -> Any:
    """A SymFloat or SymBool, for which GraphPickler has no record: the ``__dict__`` of its node."""
    tag = _TAGS[call.name]
    if not call.new:
        (number,) = sequence_of(call.args, 1)
        if type(number) is _KINDS[tag][1]:
            return [tag, None, None, number]
        raise Untranslatable.because(f"a {call.name} is not made of a number")
    node = call.fields().get("node")
    fields = fields_of(node, _NODE)
    facts = {
        "expr": fields.get("_expr"), "hint": fields.get("_hint"), "constant": fields.get("constant"),
        "shape_env": fields.get("shape_env"), "pytype": fields.get("pytype"),
    }  # fmt: skip
    return _number(tr, node, tag, facts)


def _number(tr: Translation, record: Any, tag: str, facts: dict[str, Any]) -> Any:
    held = expressions(tr)
    found = held.numbers.get(id(record))
    if found is None:
        cls, kind = _KINDS[tag]
        hint, constant = facts["hint"], facts["constant"]
        if not is_name(facts.get("pytype"), cls):
            raise Untranslatable.because(f"a {tag} over a {shown(facts.get('pytype'))} cannot be kept")
        for number in (hint, constant):
            if not (number is None or type(number) is kind):
                raise Untranslatable.because(f"the hint of a {tag} is {shown(number)}")
        row = held.row(facts["expr"])
        found = [tag, environment_row(tr, facts.get("shape_env")), row, hint]
        if constant is not None:
            found.append(constant)
        held.numbers[id(record)] = found
    return list(found)


def expression(tr: Translation, call: Call) -> Any:
    """A bare sympy expression."""
    return ["expression", expressions(tr).row(call)]


def _range(tr: Translation, call: Call) -> Any:
    fields = fields_of(call, RANGE)
    held = expressions(tr)
    return ["value_range", held.row(fields.get("lower")), held.row(fields.get("upper"))]


def _key(tr: Translation, call: Call) -> Any:
    expressions(tr)
    name, field = _KEYS[call.name]
    if field is None:
        return ["path_key", name]
    fields = call.fields() or dict(zip((field,), sequence_of(call.args), strict=False))
    if field not in fields and type(call.state) in (list, tuple):
        fields = dict(zip((field,), sequence_of(call.state), strict=False))
    try:
        return ["path_key", name, tr.value(fields[field])]
    except KeyError:
        raise Untranslatable.because(f"a {name} has no {field}") from None
    except Untranslatable as refused:
        raise Untranslatable(refused.below(f".{field}")) from None


CALLS: Table = {
    _UNPICKLE: _symint,
    **dict.fromkeys(_TAGS, _symbolic),
    **dict.fromkeys(NAMES, expression),
    RANGE: _range,
    **dict.fromkeys(_KEYS, _key),
}
