"""FakeTensors: exact, shared as before, in one mode, and fast without being different."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from fxarchive import errors
from fxarchive.codec.fakes import decode_fakes
from fxarchive.codec.fast import fakes as fast
from fxarchive.codec.isolation import isolated
from fxarchive.codec.running_torch import RunningTorch

from ..compare import assert_same
from .tables import again, decode, encode

pytestmark = [
    pytest.mark.filterwarnings("ignore:ComplexHalf"),
    pytest.mark.filterwarnings("ignore:Sparse CS"),
]

LACKING = "cuda:1" if not torch.cuda.is_available() else "xpu:1"


@pytest.fixture
def mode() -> FakeTensorMode:
    return FakeTensorMode(allow_non_fake_inputs=True)


@pytest.fixture(params=["shortcut", "constructor"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with the shortcut and with the official path alone."""
    if request.param == "constructor":
        monkeypatch.setattr(fast, "is_exact", lambda unsafe: False)
    return str(request.param)


def fake(mode: FakeTensorMode, *size: int, **options: Any) -> Any:
    with mode:
        return torch.empty(size, **options)


def described(document: Any) -> int:
    return len(document["descriptions"])


def with_history(mode: FakeTensorMode) -> list[Any]:
    with mode:
        leaf = torch.empty(3, 4, requires_grad=True)
        computed = leaf * 2
        with torch.no_grad():
            quiet = computed.t()
        return [leaf, computed, computed + 1, computed.view(12), leaf.t(), quiet, leaf.detach()]


def views(mode: FakeTensorMode) -> list[Any]:
    with mode:
        base = torch.empty(4, 6)
        number = torch.empty(4, 2, dtype=torch.complex64)
        return [
            *(
                base,
                base.t(),
                base[1:, ::2],
                base.view(torch.int32),
                base.view(torch.complex64),
                base.view(24),
            ),
            *(base.detach(), base[2:].detach(), base.expand(2, 4, 6)),
            *(
                number,
                number.real,
                number.imag,
                number.conj(),
                number.conj().imag,
                torch.view_as_real(number),
            ),
        ]


def of_other_storages(mode: FakeTensorMode) -> list[Any]:
    with mode:
        whole = torch.empty(100)
        return [
            torch.empty(20)[10:].detach(),
            whole[3:7].detach(),
            whole[5:].detach(),
            torch.empty(8, 8).t().detach(),
        ]


def parameters(mode: FakeTensorMode) -> list[Any]:
    kept = torch.nn.Parameter(fake(mode, 3))
    kept.note = ["weight", kept]  # type: ignore[attr-defined]
    return [
        mode.from_tensor(torch.nn.Parameter(torch.ones(2))),
        kept,
        torch.nn.Buffer(fake(mode, 2), persistent=False),
    ]


def with_grad(mode: FakeTensorMode) -> list[Any]:
    leaf, grad = fake(mode, 3, requires_grad=True), fake(mode, 3)
    leaf.grad = grad
    return [leaf, grad]


def constants(mode: FakeTensorMode) -> list[Any]:
    with mode:
        return [torch.tensor(5), torch.tensor(2.5, dtype=torch.float64), torch.tensor([1])]


def sparse(mode: FakeTensorMode) -> list[Any]:
    dense = torch.eye(4)
    real = [dense.to_sparse(), dense.to_sparse_csr(), dense.to_sparse_csc(), dense.to_sparse_bsr((2, 2))]
    made = [mode.from_tensor(tensor) for tensor in [*real, dense.to_sparse_bsc((2, 4))]]
    with mode:
        indices = torch.empty(2, 5, dtype=torch.int64)
        made.append(torch.sparse_coo_tensor(indices, torch.empty(5, 3), (4, 4, 3), check_invariants=False))
    return made


def inference(mode: FakeTensorMode) -> list[Any]:
    with torch.inference_mode(), mode:
        base = torch.empty(3, 4)
        return [base, base.t(), torch.empty(3, 4), torch.empty(3, 4)]


CASES: dict[str, Callable[[FakeTensorMode], Any]] = {
    "sizes": lambda mode: [fake(mode, *size) for size in ((), (0,), (3,), (2, 0, 4), (1, 1), (5, 6, 7))] * 2,
    "same sizes": lambda mode: [fake(mode, 2, 3) for _ in range(20)],
    "strides": lambda mode: [fake(mode, 2, 3, 4, 5, memory_format=torch.channels_last) for _ in range(3)],
    "dtypes": lambda mode: [
        fake(mode, 3, dtype=dtype)
        for dtype in sorted({v for v in vars(torch).values() if isinstance(v, torch.dtype)}, key=str)
        if "qint" not in str(dtype) and "quint" not in str(dtype)
    ],
    "devices": lambda mode: [fake(mode, 3, device=d) for d in ("cpu", "meta", LACKING, LACKING)],
    "requires_grad": lambda mode: [fake(mode, 3, requires_grad=True, device=d) for d in ("cpu", LACKING) * 2],
    "history": with_history,
    "views": views,
    "other storages": of_other_storages,
    "parameters": parameters,
    "grad": with_grad,
    "constants": constants,
    "sparse": sparse,
    "inference": inference,
    "one object twice": lambda mode: [fake(mode, 3)] * 2,
    "attributes": lambda mode: setattr(t := fake(mode, 3), "mark", (1, t)) or [t],
    "view of what is not listed": lambda mode: [fake(mode, 3, 4).t(), fake(mode, 9)[2:]],
    "negative": lambda mode: [torch._neg_view(fake(mode, 3)).detach()],
}


@pytest.mark.parametrize("name", CASES)
def test_every_kind_comes_back(name: str, mode: FakeTensorMode, path: str) -> None:
    values = CASES[name](mode)
    assert_same(values, again(values))


def test_history_on_a_device_that_is_not_here_comes_back(mode: FakeTensorMode) -> None:
    # torch aborts the process if autograd meets such a FakeTensor, so the document is made by hand
    document, sections = encode(with_history(mode))
    for description in document["descriptions"]:
        description[1] = LACKING
    loaded = decode(document, sections)
    assert [t.device for t in loaded] == [torch.device(LACKING)] * 7
    assert [t.is_leaf for t in loaded] == [True, False, False, False, False, True, True]
    assert loaded[3]._base is loaded[1]


def test_fakes_of_several_modes_join_the_one_that_is_given(mode: FakeTensorMode) -> None:
    values = [fake(mode, 3), fake(FakeTensorMode(), 3), fake(FakeTensorMode(), 4)]
    given = FakeTensorMode()
    document, sections = encode(values)
    assert all(t.fake_mode is given for t in decode(document, sections, fake_mode=given))
    made = {t.fake_mode for t in decode(document, sections)}
    assert len(made) == 1
    assert given not in made


def test_what_is_equal_is_described_once(mode: FakeTensorMode) -> None:
    document, _ = encode([fake(mode, 2, 3) for _ in range(50)])
    assert document["descriptions"] == [["float32", "cpu", [2, 3], None]]
    assert document["fakes"] == {"description": [0] * 50}


def test_the_document_depends_on_the_values_alone() -> None:
    first, second = (
        encode([*views(mode), *with_history(mode)])[0] for mode in (FakeTensorMode(), FakeTensorMode())
    )
    assert first == second


def test_a_memoized_result_is_not_kept() -> None:
    mode = FakeTensorMode(shape_env=ShapeEnv())
    value = fake(mode, 3)
    with mode:
        value.nonzero()
    loaded = again(value)
    assert loaded.nonzero_memo is None
    assert loaded.shape == (3,)


def test_loading_is_free_of_the_modes_of_the_caller(mode: FakeTensorMode) -> None:
    document, sections = encode([torch.ones(3), fake(mode, 3), fake(mode, 3)])
    with torch.device("meta"), FakeTensorMode(), torch.inference_mode(), isolated():
        real, one, other = decode(document, sections)
    assert (type(real), real.device.type, real.is_inference()) == (torch.Tensor, "cpu", False)
    assert (one.device.type, other.is_inference()) == ("cpu", False)


@pytest.mark.skipif(RunningTorch.release == "2.7", reason="FakeTensors stand for nothing in torch 2.7")
def test_what_a_fake_stands_for_comes_back() -> None:
    keys = torch._C._dispatch_keys(torch.ones(2))
    mode = FakeTensorMode()
    values = [
        FakeTensor(mode, torch.empty(3, device="meta"), torch.device("cpu"), pytype=kind, dispatch_keys=keys)
        for kind in (torch.nn.Parameter, torch.Tensor, torch.nn.Parameter)
    ]
    document, sections = encode(values)
    assert described(document) == 2
    loaded = decode(document, sections)
    assert_same(values, loaded)
    assert [str(t.dispatch_keys) for t in loaded] == [str(keys)] * 3


# the shortcut


def test_the_shortcut_is_taken_in_this_torch() -> None:
    assert fast.is_exact(True)
    assert fast.is_exact(False)


@pytest.mark.parametrize("name", ["_make_subclass", "_set_warn_deprecated_on_mutable_data_ptr"])
def test_without_a_private_name_the_constructor_is_used(
    name: str, mode: FakeTensorMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [fake(mode, 2) for _ in range(3)]
    first = fake(mode, 2)
    holder = torch.Tensor if name == "_make_subclass" else torch._C
    fast.is_exact.cache_clear()
    with monkeypatch.context() as patch:
        if name == "_make_subclass":
            # the constructor needs it too, so it is changed, not removed
            original = torch.Tensor._make_subclass
            patch.setattr(fast, "_wrapper", lambda *args: original.missing)
        else:
            patch.delattr(holder, name)
            patch.setattr(mode, "_allow_unsafe_data_ptr_access", True)
        assert fast.wrapper(first, mode, False, {}) is None
    fast.is_exact.cache_clear()
    assert_same(values, again(values))


def test_a_copy_that_differs_in_anything_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    original = fast._wrapper

    def wrong(*args: Any) -> Any:
        wrap = original(*args)

        def with_a_mark(meta: torch.Tensor) -> Any:
            made = wrap(meta)
            made.mark = 1
            return made

        return with_a_mark

    fast.is_exact.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(fast, "_wrapper", wrong)
        assert not fast.is_exact(True)
    fast.is_exact.cache_clear()


def many(count: int) -> tuple[list[Any], FakeTensorMode]:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    document, _ = encode(
        [fake(mode, 4, 6), fake(mode, 6, 5, device=LACKING), fake(mode, 4, 6, requires_grad=True)]
    )
    document["fakes"]["description"] = [i % 3 for i in range(count)]
    document["root"] = ["list", [["fake", i] for i in range(count)]]
    given = FakeTensorMode(allow_non_fake_inputs=True)
    return decode(document, fake_mode=given), given


OPERATORS: list[Callable[[Any], Any]] = [
    lambda t: t + 1,
    lambda t: t.t() @ t,
    lambda t: t.view(-1),
    lambda t: t[1:, ::2],
    lambda t: t.detach().add_(1),
    lambda t: t.detach().resize_(2, 2),
    lambda t: t.clone(),
    lambda t: t.to(torch.float64),
    lambda t: t.new_empty(3),
    lambda t: torch.cat([t, t]),
    lambda t: t.sum(0),
    lambda t: torch.nn.functional.softmax(t, 1),
    lambda t: t.detach().copy_(t.detach()),
    lambda t: t.detach().set_(t.detach()),
    lambda t: t.contiguous(),
    lambda t: t.cpu(),
    lambda t: copy.deepcopy(t),
]


def outcome(call: Callable[[Any], Any], value: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = call(value)
        except Exception as error:
            return type(error), str(error)[:80]
    return made.shape, made.stride(), made.dtype, made.device, made.requires_grad, type(made), made._is_view()


def test_operators_treat_copies_as_they_treat_the_official_ones() -> None:
    loaded, mode = many(9)
    for device, requires_grad, at in (("cpu", False, 3), (LACKING, False, 4), ("cpu", True, 5)):
        size, stride = list(loaded[at].shape), list(loaded[at].stride())
        elem = torch.empty_strided(size, stride, device="meta")
        official = FakeTensor(mode, elem, torch.device(device)).requires_grad_(requires_grad)
        prototype = FakeTensor(mode, torch.empty(0, device="meta"), torch.device(device))
        wrap = fast.wrapper(prototype, mode, requires_grad, {})
        assert wrap is not None
        for call in OPERATORS:
            wrapped = wrap(torch.empty_strided(size, stride, device="meta"))
            assert outcome(call, wrapped) == outcome(call, official)
            assert outcome(call, loaded[at]) == outcome(call, official)


# deepcopy asks every FakeTensor for its data pointer, and torch warns of that once a process
@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
def test_thousands_of_copies_live_and_die_in_any_order() -> None:
    loaded, mode = many(10_000)
    storages = {t.untyped_storage()._cdata for t in loaded}
    assert len(storages) == 10_000
    kept = loaded[::7]
    made = [t.view(-1) for t in kept[:200]] + [t.detach().mul_(2) for t in kept[:200]]
    made += [copy.deepcopy(t, {id(mode): mode}) for t in kept[:50] if t.device.type == "cpu"]
    del loaded, storages
    gc.collect()
    assert all(t.fake_mode is mode for t in [*made, *kept])
    assert all(t._base is base for t, base in zip(made[:200], kept[:200], strict=True))


def test_threads_may_load_at_the_same_time() -> None:
    results: list[int] = []

    def load() -> None:
        loaded, _ = many(500)
        results.append(sum(t.numel() for t in loaded) + (loaded[0] + loaded[3]).numel())

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [results[0]] * 4


AT_EXIT = """
from tests.codec.test_fakes import many
loaded, mode = many(3000)
made = [t.view(-1) for t in loaded[::3]]
del mode
print(len(made))
"""


def test_the_process_ends_well_with_copies_alive() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.stdout, done.returncode) == ("1000\n", 0), done.stderr


# refusals


def retaining() -> Any:
    mode = FakeTensorMode()
    computed = fake(mode, 3, requires_grad=True) * 2
    computed.retain_grad()
    computed.sum().backward()
    return computed


def with_real_tensor() -> Any:
    value = fake(FakeTensorMode(), 3)
    value.real_tensor = torch.ones(3)
    return value


def hooked() -> Any:
    value = fake(FakeTensorMode(), 3, requires_grad=True)
    value.register_hook(lambda grad: grad)
    return value


def shrunk() -> Any:
    value = fake(FakeTensorMode(), 100)
    value.untyped_storage().resize_(8)
    return value


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "real tensor": (with_real_tensor, "real_tensor"),
    "hook": (hooked, "hooks"),
    "retained gradient": (retaining, r"retains|hooks"),
    "storage too small": (shrunk, "8 bytes of the 400"),
    "attribute": (lambda: setattr(t := fake(FakeTensorMode(), 1), "code", lambda: 1) or t, r"\.code"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_is_refused_with_its_path(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(errors.UnsupportedValue, match=message) as caught:
        encode([1, make()])
    assert all(problem.path.startswith("[1]") for problem in caught.value.problems)


HOSTILE_DESCRIPTIONS: list[Any] = [
    None,
    [],
    ["float32", "cpu", [3]],
    ["float32", "cpu", [3], None, None],
    ["float32", "cpu", [3], None, {"code": 1}],
    ["float33", "cpu", [3], None],
    ["qint8", "cpu", [3], None],
    ["float32", "nowhere", [3], None],
    ["float32", None, [3], None],
    ["float32", "cpu", [2**62], None],
    ["float32", "cpu", [2**62, 2**62], None],
    ["float32", "cpu", [2**62, 2**62], [0, 0]],
    ["float32", "cpu", [2**40, 2**40], [2**40, 1]],
    ["float32", "cpu", [0, 2**62, 2**62], None],
    ["float32", "cpu", [2], [2**62]],
    ["float32", "cpu", [-1], None],
    ["float32", "cpu", [3], [-1]],
    ["float32", "cpu", [3], [1, 1]],
    ["float32", "cpu", [True], None],
    ["float32", "cpu", ["s0"], None],
    ["float32", "cpu", [1] * 2000, None],
    ["float32", "cpu", [3], None, {"offset": -1}],
    ["float32", "cpu", [3], None, {"offset": 2**62}],
    ["float32", "cpu", [3], None, {"nbytes": 11}],
    ["float32", "cpu", [3], None, {"nbytes": 2**63}],
    ["int32", "cpu", [3], None, {"requires_grad": True}],
    ["float32", "cpu", [3], None, {"requires_grad": 1}],
    ["float32", "cpu", [3], None, {"computed": True}],
    ["float32", "cpu", [3], None, {"computed": True, "requires_grad": True, "inference": True}],
    ["float32", "cpu", [3], None, {"conj": True}],
    ["float32", "cpu", [3], None, {"pytype": 3}],
    ["float32", "cpu", [3], None, {"keys": "CPU"}],
    ["float32", "cpu", [3], None, {"keys": ["NoSuchKey"]}],
    ["float32", "cpu", [3, 3], None, {"layout": "strided", "nnz": 1, "dense": 0}],
    ["float32", "cpu", [3, 3], None, {"layout": "sparse_coo"}],
    ["float32", "cpu", [3, 3], None, {"layout": "sparse_coo", "nnz": 2**62, "dense": 0}],
    ["float32", "cpu", [3, 3], None, {"layout": "sparse_coo", "nnz": 0, "dense": 3}],
    ["float32", "cpu", [3, 3], None, {"layout": "sparse_coo", "nnz": 0, "dense": 0, "nbytes": 36}],
    ["float32", "cpu", [3], None, {"layout": "sparse_csr", "nnz": 0, "dense": 0, "index": "int64"}],
    ["float32", "cpu", [3, 3], None, {"layout": "sparse_csr", "nnz": 0, "dense": 0, "index": "float32"}],
    ["float32", "cpu", [4, 4], None, {"layout": "sparse_bsr", "nnz": 0, "dense": 0, "index": "int64"}],
    [
        "float32",
        "cpu",
        [4, 4],
        None,
        {"layout": "sparse_bsr", "nnz": 0, "dense": 0, "index": "int64", "block": [0, 2]},
    ],
]


@pytest.mark.parametrize("description", HOSTILE_DESCRIPTIONS, ids=lambda d: repr(d)[:80])
def test_hostile_descriptions_are_refused(description: Any, path: str) -> None:
    document, _ = encode([fake(FakeTensorMode(), 3)])
    document["descriptions"][0] = description
    document["fakes"]["description"] = [0, 0, 0]
    document["root"] = ["list", [["fake", 0], ["fake", 1], ["fake", 2]]]
    refused = (errors.InvalidDocument, errors.MissingOperator)
    with pytest.raises(refused, match=r"descriptions\[0\]|a FakeTensor|64-bit|too large|has no such value"):
        decode(document)


HOSTILE_COLUMNS: list[tuple[str, Any]] = [
    ("description", None),
    ("description", [5]),
    ("description", [-1]),
    ("description", [True]),
    ("description", ["0"]),
    ("code", [[0], [0]]),
    ("storage", 0),
    ("storage", [[0]]),
    ("storage", [[0], []]),
    ("storage", [[9], [0]]),
    ("storage", [[0], [0]]),
    ("storage", [[0], [1]]),
    ("storage", [[1], [None]]),
    ("storage", [[1], ["0"]]),
    ("storage", [[1, 2], [0, 1]]),
    ("storage", [[1, 1], [0, 0]]),
    ("storage", [[3], [0]]),
    ("base", [[0], [0]]),
    ("base", [[0], [1]]),
    ("base", [[1, 2], [0, 1]]),
    ("base", [[3], [0]]),
    ("base", [[4], [0]]),
    ("constant", [[0], [9]]),
    ("constant", [[0], [0]]),
    ("constant", [[0], [None]]),
    ("grad", [[0], [5]]),
    ("grad", [[0], [["fake", 3]]]),
    ("attributes", [[0], [["fake_mode", 1]]]),
    ("attributes", [[0], [["__class__", 1]]]),
    ("attributes", [[0], [["a"]]]),
]


@pytest.mark.parametrize(("column", "value"), HOSTILE_COLUMNS, ids=str)
def test_hostile_columns_are_refused(column: str, value: Any, mode: FakeTensorMode) -> None:
    values = [
        *[fake(mode, 3) for _ in range(3)],
        fake(mode, 100),
        fake(mode, 2, device=LACKING),
        torch.ones(7),
    ]
    document, sections = encode(values)
    document["fakes"][column] = value
    with pytest.raises(errors.InvalidDocument, match=r"fakes|table tensors"):
        decode(document, sections)


@pytest.mark.parametrize("rows", [[3], [-1], [True], ["0"], [[0]], None, 0])
def test_hostile_references_are_refused(rows: Any, mode: FakeTensorMode) -> None:
    from fxarchive.codec.decoder import Decoder
    from fxarchive.codec.families import DECODE

    document, sections = encode([fake(mode, 3) for _ in range(3)])
    with pytest.raises(errors.InvalidDocument, match="column of FakeTensors"):
        decode_fakes(Decoder(document, sections, DECODE), rows)
