"""Real tensors: every dtype, layout and kind, what they share, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from fxarchive import errors, wire

from ..compare import assert_same
from .tables import again, decode, encode

pytestmark = [
    pytest.mark.filterwarnings("ignore:ComplexHalf"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
    pytest.mark.filterwarnings("ignore:Sparse CS"),
]

DTYPES = sorted({value for value in vars(torch).values() if isinstance(value, torch.dtype)}, key=str)
QUANTIZED = [torch.qint8, torch.quint8, torch.qint32]
PLAIN = [dtype for dtype in DTYPES if "quint" not in str(dtype) and "qint" not in str(dtype)]


def of_dtype(dtype: torch.dtype, *size: int) -> torch.Tensor:
    """A tensor with a different byte wherever the dtype has room for one."""
    tensor = torch.empty(size, dtype=dtype)
    raw = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
    raw.copy_(torch.arange(raw.numel()) % (2 if dtype is torch.bool else 251))
    return tensor


def bytes_of(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.untyped_storage())


@pytest.mark.parametrize("dtype", PLAIN, ids=str)
def test_every_dtype_comes_back_bit_for_bit(dtype: torch.dtype) -> None:
    for tensor in (of_dtype(dtype, 7, 3), of_dtype(dtype), of_dtype(dtype, 0, 4), of_dtype(dtype, 200)):
        loaded = again(tensor)
        assert (loaded.dtype, loaded.shape, loaded.stride()) == (dtype, tensor.shape, tensor.stride())
        assert bytes_of(loaded) == bytes_of(tensor)


def test_every_dtype_of_this_torch_is_one_of_those_tested() -> None:
    assert {*PLAIN, *QUANTIZED, torch.quint4x2, torch.quint2x4} == set(DTYPES)


def test_bits_of_floats_are_kept() -> None:
    bits = torch.tensor([0x7FC00001, -1, -(2**31), 0x7F800001], dtype=torch.int64).to(torch.int32)
    assert torch.equal(again(bits.view(torch.float32)).view(torch.int32), bits)


BASE = torch.arange(60.0).view(3, 4, 5)
VIEWS: dict[str, torch.Tensor] = {
    "contiguous": BASE,
    "transposed": BASE.transpose(0, 2),
    "sliced": BASE[1:, ::2, 1],
    "expanded": BASE[:, :1, :1].expand(3, 7, 9),
    "overlapping": BASE.as_strided((5, 5), (1, 2), 3),
    "no elements": BASE[:, 4:],
    "no dimensions": BASE[2, 3, 4],
    "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "offset without elements": torch.empty(0).as_strided((0, 3), (5, 1), 17),
}


@pytest.mark.parametrize("name", VIEWS)
def test_any_view_comes_back(name: str) -> None:
    assert_same(VIEWS[name], again(VIEWS[name]))


def test_views_and_aliases_share_as_before() -> None:
    values = [*VIEWS.values(), BASE, torch.nn.Parameter(BASE), torch.nn.Parameter(BASE[0])]
    assert_same(values, again(values))


def complex_tensor() -> torch.Tensor:
    return torch.randn(4, 3, dtype=torch.complex64)


def with_grad() -> torch.Tensor:
    tensor = torch.ones(3, requires_grad=True)
    tensor.grad = torch.arange(3.0)
    return tensor


def with_attributes() -> torch.Tensor:
    tensor = torch.ones(3)
    tensor.note = {"axis": (1, 2), "self": tensor}  # type: ignore[attr-defined]
    tensor.other = tensor[1:]  # type: ignore[attr-defined]
    return tensor


def inference() -> list[torch.Tensor]:
    with torch.inference_mode():
        return [torch.ones(3), torch.nn.Parameter(torch.ones(2), requires_grad=False)]


def coo() -> torch.Tensor:
    return torch.sparse_coo_tensor(
        [[0, 1, 1], [2, 0, 0]], torch.randn(3, 5), (3, 4, 5), check_invariants=True
    )


def compressed(layout: str, **options: Any) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: torch.Tensor = getattr(torch.randn(2, 4, 6), f"to_sparse_{layout}")(**options)
        return made


KINDS: dict[str, Callable[[], Any]] = {
    "parameter": lambda: torch.nn.Parameter(torch.ones(2)),
    "parameter without gradient": lambda: torch.nn.Parameter(torch.ones(2), requires_grad=False),
    "integer parameter": lambda: torch.nn.Parameter(torch.ones(2, dtype=torch.int8), requires_grad=False),
    "parameter with attributes": lambda: setattr(p := torch.nn.Parameter(torch.ones(2)), "tag", 3) or p,
    "buffer": lambda: torch.nn.Buffer(torch.ones(2)),
    "buffer that is not persistent": lambda: torch.nn.Buffer(torch.ones(2), persistent=False),
    "requires_grad": lambda: torch.ones(2, requires_grad=True),
    "grad": with_grad,
    "attributes": with_attributes,
    "inference": inference,
    "conj": lambda: complex_tensor().conj(),
    "conj of a transpose": lambda: complex_tensor().mH,
    "neg": lambda: complex_tensor().conj().imag,
    "conj parameter": lambda: torch.nn.Parameter(complex_tensor().conj()),
    "meta": lambda: torch.empty(10**12, 3, device="meta"),
    "meta parameter": lambda: torch.nn.Parameter(torch.empty(3, device="meta")),
    "coo": coo,
    "coalesced coo": lambda: coo().coalesce(),
    "coo without elements": lambda: torch.sparse_coo_tensor(size=(3, 4), check_invariants=True),
    "coo parameter": lambda: torch.nn.Parameter(coo()),
    "coo on meta": lambda: coo().to("meta"),
    "csr": lambda: compressed("csr"),
    "csc": lambda: compressed("csc"),
    "bsr": lambda: compressed("bsr", blocksize=(2, 3)),
    "bsc": lambda: compressed("bsc", blocksize=(2, 3)),
    "csr parameter": lambda: torch.nn.Parameter(compressed("csr")),
    "quantized": lambda: torch.quantize_per_tensor(torch.randn(3, 4), 0.1, 7, torch.quint8).t(),
    "quantized by channel": lambda: torch.quantize_per_channel(
        torch.randn(3, 4), torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0, -1, 2]), 0, torch.qint8
    ),
    "quantized by channel with floats": lambda: torch.quantize_per_channel(
        torch.randn(3, 4), torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 1.5, 2.0]), 0, torch.quint8
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_comes_back(name: str) -> None:
    value = KINDS[name]()
    assert_same(value, again(value))


@pytest.mark.parametrize("dtype", QUANTIZED, ids=str)
def test_quantized_dtypes_come_back(dtype: torch.dtype) -> None:
    tensor = torch.quantize_per_tensor(torch.randn(30, 10), 0.05, 2, dtype)
    assert_same([tensor, tensor[1:, ::2]], again([tensor, tensor[1:, ::2]]))


@pytest.mark.parametrize("dtype", [torch.quint4x2, torch.quint2x4], ids=str)
def test_packed_dtypes_come_back(dtype: torch.dtype) -> None:
    scales, zeros = torch.full((6,), 0.3), torch.zeros(6)
    for width in (4, 5, 1000):
        tensor = torch.quantize_per_channel(torch.randn(6, width), scales, zeros, 0, dtype)
        loaded = again(tensor)
        assert bytes_of(loaded) == bytes_of(tensor)
        assert (loaded.dtype, loaded.shape) == (dtype, tensor.shape)
        assert torch.equal(loaded.q_per_channel_scales(), tensor.q_per_channel_scales())
        assert torch.equal(loaded.dequantize(), tensor.dequantize())


def test_uninitialized_parameters_and_buffers_come_back() -> None:
    parameter, buffer = again(
        [
            UninitializedParameter(requires_grad=False, dtype=torch.float64),
            UninitializedBuffer(persistent=False),
        ]
    )
    assert (type(parameter), type(buffer)) == (UninitializedParameter, UninitializedBuffer)
    assert parameter.data.dtype is torch.float64
    assert not parameter.requires_grad
    assert not buffer.persistent
    parameter.materialize((2, 3))
    assert parameter.shape == (2, 3)


def test_one_object_stays_one_object() -> None:
    tensor = torch.ones(2)
    first, second, other = again([tensor, tensor, tensor.view(2)])
    assert first is second
    assert first is not other


def test_attributes_may_lead_back_to_the_tensor() -> None:
    loaded = again(with_attributes())
    assert loaded.note["self"] is loaded
    loaded[1] = 5
    assert loaded.other[0] == 5


def test_gradients_flow_through_what_was_loaded() -> None:
    loaded = again(torch.nn.Parameter(torch.ones(3)))
    (loaded * 2).sum().backward()
    assert loaded.grad.tolist() == [2, 2, 2]


def test_omitted_weights_keep_everything_but_their_bytes() -> None:
    values = [KINDS[name]() for name in ("parameter", "conj", "coo", "csr", "bsc", "grad")]
    loaded = again(values, omit_weights=True)
    for value, back in zip(values, loaded, strict=True):
        assert (back.device.type, back.shape, back.layout) == ("meta", value.shape, value.layout)
        assert (back.requires_grad, back.is_conj()) == (value.requires_grad, value.is_conj())


def non_leaf() -> torch.Tensor:
    return torch.ones(2, requires_grad=True) * 2


def hooked() -> torch.Tensor:
    tensor = torch.ones(2, requires_grad=True)
    tensor.register_hook(lambda grad: grad)
    return tensor


def shrunk() -> torch.Tensor:
    tensor = torch.ones(100)
    tensor.untyped_storage().resize_(8)
    return tensor


def functional() -> torch.Tensor:
    functional: torch.Tensor = torch._to_functional_tensor(torch.ones(2))
    return functional


def nested() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "non-leaf": (non_leaf, r"autograd history .*\.detach\(\)"),
    "hooks": (hooked, "hooks"),
    "nested": (nested, "nested tensor"),
    "mkldnn": (lambda: torch.ones(2, 2).to_mkldnn(), r"mkldnn .*\.to_dense\(\)"),
    "functional": (functional, "functionalization"),
    "zeros without storage": (lambda: torch._efficientzerotensor(2), r"\.clone\(\)"),
    "storage too small": (shrunk, "8 bytes of the 400"),
    "attribute": (lambda: setattr(t := torch.ones(1), "code", lambda: 1) or t, r"\.code"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_is_refused_with_its_path_and_remedy(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(errors.UnsupportedValue, match=message) as caught:
        encode({"weights": [torch.ones(1), make()]})
    assert all(problem.path.startswith("['weights'][1]") for problem in caught.value.problems)


def test_every_place_of_a_refused_tensor_is_named() -> None:
    tensor = torch.ones(1)
    tensor.code = lambda: 1  # type: ignore[attr-defined]
    with pytest.raises(errors.UnsupportedValue) as caught:
        encode([tensor, tensor])
    assert [problem.path for problem in caught.value.problems] == ["[0].code", "[1].code"]


HOSTILE: dict[str, dict[str, Any]] = {
    "size beyond the storage": {"size": [5]},
    "offset beyond the storage": {"offset": 1},
    "stride beyond the storage": {"stride": [2]},
    "negative size": {"size": [-1]},
    "negative offset": {"offset": -1},
    "negative stride": {"stride": [-1]},
    "more strides than sizes": {"stride": [1, 1]},
    "absurd size": {"size": [2**62, 2**62]},
    "absurd expanded size": {"size": [2**62, 2**62], "stride": [0, 0]},
    "overflowing size of nothing": {"size": [0, 2**62, 2**62]},
    "huge number": {"size": [2**70]},
    "size of bool": {"size": [True]},
    "size of floats": {"size": [4.0]},
    "too many dimensions": {"size": [1] * 2000},
    "no size": {"size": None},
    "unknown dtype": {"dtype": "float1024"},
    "attribute of torch": {"dtype": "load"},
    "dtype of no name": {"dtype": 3},
    "larger dtype": {"dtype": "complex128"},
    "quantized without quantizer": {"dtype": "qint8"},
    "quantizer of floats": {"quantizer": ["per_tensor_affine", 0.1, 0]},
    "conj of reals": {"conj": True},
    "flag of no kind": {"requires_grad": 1},
    "gradient of integers": {"dtype": "int32", "requires_grad": True},
    "unknown class": {"class": "os.system"},
    "class of no name": {"class": ["list", []]},
    "unknown field": {"code": "print()"},
    "unknown layout": {"layout": "jagged"},
    "layout without parts": {"layout": "sparse_coo"},
    "special attribute": {"attributes": ["__class__", 1]},
    "attributes that are no pairs": {"attributes": ["a"]},
    "grad of another shape": {"grad": ["tensor", 1]},
    "grad of no tensor": {"grad": 3},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_rows_are_refused(name: str) -> None:
    document, sections = encode([torch.ones(4), torch.ones(3)])
    document["tensors"][0].update(HOSTILE[name])
    with pytest.raises(
        (errors.InvalidDocument, errors.MissingOperator), match=r"tensors\[0\]|has no such value"
    ):
        decode(document, sections)


SPARSE_DAMAGE: list[tuple[str, str, Any]] = [
    ("coo", "size", [3, 2, 5]),
    ("coo", "size", [3, 4]),
    ("coo", "size", [2**62, 2**62, 5]),
    ("coo", "coalesced", True),
    ("coo", "indices", 1),
    ("coo", "values", 0),
    ("csr", "size", [2, 5, 6]),
    ("csr", "size", [2, 4, 1]),
    ("csr", "compressed", 1),
    ("csr", "plain", 2),
    ("csr", "layout", "sparse_bsc"),
    ("bsr", "layout", "sparse_csr"),
    ("quantized", "quantizer", ["per_tensor_affine", 1, 0]),
    ("quantized", "quantizer", ["per_tensor_affine", 0.1, 2**40]),
    ("quantized", "quantizer", ["per_tensor_affine"]),
    ("quantized", "quantizer", ["per_channel_affine", 9, [0.1], [0]]),
    ("quantized by channel", "quantizer", ["per_channel_affine", 0, [0.1], [0]]),
    ("quantized by channel", "quantizer", ["per_channel_affine", 0, [0.1] * 3, [0.0] * 3]),
    ("quantized by channel", "quantizer", ["per_channel_affine", 0, [0.1] * 3, [2**90] * 3]),
    ("quantized by channel", "dtype", "int8"),
]


@pytest.mark.parametrize(("kind", "name", "value"), SPARSE_DAMAGE, ids=str)
def test_parts_that_do_not_fit_are_refused(kind: str, name: str, value: Any) -> None:
    document, sections = encode(KINDS[kind]())
    document["tensors"][-1][name] = value
    with pytest.raises(errors.InvalidDocument, match=r"tensors\[\d\]"):
        decode(document, sections)


def test_indices_outside_of_a_sparse_tensor_are_refused() -> None:
    document, sections = encode(coo())
    row = next(r for r in document["storages"] if r["size"] == 48)
    row["data"] = b"\xff" * 48
    with pytest.raises(errors.InvalidDocument, match="sparse_coo"):
        decode(document, sections)


WITHOUT_WARNINGS = """
import pathlib, sys, warnings
import torch, fxarchive.codec
from fxarchive import wire
from tests.codec.tables import Bytes, decode
document = wire.loads(pathlib.Path(sys.argv[1]).read_bytes())
warnings.simplefilter("error")
print(len(decode(document)))
"""


def test_loading_does_not_warn_of_what_the_archive_holds(tmp_path: Path) -> None:
    kinds = [KINDS["quantized"](), KINDS["quantized by channel"](), torch.eye(2).to_sparse_csr()]
    with FakeTensorMode() as mode:
        fakes = [torch.empty(3, dtype=torch.complex32)]
    fakes.append(mode.from_tensor(compressed("csr")))
    document, _ = encode([of_dtype(torch.complex32, 3), *kinds, *fakes])
    (tmp_path / "document").write_bytes(wire.dumps(document))
    command = [sys.executable, "-c", WITHOUT_WARNINGS, str(tmp_path / "document")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.stdout, done.returncode) == ("6\n", 0), done.stderr


@pytest.mark.parametrize("row", [5, -1, None, "0", [0], 0.0])
def test_a_row_that_is_not_there_is_refused(row: Any) -> None:
    document, sections = encode(torch.ones(1))
    document["root"] = ["tensor", row]
    with pytest.raises(errors.InvalidDocument, match="table tensors"):
        decode(document, sections)
