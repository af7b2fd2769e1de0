"""What a document says once is not made again without bound, however many nodes refer to it."""

from __future__ import annotations

import dataclasses
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

import fxarchive
from fxarchive import container, packing, payload, reading, repeats
from fxarchive.errors import TooLarge
from fxarchive.limits import DEFAULT_LIMITS, MIB
from fxarchive.packing.rows import CONSTANT

from .documents import HOLE, archive_of, graph, small

MANY = LARGE = 100_000
STACK = ["dict", [part for at in range(10) for part in (f"block{at}", ["tuple", [f"L.block{at}", "Block"]])]]
"""As torch.export writes them for a module ten levels down."""


def nodes(count: int, pattern: Any = ([], []), **more: Any) -> Any:
    """A document with one graph of so many equal nodes."""
    document = {**small(), "modules": [], "root": ["graph", 0], "texts": ["x", "output"], "values": []}
    document["storages"] = document["tensors"] = document["descriptions"] = []
    document["targets"] = [["function", "torch.rand"]]
    document["fakes"] = {}
    names = " ".join([*[f"rand_{at}" for at in range(count)], "output"])
    columns = graph(
        names,
        [*[2] * count, 5],
        [*[0] * count, 1],
        [list(pattern), [[HOLE], []]],
        [1],
        layout=[0] * count + [1],
    )
    document["graphs"] = [{**columns, "pattern": [0] * count + [1], "layouts": [[], []]}]
    return {**document, **more}


def with_metadata(count: int, column: Any, **more: Any) -> Any:
    """The same, each node with an entry in its metadata."""
    document = nodes(count, **more)
    document["graphs"][0] |= {"keys": ["note"], "layouts": [[0], []], "columns": [column]}
    return document


def of_values(count: int, value: Any) -> Any:
    return with_metadata(count, ["value", [0] * count], values=[value])


def of_fakes(count: int, dimensions: int) -> Any:
    """FakeTensors of one element and many dimensions."""
    return with_metadata(
        count,
        ["fake", list(range(count))],
        descriptions=[["float32", "cpu", [1] * dimensions, [1] * dimensions]],
        fakes={"description": [0] * count},
    )


def equal_rows(count: int, row: Any) -> Any:
    """The wire form of so many equal rows."""
    return [[[CONSTANT, row]], b"\x01" + bytes(count), [[]]]


def of_columns(count: int) -> Any:
    packed = packing.pack(with_metadata(count, ["plain", [None] * count]))
    packed["graphs"][0]["columns"] = [["list", equal_rows(count, [1] * LARGE)]]
    return packed


def of_modules(count: int) -> Any:
    module = {"training": True, "klass": 2, "attributes": ["held", ["list", [1] * LARGE]]}
    return {**packing.pack(small()), "modules": equal_rows(count, module)}


def of_guards(count: int) -> Any:
    """Modules that check inputs, each with code of its own."""
    guard = " and ".join(["L['x'].size()[0] > 1"] * 600)
    module = {"training": True, "guards": [["x"], [guard]]}
    return {**packing.pack(small()), "modules": equal_rows(count, module)}


ONES = ["list", [1] * LARGE]
BOMBS: dict[str, tuple[Callable[[], Any], str]] = {
    "metadata": (lambda: packing.pack(of_values(MANY, ONES)), "row 0 of values"),
    "metadata that differs in part": (
        lambda: packing.pack(
            with_metadata(MANY, ["plain", [7, *[["value", 0]] * (MANY - 1)]], values=[["set", ["a", ONES]]])
        ),
        "row 0 of values",
    ),
    "metadata in its column": (
        lambda: of_columns(MANY),
        "equal rows of metadata column 0 of graph 0",
    ),
    "arguments": (lambda: packing.pack(nodes(MANY, ([ONES], []))), "call pattern 0 of graph 0"),
    "arguments by keyword": (
        lambda: packing.pack(nodes(MANY, ([], ["size", ONES]))),
        "call pattern 0 of graph 0",
    ),
    "dimensions": (lambda: packing.pack(of_fakes(MANY, 1024)), "row 0 of descriptions"),
    "guards": (lambda: of_guards(LARGE), "equal rows of modules"),
    "modules": (lambda: of_modules(LARGE), "equal rows of modules"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_cannot_ask_for_much(name: str) -> None:
    make, where = BOMBS[name]
    data = archive_of({**small(), "storages": []}, make())
    assert len(data) < 20_000
    start = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge) as caught:
            fxarchive.loads(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.what == (
        f"The number of entries that are made again for each use, most of them for {where},"
    )
    assert caught.value.found > caught.value.limit
    assert time.process_time() - start < 20
    assert peak < 100 * MIB


COUNTED: dict[str, tuple[Any, int]] = {
    "calls of two arguments": (nodes(1000, ([1, 2], [])), 999 * 4),
    "calls of a list": (nodes(1000, ([], ["size", ["list", [2, 3]]])), 999 * 8),
    "a stack of modules": (of_values(1000, STACK), 999 * (2 + 22)),
    "a value that is one object": (of_values(1000, ["tuple", ["a", ["dtype", "int8"]]]), 999 * 2),
    "a value with lists in it": (of_values(1000, ["tuple", ["a", ["list", [1]]]]), 999 * (2 + 7)),
    "values that each occur once": (
        with_metadata(3, ["value", [0, 1, 2]], values=[["list", [1]], ["list", [2]], ["list", [3]]]),
        2 * 2,
    ),
    "FakeTensors": (of_fakes(1000, 4), 999 * (2 + 12)),
}
"""Documents, and the entries in them that are made beyond the first use: two of a call are its arguments' lists."""


@pytest.mark.parametrize("name", COUNTED)
def test_what_is_counted(name: str) -> None:
    """At the limit a document is written and read; one below it, neither."""
    document, exact = COUNTED[name]
    strict = dataclasses.replace(DEFAULT_LIMITS, ratio=0)
    data = archive_of(document)
    enough, too_little = (dataclasses.replace(strict, copies=most) for most in (exact, exact - 1))
    written = payload.payload_of(document, enough)
    assert reading.read_document(container.open_archive(data), enough) == document
    for attempt in (
        lambda: payload.payload_of(document, too_little),
        lambda: reading.read_document(container.open_archive(data), too_little),
    ):
        with pytest.raises(TooLarge) as caught:
            attempt()
        assert (caught.value.found, caught.value.limit) == (exact, exact - 1)
    stored = container.open_archive(data).sections["document"].stored_size
    more = dataclasses.replace(DEFAULT_LIMITS, copies=0, ratio=exact // stored + 1)
    assert payload.payload_of(document, more) == written
    assert reading.read_document(container.open_archive(data), more) == document


def test_the_quick_look_finds_no_less_than_there_is() -> None:
    for document, exact in COUNTED.values():
        assert not repeats.are_few(document, packing.pack(document), exact - 1)


def test_a_regular_graph_of_two_million_nodes_is_within_the_limit() -> None:
    """Here of a quarter of both: each node with a stack of ten modules and a FakeTensor of four dimensions."""
    count = 500_000
    document = of_fakes(count, 4)
    document["values"] = [STACK]
    document["graphs"][0]["keys"].append("nn_module_stack")
    document["graphs"][0]["layouts"] = [[0, 1], []]
    document["graphs"][0]["columns"].append(["value", [0] * count])
    quarter = dataclasses.replace(DEFAULT_LIMITS, copies=DEFAULT_LIMITS.copies // 4, ratio=0)
    archive = container.open_archive(archive_of(document))
    assert len(reading.read_document(archive, quarter)["graphs"][0]["ops"]) == count + 1
