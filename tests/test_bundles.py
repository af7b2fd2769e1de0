"""Streams inside of other pickles, and files that are something else."""

from __future__ import annotations

import dataclasses
import gzip
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import zstandard

import fxarchive
from fxarchive import bundles
from fxarchive.cli.main import run
from fxarchive.errors import FxArchiveError, NotAGraphPickler

from .test_adopt import Evil, dumped, load


@dataclasses.dataclass
class Entry:
    """As caches have: bytes beside facts."""

    key: str
    graph: bytes


def graph() -> Any:
    return torch.fx.symbolic_trace(torch.nn.ReLU())


def bundle() -> bytes:
    """A pickle of a pickle of streams, as vLLM writes."""
    stream = dumped(graph())
    state = {
        "graph_module": stream,
        "prefix": "model",
        "inputs": [dumped(torch.ops.aten.add.Tensor), pickle.dumps([1, 2])],
        "entry": Entry("a", stream[:-1] + b"."),
        "other": b"x",
    }
    return pickle.dumps({"version": 1, "state": pickle.dumps(state)})


PLACES = [("state", "graph_module"), ("state", "inputs", 0), ("state", "entry", "graph")]


def test_streams_in_a_pickle_are_named(tmp_path: Path) -> None:
    assert bundles.streams_in(bundle()) == PLACES
    message = r"holds such streams as bytes, at \['state'\]\['graph_module'\], \['state'\]\['inputs'\]\[0\]"
    with pytest.raises(NotAGraphPickler, match=message):
        fxarchive.adopt(bundle(), tmp_path / "g.fxa")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [PLACES[0], PLACES[2]], ids=str)
def test_one_of_them_is_adopted(place: tuple[Any, ...], tmp_path: Path) -> None:
    alone = fxarchive.adopt(dumped(graph()), io.BytesIO())
    assert fxarchive.adopt(bundle(), tmp_path / "g.fxa", at=place).identity == alone.identity
    x = torch.tensor([-1.0, 1.0])
    assert torch.equal(load(tmp_path / "g.fxa")(x), torch.relu(x))


def test_the_command_takes_the_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cache.bin"
    path.write_bytes(bundle())
    assert run(["adopt", str(path)]) == 1
    assert "say which with at= (--at)" in capsys.readouterr().err
    assert run(["adopt", str(path), "--at", "state", "--at", "inputs", "--at", "0"]) == 0
    assert load(tmp_path / "cache.fxa") == torch.ops.aten.add.Tensor
    assert run(["adopt", str(path), "--force", "--at", "state"]) == 2
    assert "there are: ['state']['graph_module']" in " ".join(capsys.readouterr().err.split())


def test_a_pickle_that_shows_nothing_is_taken_where_it_is_named() -> None:
    """A stream of numbers is a pickle like any other."""
    assert bundles.stream_at(bundle(), ("state", "inputs", 1)) == pickle.dumps([1, 2])


def test_storages_of_a_stream_are_no_streams() -> None:
    stream = dumped([torch.ops.aten.add.Tensor, torch.ones(3)])
    assert bundles.streams_in(pickle.dumps([stream])) == [(0,)]
    assert bundles.stream_at(pickle.dumps([stream]), (0,)) == stream


def test_nothing_in_a_bundle_runs(tmp_path: Path) -> None:
    import os

    evil = pickle.dumps([Evil(os.system, f"touch {tmp_path / 'here'}"), dumped(graph())])
    assert bundles.streams_in(evil) == [(1,)]
    fxarchive.adopt(evil, tmp_path / "g.fxa", at=(1,))
    assert [path.name for path in tmp_path.iterdir()] == ["g.fxa"]


def test_a_pickle_inside_of_many_others_ends() -> None:
    data = dumped(graph())
    for _ in range(40):
        data = pickle.dumps([data] * 2)
        if len(data) > 1 << 20:
            break
    assert len(bundles.streams_in(data)) <= bundles.MOST_STREAMS


def saved(**options: Any) -> bytes:
    file = io.BytesIO()
    torch.save({"w": torch.ones(2)}, file, **options)
    return file.getvalue()


def exported() -> bytes:
    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    file = io.BytesIO()
    torch.export.save(torch.export.export(Model(), (torch.ones(2),)), file)
    return file.getvalue()


def archived() -> bytes:
    return fxarchive.dumps(graph())


OTHERS: dict[str, tuple[Any, str]] = {
    "torch.save": (saved, "a file of torch.save; load it with torch.load"),
    "older torch.save": (
        lambda: saved(_use_new_zipfile_serialization=False),
        "a file of torch.save; load it with torch.load",
    ),
    "torch.export": (exported, "a file of torch.export.save; load it with torch.export.load"),
    "archive": (archived, "it is an archive already; load it with fxarchive.load"),
    "zstd": (lambda: zstandard.compress(dumped(graph())), "compressed with zstd"),
    "gzip": (lambda: gzip.compress(dumped(graph())), "compressed with gzip"),
    "safetensors": (lambda: (2).to_bytes(8, "little") + b"{}", "safetensors"),
    "protocol 0": (lambda: pickle.dumps([1], 0), "a pickle of protocol 0 or 1"),
    "protocol 1": (lambda: pickle.dumps({"a": 1}, 1), "a pickle of protocol 0 or 1"),
    "JSON": (lambda: b'{"a": 1}', "it is text"),
    "TorchScript": (
        lambda: b"PK\x03\x04 m/code/__torch__.py m/constants.pkl m/data.pkl",
        "a TorchScript file",
    ),
    "zip": (lambda: b"PK\x03\x04 a.txt", "a zip file; give the streams in it"),
    "numpy": (lambda: b"\x93NUMPY\x01\x00", "an array of numpy"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.filterwarnings("ignore")
def test_a_file_of_another_kind_is_refused_by_what_it_is(name: str, tmp_path: Path) -> None:
    make, message = OTHERS[name]
    with pytest.raises(NotAGraphPickler, match=message) as caught:
        fxarchive.adopt(make(), tmp_path / "g.fxa")
    assert str(caught.value).endswith(".")
    assert list(tmp_path.iterdir()) == []


def test_a_tree_of_plain_objects_is_taken_if_somebody_says_who_wrote_it(tmp_path: Path) -> None:
    data = pickle.dumps(Entry("a", b"x"))
    with pytest.raises(NotAGraphPickler, match=r"test_bundles\.Entry; if GraphPickler wrote it, say of"):
        fxarchive.adopt(data, tmp_path / "g.fxa")
    fxarchive.adopt(data, tmp_path / "g.fxa", torch="2.13", to=2)
    assert fxarchive.load(tmp_path / "g.fxa", trust=[f"{__name__}.Entry"]) == Entry("a", b"x")


def test_a_folder_is_no_stream(tmp_path: Path) -> None:
    with pytest.raises(FxArchiveError, match="it is a directory; name a file in it"):
        fxarchive.adopt(tmp_path, tmp_path / "g.fxa")
