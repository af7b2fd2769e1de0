"""Tensors that are spread over a mesh of processes: placements, meshes, specs, DTensors, and graphs over them.

The process group is torch's "fake" one: four ranks, of which this process is the first, and nobody to talk to.
"""

from __future__ import annotations

import copy
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import fxarchive
from fxarchive import codec
from fxarchive.codec.fast import meshes as shortcuts
from fxarchive.document import DISTRIBUTED_TENSORS, FEATURES
from fxarchive.errors import InvalidDocument, MissingMesh, MissingOperator, UnsupportedValue
from fxarchive.releases import number_of

from ..compare import assert_same, differences
from .tables import Bytes

if not distributed.is_available():
    pytest.skip("this torch is built without torch.distributed", allow_module_level=True)

from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor._dtensor_spec import DTensorSpec, TensorMeta
from torch.distributed.tensor.placement_types import _StridedShard
from torch.testing._internal.distributed.fake_pg import FakeStore

RUNNING = number_of(torch.__version__)
IN_GRAPHS = RUNNING >= (2, 12)
"""Whether dynamo puts meshes and placements into graphs; before, it makes closures over them."""
ROOT = Path(__file__).resolve().parents[2]


def start(rank: int = 0, world: int = 4) -> None:
    distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world)


@pytest.fixture(autouse=True)
def processes() -> Iterator[None]:
    start()
    yield
    distributed.destroy_process_group()


@pytest.fixture
def mesh(processes: None) -> Any:
    return init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))


def spread(mesh: Any, *placements: Any, **options: Any) -> Any:
    """A part of a tensor, where nobody could tell the whole: nothing is sent."""
    local = torch.arange(12.0).reshape(3, 4).requires_grad_(options.pop("requires_grad", False))
    return DTensor.from_local(local, mesh, placements, run_check=False)


def back(value: Any, mesh: Any, **options: Any) -> Any:
    """``value`` through bytes, within the mesh; what comes back gives the same bytes."""
    data = fxarchive.dumps(value)
    with mesh:
        loaded = fxarchive.loads(data, **options)
    assert fxarchive.dumps(loaded) == data
    return loaded


# placements, meshes, specs


def placements() -> list[Any]:
    return [Shard(0), Shard(-2), Replicate(), Partial(), Partial("max"), _StridedShard(1, split_factor=2)]


def test_placements_need_no_mesh_and_no_process_group() -> None:
    distributed.destroy_process_group()
    try:
        data = fxarchive.dumps({"placements": placements(), "twice": Shard(0)})
        loaded = fxarchive.loads(data)
    finally:
        start()
    assert_same({"placements": placements(), "twice": Shard(0)}, loaded)
    assert fxarchive.dumps(loaded) == data
    assert codec.encode(placements()).features == {DISTRIBUTED_TENSORS}


def test_an_entered_mesh_comes_back_as_itself_and_its_slices_as_slices(mesh: Any) -> None:
    loaded = back([mesh, mesh["tp"], mesh["dp"], mesh], mesh)
    assert loaded[0] is mesh
    assert loaded[3] is mesh
    assert loaded[1] == mesh["tp"]
    assert loaded[2] == mesh["dp"]
    assert loaded[1].get_group() is mesh["tp"].get_group()


def test_the_innermost_of_equal_meshes_is_taken(mesh: Any) -> None:
    other = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    with other:
        assert back(mesh, mesh) is mesh
        with mesh:
            assert back(other, other) is other


@pytest.mark.parametrize(
    ("shape", "names"), [((4,), None), ((2, 2), None), ((2, 2), ("tp", "dp")), ((1, 4), ("dp", "tp"))]
)
def test_another_mesh_is_none(mesh: Any, shape: Any, names: Any) -> None:
    other = init_device_mesh("cpu", shape, mesh_dim_names=names)
    with mesh, pytest.raises(MissingMesh, match="no mesh like it is entered") as caught:
        fxarchive.loads(fxarchive.dumps(other))
    assert caught.value.mesh.startswith("DeviceMesh('cpu', [")


def test_no_mesh_is_made_and_no_process_group(mesh: Any) -> None:
    data = fxarchive.dumps(spread(mesh, Shard(0), Replicate()))
    distributed.destroy_process_group()
    try:
        with pytest.raises(MissingMesh):
            fxarchive.loads(data)
        assert not distributed.is_initialized()
    finally:
        start()


def test_a_torch_that_does_not_say_which_mesh_is_entered(mesh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = fxarchive.dumps(mesh)
    monkeypatch.setattr(torch.distributed.device_mesh, "_mesh_resources", object())
    assert shortcuts.entered() == []
    with pytest.raises(MissingMesh):
        fxarchive.loads(data)


def test_a_torch_without_distributed(mesh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = fxarchive.dumps([Shard(0)])
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    with pytest.raises(MissingOperator, match=r"Shard: load with a torch that has it built in"):
        fxarchive.loads(data)


def test_two_meshes_of_the_same_facts_that_torch_tells_apart(mesh: Any) -> None:
    alone = DeviceMesh("cpu", [0, 1], mesh_dim_names=("tp",))
    if alone == mesh["tp"]:
        assert back([alone, mesh["tp"]], mesh)[0] == alone
        return
    with pytest.raises(UnsupportedValue, match=r"\[1\]: there are two DeviceMesh\('cpu', \[0, 1\]"):
        fxarchive.dumps([alone, mesh["tp"]])


def test_a_mesh_with_a_name_that_is_none(mesh: Any) -> None:
    with pytest.raises(UnsupportedValue, match="cannot be kept where its names are not"):
        fxarchive.dumps(DeviceMesh("cpu", [0, 1, 2, 3], mesh_dim_names=("d p",)))


def specs(mesh: Any) -> list[Any]:
    meta = TensorMeta(torch.Size([6, 8]), (8, 1), torch.float16)
    return [
        DTensorSpec(mesh, (Shard(0), Partial("avg")), meta),
        DTensorSpec(mesh, (Shard(0), Replicate())),
        DTensorSpec(mesh, (_StridedShard(0, split_factor=2), Shard(0)), meta),
    ]


def test_specs(mesh: Any) -> None:
    assert_same(specs(mesh), back(specs(mesh), mesh))


@pytest.mark.skipif(RUNNING < (2, 10), reason="no order of shards")
def test_an_order_of_shards_of_its_own(mesh: Any) -> None:
    from torch.distributed.tensor._dtensor_spec import ShardOrderEntry

    meta = TensorMeta(torch.Size([8, 8]), (8, 1), torch.float32)
    order = (ShardOrderEntry(tensor_dim=0, mesh_dims=(1, 0)),)
    spec = DTensorSpec(mesh, (Shard(0), Shard(0)), meta, shard_order=order)
    assert_same(spec, back(spec, mesh))
    assert back(spec, mesh).shard_order == order


# DTensors


def tensors(mesh: Any) -> dict[str, Any]:
    parameter = nn.Parameter(spread(mesh, Shard(0), Replicate()))
    parameter.grad = spread(mesh, Shard(0), Replicate())
    marked = spread(mesh, Replicate(), Replicate())
    marked.note = ["kept"]
    uneven = distribute_tensor(torch.arange(15.0).reshape(5, 3), mesh, [Shard(0), Shard(1)])
    return {
        "shard": spread(mesh, Shard(0), Shard(1)),
        "partial": spread(mesh, Partial(), Replicate()),
        "slice": spread(mesh["tp"], Shard(1)),
        "leaf": spread(mesh, Shard(1), Replicate()).detach().requires_grad_(),
        "parameter": parameter,
        "again": parameter,
        "marked": marked,
        "uneven": uneven,
        "scalar": DTensor.from_local(torch.tensor(2), mesh, [Replicate(), Partial("max")], run_check=False),
    }


def test_real_ones_come_back_with_their_part_and_their_spec(mesh: Any) -> None:
    value = tensors(mesh)
    loaded = back(value, mesh)
    assert_same(value, loaded)
    assert loaded["again"] is loaded["parameter"]
    assert isinstance(loaded["parameter"], nn.Parameter)
    assert loaded["shard"].device_mesh is mesh
    total = loaded["shard"] + spread(mesh, Shard(0), Shard(1))  # on the mesh of the process
    assert torch.equal(total.to_local(), spread(mesh, Shard(0), Shard(1)).to_local() * 2)
    assert loaded["partial"].redistribute(mesh, [Replicate(), Replicate()]).device_mesh.get_group("dp")


def test_a_part_is_shared_with_who_else_holds_it(mesh: Any) -> None:
    tensor = spread(mesh, Shard(0), Replicate())
    loaded, local = back([tensor, tensor._local_tensor], mesh)
    local.zero_()
    assert not loaded.to_local().any()


def test_fake_ones_static_and_of_symbols(mesh: Any) -> None:
    static = FakeTensorMode(allow_non_fake_inputs=True)
    value = [static.from_tensor(tensor) for tensor in tensors(mesh).values() if tensor.grad is None]
    assert_same(value, back(value, mesh))
    symbols = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    traced = symbols.from_tensor(spread(mesh, Shard(0), Shard(1)), symbolic_context=None)
    assert type(traced.shape[0]) is torch.SymInt
    loaded = back([traced, traced._local_tensor], mesh)
    assert_same([traced, traced._local_tensor], loaded)
    assert type(loaded[0].shape[0]) is torch.SymInt


def test_parts_of_another_rank_are_refused(mesh: Any) -> None:
    same, other = (
        fxarchive.dumps(spread(mesh, *each)) for each in ([Replicate()] * 2, [Replicate(), Shard(0)])
    )
    distributed.destroy_process_group()
    start(rank=1)
    elsewhere = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    with elsewhere:
        assert fxarchive.loads(same).placements == (Replicate(), Replicate())
        with pytest.raises(MissingMesh, match=r"it stands at \[0, 1\], and .* of who stands at \[0, 0\]"):
            fxarchive.loads(other)


def test_who_is_outside_of_the_mesh_has_no_part(mesh: Any) -> None:
    far = DeviceMesh("cpu", [2, 3], mesh_dim_names=("far",))
    tensor = DTensor.from_local(torch.ones(2), far, [Shard(0)], run_check=False)
    assert_same(tensor, back(tensor, far))


def test_what_is_refused_when_saving(mesh: Any) -> None:
    odd = Partial("mean of squares")
    with pytest.raises(UnsupportedValue, match="a Partial that waits for 'mean of squares' cannot be kept"):
        fxarchive.dumps(odd)
    wrong = spread(mesh, Shard(0), Replicate())
    wrong._spec.tensor_meta = TensorMeta(torch.Size([9, 4]), (4, 1), torch.float32)
    with pytest.raises(UnsupportedValue, match="of another size than its spec says"):
        fxarchive.dumps(wrong)
    with pytest.raises(UnsupportedValue, match="autograd history"):
        fxarchive.dumps(spread(mesh, Shard(0), Replicate(), requires_grad=True) * 2)


def test_the_comparer_sees_changes(mesh: Any) -> None:
    meta = TensorMeta(torch.Size([6, 8]), (8, 1), torch.float16)
    pairs = [
        (Shard(0), Shard(1)),
        (Partial(), Partial("avg")),
        (_StridedShard(0, split_factor=2), _StridedShard(0, split_factor=4)),
        (mesh, init_device_mesh("cpu", (2, 2), mesh_dim_names=("tp", "dp"))),
        (DTensorSpec(mesh, (Shard(0), Shard(1)), meta), DTensorSpec(mesh, (Shard(0), Shard(0)), meta)),
        (DTensorSpec(mesh, (Shard(0), Shard(1)), meta), DTensorSpec(mesh, (Shard(0), Shard(1)))),
        (spread(mesh, Shard(0), Shard(1)), spread(mesh, Shard(0), Replicate())),
        (spread(mesh, Shard(0), Shard(1)), spread(mesh, Shard(0), Shard(1)) * 2),
    ]
    for left, right in pairs:
        assert differences(left, left) == []
        assert differences(left, right) != []


# another process


def test_in_a_second_process(mesh: Any, tmp_path: Path) -> None:
    path = tmp_path / "tensors.fxa"
    fxarchive.save({"tensors": tensors(mesh), "specs": specs(mesh)}, path)
    program = f"""
        import torch, fxarchive
        from torch import distributed
        from torch.testing._internal.distributed.fake_pg import FakeStore
        path = {str(path)!r}
        try:
            fxarchive.load(path)
        except fxarchive.MissingMesh as error:
            assert "no mesh like it is entered" in str(error), error
        assert not distributed.is_initialized()
        distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=4)
        from torch.distributed.device_mesh import init_device_mesh
        with init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp")) as mesh:
            loaded = fxarchive.load(path)
        assert fxarchive.dumps(loaded) == open(path, "rb").read()
        assert loaded["tensors"]["shard"].device_mesh is mesh
        print(loaded["tensors"]["uneven"].shape)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "torch.Size([5, 3])\n"), done.stderr


# graphs


def distributed_block(mesh: Any) -> nn.Module:
    """A block whose weights are spread, without hooks, which would be code."""
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
    block[0].weight = nn.Parameter(distribute_tensor(torch.randn(8, 4), mesh, [Shard(0)], src_data_rank=None))
    block[0].bias = nn.Parameter(distribute_tensor(torch.randn(8), mesh, [Shard(0)], src_data_rank=None))
    return block


def test_a_graph_with_spread_parameters_runs_on_the_mesh(mesh: Any) -> None:
    module = fx.symbolic_trace(distributed_block(mesh["tp"]))
    loaded = back(module, mesh)
    assert_same(module, loaded)
    x = DTensor.from_local(torch.ones(2, 4), mesh["tp"], [Replicate()], run_check=False)
    mine, other = module(x), loaded(x)
    assert torch.equal(mine.to_local(), other.to_local())
    assert other.placements == (Shard(1),)
    other.sum().backward()
    assert loaded.get_parameter("0.weight").grad.placements == (Shard(0),)


TRUST = ("torch.distributed.device_mesh.DeviceMesh", "torch.distributed.tensor._api.DTensor.from_local")
"""What graphs of `DTensor.from_local` name and the shipped list has not: calling it may communicate."""


class Reloaded:
    """A backend that saves each graph, loads it within the mesh, compares, and runs what came back."""

    def __init__(self, mesh: Any, compare: bool = True) -> None:
        self.mesh, self.compare, self.graphs, self.problems = mesh, compare, [], []  # type: ignore[var-annotated]

    def __call__(self, module: Any, inputs: Any) -> Any:
        self.graphs.append(module)
        loaded = back(module, self.mesh, trust=TRUST)
        self.problems += [line for line in differences(module, loaded) if "_param_name_to_source" not in line]
        return loaded


@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.parametrize("dynamic", [False, True])
def test_what_dynamo_captures_of_spread_parameters(mesh: Any, dynamic: bool) -> None:
    block, backend = distributed_block(mesh["tp"]), Reloaded(mesh)
    x = DTensor.from_local(torch.ones(2, 4), mesh["tp"], [Replicate()], run_check=False)
    compiled = torch.compile(block, backend=backend, dynamic=dynamic)
    assert torch.equal(compiled(x).to_local(), block(x).to_local())
    assert len(backend.graphs) == 1
    assert backend.problems == []
    held = [node.meta.get("example_value") for node in backend.graphs[0].graph.nodes]
    assert sum(type(value) is DTensor for value in held) >= 3


def moved(local: Any, mesh: Any) -> Any:
    tensor = DTensor.from_local(local, mesh, [Shard(0), Replicate()], run_check=False)
    return (tensor + 1).redistribute(mesh, [Shard(0), Shard(1)]).to_local()


@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.skipif(not IN_GRAPHS, reason="before torch 2.12 dynamo makes closures over meshes")
def test_meshes_and_placements_as_arguments(mesh: Any) -> None:
    backend = Reloaded(mesh)
    found = torch.compile(moved, backend=backend)(torch.ones(2, 4), mesh)
    assert torch.equal(found, torch.full((2, 2), 2.0))
    assert backend.problems == []
    (module,) = backend.graphs
    assert "placement_types.Shard(dim=0)" in module.code
    untrusted = fxarchive.dumps(module)
    with mesh, pytest.raises(fxarchive.UntrustedNames, match=r"DTensor\.from_local"):
        fxarchive.loads(untrusted)


@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.skipif(IN_GRAPHS, reason="from torch 2.12 on the graph has the meshes")
def test_closures_over_meshes_are_refused_by_name(mesh: Any) -> None:
    problems: list[str] = []

    def backend(module: Any, inputs: Any) -> Any:
        with pytest.raises(UnsupportedValue) as caught:
            fxarchive.dumps(module)
        problems.extend(problem.path for problem in caught.value.problems)
        return module

    torch.compile(moved, backend=backend)(torch.ones(2, 4), mesh)
    assert problems
    assert all(path.endswith(".target") for path in problems)


@pytest.mark.skipif(IN_GRAPHS, reason="this torch prints placements")
def test_placements_as_arguments_are_no_code_of_an_older_torch() -> None:
    graph = fx.Graph()
    graph.output(graph.call_method("redistribute", (graph.placeholder("x"), None, [Shard(0)])))
    with pytest.raises(UnsupportedValue, match="a Shard cannot be an argument of a node"):
        fxarchive.dumps(fx.GraphModule({}, graph))
    graph = fx.Graph()
    graph.output(graph.call_method("redistribute", (graph.placeholder("x"), None, [7])))
    document = codec.encode(fx.GraphModule({}, graph)).document

    def replaced(value: Any) -> Any:
        if type(value) is list:
            return [replaced(each) for each in value]
        return ["distributed", ["shard", 0]] if value == 7 else value

    document["graphs"][0]["patterns"] = replaced(document["graphs"][0]["patterns"])
    with pytest.raises(MissingOperator, match=r"needs torch 2\.12 or later"):
        codec.decode(document, Bytes({}))


def test_a_mesh_is_no_argument(mesh: Any) -> None:
    graph = fx.Graph()
    graph.output(graph.call_method("redistribute", (graph.placeholder("x"), mesh)))
    with pytest.raises(UnsupportedValue, match="a DeviceMesh cannot be an argument of a node"):
        fxarchive.dumps([graph])


@pytest.mark.usefixtures("fresh_dynamo")
def test_graphs_of_aot_autograd_need_no_mesh(mesh: Any) -> None:
    from torch._dynamo.backends.common import aot_autograd

    found: list[Any] = []

    def compiler(module: Any, inputs: Any) -> Any:
        found.append(copy.deepcopy(module))
        return module

    x = DTensor.from_local(torch.ones(2, 4), mesh["tp"], [Replicate()], run_check=False)
    block = distributed_block(mesh["tp"])
    torch.compile(block, backend=aot_autograd(fw_compiler=compiler, bw_compiler=compiler))(x)
    for module in found:
        data = fxarchive.dumps(module)
        loaded = fxarchive.loads(data)
        assert differences(module, loaded) == []
        assert fxarchive.dumps(loaded) == data
    assert found


# hostile documents


def of_mesh(*facts: Any) -> Any:
    return ["distributed", ["mesh", *facts]]


GOOD = of_mesh("cpu", [2, 2], [0, 1, 2, 3], ["dp", "tp"])
META = ["distributed", ["tensor_meta", ["size", [4, 6]], ["tuple", [6, 1]], "float32"]]
SHARD, WHOLE = ["distributed", ["shard", 0]], ["distributed", ["replicate"]]


def of_spec(mesh: Any = GOOD, placed: Any = (SHARD, WHOLE), meta: Any = META, order: Any = None) -> Any:
    return ["distributed", ["spec", mesh, list(placed) if type(placed) is tuple else placed, meta, order]]


@pytest.mark.parametrize(
    "value",
    [
        ["distributed"],
        ["distributed", None],
        ["distributed", []],
        ["distributed", [None]],
        ["distributed", ["nothing"]],
        ["distributed", ["shard"]],
        ["distributed", ["shard", "0"]],
        ["distributed", ["shard", True]],
        ["distributed", ["shard", 2**40]],
        ["distributed", ["replicate", 1]],
        ["distributed", ["partial", "__import__('os')"]],
        ["distributed", ["partial", 3]],
        ["distributed", ["partial", ["list", []]]],
        ["distributed", ["strided_shard", 0, 0]],
        ["distributed", ["strided_shard", 0, 2**40]],
        of_mesh("no such device", [4], [0, 1, 2, 3], None),
        of_mesh("cpu:0", [4], [0, 1, 2, 3], None),
        of_mesh(None, [4], [0, 1, 2, 3], None),
        of_mesh("cpu", [], [0], None),
        of_mesh("cpu", [4], [0, 1, 2, 2], None),
        of_mesh("cpu", [4], [0, 1, 2, -1], None),
        of_mesh("cpu", [4], [0, 1, 2, 2**40], None),
        of_mesh("cpu", [4], [0, 1, 2, 0.5], None),
        of_mesh("cpu", [5], [0, 1, 2, 3], None),
        of_mesh("cpu", [-1, -4], [0, 1, 2, 3], None),
        of_mesh("cpu", [2**40, 2**40], [0, 1, 2, 3], None),
        of_mesh("cpu", [4], 4, None),
        of_mesh("cpu", [4], [0, 1, 2, 3], ["a", "b"]),
        of_mesh("cpu", [4], [0, 1, 2, 3], ["a b"]),
        of_mesh("cpu", [4], [0, 1, 2, 3], [3]),
        of_mesh("cpu", [2, 2], [0, 1, 2, 3], ["a", "a"]),
        ["distributed", ["traced_mesh", *GOOD[1][1:], None]],
        ["distributed", ["traced_mesh", *GOOD[1][1:], ["script_object", 0]]],
        ["distributed", ["tensor_meta", ["size", [4]], ["tuple", []], "float32"]],
        ["distributed", ["tensor_meta", ["tuple", [-4]], ["tuple", [1]], "float32"]],
        ["distributed", ["tensor_meta", ["tuple", [None]], ["tuple", [1]], "float32"]],
        ["distributed", ["tensor_meta", [4], [1], "float32"]],
        ["distributed", ["tensor_meta", ["size", [4]], ["tuple", [1]], 3]],
        of_spec(mesh=SHARD),
        of_spec(mesh=None),
        of_spec(placed=(SHARD,)),
        of_spec(placed=(SHARD, META)),
        of_spec(placed=None),
        of_spec(placed=(["distributed", ["shard", 2]], WHOLE)),
        of_spec(placed=(["distributed", ["shard", -3]], WHOLE)),
        of_spec(meta=GOOD),
    ],
    ids=repr,
)
def test_hostile_values_are_refused(mesh: Any, value: Any) -> None:
    document: Any = {**codec.encode(None).document, "root": value}
    with mesh, pytest.raises(InvalidDocument):
        codec.decode(document, Bytes({}))


@pytest.mark.skipif(RUNNING < (2, 10), reason="no order of shards")
@pytest.mark.parametrize(
    "order",
    [3, [3], [[0]], [[0, []]], [[0, [2]]], [[0, [-1]]], [[-1, [0]]], [["0", [0]]], [[0, [0, 1, 0]]]],
    ids=repr,
)
def test_hostile_orders_are_refused(mesh: Any, order: Any) -> None:
    document: Any = {**codec.encode(None).document, "root": of_spec(order=order)}
    with mesh, pytest.raises(InvalidDocument):
        codec.decode(document, Bytes({}))


@pytest.mark.skipif(RUNNING >= (2, 10), reason="this torch has an order of shards")
def test_an_order_that_the_running_torch_has_not(mesh: Any) -> None:
    document: Any = {**codec.encode(None).document, "root": of_spec(order=[[0, [0]]])}
    with mesh, pytest.raises(MissingOperator, match="ShardOrderEntry: load with a release that has it"):
        codec.decode(document, Bytes({}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("spec", None),
        ("spec", SHARD),
        ("spec", of_spec(meta=None)),
        ("spec", of_spec(meta=["distributed", ["tensor_meta", ["size", [6, 4]], ["tuple", [4, 1]], "int8"]])),
        (
            "spec",
            of_spec(
                meta=["distributed", ["tensor_meta", ["size", [2**62] * 2], ["tuple", [1, 1]], "float32"]]
            ),
        ),
        ("inner", []),
        ("inner", [["tensor", 0], ["tensor", 0]]),
        ("class", 0),
        ("kind", "unwrapped"),
        ("coordinate", None),
        ("coordinate", "00"),
        ("coordinate", [0.0, 0]),
        ("coordinate", []),
        ("requires_grad", 1),
        ("computed", True),
    ],
    ids=repr,
)
def test_hostile_rows_are_refused(mesh: Any, field: str, value: Any) -> None:
    encoded = codec.encode(spread(mesh, Shard(0), Replicate()))
    encoded.document["subclasses"][0][field] = value  # type: ignore[typeddict-item]
    with mesh, pytest.raises(InvalidDocument):
        codec.decode(encoded.document, Bytes(read(encoded)))


@pytest.mark.parametrize("value", [True, False, [1, 0], [0]], ids=repr)
def test_a_coordinate_must_be_that_of_the_process(mesh: Any, value: Any) -> None:
    encoded = codec.encode(spread(mesh, Shard(0), Replicate()))
    encoded.document["subclasses"][0]["coordinate"] = value  # type: ignore[typeddict-item]
    with mesh, pytest.raises(MissingMesh, match="load the archive that this rank saved"):
        codec.decode(encoded.document, Bytes(read(encoded)))


def read(encoded: Any) -> dict[str, bytes]:
    from fxarchive.codec.storages import chunks

    return {name: b"".join(chunks(storage)) for name, storage in encoded.storages.items()}


def test_the_class_of_dtensors_is_not_built_as_other_subclasses_are(mesh: Any) -> None:
    document: Any = codec.encode([nn.Parameter(torch.ones(2)), DTensor]).document
    document["subclasses"] = [
        {"kind": "unwrapped", "class": 0, "names": ["_local_tensor"], "inner": [["tensor", 0]], "context": None,
         "size": [2], "stride": [1]}
    ]  # fmt: skip
    document["root"] = ["subclass", 0]
    assert document["targets"][0] == ["class", "torch.distributed.tensor.DTensor"]
    with pytest.raises(InvalidDocument, match="is not a class of tensors that unwrap"):
        codec.decode(document, Bytes({}))


def test_archives_without_the_flag_hold_none(mesh: Any) -> None:
    encoded = codec.encode(spread(mesh, Shard(0), Replicate()))
    assert encoded.features == {"tensor-subclasses", DISTRIBUTED_TENSORS}
    with mesh, pytest.raises(InvalidDocument, match="does not name the feature flag 'distributed-tensors'"):
        codec.decode(encoded.document, Bytes(read(encoded)), features=FEATURES - {DISTRIBUTED_TENSORS})
