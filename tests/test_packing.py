"""Packed columns: what goes in comes out, and what is no column is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from fxarchive import codec, packing, wire
from fxarchive.errors import InvalidDocument

from .material import models


@pytest.fixture(scope="module")
def document() -> Any:
    torch.manual_seed(0)
    return codec.encode(models.fake_propagated()[0]).document


def test_a_document_comes_back(document: Any) -> None:
    packed = packing.pack(document)
    assert packing.unpack(wire.loads(wire.dumps(packed))) == document
    assert type(packed["graphs"][0]["operands"]) is bytes
    assert type(packed["fakes"]["description"]) is bytes


def test_packing_leaves_the_document_as_it_is(document: Any) -> None:
    before = copy.deepcopy(document)
    packing.pack(document)
    assert document == before


@pytest.mark.parametrize("junk", [b"abc", [1], "text", None, 5])
@pytest.mark.parametrize("column", packing.GRAPH_COLUMNS)
def test_what_is_no_column_is_refused(document: Any, column: str, junk: Any) -> None:
    packed = copy.deepcopy(packing.pack(document))
    packed["graphs"][0][column] = junk
    with pytest.raises(InvalidDocument):
        packing.unpack(packed)


@pytest.mark.parametrize(
    "document",
    [{}, {"graphs": 3}, {"graphs": [3], "fakes": {}}, {"graphs": [], "fakes": 3}, {"graphs": [{}]}],
)
def test_documents_without_their_tables_are_refused(document: Any) -> None:
    with pytest.raises(InvalidDocument):
        packing.unpack(document)
