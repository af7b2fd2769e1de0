"""Node sources: chains that come back as they were, stored once, and nothing of the process in them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch.fx.traceback import NodeSource, NodeSourceAction

import fxarchive
from fxarchive import codec, packing, wire
from fxarchive.audit import audit
from fxarchive.codec import provenance
from fxarchive.container import open_archive
from fxarchive.errors import CorruptArchive, FxArchiveError, InvalidDocument, UnsupportedValue

from ..compare import assert_same, differences
from . import tables


def first(
    name: str, pass_name: str = "trace", graph: int = 10**9, *origins: NodeSource, **action: Any
) -> NodeSource:
    """A source as a pass makes it, of a node of the graph at the address ``graph``."""
    source = NodeSource(None, pass_name, **(action or {"action": NodeSourceAction.CREATE}))
    source.node_info = NodeSource.NodeInfo(name, f"aten.{name}.default", graph)
    source.from_node = list(origins)
    return source


def several() -> list[Any]:
    linear = first("linear")
    both = [NodeSourceAction.CREATE, NodeSourceAction.REPLACE]
    return [
        linear,
        first("mm", "decompose", 2 * 10**9, linear),
        first("add", "decompose", 2 * 10**9, linear),
        first(
            "add", "fuse", 3 * 10**9, first("mm", "decompose", 2 * 10**9, linear), first("bias"), action=both
        ),
        first("view", "", 10**9, action=[]),
        NodeSource(None, "a pass without a node", NodeSourceAction.REPLACE),
    ]


def traced() -> fx.GraphModule:
    module = fx.symbolic_trace(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
    chain = several()
    for at, node in enumerate(module.graph.nodes):
        node.meta["from_node"] = [copy.deepcopy(chain[at % len(chain)])]
    return module


def test_sources_come_back() -> None:
    assert_same(several(), tables.again(several()))


def test_a_graph_keeps_where_its_nodes_come_from() -> None:
    module = traced()
    data = fxarchive.dumps(module)
    loaded = fxarchive.loads(data)
    assert_same(module, loaded)
    assert fxarchive.dumps(loaded) == data
    shown = [str(node.meta["from_node"][0]).count("pass_name=") for node in loaded.graph.nodes]
    assert shown == [1, 2, 2, 4]


def test_what_torch_does_with_sources_works() -> None:
    mine, loaded = several()[3], tables.again(several())[3]
    assert [origin.name for origin in loaded.from_node] == [origin.name for origin in mine.from_node]
    assert str(loaded).replace("graph_id=", "").count("\n") == str(mine).count("\n")
    expected, actual = mine.to_dict(), loaded.to_dict()
    assert expected.keys() == actual.keys()
    assert str(actual["action"]).endswith("create+replace")
    if "__eq__" in vars(type(loaded)):  # since torch 2.8
        assert loaded == tables.again(several())[3]
        assert hash(loaded) == hash(tables.again(several())[3])
    node = next(iter(traced().graph.nodes))
    node.meta["from_node"] = [loaded]
    assert NodeSource(node, "a later pass").from_node[0].name == "add"


def test_equal_chains_are_stored_once_and_come_back_as_one() -> None:
    chain = several()[1]
    copies = [copy.deepcopy(chain) for _ in range(50)]
    document, _ = tables.encode(copies)
    assert document["sources"]["count"] == [0, 1]
    loaded = tables.decode(document)
    assert all(source is loaded[0] for source in loaded)
    assert_same(copies, loaded)


def test_graphs_are_numbered_and_not_addressed() -> None:
    def bytes_with(addresses: tuple[int, int]) -> bytes:
        old = first("a", "p", addresses[0])
        return fxarchive.dumps([first("b", "p", addresses[1], old), first("c", "p", addresses[0])])

    assert bytes_with((10, 20)) == bytes_with((139895718069648, 7))
    assert bytes_with((10, 20)) != bytes_with((10, 10))
    outer, inner = fxarchive.loads(bytes_with((10, 20)))
    assert [outer.from_node[0].graph_id, outer.graph_id, inner.graph_id] == [0, 1, 0]


def test_only_archives_with_sources_need_the_feature() -> None:
    assert open_archive(fxarchive.dumps(traced())).header.features == ("node-sources",)
    plain = traced()
    for node in plain.graph.nodes:
        del node.meta["from_node"]
    assert open_archive(fxarchive.dumps(plain)).header.features == ()


def test_a_dropped_value_leaves_the_sources_beside_it() -> None:
    module = traced()
    next(iter(module.graph.nodes)).meta["odd"] = object()
    loaded = fxarchive.loads(fxarchive.dumps(module, on_unsupported="drop"))
    assert "from_node" in next(iter(loaded.graph.nodes)).meta


class Own(NodeSource):
    pass


def extended() -> NodeSource:
    source = first("a")
    source.more = 1  # type: ignore[attr-defined]
    return source


def nameless() -> NodeSource:
    source = first("a")
    source.pass_name = None  # type: ignore[assignment]
    return source


def acting() -> NodeSource:
    source = first("a")
    source.action = ["create"]  # type: ignore[list-item]
    return source


def long_chain(length: int) -> NodeSource:
    source = first("a")
    for number in range(length):
        source = first("a", "p", number, source)
    return source


def bush(levels: int) -> NodeSource:
    source = first("a")
    for number in range(levels):
        source = first("a", "p", number, source, source)
    return source


def ring() -> NodeSource:
    source = first("a")
    source.from_node.append(source)
    return source


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: [Own(None)], "Own"),
        (lambda: [extended()], "more than torch gives it"),
        (lambda: [nameless()], "no strings"),
        (lambda: [acting()], "action of its own"),
        (lambda: [long_chain(200)], "chain of more than 128"),
        (lambda: [bush(16)], "131071 others"),
        (lambda: [ring()], "chain of more than 128"),
    ],
    ids=["subclass", "more", "name", "action", "chain", "bush", "ring"],
)
def test_what_cannot_be_kept_is_refused(make: Callable[[], Any], why: str) -> None:
    with pytest.raises(UnsupportedValue, match=why):
        fxarchive.dumps(make())


def test_long_chains_and_bushes_within_the_limits_come_back() -> None:
    for source in (long_chain(128), bush(15)):
        assert differences(source.to_dict().keys(), tables.again([source])[0].to_dict().keys()) == []


def put(column: str, at: int, number: Any) -> Callable[[Any], None]:
    def change(sources: Any) -> None:
        sources[column][at] = number

    return change


HOSTILE: dict[str, Callable[[Any], Any]] = {
    "no-text": put("pass", 0, 99),
    "negative-text": put("name", 0, -1),
    "no-number": put("target", 0, "x"),
    "boolean": put("graph", 0, True),
    "itself": put("origins", 0, 1),
    "later": put("origins", 0, 2),
    "graph": put("graph", 0, 99),
    "count": put("count", 0, 1),
    "short": lambda sources: sources["name"].pop(),
    "action": put("action", 0, 0),
    "more": lambda sources: sources.update(more=[]),
    "less": lambda sources: sources.pop("graph"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tables_are_refused(name: str) -> None:
    encoded = codec.encode(several())
    document: Any = copy.deepcopy(encoded.document)
    audit(document, trust=(), features=encoded.features)
    HOSTILE[name](document["sources"])

    def load() -> None:
        audit(document, trust=(), features=encoded.features)
        codec.decode(document, tables.Bytes({}))

    with pytest.raises(InvalidDocument):
        load()


@pytest.mark.parametrize("row", [-1, 99, "0", None, True, 0.0, []])
def test_a_source_that_is_not_there_is_refused(row: Any) -> None:
    document, sections = tables.encode(several()[:1])
    document["root"] = ["node_source", row]
    with pytest.raises(FxArchiveError):
        codec.decode(document, sections)


def test_a_table_of_too_many_is_refused() -> None:
    document, sections = tables.encode([bush(15)])
    columns = document["sources"]
    for key in columns:
        columns[key].append(columns[key][-1])
    columns["origins"][-1:] = [15, 15]
    with pytest.raises(InvalidDocument, match="more sources stand below it"):
        codec.decode(document, sections)
    document, sections = tables.encode([long_chain(128)])
    columns = document["sources"]
    for key in columns:
        columns[key].append(columns[key][-1])
    columns["origins"][-1] = 128
    with pytest.raises(InvalidDocument, match="more sources stand below it"):
        codec.decode(document, sections)


def test_the_table_needs_its_feature() -> None:
    encoded = codec.encode(several())
    with pytest.raises(InvalidDocument):
        audit(encoded.document, trust=())
    bare: Any = dict(encoded.document)
    del bare["sources"]
    audit(bare, trust=())
    with pytest.raises(InvalidDocument):
        codec.decode(bare, tables.Bytes({}))


@pytest.mark.parametrize("junk", [b"abc", [1], "text", None])
@pytest.mark.parametrize("column", ["pass", "origins"])
def test_what_is_no_column_is_refused(column: str, junk: Any) -> None:
    packed = packing.pack(codec.encode(several()).document)
    assert packing.unpack(wire.loads(wire.dumps(packed))) == codec.encode(several()).document
    packed["sources"][column] = junk
    with pytest.raises(InvalidDocument):
        packing.unpack(packed)
    packed["sources"] = junk
    with pytest.raises(CorruptArchive):
        packing.unpack(packed)


def test_the_facts_of_torch_are_as_expected() -> None:
    source = NodeSource(next(iter(traced().graph.nodes)), "p", NodeSourceAction.CREATE)
    assert vars(source).keys() <= provenance._FIELDS
    assert set(vars(source.node_info)) == {"name", "target", "graph_id"}
    assert {action.name for action in NodeSourceAction} == {"CREATE", "REPLACE"}
    assert torch.fx.traceback.NodeSource is NodeSource
