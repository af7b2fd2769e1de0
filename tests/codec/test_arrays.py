"""Arrays of numpy: values, types, order, the memory that they share, and what cannot be kept or must not be read."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import fx, nn

import fxarchive
from fxarchive import codec
from fxarchive.array_layout import contiguous_strides, itemsize
from fxarchive.comparison import compare
from fxarchive.errors import InvalidDocument, UnsupportedValue
from fxarchive.tables import root_kind
from fxarchive.weights import weights_of

from ..compare import differences
from .tables import again, decode, encode
from .through import through_the_codec

NUMBERS = [
    *("|b1", "|i1", "|u1", "i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"),
    *("S5", "U2", "M8[ns]", "M8[7D]", "M8", "m8[25s]", "m8"),
]
DTYPES = sorted({np.dtype(name).newbyteorder(order).str for name in NUMBERS for order in "<>"})


def filled(dtype: str, *shape: int) -> Any:
    """An array in which each element has other bytes, as far as its type has room."""
    count = int(np.prod(shape, dtype=int))
    if np.dtype(dtype).kind in "SU":
        return np.array([f"é{at}"[:2] if "U" in dtype else f"{at}" for at in range(count)], dtype).reshape(
            shape
        )
    return np.arange(count).astype(dtype).reshape(shape)


def same(expected: Any, found: Any) -> None:
    """Assert that it is the same array, and that nobody else can make it one that is not."""
    assert differences(expected, found) == []
    assert type(found) is np.ndarray
    assert found.dtype.str == expected.dtype.str


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [3, 300], ids=["inline", "section"])
def test_every_dtype_comes_back(dtype: str, count: int) -> None:
    array = filled(dtype, count)
    same(array, again([array])[0])
    data = fxarchive.dumps(array)
    assert fxarchive.dumps(fxarchive.loads(data)) == data
    assert codec.encode(array).features == {"numpy-arrays"}


base = filled("<f4", 3, 4, 5)
SHAPES: dict[str, Any] = {
    "c": base,
    "fortran": np.asfortranarray(base),
    "transposed": base.transpose(1, 0, 2),
    "steps": base[::2, 1::2, ::-1],
    "all backwards": base[::-1, ::-1, ::-1],
    "scalar": np.array(2.5),
    "none": np.empty(0),
    "none, of sizes": np.empty((2, 0, 5), ">i2"),
    "one": base[1:2, 2:3],
    "repeated": np.broadcast_to(base[0, 0], (10**6, 10**6, 5)),
    "repeated bools": np.broadcast_to(np.array([True, False]), (10**8, 10**8, 2)),
    "windows": np.lib.stride_tricks.sliding_window_view(np.arange(9.0), 4),
    "unaligned": np.frombuffer(bytes(range(41)), "<i8", offset=1),
    "of a buffer": np.frombuffer(bytearray(24), "<i8"),
    "many dimensions": np.ones((1,) * 30),
    "texts at steps": np.array([["a", "bc"], ["d", "é"]])[::-1, ::-1].T,
    "bools at steps": np.array([[True, False], [False, False]])[::-1, 1:].T,
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_order_comes_back(name: str) -> None:
    array = SHAPES[name]
    loaded = fxarchive.loads(fxarchive.dumps({"array": array}))["array"]
    assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)
    assert loaded.strides == array.strides or not array.size
    assert loaded.flags.writeable == array.flags.writeable
    for flag in ("C_CONTIGUOUS", "F_CONTIGUOUS"):
        assert loaded.flags[flag] == array.flags[flag]
    if array.nbytes < 10**6:
        same(array, loaded)
    else:
        same(array[:2, :2], loaded[:2, :2])


@given(st.data())
def test_any_view_of_any_array(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(0, 5), max_size=4))
    array = filled(data.draw(st.sampled_from(DTYPES)), *shape)
    steps = st.integers(-3, 3).filter(bool)
    views = [array]
    for _ in range(data.draw(st.integers(0, 3))):
        cut = tuple([slice(data.draw(st.integers(0, n)), None, data.draw(steps)) for n in array.shape])
        view = array[(..., *cut)].transpose(data.draw(st.permutations(range(array.ndim))))
        if data.draw(st.booleans()):
            view.flags.writeable = False
        views.append(view)
    data_of_views = fxarchive.dumps(views)
    loaded = fxarchive.loads(data_of_views)
    assert differences(views, loaded) == []
    assert fxarchive.dumps(loaded) == data_of_views


def test_the_same_array_is_one_object() -> None:
    module = nn.Module()
    module.scales, module.again = base, base
    graph = fx.symbolic_trace(nn.ReLU())
    for node in graph.graph.nodes:
        node.meta["custom"] = {"scales": base}
    held = {"module": module, "graph": graph, "weak": weakref.ref(base), "list": [base]}
    loaded = fxarchive.loads(fxarchive.dumps(held))
    found = loaded["list"][0]
    same(base, found)
    assert loaded["module"].scales is found
    assert loaded["module"].again is found
    assert all([node.meta["custom"]["scales"] is found for node in loaded["graph"].graph.nodes])
    assert loaded["weak"]() is found


def test_what_is_written_into_a_view_shows_in_the_others() -> None:
    array = np.arange(1000.0)
    loaded = fxarchive.loads(
        fxarchive.dumps([array[100:200], array[150:400:3], array.view("<i8")[199:140:-1]])
    )
    loaded[0][99] = -1.5
    assert loaded[2][0] == np.float64(-1.5).view("i8")
    loaded[0][50] = 7
    assert loaded[1][0] == 7


def test_a_slice_is_stored_without_the_rest() -> None:
    array = np.arange(100_000.0)
    document, _ = encode([array[5:10], array[90_000:90_002]])
    assert [row["size"] for row in document["storages"]] == [40, 16]
    assert [sorted(row) for row in document["arrays"]] == [["dtype", "size", "storage"]] * 2


def test_arrays_and_tensors_share_memory() -> None:
    tensor, array = torch.arange(100.0), np.arange(100.0)
    held = {"tensor": tensor, "view": tensor[10:50:2].numpy(), "array": array, "of": torch.from_numpy(array)}
    document, _ = encode(held)
    assert len(document["storages"]) == 2
    for loaded in (fxarchive.loads(fxarchive.dumps(held)), again(held)):
        assert differences(held, loaded) == []
        loaded["view"][1] = -3
        assert loaded["tensor"][12] == -3
        loaded["of"][5] = -4
        assert loaded["array"][5] == -4
        with pytest.raises(RuntimeError, match="resiz"):
            loaded["tensor"].untyped_storage().resize_(8000)


def test_arrays_keep_their_bytes_where_weights_are_left_out() -> None:
    module = nn.Linear(10, 30)
    module.scales = np.arange(400.0)
    module.rows = module.weight.detach()[3:5].numpy()
    loaded = fxarchive.loads(fxarchive.dumps(module, weights="omit"))
    same(module.scales, loaded.scales)
    same(module.rows, loaded.rows)
    assert loaded.bias.is_meta


def test_arrays_stay_in_host_memory_when_tensors_go_elsewhere() -> None:
    tensor = torch.arange(100.0)
    data = fxarchive.dumps([tensor, tensor.numpy(), np.arange(200), tensor[3:].numpy()])
    found, *arrays = fxarchive.loads(data, device="meta")
    assert found.is_meta
    assert [array.tobytes() for array in arrays] == [
        held.tobytes() for held in (tensor.numpy(), np.arange(200), tensor[3:].numpy())
    ]


@pytest.mark.parametrize("mmap", [True, False])
def test_arrays_of_files_can_be_written_to(tmp_path: Path, mmap: bool) -> None:
    path = tmp_path / "arrays.fxa"
    fxarchive.save({"large": np.arange(100_000), "small": np.arange(3)}, path)
    before = path.read_bytes()
    loaded = fxarchive.load(path, mmap=mmap)
    loaded["large"][50_000] = loaded["small"][1] = -1
    del loaded
    assert path.read_bytes() == before
    assert fxarchive.load(path)["large"][50_000] == 50_000


def test_a_loaded_read_only_array_is_one() -> None:
    array = np.arange(3)
    array.flags.writeable = False
    (loaded,) = fxarchive.loads(fxarchive.dumps([array]))
    with pytest.raises(ValueError, match="read-only"):
        loaded[0] = 1


class Own(np.ndarray):  # type: ignore[type-arg]
    """A subclass of a user."""


tensor = torch.arange(40.0)
spread = np.arange(80.0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # numpy advises against matrices
    matrix = np.asmatrix(np.ones((2, 2)))
REFUSED: dict[str, tuple[Any, str]] = {
    "matrix": (matrix, r"a numpy\.matrix cannot be kept; keep numpy\.array\(value\)"),
    "subclass": (np.ones(3).view(Own), r"\.Own cannot be kept; keep numpy\.array\(value\)"),
    "masked": (np.ma.array([1, 2], mask=[0, 1]), r"keep its \.data and its \.mask as arrays"),
    "records": (np.zeros(2, "i4,f4"), "keep each as an array of its own"),
    "recarray": (np.zeros(2, "i4,f4").view(np.recarray), "keep each as an array of its own"),
    "objects": (np.array([None, 2]), r"keep value\.tolist\(\) in its place"),
    "raw": (np.zeros(2, "V3"), r"dtype \|V3 cannot be kept; convert it with \.astype\(\)"),
    "long double": (np.zeros(2, np.longdouble), r"convert it with \.astype\(\)"),
    "metadata": (np.zeros(2, np.dtype("f4", metadata={"a": 1})), r"use value\.astype\(value\.dtype\.str\)"),
    "bools": (np.frombuffer(b"\1\2", "?"), "bytes other than 0 and 1"),
    "characters": (np.frombuffer(b"\0\0\0\0\xff\0\x11\0", "<U1"), "characters beyond Unicode"),
    "swapped characters": (np.frombuffer(b"\0\x11\0\0" * 2, ">U2"), "characters beyond Unicode"),
    "characters at steps": (
        np.array([1, 2**31, 3, 2**30], "<u4").view("<U1")[::-2],
        "characters beyond Unicode",
    ),
    "windows of bools": (
        np.lib.stride_tricks.sliding_window_view(np.ones(9, "?"), 3),
        r"whose elements overlap cannot be kept; copy it with \.copy\(\)",
    ),
    "part of a tensor": (
        [torch.from_numpy(spread[1:]), spread],
        "shares part of its memory with a tensor that sees another part",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    value, message = REFUSED[name]
    with pytest.raises(UnsupportedValue, match=message) as refusal:
        fxarchive.dumps({"good": base, "bad": value})
    (problem,) = refusal.value.problems
    assert problem.path.startswith("['bad']")


def test_what_replaces_the_refused_is_kept() -> None:
    masked, records = REFUSED["masked"][0], REFUSED["records"][0]
    kept = [
        *(np.array(REFUSED["matrix"][0]), np.array(REFUSED["subclass"][0]), masked.data, masked.mask),
        *(records["f0"], records["f1"].copy(), REFUSED["objects"][0].tolist(), spread.copy()),
        *(REFUSED["long double"][0].astype("f8"), REFUSED["metadata"][0].astype("<f4")),
        *(REFUSED["bools"][0].view("u1") != 0, REFUSED["windows of bools"][0].copy()),
        REFUSED["characters"][0].view("u4"),
    ]
    assert differences(kept, fxarchive.loads(fxarchive.dumps(kept))) == []


def test_an_array_is_no_argument_of_a_node() -> None:
    graph = fx.Graph()
    graph.output(graph.call_function(torch.add, (graph.placeholder("x"),)))
    module = fx.GraphModule(nn.Module(), graph)
    next(iter(module.graph.find_nodes(op="call_function", target=torch.add))).args = (base,)
    with pytest.raises(UnsupportedValue, match="ndarray cannot be an argument of a node"):
        fxarchive.dumps(module)


# documents that nobody wrote


def altered(**fields: Any) -> Callable[[dict[str, Any]], None]:
    """Set fields of the row of `arrays`; None takes one away."""

    def change(document: dict[str, Any]) -> None:
        record = document["arrays"][0]
        record.update(fields)
        for name in [name for name, value in fields.items() if value is None]:
            del record[name]

    return change


HOSTILE: dict[str, dict[str, Any]] = {
    "a size beyond the storage": {"size": [4, 3]},
    "a size that overflows": {"size": [2**62, 2**62]},
    "bytes that overflow": {"size": [2**61, 2], "stride": [0, 0]},
    "a size beyond 64 bits": {"size": [2**64]},
    "a negative size": {"size": [-1, 3]},
    "a size that is no integer": {"size": [2.0, 3]},
    "a boolean as size": {"size": [True, 3]},
    "sizes that are no list": {"size": 6},
    "no sizes": {"size": None},
    "too many dimensions": {"size": [1] * 65},
    "a stride beyond the storage": {"stride": [24, 16]},
    "a stride before the storage": {"stride": [-24, 8]},
    "a stride that overflows": {"stride": [2**63 - 1, 2**63 - 1]},
    "a stride beyond 64 bits": {"stride": [-(2**64), 8]},
    "too few strides": {"stride": [8]},
    "a stride that is no integer": {"stride": [24, None]},
    "an offset beyond the storage": {"offset": 8},
    "a negative offset": {"offset": -8},
    "an offset that is no integer": {"offset": 0.5},
    "a storage that is not there": {"storage": 7},
    "a negative storage": {"storage": -1},
    "a storage on another device": {"storage": 0},
    "no storage": {"storage": None},
    "an object": {"dtype": "|O"},
    "an object by another name": {"dtype": "object"},
    "records": {"dtype": "i4,f4"},
    "a larger type": {"dtype": "<c16"},
    "a type of no size": {"dtype": "|S0"},
    "a type of huge size": {"dtype": "<U999999999"},
    "another name of a type": {"dtype": "float64"},
    "a native type": {"dtype": "=f8"},
    "a unit that is none": {"dtype": "<M8[x]"},
    "a type that is no text": {"dtype": 8},
    "no type": {"dtype": None},
    "characters that are none": {"dtype": "<U2"},
    "bools that are none": {"dtype": "|b1", "size": [48]},
    "elements without end": {"dtype": "|b1", "size": [2] * 60, "stride": [1] * 5 + [0] * 54 + [1]},
    "elements that overlap": {"dtype": "|b1", "size": [6, 6], "stride": [1, 1]},
    "a flag that is none": {"readonly": 1},
    "a field that is none": {"order": "F"},
    "bytes of no elements": {"size": [0, 3]},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_rows_are_refused(name: str) -> None:
    array = np.array([[at, at, at] for at in (2.5, 3.5)])
    with pytest.raises(InvalidDocument, match=r"arrays\[0\]|storages"):
        through_the_codec([array, torch.empty(6, device="meta")], change=altered(**HOSTILE[name]))


@pytest.mark.parametrize("rows", [[7], [[]], ["array"], {}, None])
def test_hostile_tables_are_refused(rows: Any) -> None:
    with pytest.raises(InvalidDocument):
        through_the_codec([base], change=lambda document: document.update(arrays=rows))


def test_no_memory_is_asked_for_before_the_storage_is_checked() -> None:
    array = np.arange(1000.0)
    for size in (2**40, 2**59):
        with pytest.raises(InvalidDocument, match=r"needs bytes 0 to \d+ and its storage has 8000"):
            through_the_codec([array], change=altered(size=[size]))


def test_an_array_of_an_omitted_storage_is_refused() -> None:
    def change(document: dict[str, Any]) -> None:
        document["storages"][0] = {"size": 240, "device": "cpu", "omitted": True}

    with pytest.raises(InvalidDocument, match="is not one of the CPU with bytes"):
        through_the_codec([base], change=change)


def test_arrays_need_their_flag() -> None:
    encoded = codec.encode([base])
    assert encoded.features == {"numpy-arrays"}
    with pytest.raises(InvalidDocument, match="does not name the feature flag 'numpy-arrays'"):
        codec.decode(encoded.document, None, features=frozenset())  # type: ignore[arg-type]


def test_strides_are_those_of_numpy() -> None:
    for shape in ((), (3,), (2, 3), (4, 1, 5)):
        array = np.empty(shape, "f4")
        assert contiguous_strides(list(shape), 4) == list(array.strides)
    for dtype in DTYPES:
        assert itemsize(dtype) == np.dtype(dtype).itemsize


# looked at without numpy


def scaled(scales: Any) -> io.BytesIO:
    module = fx.symbolic_trace(nn.ReLU())
    module.scales, module.same = scales, scales
    module.meta["custom"] = [np.arange(3)]
    next(iter(module.graph.nodes)).meta["custom"] = {"scales": scales}
    return io.BytesIO(fxarchive.dumps(module))


@pytest.mark.parametrize(
    ("other", "shown"),
    [
        (np.arange(4, dtype="<f4"), "ndarray <f4[4], bytes"),
        (np.arange(3, dtype="<f8"), "ndarray <f8[3], bytes"),
        (np.ones(3, dtype="<f4"), "ndarray <f4[3], bytes"),
        (np.zeros(6, dtype="<f4")[::2], "ndarray <f4[3], stride [8], bytes"),
        (np.broadcast_to(np.float32(2), (3,)), "ndarray <f4[3], readonly True, stride [0], bytes"),
    ],
)
def test_a_difference_of_an_array_is_named(other: Any, shown: str) -> None:
    before = np.zeros(3, dtype="<f4")
    assert compare(scaled(before), scaled(before.copy())).same
    found = {(each.part, each.where): each for each in compare(scaled(before), scaled(other)).differences}
    both = {where: each for (part, where), each in found.items() if part == "weights"}
    assert both.keys() == {"scales", "same"}
    assert str(both["scales"].left).startswith("ndarray <f4[3], bytes")
    assert str(both["scales"].right).startswith(shown)
    assert str(both["same"].right).endswith(", in the memory of scales")


def test_arrays_are_listed_by_name() -> None:
    contents = fxarchive.inspect(scaled(np.zeros(3, dtype="<f4"))).contents
    assert contents is not None
    assert {weight.names for weight in contents.weights} == {("scales", "same"), ()}
    held = codec.encode([np.zeros(3), base]).document
    assert [weight.names for weight in weights_of(held)] == [("[1]",), ("[0]",)]
    assert [weight.names for weight in weights_of(codec.encode(base).document)] == [("the array",)]
    assert root_kind(codec.encode(base).document) == "ndarray"


def test_arrays_of_examples_are_those_of_examples() -> None:
    document = codec.encode([base], examples=((np.arange(5),), {}, None)).document
    assert [(weight.size, weight.example) for weight in weights_of(document)] == [(240, False), (40, True)]


# without numpy


WITHOUT = """
import json, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "numpy":
            raise ModuleNotFoundError("no numpy", name=name)
sys.meta_path.insert(0, Missing())
import warnings
warnings.simplefilter("ignore")
import fxarchive
path, plain = sys.argv[1:]
said = [fxarchive.inspect(path).features, len(fxarchive.load(plain)), fxarchive.verify(path).ok]
try:
    fxarchive.load(path)
except ImportError as error:
    said += [type(error).__name__, str(error)]
print(json.dumps([*said, "numpy" in sys.modules]))
"""


def test_without_numpy(tmp_path: Path) -> None:
    path, plain = tmp_path / "arrays.fxa", tmp_path / "plain.fxa"
    fxarchive.save([base], path)
    fxarchive.save([torch.ones(2), 1], plain)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(path), str(plain)], capture_output=True, text=True, check=True
    )
    features, count, good, error, text, imported = json.loads(done.stdout.splitlines()[-1])
    assert (features, count, good, error) == (["numpy-arrays"], 2, True, "MissingNumpy")
    assert text == "The archive holds arrays of numpy, which cannot be imported; run pip install numpy."
    assert not imported


def test_encode_and_decode_leave_the_array_alone() -> None:
    array = np.arange(9.0).reshape(3, 3)[:, 1]
    document, sections = encode(array)
    found = decode(document, sections)
    found[0] = -1
    assert array[0] == 1
