"""The public functions as users call them: arguments, paths, kinds of root. `test_weights` is about weights."""

from __future__ import annotations

import copy
import errno
import io
import os
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import fxarchive

from .compare import assert_same
from .material.small_net import X, net, outputs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.fxa"


@pytest.fixture
def saved(path: Path) -> Path:
    fxarchive.save(net(), path)
    return path


# metadata


def test_metadata_is_kept_for_inspection() -> None:
    given = {
        "note": "né",
        "runs": [1, 2.5, None, True, b"\0"],
        "deep": {"er": {"est": [-(2**63), 2**64 - 1]}},
    }
    shown = fxarchive.inspect(io.BytesIO(fxarchive.dumps(net(), metadata=given))).metadata
    assert shown == given
    assert fxarchive.dumps(1, metadata=OrderedDict(b=1, a=2)) == fxarchive.dumps(1, metadata={"a": 2, "b": 1})


@pytest.mark.parametrize(
    ("metadata", "where", "why"),
    [
        ({"a": {"b": [0, (1, 2)]}}, "metadata['a']['b'][1]", "a builtins.tuple, not a plain value"),
        ({"a": torch.ones(1)}, "metadata['a']", "a torch.Tensor, not a plain value"),
        ({1: 2}, "metadata", "the key 1, which is not a str"),
        ({"a": {None: 2}}, "metadata['a']", "the key None, which is not a str"),
        ({"a": 2**64}, "metadata['a']", "an int outside"),
        ({"a": "\ud800"}, "metadata['a']", "a lone surrogate"),
    ],
)
def test_metadata_that_is_not_plain(path: Path, metadata: Any, where: str, why: str) -> None:
    with pytest.raises(fxarchive.UnsupportedValue) as caught:
        fxarchive.save(1, path, metadata=metadata)
    (problem,) = caught.value.problems
    assert problem.path == where
    assert why in problem.why
    assert not path.exists()


def test_every_problem_of_the_metadata_is_listed() -> None:
    with pytest.raises(fxarchive.UnsupportedValue) as caught:
        fxarchive.dumps(1, metadata={"a": {1}, "b": [object()]})
    assert [problem.path for problem in caught.value.problems] == ["metadata['a']", "metadata['b'][0]"]


# example inputs


@pytest.mark.parametrize("inputs", [(X,), {"x": X}], ids=["tuple", "mapping"])
@pytest.mark.parametrize("training", [True, False])
def test_example_inputs_replay_and_leave_everything_as_it_was(
    path: Path, inputs: Any, training: bool
) -> None:
    module = net().train(training)
    before = (net().train(training), copy.deepcopy(inputs), torch.get_rng_state())
    fxarchive.save(module, path, example_inputs=inputs)
    assert_same(before[0], module)
    assert_same(before[1], inputs)
    assert torch.equal(before[2], torch.get_rng_state())
    report = fxarchive.verify(path, run=True)
    assert (report.ok, report.outputs_compared) == (True, 1), report.error
    loaded = fxarchive.load(path)
    torch.manual_seed(3)
    expected = module(X)
    torch.manual_seed(3)
    assert torch.equal(loaded(X), expected)


def test_a_graph_that_changes_its_inputs_and_buffers_is_replayed() -> None:
    root = nn.Module()
    root.register_buffer("count", torch.zeros(3))
    graph = fx.Graph()
    given = graph.placeholder("x")
    counted = graph.call_method("add_", (graph.get_attr("count"), 1))
    graph.output(graph.call_function(torch.add, (graph.call_method("mul_", (given, 2)), counted)))
    module, x = fx.GraphModule(root, graph), torch.ones(3)
    data = fxarchive.dumps(module, example_inputs=(x,))
    assert x.tolist() == [1, 1, 1]
    assert module.count.tolist() == [0, 0, 0]
    assert fxarchive.verify(io.BytesIO(data), run=True).ok


@pytest.mark.parametrize(
    ("inputs", "kind"), [(X, "Tensor"), ([X], "list"), ("x", "str"), (iter(()), "tuple_iterator")]
)
def test_example_inputs_of_another_type(inputs: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=f"^example_inputs is a {kind}; give a tuple"):
        fxarchive.dumps(net(), example_inputs=inputs)


def test_example_inputs_need_something_to_call() -> None:
    with pytest.raises(
        TypeError, match=r"^example_inputs need an object that can be called, and this is a dict"
    ):
        fxarchive.dumps({"a": net()}, example_inputs=(X,))


def test_what_the_graph_raises_is_passed_on(path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        fxarchive.save(net(), path, example_inputs=(torch.ones(2, 3),))
    assert not path.exists()


def test_example_inputs_that_cannot_be_kept() -> None:
    graph = fx.Graph()
    graph.placeholder("x")
    graph.output(1)
    with pytest.raises(fxarchive.UnsupportedValue, match=r"example_inputs.*a builtins.object cannot be kept"):
        fxarchive.dumps(fx.GraphModule(nn.Module(), graph), example_inputs=(object(),))


# metadata that cannot be kept


def test_metadata_of_nodes_that_cannot_be_kept_is_an_error_or_dropped(path: Path) -> None:
    module = net()
    first, second, *_ = module.graph.nodes
    first.meta = {"fine": 1, "bad": object()}
    second.meta = {"worse": [0, {"a": {object()}}]}
    with pytest.raises(fxarchive.UnsupportedValue) as caught:
        fxarchive.save(module, path)
    assert not path.exists()
    report = fxarchive.save(module, path, on_unsupported="drop")
    assert [p.path for p in report.dropped] == [
        "graph.x.meta['bad']",
        "graph.first.meta['worse'][1]['a']{...}",
    ]
    assert sorted(report.dropped) == sorted(caught.value.problems)
    assert len(fxarchive.inspect(path).dropped) == 2
    loaded = fxarchive.load(path)
    assert [dict(node.meta) for node in loaded.graph.nodes][:2] == [{"fine": 1}, {}]
    assert first.meta.keys() == {"fine", "bad"}


def test_nothing_but_metadata_is_dropped() -> None:
    module = net()
    module.extra = object()
    with pytest.raises(fxarchive.UnsupportedValue, match="extra"):
        fxarchive.dumps(module, on_unsupported="drop")


# trust


class Pair(nn.Module):
    def forward(self, x):
        return x + 1


@pytest.mark.parametrize("form", [str, lambda name: [name], lambda name: (n for n in ("other", name))])
def test_trust_is_a_name_or_several(form: Callable[[str], Any]) -> None:
    name = f"{Pair.__module__}.{Pair.__qualname__}"
    data = fxarchive.dumps(Pair())
    assert type(fxarchive.loads(data, trust=form(name))) is Pair
    for trust in ((), "other", name[:-1]):
        with pytest.raises(fxarchive.UntrustedNames) as caught:
            fxarchive.loads(data, trust=trust)
        assert caught.value.names == (name,)


# paths


class ForwardOnly:
    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: Any) -> int:
        piece = bytes(data[:1000])
        self.data += piece
        return len(piece)


def test_every_kind_of_place(tmp_path: Path) -> None:
    data = fxarchive.dumps(net())
    for place in (tmp_path / "a", str(tmp_path / "b"), "memory://test_api/c", f"file://{tmp_path}/d"):
        report = fxarchive.save(net(), place)
        assert report.size == len(data)
        assert_same(net(), fxarchive.load(place))
        assert fxarchive.inspect(place).identity == report.identity
        assert fxarchive.verify(place).ok
    with open(tmp_path / "e", "w+b") as file:
        fxarchive.save(net(), file)
        assert_same(net(), fxarchive.load(file))
        assert not file.closed
    stream, forward = io.BytesIO(), ForwardOnly()
    fxarchive.save(net(), stream)
    fxarchive.save(net(), forward)  # type: ignore[arg-type]
    assert stream.getvalue() == bytes(forward.data) == (tmp_path / "e").read_bytes() == data
    for form in (data, bytearray(data), memoryview(data)):
        assert_same(net(), fxarchive.loads(form))


def test_bytes_are_copied() -> None:
    data = bytearray(fxarchive.dumps(net()))
    loaded = fxarchive.loads(data)
    data[:] = bytes(len(data))
    assert_same(net(), loaded)


class NotSeekable(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, *_: Any) -> int:
        raise io.UnsupportedOperation("seek")


@pytest.mark.parametrize(
    ("use", "error", "says"),
    [
        (
            lambda t: fxarchive.save(1, t / "none" / "a"),
            OSError,
            "the folder does not exist; create it first",
        ),
        (lambda t: fxarchive.save(1, t), OSError, "it is a directory; name a file in it"),
        (lambda t: fxarchive.load(t), OSError, "it is a directory; name a file in it"),
        (lambda t: fxarchive.load(t / "none"), FileNotFoundError, "there is no such file; check the path"),
        (lambda t: fxarchive.load(NotSeekable(fxarchive.dumps(1))), OSError, "cannot be read at any offset"),
    ],
)
def test_places_that_do_not_work(tmp_path: Path, use: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(fxarchive.StoreError, match=says) as caught:
        use(tmp_path)
    assert isinstance(caught.value, error)


def test_a_folder_that_may_not_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    module = net()
    fxarchive.dumps(module)  # reads the lists of names, which are files too
    with monkeypatch.context() as patched:  # root may write anywhere, so the system cannot be asked to refuse
        patched.setattr(os, "open", denied)
        with pytest.raises(fxarchive.StoreError, match="permission denied; change its permissions"):
            fxarchive.save(module, path)
    assert not path.exists()


def test_nothing_is_left_of_a_save_that_fails(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(fxarchive.UnsupportedValue):
        fxarchive.save([net(), object()], saved)
    assert saved.read_bytes() == before
    assert [entry.name for entry in saved.parent.iterdir()] == [saved.name]


# reports


def test_the_report_of_a_save(path: Path) -> None:
    report = fxarchive.save(Pair(), path)
    info = fxarchive.inspect(path)
    assert report == fxarchive.SaveReport(info.identity, path.stat().st_size, (), (f"{__name__}.Pair",))
    assert info.contents.trust == report.trust
    assert len(bytes.fromhex(report.identity)) == 32


def test_the_identity_is_that_of_the_content(tmp_path: Path) -> None:
    def identity(obj: Any, **options: Any) -> str:
        return fxarchive.save(obj, tmp_path / "a", **options).identity

    other = net()
    with torch.no_grad():
        other.first.weight[0, 0] += 1
    renamed = net()
    next(iter(renamed.graph.nodes)).meta["a"] = 1
    assert identity(net()) == identity(net()) == identity(fxarchive.loads(fxarchive.dumps(net())))
    different = [net(), other, renamed, net().eval()]
    found = {identity(obj) for obj in different}
    found |= {
        identity(net(), metadata={"a": 1}),
        identity(net(), weights="zstd"),
        identity(net(), weights="omit"),
    }
    assert len(found) == len(different) + 3


# arguments that are none


@pytest.mark.parametrize(
    ("use", "error", "says"),
    [
        (
            partial(fxarchive.dumps, 1, weights="zip"),
            ValueError,
            "^weights is 'zip'; it must be 'raw', 'zstd' or",
        ),
        (
            partial(fxarchive.dumps, 1, on_unsupported="x"),
            ValueError,
            "^on_unsupported is 'x'; it must be 'error'",
        ),
        (partial(fxarchive.dumps, 1, metadata=[1]), TypeError, "^metadata is a list; give a mapping"),
        (
            partial(fxarchive.dumps, 1, weights="omit", example_inputs=(1,)),
            ValueError,
            "^example_inputs cannot be replayed without weights",
        ),
        (
            partial(fxarchive.loads, b"", verify="some"),
            ValueError,
            "^verify is 'some'; it must be 'graph' or 'all'",
        ),
        (partial(fxarchive.loads, b"", device="bogus"), ValueError, "^device is 'bogus', which torch"),
        (partial(fxarchive.loads, b"", device=0), TypeError, "^device is 0; give a torch.device or its name"),
        (partial(fxarchive.loads, b"", fake_mode=1), TypeError, "^fake_mode is 1; give a FakeTensorMode"),
        (partial(fxarchive.loads, b"", trust=3), TypeError, "^trust holds 3; give qualified names"),
        (
            partial(fxarchive.loads, b"", trust=[Pair]),
            TypeError,
            "^trust holds <class .*; give qualified names",
        ),
        (partial(fxarchive.load, 3), TypeError, "^expected a path, a URL or an open binary file, not int"),
        (
            partial(fxarchive.save, 1, b"a"),
            TypeError,
            "^expected a path, a URL or an open binary file, not bytes",
        ),
        (partial(fxarchive.save, 1, io.StringIO()), TypeError, "^the file is open in text mode"),
        (partial(fxarchive.load, ""), fxarchive.StoreError, "the path is empty"),
        (partial(fxarchive.loads, b""), fxarchive.NotAnArchive, "^Not an fxarchive file"),
    ],
)
def test_arguments_that_are_none_of_those_documented(use: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        use()


# kinds of root


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (net, "GraphModule"),
        (lambda: {"a": [net(), (1, None)], "b": torch.ones(3)}, "dict"),
        (lambda: [net().graph, 2.5], "list"),
        (lambda: (net(), net()), "tuple"),
        (lambda: net().graph, "Graph"),
        (lambda: torch.arange(6).reshape(2, 3).t(), "Tensor"),
        (lambda: nn.Parameter(torch.ones(3), requires_grad=False), "Parameter"),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU()), "Sequential"),
        (lambda: None, "NoneType"),
        (lambda: torch.float32, "dtype"),
        (lambda: "text", "str"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_kinds_of_root(make: Callable[[], Any], kind: str) -> None:
    obj = make()
    data = fxarchive.dumps(obj)
    assert_same(obj, fxarchive.loads(data))
    assert fxarchive.inspect(io.BytesIO(data)).root == kind


# what users do with what they loaded


def test_threads_may_load_one_file_at_once(saved: Path) -> None:
    found: list[torch.Tensor] = []
    threads = [
        threading.Thread(target=lambda: found.append(outputs(fxarchive.load(saved)))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(torch.equal(one, outputs(net())) for one in found)


@pytest.mark.parametrize(
    "change",
    [
        copy.deepcopy,
        lambda module: pickle.loads(pickle.dumps(module)),
        fx.symbolic_trace,
        lambda module: torch.export.export(module, (X,)).module(),
        lambda module: torch.compile(module, backend="eager"),
        lambda module: fxarchive.loads(fxarchive.dumps(module)),
    ],
    ids=["deepcopy", "pickle", "trace", "export", "compile", "save"],
)
def test_a_loaded_module_can_be_used_as_any_other(saved: Path, change: Callable[[Any], Any]) -> None:
    with torch.no_grad():
        expected = net().eval()(X)
        for loaded in (fxarchive.load(saved).eval(), fxarchive.load(saved, mmap=False).eval()):
            assert torch.equal(change(loaded)(X), expected)


def test_the_weights_of_a_loaded_module_can_be_saved_by_torch(saved: Path) -> None:
    stream = io.BytesIO()
    torch.save(fxarchive.load(saved).state_dict(), stream)
    stream.seek(0)
    assert_same(net().state_dict(), torch.load(stream))


def test_a_loaded_module_can_be_trained(saved: Path) -> None:
    before, trained = saved.read_bytes(), []
    for module in (net(), fxarchive.load(saved)):
        torch.manual_seed(1)
        optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
        module(X).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        trained.append(module)
    assert_same(*trained)
    assert not torch.equal(trained[1].first.weight, net().first.weight)
    assert saved.read_bytes() == before


@pytest.mark.parametrize(
    "mode", [torch.no_grad, torch.inference_mode, partial(torch.device, "meta"), FakeTensorMode]
)
def test_modes_of_the_caller_change_nothing(saved: Path, mode: Callable[[], Any]) -> None:
    with mode():
        loaded = fxarchive.load(saved)
        data = fxarchive.dumps(loaded)
    assert_same(net(), loaded)
    assert not loaded.first.weight.is_inference()
    assert data == saved.read_bytes()


def test_metadata_of_the_module_can_be_dropped() -> None:
    module = fx.symbolic_trace(nn.ReLU())
    module.meta = {"good": 1, "bad": [object()], "also": {"a": 2}}
    with pytest.raises(fxarchive.UnsupportedValue) as caught:
        fxarchive.dumps(module)
    assert [problem.path for problem in caught.value.problems] == ["meta['bad'][0]"]
    stream = io.BytesIO()
    report = fxarchive.save({"m": module}, stream, on_unsupported="drop")
    assert [problem.path for problem in report.dropped] == ["['m'].meta['bad'][0]"]
    assert fxarchive.loads(stream.getvalue())["m"].meta == {"good": 1, "also": {"a": 2}}


def test_a_long_path_is_shown_without_its_middle() -> None:
    value: Any = object()
    for _ in range(120):
        value = {"a rather long name of a key": value}
    with pytest.raises(fxarchive.UnsupportedValue) as caught:
        fxarchive.dumps(value)
    assert len(caught.value.problems[0].path) < 450
    assert " ... " in caught.value.problems[0].path


def test_allowing_drops_changes_no_byte_where_nothing_is_dropped() -> None:
    module = fx.symbolic_trace(nn.ReLU())
    module.meta = {"a": [1, {"b": [2]}]}
    assert fxarchive.dumps(module, on_unsupported="drop") == fxarchive.dumps(module)
