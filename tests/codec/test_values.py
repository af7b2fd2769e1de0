"""Values of Python and small values of torch: each comes back as it was, or is refused with its path."""

from __future__ import annotations

import enum
import math
import struct
import typing
import weakref
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.fx.immutable_collections import immutable_dict, immutable_list
from torch.utils import _pytree as pytree

import fxarchive
from fxarchive.codec.encoder import MAX_DEPTH
from fxarchive.errors import UnsupportedValue, UntrustedNames

from ..compare import assert_same, differences
from ..ids import shown


def through(value: Any, **options: Any) -> Any:
    data = fxarchive.dumps(value)
    loaded = fxarchive.loads(data, **options)
    assert fxarchive.dumps(loaded) == data
    return loaded


ATOMS = [
    None, True, False, 0, 1, -1, 255, 256, 2**31, -(2**31) - 1, 2**63, -(2**200), 0.0, -0.0, 1.5, math.inf,
    -math.inf, 5e-324,
    "", "x", "\n", "é\u2028\U0001f600", "\ud800", "a" * 47, "a" * 48, "a" * 70_000, b"", b"\x00\xff" * 300,
    complex(1, -0.0),
    complex(math.inf, 0), ..., NotImplemented, slice(None), slice(1, None, -2), slice((1, 2), "a", None),
    range(3), range(5, -7, -3),
]  # fmt: skip

TORCH_VALUES = [
    torch.float32, torch.bfloat16, torch.complex32, torch.uint16, torch.quint8, torch.float8_e4m3fn,
    torch.bits8,
    torch.device("cpu"), torch.device("cuda"), torch.device("cuda", 3), torch.device("meta"),
    torch.strided, torch.sparse_coo, torch.sparse_csr, torch.jagged, torch.contiguous_format,
    torch.channels_last_3d, torch.preserve_format,
    torch.per_tensor_affine, torch.per_channel_affine_float_qparams, torch.Size([]), torch.Size([2, 0, 3]),
]  # fmt: skip

CONTAINERS = [
    (), (1,), ((), ((),)), [], [1, [2, [3]]], {}, {"b": 1, "a": 2},
    {1: "int", True + 1: "x", (1, ("t",)): [], None: 0, 2.5: b""},
    set(), {1, "a", (2, 3)}, frozenset(), frozenset({frozenset({1}), "z"}),
    OrderedDict([("z", 1), ("a", [2])]), OrderedDict(), Counter("aab"), Counter(a=-1),
    defaultdict(list, {"k": [1]}), defaultdict(None), defaultdict(OrderedDict, {1: OrderedDict()}),
    deque([1, 2], maxlen=3), deque(),
    bytearray(b"abc"), immutable_list([1, immutable_list([2])]), immutable_dict({"a": immutable_dict()}),
]  # fmt: skip

ANNOTATIONS = [
    typing.ForwardRef("a.B"), typing.Optional["Tensor"],  # noqa: F821
    typing.Any, typing.Optional[torch.Tensor], typing.Union[int, str, None], list[int],  # noqa: UP007, UP045
    tuple[int, ...], tuple[()],
    dict[str, list[torch.Tensor]], list[int], tuple[torch.Tensor, ...],
    dict[str, list[float]], int | None, list[int] | str,
    typing.Callable[[int, str], bool], typing.Callable[..., int], typing.Sequence[int],
    typing.Literal["a", 1], list, tuple,
    int, torch.Tensor, type(None), torch.nn.Parameter,
]  # fmt: skip

FUNCTIONS = [
    torch.relu, torch.nn.functional.relu, torch._C._nn.gelu, len, getattr, math.sqrt,
    torch.ops.aten.add.Tensor, torch.ops.aten.relu.default,
    torch.ops.aten.add, torch.ops.aten.__and__.Tensor, torch.ops.higher_order.cond, torch.Tensor.view,
]  # fmt: skip


@pytest.mark.parametrize(
    "value",
    ATOMS + TORCH_VALUES + CONTAINERS,
    ids=lambda value: (
        f"{type(value).__name__}-{'' if isinstance(value, set | frozenset) else str(value)[:20]!r}"
    ),
)
def test_value_comes_back(value: Any) -> None:
    assert_same(value, through(value))


@pytest.mark.parametrize("value", ANNOTATIONS, ids=shown)
def test_annotation_comes_back(value: Any) -> None:
    loaded = through([value])[0]
    assert loaded == value
    assert type(loaded) is type(value)
    assert repr(loaded) == repr(value)


@pytest.mark.parametrize("value", FUNCTIONS, ids=shown)
def test_function_is_the_same_object(value: Any) -> None:
    assert through([value])[0] is value


@pytest.mark.parametrize(
    "bits", [0x7FF8000000000000, 0x7FF0000000000001, 0xFFF8DEADBEEF0001, 0x8000000000000000]
)
def test_bits_of_floats_are_kept(bits: int) -> None:
    (value,) = struct.unpack("<d", struct.pack("<Q", bits))
    loaded = through([value, complex(0.0, value)])
    assert struct.pack("<d", loaded[0]) == struct.pack("<Q", bits)
    assert struct.pack("<d", loaded[1].imag) == struct.pack("<Q", bits)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers(), st.text()), inner)
        | st.lists(inner).map(deque)
        | st.sets(st.integers() | st.text())
        | st.frozensets(st.booleans() | st.binary())
        | st.lists(inner).map(immutable_list)
    ),
    max_leaves=20,
)


@given(plain)
def test_any_tree_comes_back(value: Any) -> None:
    assert_same(value, through(value))


def test_shared_containers_stay_shared() -> None:
    inner: list[Any] = [1]
    both = {"inner": inner}
    value = {"a": inner, "b": [inner, both, both], "c": ([1], [1])}
    loaded = through(value)
    assert_same(value, loaded)
    assert loaded["a"] is loaded["b"][0] is loaded["b"][1]["inner"]
    assert loaded["b"][1] is loaded["b"][2]
    assert loaded["c"][0] is not loaded["c"][1]


def test_cycles_come_back() -> None:
    ring: list[Any] = [1]
    ring.append({"ring": ring, "pair": (ring, 2)})
    loaded = through(ring)
    assert loaded[1]["ring"] is loaded
    assert loaded[1]["pair"][0] is loaded


def test_a_cycle_through_a_tuple_at_the_root_comes_back() -> None:
    ring: list[Any] = []
    value = (ring,)
    ring.append(value)
    loaded = fxarchive.loads(fxarchive.dumps([ring]))[0]
    assert loaded[0][0] is loaded


def test_depth_has_a_limit_with_a_clear_error() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    assert_same(value, through(value))
    with pytest.raises(UnsupportedValue, match=r"nested more than 128 containers deep"):
        fxarchive.dumps([value])


@pytest.mark.parametrize(
    "make", [lambda v: [v], lambda v: (v,), lambda v: {"k": v}, lambda v: immutable_list([v])]
)
def test_a_tree_nested_100_000_deep_is_refused(make: Any) -> None:
    value: Any = 1
    for _ in range(100_000):
        value = make(value)
    with pytest.raises(UnsupportedValue, match="nested"):
        fxarchive.dumps(value)
    while type(value) is not int:  # taken apart step by step: freeing it at once would recurse
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]


def test_generator_state_comes_back() -> None:
    generator = torch.Generator().manual_seed(5)
    torch.rand(3, generator=generator)
    loaded, same = through([generator, generator])
    assert loaded is same
    assert torch.equal(torch.rand(4, generator=loaded), torch.rand(4, generator=generator))


Point = namedtuple("Point", ["x", "y"])


class Colour(enum.Enum):
    RED = 1
    BLUE = "b"


def test_named_tuples_of_torch_come_back() -> None:
    value = torch.return_types.max((torch.tensor([1.0]), torch.tensor([0])))
    loaded = through([value])[0]
    assert type(loaded) is torch.return_types.max
    assert_same(value, loaded)


def test_classes_of_the_user_need_trust() -> None:
    data = fxarchive.dumps([Point(1, [2]), Colour.BLUE])
    names = [f"{__name__}.Colour", f"{__name__}.Point"]
    with pytest.raises(UntrustedNames) as caught:
        fxarchive.loads(data)
    assert list(caught.value.names) == names
    assert_same([Point(1, [2]), Colour.BLUE], fxarchive.loads(data, trust=names))


def test_tree_specs_come_back() -> None:
    tree = {
        "a": [1, (2, None)],
        "b": OrderedDict(c=3),
        "d": defaultdict(list, e=[4]),
        "f": deque([5]),
        "g": torch.return_types.max((1, 2)),
    }
    _, spec = pytree.tree_flatten(tree)
    loaded = through([spec])[0]
    assert loaded == spec
    assert pytree.tree_unflatten(list(range(loaded.num_leaves)), loaded) == pytree.tree_unflatten(
        list(range(spec.num_leaves)), spec
    )


def test_weak_references_to_what_the_archive_holds() -> None:
    weight = torch.ones(2)
    gone = weakref.ref(torch.nn.Linear(1, 1))
    loaded = through([weight, weakref.ref(weight), gone])
    assert loaded[1]() is loaded[0]
    assert loaded[2]() is None


class Unknown:
    def __reduce__(self) -> Any:
        return (Unknown, ())


def module_level(x: Any) -> Any:
    return x


@pytest.mark.parametrize(
    ("value", "path", "why"),
    [
        ({"a": [1, Unknown()]}, "['a'][1]", "Unknown cannot be kept"),
        ((0, lambda: 1), "[1]", "lambdas, closures and local functions hold code"),
        ({Unknown(): 1}, "[a Unknown] (the key)", "Unknown cannot be kept"),
        (defaultdict(module_level), "the object", "factory that is a builtin"),
        ([weakref.ref(Unknown)], "[0]", "weak reference is kept only"),
        (type("Text", (str,), {})("x"), "the object", "Text cannot be kept"),
        ([slice(Unknown(), 1)], "[0].start", "Unknown cannot be kept"),
        ({"f": open}, "['f']", ""),
    ],
)  # fmt: skip
def test_refusals_name_the_path(value: Any, path: str, why: str) -> None:
    if why:
        with pytest.raises(UnsupportedValue) as caught:
            fxarchive.dumps(value)
        assert [problem.path for problem in caught.value.problems] == [path]
        assert why in caught.value.problems[0].why
    else:  # a function outside the list is written by name, and asked trust for
        with pytest.raises(UntrustedNames):
            fxarchive.loads(fxarchive.dumps(value))


def test_one_error_names_every_value() -> None:
    with pytest.raises(UnsupportedValue) as caught:
        fxarchive.dumps({"a": Unknown(), "b": [Unknown(), 1, Unknown()], "c": 3})
    assert [problem.path for problem in caught.value.problems] == ["['a']", "['b'][0]", "['b'][2]"]


def test_function_outside_the_list_needs_trust() -> None:
    data = fxarchive.dumps([module_level])
    with pytest.raises(UntrustedNames, match="module_level"):
        fxarchive.loads(data)
    assert fxarchive.loads(data, trust=[f"{__name__}.module_level"])[0] is module_level


def test_the_comparer_would_see_a_change() -> None:
    assert differences([1.0], [1])


def test_sets_in_sets_are_encoded_in_time_that_their_size_bounds() -> None:
    """Members are sorted by what they become alone: done anew at each level, forty levels would never end."""
    value: frozenset[object] = frozenset()
    for level in range(40):
        value = frozenset([value, level])
    data = fxarchive.dumps(value)
    assert fxarchive.loads(data) == value
    assert fxarchive.dumps(fxarchive.loads(data)) == data
