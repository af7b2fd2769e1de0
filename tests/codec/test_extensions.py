"""Values that a program registers: they come back by its own functions, and only where it registered them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import fx, nn

import fxarchive
from fxarchive import InertRecord, codec, extensions
from fxarchive.audit import audit
from fxarchive.container import open_archive
from fxarchive.errors import ExtensionFailed, InvalidDocument, UnknownExtension, UnsupportedValue

from ..compare import assert_same
from . import tables

TAG = "mylib.Tile"


class Tile:
    def __init__(self, held: Any = None) -> None:
        self.held = held

    def __getnewargs__(self) -> tuple[Any, ...]:  # so that it is no record either
        return ()


class Stamp(Tile):
    pass


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    for tag in list(extensions._BY_TAG):
        extensions.unregister(tag)


def register(version: int = 1, decode: Callable[[Any, int], Any] = lambda held, version: Tile(held)) -> None:
    fxarchive.register(Tile, tag=TAG, version=version, encode=lambda tile: tile.held, decode=decode)


def noted(value: Any) -> fx.GraphModule:
    module = fx.symbolic_trace(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
    for node in module.graph.nodes:
        node.meta["tile"] = value
    module.meta["tiles"] = [value]
    return module


CONTENTS = [
    None, 5, "text", {"a": (1, 2.5), "b": [None, {"c": b"x"}]}, torch.arange(6.0).view(2, 3).t(), torch.float16,
    {1, 2}, frozenset({"x"}), nn.Linear,
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CONTENTS)))
def test_values_come_back(number: int) -> None:
    register()
    module = noted(Tile(CONTENTS[number]))
    data = fxarchive.dumps(module)
    loaded = fxarchive.loads(data)
    assert_same(module, loaded)
    assert fxarchive.dumps(loaded) == data
    assert open_archive(data).header.features == ("extensions",)


def test_one_object_stays_one_and_two_stay_two() -> None:
    register()
    one, other = Tile(1), Tile(1)
    first, second, third = fxarchive.loads(fxarchive.dumps([one, one, other]))
    assert (first is second, second is third) == (True, False)


def test_what_two_values_share_is_theirs_alone() -> None:
    register()
    held = [1, 2]
    whole = fxarchive.loads(fxarchive.dumps([held, Tile(held), Tile((held, held))]))
    assert whole[0] == whole[1].held == whole[2].held[0] == [1, 2]
    assert whole[1].held is not whole[0]


def test_values_in_values() -> None:
    register()
    fxarchive.register(
        Stamp, tag="mylib.Stamp", encode=lambda stamp: stamp.held, decode=lambda held, version: Stamp(held)
    )
    inner = Tile(5)
    loaded = fxarchive.loads(fxarchive.dumps({"a": Stamp([inner, Stamp(None)]), "b": inner}))
    assert type(loaded["a"].held[1]) is Stamp
    assert loaded["a"].held[0] is loaded["b"]


def test_a_subclass_is_not_registered() -> None:
    register()
    with pytest.raises(
        UnsupportedValue, match=r"Stamp cannot be kept: .* say how to keep it with fxarchive\.register"
    ):
        fxarchive.dumps([Stamp()])


def test_a_version_reaches_the_decoder() -> None:
    register()
    old = fxarchive.dumps([Tile(1)])
    extensions.unregister(TAG)
    seen = []
    register(3, lambda held, version: seen.append(version) or Tile(held))  # type: ignore[func-returns-value]
    fxarchive.loads(old)
    fxarchive.loads(fxarchive.dumps([Tile(1)]))
    assert seen == [1, 3]


def test_a_newer_version_is_refused_everywhere() -> None:
    register(2)
    archives = [fxarchive.dumps([Tile(1)]), fxarchive.dumps(noted(Tile(1)))]
    extensions.unregister(TAG)
    register(1)
    for data in archives:
        with pytest.raises(UnknownExtension, match="install a newer mylib"):
            fxarchive.loads(data)


def test_metadata_without_its_registration_is_inert_and_saves_again() -> None:
    register()
    module = noted(Tile({"x": [1, torch.ones(2)]}))
    data = fxarchive.dumps(module)
    extensions.unregister(TAG)
    loaded = fxarchive.loads(data)
    records = [node.meta["tile"] for node in loaded.graph.nodes]
    assert type(records[0]) is InertRecord
    assert all(record is records[0] for record in records)
    assert (records[0].kind, records[0].version, records[0].value["x"][0]) == (TAG, 1, 1)
    again = fxarchive.dumps(loaded)
    assert again == fxarchive.dumps(fxarchive.loads(again))
    register()
    assert_same(module, fxarchive.loads(again))
    assert fxarchive.dumps(fxarchive.loads(again)) == data


def test_other_places_without_the_registration_are_refused_in_one_error() -> None:
    register()
    fxarchive.register(
        Stamp, tag="other.Stamp", encode=lambda stamp: None, decode=lambda held, version: Stamp()
    )
    module = noted(Tile(1))
    module.tile, module.stamp = Tile(2), Stamp()
    data = fxarchive.dumps(module)
    extensions.unregister(TAG)
    extensions.unregister("other.Stamp")
    with pytest.raises(UnknownExtension) as caught:
        fxarchive.loads(data)
    assert [tag for tag, _ in caught.value.tags] == [TAG, "other.Stamp"]
    assert "import other, or the module that registers it" in str(caught.value)


def test_one_object_in_metadata_and_elsewhere_is_needed() -> None:
    register()
    for first in (True, False):
        tile = Tile(1)
        module = noted(tile)
        data = fxarchive.dumps([module, tile] if first else [tile, module])
        extensions.unregister(TAG)
        with pytest.raises(UnknownExtension):
            fxarchive.loads(data)
        register()


def test_drop_leaves_out_what_no_encoder_takes() -> None:
    module = noted(Tile(1))
    loaded = fxarchive.loads(fxarchive.dumps(module, on_unsupported="drop"))
    assert "tile" not in next(iter(loaded.graph.nodes)).meta
    register()
    module = noted(Tile(object()))
    loaded = fxarchive.loads(fxarchive.dumps(module, on_unsupported="drop"))
    assert "tile" not in next(iter(loaded.graph.nodes)).meta


def test_what_is_refused_in_a_value_has_a_path() -> None:
    register()
    with pytest.raises(UnsupportedValue) as caught:
        fxarchive.dumps({"a": Tile({"x": object()}), "b": [Tile(object())]})
    assert [problem.path for problem in caught.value.problems] == [f"['a'].<{TAG}>['x']", f"['b'][0].<{TAG}>"]


def test_errors_of_the_functions_name_the_tag() -> None:
    def fail(*args: Any) -> Any:
        raise LookupError("no")

    register(1, fail)
    data = fxarchive.dumps([Tile(1)])
    with pytest.raises(ExtensionFailed, match=r"mylib\.Tile") as caught:
        fxarchive.loads(data)
    assert (caught.value.tag, caught.value.version) == (TAG, 1)
    assert type(caught.value.__cause__) is LookupError


@pytest.mark.parametrize(
    "tag",
    ["Tile", "", ".Tile", "mylib.", "my lib.Tile", "mylib..Tile", "a." + "b" * 200, "mylib.Tile\n", None, 5],
)
def test_tags_have_one_form(tag: Any) -> None:
    with pytest.raises(ValueError, match="is not a package, a dot and a name"):
        fxarchive.register(Tile, tag=tag, encode=lambda tile: None, decode=lambda held, version: None)


def test_a_failed_registration_registers_nothing() -> None:
    register()
    for cls, tag in ((Tile, "mylib.Other"), (Stamp, TAG)):
        with pytest.raises(ValueError, match=r"is registered as .* already"):
            fxarchive.register(cls, tag=tag, encode=lambda tile: None, decode=lambda held, version: None)
    assert list(extensions._BY_TAG) == [TAG]
    with pytest.raises(KeyError):
        extensions.unregister("mylib.Other")


@pytest.mark.parametrize(
    "row",
    [None, [], [TAG, 1, True], [5, 1, True, None], ["Tile", 1, True, None], [TAG, 0, True, None],
     [TAG, True, True, None], [TAG, 2**60, True, None], [TAG, "1", True, None], [TAG, 1, 1, None]],
)  # fmt: skip
def test_rows_of_another_form_are_refused(row: Any) -> None:
    register()
    encoded = codec.encode([Tile(1)])
    document: Any = encoded.document
    audit(document, trust=(), features=encoded.features)
    document["extensions"][0] = row
    with pytest.raises(InvalidDocument):
        audit(document, trust=(), features=encoded.features)


def test_a_row_that_holds_itself_is_refused() -> None:
    register()
    document, sections = tables.encode([Tile(1)])
    document["extensions"][0][3] = ["extension", 0]
    with pytest.raises(InvalidDocument):
        codec.decode(document, sections)
    document["extensions"][0][3] = ["extension", 7]
    with pytest.raises(InvalidDocument):
        codec.decode(document, sections)


def test_a_file_imports_nothing() -> None:
    register()
    extensions.unregister(TAG)
    fxarchive.register(
        Tile, tag="antigravity.Tile", encode=lambda tile: tile.held, decode=lambda held, version: None
    )
    data = fxarchive.dumps(noted(Tile(1)))
    script = (
        "import sys, fxarchive\n"
        "loaded = fxarchive.loads(sys.stdin.buffer.read())\n"
        "assert type(next(iter(loaded.graph.nodes)).meta['tile']) is fxarchive.InertRecord\n"
        "assert 'antigravity' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], input=data, check=True)
