"""Storages: stored once, read without a copy, never written back."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import pytest
import torch

from fxarchive import errors
from fxarchive.codec.storages import INLINE_BYTES, chunks

from .tables import Bytes, again, decode, encode


def of_bytes(count: int) -> torch.Tensor:
    return torch.arange(count, dtype=torch.int64).to(torch.uint8)


@pytest.mark.parametrize("count", [0, 1, INLINE_BYTES, INLINE_BYTES + 1, 10_000])
def test_bytes_come_back_and_small_ones_need_no_section(count: int) -> None:
    document, sections = encode(of_bytes(count))
    assert list(sections.held) == ([] if count <= INLINE_BYTES else ["storages/0"])
    assert torch.equal(decode(document, sections), of_bytes(count))


def test_views_share_one_storage_and_see_each_other_after_loading() -> None:
    whole = of_bytes(1000)
    document, sections = encode([whole[10:20], whole, torch.nn.Parameter(whole.view(torch.float32))])
    assert len(document["storages"]) == 1
    assert len(sections.held["storages/0"]) == 1000
    part, loaded, parameter = decode(document, sections)
    loaded[10] = 77
    assert part[0] == 77
    assert parameter.data_ptr() == loaded.data_ptr()


def test_a_small_view_keeps_its_whole_storage() -> None:
    loaded = again(of_bytes(5000)[4990:])
    assert loaded.untyped_storage().nbytes() == 5000
    assert loaded.storage_offset() == 4990


def test_two_storages_over_the_same_memory_become_one() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(100)
    document, _ = encode([torch.from_numpy(array), torch.from_numpy(array)])
    assert len(document["storages"]) == 1


def test_storages_without_bytes_stay_apart() -> None:
    one, other = again([torch.empty(0), torch.empty(0)])
    assert one.untyped_storage()._cdata != other.untyped_storage()._cdata


def test_chunks_are_the_memory_itself() -> None:
    storage = of_bytes(100).untyped_storage()
    parts = list(chunks(storage, 33))
    assert [len(part) for part in parts] == [33, 33, 33, 1]
    storage[99] = 5
    assert parts[-1][0] == 5
    assert list(chunks(torch.empty(0).untyped_storage())) == []


class MappedFile:
    """One section, mapped privately."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    def writable(self, name: str) -> memoryview:
        return memoryview(self.map)


def test_a_mapped_section_is_used_in_place_and_never_written_back(tmp_path: Path) -> None:
    document, sections = encode(of_bytes(100_000))
    path = tmp_path / "section"
    path.write_bytes(sections.held["storages/0"])
    loaded = decode(document, MappedFile(path))
    loaded.fill_(9)
    assert int(loaded.sum()) == 900_000
    assert path.read_bytes() == sections.held["storages/0"]


def test_a_buffer_that_is_not_aligned_is_copied_to_one_that_is() -> None:
    document, sections = encode(of_bytes(1000))

    class Shifted(Bytes):
        def writable(self, name: str) -> memoryview:
            return memoryview(bytearray(b"?" + self.held[name]))[1:]

    loaded = decode(document, Shifted(sections.held))
    assert loaded.data_ptr() % 64 == 0
    assert torch.equal(loaded, of_bytes(1000))


def test_omitted_weights_come_back_as_meta_tensors() -> None:
    weights = [torch.nn.Parameter(torch.ones(100, 2)), torch.ones(3)]
    document, sections = encode(weights, omit_weights=True)
    assert sections.held == {}
    loaded = decode(document, sections)
    assert [t.device.type for t in loaded] == ["meta", "meta"]
    assert type(loaded[0]) is torch.nn.Parameter
    assert loaded[0].shape == (100, 2)


def test_the_device_of_the_caller_wins() -> None:
    loaded = decode(*encode(of_bytes(1000)), device=torch.device("meta"))
    assert loaded.device.type == "meta"


def test_a_device_that_is_not_here_says_what_to_do() -> None:
    document, sections = encode(of_bytes(1000))
    document["storages"][0]["device"] = "xpu:0"
    if torch.xpu.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(errors.MissingDevice, match='device="cpu"') as caught:
        decode(document, sections)
    assert (caught.value.device, caught.value.forced) == ("xpu:0", False)
    assert torch.equal(decode(document, sections, device=torch.device("cpu")), of_bytes(1000))
    document["storages"][0]["device"] = "cpu"
    with pytest.raises(errors.MissingDevice, match="pass a device that it has"):
        decode(document, sections, device=torch.device("xpu"))


BAD_ROWS: list[Any] = [
    None,
    {},
    {"size": 4, "device": "cpu"},
    {"size": 4, "device": "cpu", "data": b"12345"},
    {"size": 4, "device": "cpu", "data": "1234"},
    {"size": 4, "device": "cpu", "data": b"1234", "section": "storages/0"},
    {"size": True, "device": "cpu", "data": b"1"},
    {"size": -1, "device": "cpu", "omitted": True},
    {"size": 2**63, "device": "cpu", "omitted": True},
    {"size": 4, "device": "cpu", "omitted": 1},
    {"size": 4, "device": "no such device", "omitted": True},
    {"size": 4, "device": 7, "omitted": True},
    {"size": 4, "device": "meta", "data": b"1234"},
    {"size": 4, "device": "cpu", "bytes": b"1234"},
    {"size": 3, "device": "cpu", "section": "storages/0"},
    {"size": 4, "device": "cpu", "section": 0},
]


@pytest.mark.parametrize("row", BAD_ROWS, ids=repr)
def test_a_bad_row_is_refused_by_name(row: Any) -> None:
    document, _ = encode(of_bytes(4))
    document["storages"][0] = row
    with pytest.raises(errors.InvalidDocument, match=r"storages\[0\]"):
        decode(document, Bytes({"storages/0": b"1234"}))


def test_two_storages_cannot_name_one_section() -> None:
    document, sections = encode([of_bytes(1000), of_bytes(2000)])
    document["storages"][1] = document["storages"][0]
    with pytest.raises(errors.InvalidDocument, match="not a section of its own"):
        decode(document, sections)


@pytest.mark.parametrize("row", [1, -1, None, "0", [0], True])
def test_a_row_that_is_not_there_is_refused(row: Any) -> None:
    document, sections = encode(of_bytes(4))
    document["tensors"][0]["storage"] = row
    with pytest.raises(errors.InvalidDocument, match="storages"):
        decode(document, sections)
