"""FakeTensors of symbolic size that were made by the shortcut: nobody can tell, and each is its own."""

from __future__ import annotations

import copy
import gc
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import fx
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.sym_node import SymNode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.fx.passes.fake_tensor_prop import FakeTensorProp
from torch.utils import _pytree as pytree

import fxarchive
from fxarchive import codec, wire
from fxarchive.codec.fast import symbolic_fakes as fast
from fxarchive.codec.fast.fakes import facts
from fxarchive.codec.symbolic.fakes import Look

from ..compare import assert_same
from .through import Sections, through_the_codec

TIMES = 300


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Switches the shortcut off."""
    return lambda: monkeypatch.setattr(fast, "is_exact", lambda: False)


def fakes_of(kind: Callable[[Any], Any], times: int = 1) -> list[Any]:
    """FakeTensors of a few descriptions: own storages, shared ones, views of other dtypes, offsets."""
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    x = mode.from_tensor(torch.empty(5, 8))
    assert all(isinstance(size, torch.SymInt) for size in x.shape)
    found: list[Any] = []
    with mode, enable_python_dispatcher():
        for _ in range(times):
            found += kind(x)
    return found


def many(kind: Callable[[Any], Any], times: int = TIMES) -> Any:
    """The document of a list of `fakes_of`, many times over; making so many with torch would take minutes."""
    encoded = codec.encode(fakes_of(kind))
    assert not encoded.storages
    document: Any = encoded.document
    fakes = document["fakes"]
    count = len(fakes["description"])
    fakes["description"] = fakes["description"] * times
    for rows, values in (fakes[name] for name in ("storage", "base") if name in fakes):
        rows[:] = [row + count * turn for turn in range(times) for row in rows]
        values[:] = [row + count * turn for turn in range(times) for row in values]
    document["root"] = ["list", [["fake", row] for row in range(count * times)]]
    return document


def decode(document: Any) -> Any:
    return codec.decode(document, Sections({}))


def own(x: Any) -> list[Any]:
    return [x * 2, x.t() @ x, torch.empty_like(x, dtype=torch.bfloat16), x.to(torch.int64)]


def shared(x: Any) -> list[Any]:
    y = x + 1
    return [
        each.detach() for each in (y, y.t(), y[1:], y.view(torch.int32), y.expand(3, -1, -1), y.reshape(-1))
    ]


def leaves(x: Any) -> list[Any]:
    return [(x + 1).detach().requires_grad_(), (x * 2).detach().requires_grad_() * 3]


KINDS = {"own": own, "shared": shared, "leaves": leaves}


@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_what_torch_makes(kind: str, official: Callable[[], None]) -> None:
    made = fakes_of(KINDS[kind], 3)
    quick = through_the_codec(made)
    assert_same(made, quick)
    found = [_facts(fake) for fake in quick]
    official()
    assert found == [_facts(fake) for fake in through_the_codec(made)]


def _facts(fake: Any) -> list[str]:
    """What can be observed, but for the version: torch's own way takes a step more for some storages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # .grad of one that is no leaf
        seen = facts(fake, True)
    assert seen.pop(17) == fake._version
    return [str(fact) for fact in seen if "object at" not in str(fact)]


@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_copies_live_and_die_apart(kind: str) -> None:
    document = many(KINDS[kind])
    back = decode(document)
    assert wire.dumps(codec.encode(back).document) == wire.dumps(document)
    owners = len(back) - len(document["fakes"].get("storage", [[]])[0])
    assert len({fake.untyped_storage()._cdata for fake in back}) == owners
    env = back[0].fake_mode.shape_env
    guards = len(env.guards)
    del back[::2]
    gc.collect()
    for fake in back[:200]:
        assert fake.dim() == len(fake.shape)
        assert fake.clone().dtype is fake.dtype
    assert len(env.guards) == guards
    del back
    gc.collect()


def test_a_change_of_one_copy_leaves_the_others() -> None:
    made = fakes_of(own, 2)
    back = through_the_codec(made)
    first, twin = back[0], back[4]
    shape = str(twin.shape)
    storage = twin.untyped_storage()
    nbytes = str(storage.nbytes())
    with first.fake_mode:
        first.add_(1)
        first.unsqueeze_(0)
        first.requires_grad_()
    first.marked = True
    first.untyped_storage().resize_(0)
    assert (str(twin.shape), twin.requires_grad, hasattr(twin, "marked"), twin._version) == (
        shape,
        False,
        False,
        0,
    )
    assert (str(twin.untyped_storage().nbytes()), first.untyped_storage().nbytes()) == (nbytes, 0)
    assert_same(made[4], twin)


def test_those_that_share_a_storage_see_each_other() -> None:
    back = through_the_codec(fakes_of(shared, 2))
    first, other = back[:6], back[6:]
    assert len({fake.untyped_storage()._cdata for fake in first}) == 1
    assert first[0].untyped_storage()._cdata != other[0].untyped_storage()._cdata
    first[0].untyped_storage().resize_(0)
    assert [fake.untyped_storage().nbytes() for fake in first] == [0] * 6
    assert all(str(fake.untyped_storage().nbytes()) != "0" for fake in other)


def test_copies_can_be_computed_with() -> None:
    back = decode(many(own, 100))
    with back[0].fake_mode:
        for fake in back[::4]:
            assert str((fake + 1).shape) == str(fake.shape)
            assert fake.relu_() is fake


def test_copies_can_be_copied_where_the_original_can() -> None:
    made = fakes_of(own, 2)
    for original, fake in zip(made, through_the_codec(made), strict=True):
        assert _copied(fake) == _copied(original)


def _copied(fake: Any) -> str:
    try:
        with fake.fake_mode, enable_python_dispatcher():
            return str(copy.deepcopy(fake).shape)
    except RuntimeError as error:  # a limit of torch
        return str(error).partition("\n")[0]


def test_leaves_take_part_in_autograd() -> None:
    for leaf in decode(many(leaves, 20))[::2]:
        with leaf.fake_mode, enable_python_dispatcher():
            (leaf * 2).sum().backward()
        assert type(leaf.grad) is FakeTensor
        assert str(leaf.grad.shape) == str(leaf.shape)


def test_threads_load_and_drop_at_once() -> None:
    data = fxarchive.dumps([*decode(many(shared, 20)), *decode(many(own, 20))])
    problems: list[str] = []

    def work() -> None:
        try:
            for _ in range(3):
                back = fxarchive.loads(data)
                if fxarchive.dumps(back) != data:
                    problems.append("other bytes")
                del back[::3]
                gc.collect()
        except Exception as error:
            problems.append(repr(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


@pytest.fixture
def unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if hints settled nothing, which is so of unbacked symbols."""
    monkeypatch.setattr(Look, "settle", lambda self, dec, numbers: None)


def questions(document: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many numbers torch takes as symbols, to ask about them, while the document is decoded."""
    asked: list[int] = []
    original = SymNode.wrap_int

    def spy(self: Any, number: int) -> Any:
        asked.append(number)
        return original(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(SymNode, "wrap_int", spy)
        decode(document)
    return len(asked)


def test_nothing_is_asked_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    decode(many(own, 2))  # what is asked once a process is not counted
    assert questions(many(own, 2), monkeypatch) == 0


def test_only_the_first_of_a_description_costs_questions(
    unsettled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many_more = (questions(many(own, number), monkeypatch) for number in (2, 100))
    assert few == many_more > 0


def parts(x: Any) -> list[Any]:
    whole = x * 2
    return [whole, *[whole[:, at : at + 2] for at in (0, 2, 4, 6)], (x * 3)[:, 2:4]]


def looks(made: list[Any], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The symbolic sizes and strides that torch looks at while ``made`` are decoded."""
    document = codec.encode(made).document
    decode(document)  # what is asked once a process is not counted
    found: list[Any] = []
    look = torch.empty_strided

    def counted(size: Any, stride: Any, **options: Any) -> torch.Tensor:
        if any(type(number) is torch.SymInt for number in size):
            found.append((str(size), str(stride)))
        return look(size, stride, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "empty_strided", counted)
        back = decode(document)
    assert list(map(_facts, back)) == list(map(_facts, made))
    assert len({fake.untyped_storage()._cdata for fake in back}) == 2
    return found


def test_torch_looks_at_a_size_and_a_stride_once(unsettled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = looks(fakes_of(parts), monkeypatch)
    assert len(found) == len(set(found)) == 2  # those of the whole, and of all parts of it


def test_torch_looks_at_nothing_that_hints_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looks(fakes_of(parts), monkeypatch) == []


def test_a_size_that_its_hints_make_negative_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    document: Any = codec.encode(fakes_of(lambda x: [x.new_empty(x.shape[0] - 3, 2)])).document
    expressions = document["symbolic"]["expressions"]
    expressions[expressions.index(["Integer", -3])] = ["Integer", -30]
    assert questions(document, monkeypatch) > 0


def test_without_the_shortcut_the_official_way_gives_the_same(official: Callable[[], None]) -> None:
    made = [*fakes_of(own, 3), *fakes_of(shared, 3)]
    data = fxarchive.dumps(made)
    quick = fxarchive.loads(data)
    official()
    slow = fxarchive.loads(data)
    assert_same(slow, quick)
    assert fxarchive.dumps(slow) == data


@pytest.mark.parametrize("missing", ["_make_wrapper_subclass", "_make_subclass"])
def test_a_torch_without_the_private_name_takes_the_official_way(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*args: Any, **kwargs: Any) -> Any:
        raise AttributeError(missing)

    made = fakes_of(own, 2)
    fast.is_exact.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "_make_wrapper_subclass", gone)
        assert fast.is_exact() is False
        assert_same(made, through_the_codec(made))
    fast.is_exact.cache_clear()
    assert fast.is_exact() is True


def _model(x: torch.Tensor, w: torch.Tensor) -> Any:
    for _ in range(6):
        y = torch.nn.functional.gelu(x @ w)
        x = (y.view(x.shape[0] * x.shape[1], -1) + 1).view(x.shape) + x.transpose(0, 1).transpose(0, 1)
    return x, x.sum(0)


@pytest.fixture(scope="module")
def pair() -> tuple[fx.GraphModule, fx.GraphModule]:
    module = make_fx(_model, tracing_mode="symbolic")(torch.ones(3, 5, 8), torch.ones(8, 8))
    return module, fxarchive.loads(fxarchive.dumps(module))


def test_propagation_over_copies_gives_the_same_metadata(pair: tuple[fx.GraphModule, fx.GraphModule]) -> None:
    shown = []
    for module in pair:
        fakes = [node.meta["val"] for node in module.graph.nodes if node.op == "placeholder"]
        twin = copy.deepcopy(module)
        with enable_python_dispatcher():
            FakeTensorProp(twin, fakes[0].fake_mode).propagate_dont_convert_inputs(*fakes)
        shown.append(
            [
                [
                    (str(v.shape), str(v.stride()), v.dtype)
                    for v in pytree.tree_leaves(node.meta.get("val"))
                    if isinstance(v, torch.Tensor)
                ]
                for node in twin.graph.nodes
            ]
        )
    assert shown[0] == shown[1]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_torch_compile_takes_a_loaded_graph(
    pair: tuple[fx.GraphModule, fx.GraphModule], backend: str
) -> None:
    module, back = pair
    for length in (5, 9):
        inputs = (torch.randn(3, length, 8), torch.randn(8, 8))
        torch._dynamo.reset()
        compiled: Any = torch.compile(back, backend=backend, dynamic=True)
        for expected, actual in zip(module(*inputs), compiled(*inputs), strict=True):
            assert torch.equal(expected, actual)
