"""Calls written for one schema, bound to another."""

from __future__ import annotations

from typing import Any

import pytest

from fxarchive.binding import Bound, Unbound, bind, literal

X = ["hole"]


def schema(arguments: str, returns: str = "Tensor") -> str:
    return f"mine::op({arguments}) -> {returns}"


@pytest.mark.parametrize(
    ("call", "old", "new", "expected"),
    [
        # an argument that was added has a default that means what went before, in both directions
        (([X], {}), "Tensor x", "Tensor x, int more=1", ([X], {})),
        (([X], {}), "Tensor x, int more=1", "Tensor x", ([X], {})),
        (([X, 1], {}), "Tensor x, int more=1", "Tensor x", ([X], {})),
        # a default that changed: the writer's is passed
        (([X], {}), "Tensor x, int p=2", "Tensor x, int p=3", ([X], {"p": 2})),
        (([X, 5], {}), "Tensor x, int p=2", "Tensor x, int p=3", ([X, 5], {})),
        (([X], {}), "Tensor x, *, float p=1.", "Tensor x, *, float p=0.5", ([X], {"p": 1.0})),
        (([X], {}), "Tensor x, int p=2", "Tensor x, int p", ([X], {"p": 2})),
        # a new name in the same place
        (([X], {}), "Tensor grad", "Tensor grad_output", ([X], {})),
        (([], {"grad": X}), "Tensor grad", "Tensor grad_output", ([], {"grad_output": X})),
        # by position once, by keyword now
        (
            ([X, True], {}),
            "Tensor x, bool upper=False",
            "Tensor x, *, bool upper=False",
            ([X], {"upper": True}),
        ),
        (
            ([X], {"upper": True}),
            "Tensor x, *, bool upper=False",
            "Tensor x, bool upper=False",
            ([X], {"upper": True}),
        ),
        # wider and narrower types
        (([X, 2], {}), "Tensor x, int n", "Tensor x, SymInt n", ([X, 2], {})),
        (([X, 2], {}), "Tensor x, SymInt n", "Tensor x, int n", ([X, 2], {})),
        (([X, "g"], {}), "Tensor x, Any g", "Tensor x, str g", ([X, "g"], {})),
        (([X], {}), "Tensor x", "Tensor? x", ([X], {})),
        (([X], {}), "Tensor? x", "Tensor x", ([X], {})),
        (([X, ["ilist", [1]]], {}), "Tensor x, int[1] n", "Tensor x, SymInt[] n", ([X, ["ilist", [1]]], {})),
        (([X], {}), "Tensor(a!) x", "Tensor x", ([X], {})),
    ],
)
def test_what_fits(call: Any, old: str, new: str, expected: Any) -> None:
    args, kwargs = call
    assert bind(tuple(args), kwargs, schema(old), schema(new)) == Bound(tuple(expected[0]), expected[1])


@pytest.mark.parametrize(
    ("call", "old", "new", "why"),
    [
        (([X, 1], {}), "Tensor x, int more=2", "Tensor x", "does not take more"),
        (([X], {}), "Tensor x", "Tensor x, int more", "now asks for more"),
        (([X, False], {}), "Tensor x, bool kernel=True", "Tensor x, int mode=-1", "does not take kernel"),
        (([X, X], {}), "Tensor a, Tensor b", "Tensor b, Tensor c", "does not take a|now asks for c"),
        (([None], {}), "Tensor? x", "Tensor x", "was Tensor[?] and now is Tensor"),
        (([3], {}), "Any g", "str g", "was Any and now is str"),
        (([X, X], {}), "Tensor x", "Tensor y", "passes 2 arguments"),
        (([X], {"z": 1}), "Tensor x", "Tensor y", "passes z"),
        (([], {}), "Tensor x", "Tensor y", "does not pass x"),
    ],
)
def test_what_does_not_fit(call: Any, old: str, new: str, why: str) -> None:
    args, kwargs = call
    with pytest.raises(Unbound, match=why):
        bind(tuple(args), kwargs, schema(old), schema(new))


def test_swapped_arguments_are_given_by_name() -> None:
    bound = bind((X, X, 1), {}, schema("Tensor a, Tensor b, int n"), schema("Tensor b, Tensor a, int n"))
    assert bound == Bound((X, X, 1), {})


def test_other_results_do_not_fit() -> None:
    with pytest.raises(Unbound, match=r"returned Tensor and now returns \(Tensor, Tensor\)"):
        bind((X,), {}, schema("Tensor x"), schema("Tensor x, int n=1", "(Tensor, Tensor)"))
    with pytest.raises(Unbound, match="not the schema of an operator"):
        bind((X,), {}, schema("Tensor x"), "no::schema(Tensor x)")


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("-1", "int", -1), ("1", "float", 1.0), ("1e-05", "float", 1e-05), ("2.", "Scalar", 2.0), ("0", "Scalar", 0),
        ("[]", "int[]", ["ilist", []]), ("[1, 2]", "SymInt[2]?", ["ilist", [1, 2]]), ('"a b"', "str", "a b"),
        ("None", "int?", None), ("True", "bool", True),
    ],
)  # fmt: skip
def test_defaults(text: str, kind: str, value: Any) -> None:
    found = literal(text, kind)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", ["contiguous_format", "1+1", "__import__('os')"])
def test_a_default_that_is_no_literal_is_refused(text: str) -> None:
    with pytest.raises(Unbound, match="cannot be read"):
        literal(text, "int")
