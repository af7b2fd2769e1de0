"""FakeTensors with symbolic sizes, and whole graphs traced with symbolic shapes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.fx.passes.fake_tensor_prop import FakeTensorProp
from torch.utils import _pytree as pytree

from fxarchive import codec, wire
from fxarchive.errors import InvalidDocument, UnsupportedValue

from ..compare import assert_same, differences
from ..material import op_db
from .symbolic_cases import Case, observe, traced
from .through import Sections, through_the_codec


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Torch logs each guard that a probe makes fail."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def document_of(obj: Any) -> bytes:
    """The document of `obj` as bytes, in which even nan is equal to itself."""
    return wire.dumps(codec.encode(obj).document)


def into(obj: Any, fake_mode: Any) -> Any:
    encoded = codec.encode(obj)
    return codec.decode(encoded.document, Sections(encoded.storages), fake_mode=fake_mode)


def _views(x: torch.Tensor) -> Any:
    flat = x.reshape(-1)
    return (
        x.t().view(torch.int32)[1:],
        x.expand(3, -1, -1),
        flat[flat.shape[0] // 2 :],
        x.diagonal(),
        x.numel(),
    )


def _specialized(x: torch.Tensor) -> Any:
    """The size of x becomes a number after its FakeTensor was made."""
    return [row + 1 for row in x.unbind(0)]


def _data_dependent(x: torch.Tensor, y: torch.Tensor) -> Any:
    n = x.sum().item()
    torch._check(n >= 0)
    torch._check(n <= y.shape[0])
    rows = y[:n].nonzero()
    return rows.shape[0] * n, y.narrow(0, 0, n) + 1, torch.zeros(rows.shape[0] // 2)


def _computed(x: torch.Tensor) -> Any:
    y = torch.nn.functional.max_pool2d(x[None], 2, 1)
    return torch.nn.functional.interpolate(y, scale_factor=2.0), y.mean() * x.shape[1] / 2


GRAPHS: dict[str, Callable[[], Any]] = {
    "views": lambda: traced(_views, torch.ones(5, 4)),
    "specialized": lambda: traced(_specialized, torch.ones(5, 3)),
    "data dependent": lambda: traced(_data_dependent, torch.ones(4, dtype=torch.int64), torch.ones(9)),
    "computed": lambda: traced(_computed, torch.ones(3, 8, 9)),
    "complex": lambda: traced(lambda x: (x.conj() * 2, x.imag), torch.ones(3, 4, dtype=torch.complex64)),
    "of a gradient": lambda: traced(
        lambda x: torch.autograd.grad((x.sin() @ x.t()).sum(), x), torch.ones(3, 4, requires_grad=True)
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_comes_back(name: str) -> None:
    graph_module = GRAPHS[name]()
    back = through_the_codec(graph_module)
    assert_same(graph_module, back)
    assert document_of(back) == document_of(graph_module)


@pytest.mark.parametrize("name", GRAPHS)
def test_building_adds_no_guard_and_forgets_no_replacement(name: str) -> None:
    graph_module = GRAPHS[name]()
    back = through_the_codec(graph_module)
    env, other = graph_module.shape_env, back.shape_env
    assert list(map(str, other.replacements.items())) == list(map(str, env.replacements.items()))
    assert [str(guard.expr) for guard in other.guards] == [str(guard.expr) for guard in env.guards]
    numbers = {str(number.node._expr): number for number in _numbers(graph_module)}
    found = {str(number.node._expr): number for number in _numbers(back)}
    assert observe(Case(other, found, ())) == observe(Case(env, numbers, ()))


def _numbers(graph_module: Any) -> Iterator[Any]:
    for node in graph_module.graph.nodes:
        for value in pytree.tree_leaves(node.meta.get("val")):
            sizes = (*value.shape, *value.stride()) if isinstance(value, torch.Tensor) else (value,)
            yield from (size for size in sizes if isinstance(size, torch.SymInt))


@pytest.mark.parametrize("name", ["views", "specialized", "computed", "complex"])
def test_propagation_over_a_loaded_graph_gives_the_same_metadata(name: str) -> None:
    graph_module = GRAPHS[name]()
    back = through_the_codec(graph_module)
    assert _propagated(back) == _propagated(graph_module)


def _propagated(graph_module: Any) -> list[str]:
    placeholders = [node for node in graph_module.graph.nodes if node.op == "placeholder"]
    fakes = [node.meta["val"] for node in placeholders]
    with enable_python_dispatcher():
        FakeTensorProp(graph_module, fakes[0].fake_mode).propagate_dont_convert_inputs(*fakes)
    shown: list[str] = []
    for node in graph_module.graph.nodes:
        for value in pytree.tree_leaves(node.meta.get("val")):
            facts = (
                (value.shape, value.stride(), value.dtype) if isinstance(value, torch.Tensor) else (value,)
            )
            shown.append(f"{node.name}: {facts}")
    return shown


def test_a_loaded_graph_runs() -> None:
    back = through_the_codec(GRAPHS["data dependent"]())
    inputs = (torch.tensor([1, 2, 0]), torch.arange(7.0))
    assert not differences(_data_dependent(*inputs), back(*inputs))


def test_all_fakes_of_a_graph_are_in_one_mode_with_its_environment() -> None:
    back = through_the_codec(GRAPHS["views"]())
    fakes = [
        value
        for node in back.graph.nodes
        for value in pytree.tree_leaves(node.meta.get("val"))
        if isinstance(value, FakeTensor)
    ]
    assert {id(fake.fake_mode) for fake in fakes} == {id(fakes[0].fake_mode)}
    assert fakes[0].fake_mode.shape_env is back.shape_env


def test_graphs_of_two_environments_have_two_modes() -> None:
    both = [GRAPHS["views"](), GRAPHS["computed"]()]
    back = through_the_codec(both)
    assert_same(both, back)
    modes = [next(iter(graph.graph.nodes)).meta["val"].fake_mode for graph in back]
    assert [mode.shape_env for mode in modes] == [graph.shape_env for graph in back]
    assert modes[0] is not modes[1]


def test_into_the_mode_of_the_caller() -> None:
    theirs = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    back = into(GRAPHS["views"](), theirs)
    assert back.shape_env is theirs.shape_env
    assert next(iter(back.graph.nodes)).meta["val"].fake_mode is theirs


def test_a_storage_larger_than_torch_would_make_it() -> None:
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    fake = mode.from_tensor(torch.empty(12).as_strided((2, 3), (5, 1), 1))
    symbolic = traced(lambda x: x[1:, 1:] * 1, torch.empty(40).as_strided((4, 3), (5, 1), 1))
    for value in (fake, next(iter(symbolic.graph.nodes)).meta["val"]):
        back = through_the_codec(value)
        assert_same(value, back)


OPERATORS = op_db.operators()[5::12]


@pytest.mark.parametrize("op", OPERATORS, ids=op_db.operator_name)
def test_the_graphs_of_an_operator(op: Any) -> None:
    for graph in op_db.traced(op, modes=("symbolic",), samples=2):
        if isinstance(graph, op_db.Traced):
            back = through_the_codec(graph.graph_module)
            assert_same(graph.graph_module, back)
            assert document_of(back) == document_of(graph.graph_module)


# hostile documents


def _symbolic_row(document: Any) -> Any:
    return next(row for row in document["descriptions"] if type(row[2]) is list and list in map(type, row[2]))


def _first_number(document: Any) -> Any:
    return next(number for number in _symbolic_row(document)[2] if type(number) is list)


HOSTILE: dict[str, Callable[[Any], Any]] = {
    "another environment": lambda document: _first_number(document).__setitem__(1, 7),
    "no environment": lambda document: _first_number(document).__setitem__(1, None),
    "a symbolic float": lambda document: _first_number(document).__setitem__(0, "symfloat"),
    "a tuple": lambda document: _symbolic_row(document)[2].__setitem__(0, ["tuple", []]),
    "an empty list": lambda document: _symbolic_row(document)[2].__setitem__(0, []),
    "no strides": lambda document: _symbolic_row(document).__setitem__(3, None),
    "a stride too many": lambda document: _symbolic_row(document)[3].append(1),
    "a negative stride": lambda document: _symbolic_row(document)[3].__setitem__(-1, -1),
    "a text as stride": lambda document: _symbolic_row(document)[3].__setitem__(-1, "1"),
    "an expression that is not there": lambda document: _first_number(document).__setitem__(2, 999),
    "a layout": lambda document: _symbolic_row(document)[4].__setitem__("layout", "sparse_coo"),
    "a size that is negative": lambda document: _negative(document),
}


def _negative(document: Any) -> None:
    rows = document["symbolic"]["expressions"]
    rows += [["Integer", -5], ["Mul", len(rows), 0]]
    _first_number(document)[2:] = [len(rows) - 1, -15]


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_description_is_refused(what: str) -> None:
    fake = next(iter(GRAPHS["views"]().graph.nodes)).meta["val"]
    assert through_the_codec(fake, change=lambda document: None).shape == fake.shape
    with pytest.raises(InvalidDocument):
        through_the_codec(fake, change=HOSTILE[what])


def test_a_sparse_tensor_with_symbolic_sizes_is_refused() -> None:
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    size = mode.from_tensor(torch.ones(5, 4)).shape
    with mode:
        indices, values = torch.zeros((2, 0), dtype=torch.int64), torch.zeros(0)
        sparse = torch.ops.aten._sparse_coo_tensor_unsafe(indices, values, size)
    with pytest.raises(UnsupportedValue, match="sparse FakeTensor with symbolic sizes"):
        codec.encode(sparse)
