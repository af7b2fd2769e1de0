"""Higher-order operators whose arguments or results changed between releases.

They have no schema: calls are in the form of the torch that wrote them, or are told by how they look where the archive
does not say which that was.
"""

from __future__ import annotations

import string
from typing import Any

from fxarchive.migrations.operators.calls import Call, Result, Unportable, Upgrader

_SEQUENCES = ("tuple", "list", "ilist")


# invoke_subgraph(subgraph, identifier, operands) of torch 2.7, invoke_subgraph(subgraph, identifier, *operands) since


def _operands_apart(call: Call) -> list[Call]:
    operands = call.argument(2, "operands")
    if not _is_sequence(operands):
        return [call]
    subgraph, identifier = call.argument(0, "subgraph"), call.argument(1, "identifier")
    return [Call(call.kind, call.name, (subgraph, identifier, *operands[1]))]


def _operands_together(call: Call) -> list[Call]:
    if _is_sequence(call.argument(2, "operands")):
        return [call]
    subgraph, identifier, *operands = call.args
    return [Call(call.kind, call.name, (subgraph, identifier, ["tuple", operands]), call.kwargs)]


def _is_sequence(value: Any) -> bool:
    return type(value) is list and value[0] in _SEQUENCES


# flex_attention gives the largest scores as a third result since torch 2.9


def _two_results(call: Call) -> list[Call]:
    if call.items is None or any([used for place, used in call.items.items() if place not in (0, 1)]):
        raise Unportable(
            "before torch 2.9 it does not give the largest scores, which the graph uses; "
            "load with torch 2.9 or later"
        )
    if call.items.keys() <= {0, 1}:
        return [call]
    return _first_two(call, None)


def _two_of_three_results(call: Call) -> list[Call]:
    if call.items is not None and call.items.keys() <= {0, 1}:
        return [call]
    return _first_two(call)


def _first_two(call: Call, *others: None) -> list[Call]:
    """Return a call, and a tuple of its first two results and of others in its place."""
    results = [Call("function", "operator.getitem", (Result(0), place)) for place in (0, 1)]
    whole = ["tuple", [["tuple", [Result(1), Result(2), *others]]]]
    return [
        Call(call.kind, call.name, call.args, call.kwargs),
        *results,
        Call("function", "operator.getitem", (whole, 0)),
    ]


# flex_attention_backward takes None for the gradient of the logarithms since torch 2.11

_GRAD_LOGSUMEXP, _LOGSUMEXP = (6, "grad_logsumexp"), (4, "logsumexp")


def _zero_gradient(call: Call) -> list[Call]:
    if call.argument(*_GRAD_LOGSUMEXP) is not None:
        return [call]
    place, name = _GRAD_LOGSUMEXP
    zeros = Call("operator", "aten::zeros_like", (call.argument(*_LOGSUMEXP),))
    args, kwargs = list(call.args), dict(call.kwargs)
    if place < len(args):
        args[place] = Result(0)
    else:
        kwargs[name] = Result(0)
    return [zeros, Call(call.kind, call.name, tuple(args), kwargs)]


# print takes values by place too since torch 2.11


def _values_by_name(call: Call) -> list[Call]:
    text, *values = call.args
    if not values:
        return [call]
    if type(text) is not str:
        raise Unportable("before torch 2.11 it takes values by name alone; load with torch 2.11 or later")
    names: list[str] = []
    for number in range(len(values)):
        name = f"value_{number}"
        while name in call.kwargs:
            name += "_"
        names.append(name)
    named = dict(zip(names, values, strict=True))
    return [Call(call.kind, call.name, (_renamed(text, names),), {**named, **call.kwargs})]


def _renamed(text: str, names: list[str]) -> str:
    """Return a format with names in place of the places that it counts or numbers.

    >>> _renamed("{} {{}} {x!r} {:>{}}", ["a", "b", "c"])
    '{a} {{}} {x!r} {b:>{c}}'
    """
    count = iter(range(len(names)))

    def renamed(part: str) -> str:
        made = ""
        for literal, name, spec, conversion in string.Formatter().parse(part):
            made += literal.replace("{", "{{").replace("}", "}}")
            if name is not None:
                digits = len(name) - len(name.lstrip("0123456789"))
                counted = not name or name[0] in ".["
                if counted or digits:
                    name = names[next(count) if counted else int(name[:digits])] + name[digits:]
                conversion = f"!{conversion}" if conversion else ""
                spec = f":{renamed(spec)}" if spec else ""
                made += f"{{{name}{conversion}{spec}}}"
        return made

    try:
        return renamed(text)
    except (ValueError, IndexError, StopIteration):
        raise Unportable(f"its format {text!r:.80} does not fit its values; mend the graph") from None


# autograd_function_apply: through torch 2.10 its bodies take the context as their first argument

_BODIES = "the bodies that the graph holds take other arguments there"


def _without_a_context(call: Call) -> list[Call]:
    if "args_tensor_mask" not in call.kwargs:
        return [call]
    raise Unportable(f"torch 2.11 changed it, and {_BODIES}; load with torch 2.10 or earlier")


def _with_a_context(call: Call) -> list[Call]:
    if "args_tensor_mask" in call.kwargs:
        return [call]
    raise Unportable(f"before torch 2.11 it is another, and {_BODIES}; load with torch 2.11 or later")


def _without_marks(call: Call) -> list[Call]:
    marks: Any = call.kwargs.get("dirty_idx")
    if not _is_sequence(marks) or not marks[1]:
        return [call]
    raise Unportable(
        "before torch 2.13 it does not mark inputs that are written; load with torch 2.13 or later"
    )


UPGRADERS = (
    Upgrader(
        "higher_order",
        "invoke_subgraph",
        "torch 2.8 takes its operands one by one",
        _operands_apart,
        since="2.8",
    ),
    Upgrader(
        "higher_order",
        "invoke_subgraph",
        "before torch 2.8 it takes its operands in one tuple",
        _operands_together,
        before="2.8",
    ),
    Upgrader(
        "higher_order", "flex_attention", "before torch 2.9 it has two results", _two_results, before="2.9"
    ),
    Upgrader(
        "higher_order",
        "flex_attention",
        "torch 2.9 gives a third result",
        _two_of_three_results,
        since="2.9",
        shows=False,
    ),
    Upgrader(
        "higher_order",
        "flex_attention_backward",
        "before torch 2.11 the gradient of the logarithms is a tensor",
        _zero_gradient,
        before="2.11",
    ),
    Upgrader(
        "higher_order",
        "print",
        "before torch 2.11 it takes values by name alone",
        _values_by_name,
        before="2.11",
    ),
    *[
        Upgrader("higher_order", "autograd_function_apply", why, rewrite, since=since, before=before)
        for why, rewrite, since, before in (
            ("torch 2.11 changed its bodies", _without_a_context, "2.11", None),
            ("torch 2.11 changed its bodies", _with_a_context, None, "2.11"),
            ("torch 2.13 marks inputs that are written", _without_marks, None, "2.13"),
        )
    ],
)
