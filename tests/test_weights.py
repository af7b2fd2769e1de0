"""Weights as users load them: omitted and given back, on other devices, mapped, checked against their digests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

import fxarchive
from fxarchive import api, sections

from .compare import assert_same
from .material.small_net import LACKING, WIDTH, X, net, outputs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.fxa"


@pytest.fixture
def saved(path: Path) -> Path:
    fxarchive.save(net(), path)
    return path


# weights


@pytest.mark.parametrize("weights", ["raw", "zstd"])
def test_weights_come_back_from_files_and_from_bytes(path: Path, weights: Any) -> None:
    module = net()
    report = fxarchive.save(module, path, weights=weights)
    sections = {s.name: s.codec for s in fxarchive.inspect(path).sections}
    assert {codec for name, codec in sections.items() if name.startswith("storages/")} == {weights}
    assert path.stat().st_size == report.size
    for loaded in (fxarchive.load(path), fxarchive.loads(path.read_bytes())):
        assert_same(module, loaded)
        assert torch.equal(outputs(loaded), outputs(module))
    assert fxarchive.dumps(module, weights=weights) == path.read_bytes()


def test_compressed_weights_take_less_room() -> None:
    zeros = torch.zeros(100_000)
    assert len(fxarchive.dumps(zeros, weights="zstd")) < 2_000 < 400_000 < len(fxarchive.dumps(zeros))


def test_without_weights_all_tensors_are_meta_and_the_graph_is_whole() -> None:
    module = net()
    data = fxarchive.dumps(module, weights="omit")
    loaded = fxarchive.loads(data)
    assert len(data) < 4_000
    assert {str(t.device) for t in loaded.state_dict().values()} == {"meta"}
    assert loaded.code == module.code
    assert loaded.last.weight is loaded.first.weight
    assert loaded(X.to("meta")).shape == (4, WIDTH)


def test_a_state_dict_fills_what_was_omitted() -> None:
    module = net()
    module.norm.requires_grad_(False)
    state = module.state_dict()
    loaded = fxarchive.loads(fxarchive.dumps(module, weights="omit"), state_dict=state)
    assert_same(module, loaded)
    assert torch.equal(outputs(loaded), outputs(module))
    assert loaded.last.weight is loaded.first.weight
    assert loaded.first.weight.data_ptr() == state["first.weight"].data_ptr()


def test_one_name_of_a_tied_weight_is_enough() -> None:
    module = net()
    state = module.state_dict()
    del state["first.weight"]  # what safetensors files have
    loaded = fxarchive.loads(fxarchive.dumps(module, weights="omit"), state_dict=state)
    assert loaded.last.weight is loaded.first.weight
    assert torch.equal(outputs(loaded), outputs(module))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.pop("norm.weight"), 'Missing key.* "norm.weight"'),
        (lambda state: state.pop("norm.running_mean"), 'Missing key.* "norm.running_mean"'),
        (
            lambda state: [state.pop("first.weight"), state.pop("last.weight")],
            '"first.weight", "last.weight"',
        ),
        (lambda state: state.update(other=torch.ones(1)), 'Unexpected key.* "other"'),
        (lambda state: state.update(offset=torch.ones(3)), "size mismatch for offset"),
        (lambda state: state.update(offset="text"), '"offset", expected torch.Tensor'),
        (
            lambda state: state.update({"last.weight": state["last.weight"] + 1}),
            "different tensors for first.weight, last.weight, which are tied",
        ),
        (
            lambda state: state.update({"last.weight": state["last.weight"].double()}),
            "different tensors for first.weight, last.weight, which are tied",
        ),
    ],
)
def test_a_state_dict_that_does_not_fit(change: Callable[[dict[str, Any]], Any], says: str) -> None:
    module = net()
    state = dict(module.state_dict())
    change(state)
    with pytest.raises(ValueError, match=f"^state_dict .*{says}") as caught:
        fxarchive.loads(fxarchive.dumps(module, weights="omit"), state_dict=state)
    assert "\n" not in str(caught.value)


def test_a_state_dict_needs_a_module_at_the_root() -> None:
    data = fxarchive.dumps({"a": net()}, weights="omit")
    with pytest.raises(ValueError, match="the archive holds a dict; load it without state_dict"):
        fxarchive.loads(data, state_dict=net().state_dict())
    with pytest.raises(TypeError, match="state_dict is a list; give a mapping"):
        fxarchive.loads(fxarchive.dumps(net(), weights="omit"), state_dict=[])  # type: ignore[arg-type]


# where tensors go


@pytest.mark.parametrize("device", ["meta", "cpu", torch.device("meta"), torch.device("cpu")])
def test_device(saved: Path, device: Any) -> None:
    loaded = fxarchive.load(saved, device=device)
    assert {t.device for t in loaded.state_dict().values()} == {torch.device(device)}
    assert loaded.last.weight is loaded.first.weight


def test_a_device_that_this_machine_lacks(saved: Path) -> None:
    with pytest.raises(fxarchive.MissingDevice, match="pass a device that it has") as caught:
        fxarchive.load(saved, device=LACKING)
    assert (caught.value.device, caught.value.forced) == (LACKING, True)


def test_fake_tensors_join_the_mode_that_is_given() -> None:
    module = fx.symbolic_trace(lambda x: x.relu() + 1)
    FakeTensorProp(module).propagate(torch.ones(2, 3))
    data, mode = fxarchive.dumps(module), FakeTensorMode()
    values = [node.meta["val"] for node in fxarchive.loads(data, fake_mode=mode).graph.nodes]
    assert {value.fake_mode for value in values} == {mode}
    again = [node.meta["val"] for node in fxarchive.loads(data).graph.nodes]
    assert len({value.fake_mode for value in again} | {mode}) == 2
    with mode:
        assert (values[0] + values[1]).shape == (2, 3)


# mapping


@pytest.mark.parametrize("mmap", [True, False])
def test_writing_to_weights_never_reaches_the_file(saved: Path, mmap: bool) -> None:
    before = saved.read_bytes()
    first, second = fxarchive.load(saved, mmap=mmap), fxarchive.load(saved, mmap=mmap)
    with torch.no_grad():
        for tensor in first.state_dict().values():
            tensor.fill_(7)
    assert_same(net(), second)
    assert saved.read_bytes() == before
    assert_same(net(), fxarchive.load(saved, mmap=mmap))


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("change", [Path.unlink, partial(fxarchive.save, nn.Linear(1, 1))])
def test_the_file_may_be_deleted_or_replaced_while_it_is_in_use(
    saved: Path, mmap: bool, change: Callable[[Path], Any]
) -> None:
    loaded = fxarchive.load(saved, mmap=mmap)
    change(saved)
    assert_same(net(), loaded)


def test_what_is_mapped_can_be_saved_to_its_own_path(saved: Path) -> None:
    before = saved.read_bytes()
    loaded = fxarchive.load(saved)
    for _ in range(2):
        fxarchive.save(loaded, saved)
        assert saved.read_bytes() == before
    assert_same(net(), loaded)


@pytest.mark.parametrize("options", [{"mmap": True}, {"mmap": False}])
def test_weights_are_aligned_as_those_of_torch(saved: Path, options: Any) -> None:
    loaded = fxarchive.load(saved, **options)
    assert {t.data_ptr() % 64 for t in loaded.state_dict().values()} == {0}


def test_a_copy_is_read_straight_to_where_tensors_use_it(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    aligned = sections.aligned
    monkeypatch.setattr(
        sections,
        "aligned",
        lambda size: [
            view := aligned(size),
            made.append(torch.frombuffer(view, dtype=torch.uint8).data_ptr()),
        ][0],
    )
    loaded = fxarchive.load(saved, mmap=False)
    assert loaded.first.weight.data_ptr() in made


def test_a_weight_that_spans_frames_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        api.container, "write", partial(api.container.write, frame_data_bytes=WIDTH * WIDTH * 4 // 3)
    )
    fxarchive.save(net(), path)
    assert_same(net(), fxarchive.load(path))
    assert fxarchive.verify(path).ok


# digests


def altered(data: bytes, tensor: torch.Tensor) -> bytes:
    at = data.index(bytes(tensor.detach().contiguous().view(torch.uint8).reshape(-1).tolist())) + 5
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_an_altered_byte_of_a_large_weight_is_found_by_a_full_check(path: Path) -> None:
    path.write_bytes(altered(fxarchive.dumps(net()), net().first.weight))
    fxarchive.load(path)
    fxarchive.load(path, verify="graph")
    for check in (partial(fxarchive.load, verify="all"), partial(fxarchive.load, mmap=False)):
        with pytest.raises(fxarchive.CorruptArchive, match=r"section 'storages/.*digest"):
            check(path)
    report = fxarchive.verify(path)
    assert (report.ok, type(report.error)) == (False, fxarchive.CorruptArchive)


def test_an_altered_byte_of_a_small_weight_is_always_found(path: Path) -> None:
    path.write_bytes(altered(fxarchive.dumps(net()), net().last.bias))
    with pytest.raises(fxarchive.CorruptArchive, match="digest"):
        fxarchive.load(path)


# what is omitted


class Masked(nn.Module):
    """Holds what a state dict has, and what it has not."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(100, 100)
        self.register_buffer("mask", torch.ones(100), persistent=False)
        self.register_buffer("steps", torch.ones(100))
        self.extra = [torch.arange(100.0)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * self.mask + self.steps


def test_omitted_weights_are_what_a_state_dict_holds() -> None:
    module = Masked()
    data = fxarchive.dumps(module, weights="omit")
    loaded = fxarchive.loads(data, trust=[f"{__name__}.Masked"], state_dict=module.state_dict())
    x = torch.randn(2, 100)
    assert torch.equal(loaded(x), module(x))
    assert torch.equal(loaded.extra[0], module.extra[0])
    bare = fxarchive.loads(data, trust=[f"{__name__}.Masked"])
    devices = {name: tensor.device.type for name, tensor in [*bare.named_parameters(), *bare.named_buffers()]}
    assert devices == {"linear.weight": "meta", "linear.bias": "meta", "mask": "cpu", "steps": "meta"}
