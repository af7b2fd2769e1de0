"""SymNodes that answer torch by themselves while FakeTensors are built of them, and not a moment longer."""

from __future__ import annotations

from typing import Any

import pytest
import sympy
import torch
from torch.fx.experimental.sym_node import SymNode

from fxarchive import codec
from fxarchive.codec.fast.sym_nodes import answering

from .test_symbolic_copies import decode, fakes_of, many, own, parts
from .through import through_the_codec

OWN = {"maybe_as_int", "is_int"}


def node(number: int = 0) -> Any:
    return fakes_of(lambda x: [x * 2])[0].shape[number].node


def asked(document: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often sympy is asked for the value of a number while ``document`` is decoded."""
    count = []
    original = SymNode.maybe_as_int

    def spy(self: Any) -> Any:
        count.append(self)
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(SymNode, "maybe_as_int", spy)
        decode(document)
    return len(count)


@pytest.mark.parametrize("kind", [own, parts])
def test_a_number_is_asked_once_however_many_have_it(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decode(many(kind, 2))  # what is asked once a process is not counted
    few, many_more = (asked(many(kind, count), monkeypatch) for count in (2, 100))
    assert few == many_more > 0


def test_loaded_numbers_ask_torch_again() -> None:
    for fake in through_the_codec(fakes_of(own)):
        for number in (*fake.shape, *fake.stride()):
            if type(number) is torch.SymInt:
                assert OWN.isdisjoint(vars(number.node))
                assert number.node.maybe_as_int() is None


def test_an_error_ends_it_too() -> None:
    symbolic = node()

    def fail() -> None:
        with answering() as nodes:
            nodes.add(symbolic)
            assert vars(symbolic).keys() >= OWN
            assert symbolic.maybe_as_int() is None
            assert symbolic.is_int() is True
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert OWN.isdisjoint(vars(symbolic))


def test_one_whose_value_is_known_is_left_alone() -> None:
    known = node()
    known._expr = sympy.Integer(5)
    with answering() as nodes:
        nodes.add(known)
        assert OWN.isdisjoint(vars(known))
        assert known.maybe_as_int() == 5


def test_a_node_without_room_is_left_alone() -> None:
    class Narrow:
        __slots__ = ()

    with answering() as nodes:
        nodes.add(Narrow())


def test_what_is_loaded_is_what_is_loaded_without(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [*fakes_of(own, 2), *fakes_of(parts)]
    quick = codec.encode(through_the_codec(made)).document
    monkeypatch.setattr("fxarchive.codec.fast.sym_nodes.Answering.add", lambda self, node: None)
    assert codec.encode(through_the_codec(made)).document == quick
