"""What programs keep beside their graphs, in streams of GraphPickler: instances, enums, paths, partial functions,
tensor subclasses, objects of TorchBind classes, exported programs."""

from __future__ import annotations

import enum
import functools
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import CheckpointPolicy

from fxarchive import codec
from fxarchive.errors import FxArchiveError, InvalidDocument, TooLarge, UnsupportedValue, UntrustedNames
from fxarchive.migrations.graph_pickler import enums
from fxarchive.migrations.graph_pickler.recognition import given
from fxarchive.streams import Call, Name, Pairs, PersistentId
from tests.compare import assert_same, differences
from tests.corpus import entries
from tests.material import configs
from tests.stream_writer import write

from .test_schema_1_to_2 import dumped, graph, loaded, stored, upgraded

pytestmark = [pytest.mark.filterwarnings("ignore")]


class Plus(torch.Tensor):
    """A subclass that adds a method."""

    def plus(self) -> int:
        return 1


class Wide(enum.Enum):
    FIRST = (1, 2)


class Lists(list[int]):
    pass


TRUST = (*entries.TRUST, f"{__name__}.Plus", "__torch__.torch.classes.quantized.LinearPackedParamsBase")


def packed() -> Any:
    weight = torch.quantize_per_tensor(torch.eye(2), 0.1, 0, torch.qint8)
    return torch.ops.quantized.linear_prepack(weight, None)


def parameter() -> Any:
    made = torch.nn.Parameter(torch.ones(2).as_subclass(Plus))
    made.note = "mine"
    return made


ARRAYS: list[tuple[Any, str]] = [
    *[
        ([0, 1, 1], dtype)
        for dtype in ("?", "i1", ">i2", "<i8", "u1", ">u4", "<f2", ">f4", "f8", ">c8", "c16")
    ],
    *[([b"a", b"bcd"], "S"), (["a", "bé"], "<U2"), (["a"], ">U3"), ([3], "m8"), ([3, 4], ">m8[25s]")],
    *[(["2020-01-01", "NaT"], "M8[ns]"), (["2020"], "M8[Y]"), (list(range(500)), "i4")],
]

SAME: dict[str, Any] = {
    "standard": lambda: configs.STANDARD,
    "namespace": lambda: configs.instances()["namespace"].nested.config.cache,
    "plain": lambda: [configs.Plain(4), configs.Mangled()],
    "shape": lambda: {"a": configs.Shape(1), "b": [configs.Shape(2, 3)]},
    "partial": lambda: functools.partial(torch.add, 1, alpha=2),
    "policies": lambda: list(CheckpointPolicy)[:4],
    "subclass": lambda: [torch.ones(2).as_subclass(Plus)] * 2,
    "subclass of a parameter": parameter,
    "arrays": lambda: [arrays := [np.array(values, dtype) for values, dtype in ARRAYS], arrays[0]],
    "arrays in Fortran order": lambda: [
        np.asfortranarray(np.arange(n * 6.0).reshape(n, 2, 3)) for n in (1, 9)
    ],
    "arrays without elements": lambda: [np.empty((0, 3)), np.array(2.5)],
    "TorchBind": lambda: [packed()] * 2,
}


@pytest.mark.parametrize("name", SAME)
def test_the_document_is_that_of_saving(name: str) -> None:
    value = SAME[name]()
    content = upgraded(dumped(value), torch.__version__)
    expected = codec.encode(value)
    assert stored(content.document) == stored(expected.document)
    assert content.features == expected.features
    assert_same(value, loaded(content, TRUST))


def test_instances_come_back_with_their_fields_and_enums() -> None:
    """Names of members and of fields in slots are not in a stream; the classes of the reader know them."""
    value = configs.instances()
    content = upgraded(dumped(value), torch.__version__)
    assert_same(value, loaded(content, TRUST))
    with pytest.raises(UntrustedNames, match=r"configs\.CompileConfig"):
        loaded(content, ())
    again = codec.encode(loaded(content, TRUST))
    assert stored(again.document) == stored(codec.encode(value).document)


def test_metadata_and_attributes_keep_them_too() -> None:
    module = graph()
    module.config = configs.Key("k", configs.Shape(2))
    module.meta = {"mode": configs.Mode.FAST, "_checkpoint_context_fn": functools.partial(len, (1,))}
    for node in module.graph.nodes:
        node.meta = {"recompute": CheckpointPolicy.MUST_SAVE, "by": functools.partial(len, (1,))}
    content = upgraded(dumped(module), torch.__version__)
    assert content.notes == ()
    found = loaded(content, TRUST)
    assert [path for path in differences(module, found) if " class name: " not in path] == []
    assert found.meta["_checkpoint_context_fn"]() == 1


def test_an_instance_that_refers_to_itself() -> None:
    value = configs.Plain(1)
    found = loaded(upgraded(dumped([value, value])), TRUST)
    assert found[0] is found[1] is found[0].me


@pytest.mark.skipif(not hasattr(torch, "classes"), reason="this torch has no TorchBind")
def test_a_fake_of_a_torchbind_object_is_the_name_of_its_class() -> None:
    fake = Call(Name("torch._library.fake_class_registry", "FakeScriptObject"), (), new=True)
    fake.state = Pairs([("wrapped_obj", None), ("script_class_name", "mylib.Queue")])
    found = loaded(upgraded(write([fake, fake])))
    assert found[0] is found[1]
    assert object.__getattribute__(found[0], "script_class_name") == "mylib.Queue"


# how dill stores a method


def operator(name: str, method: Any) -> Call:
    record = Call(Name("torch.fx._graph_pickler", "_OpOverloadPickleData"), (), new=True)
    record.state = Pairs([("name", name)])
    return Call(method(record), (PersistentId("unpickle_state"),))


def by_pickle(record: Call) -> Call:
    return Call(Name("builtins", "getattr"), (record, "unpickle"))


def by_dill(record: Call) -> Call:
    function = Name("torch.fx._graph_pickler", "_OpOverloadPickleData.unpickle")
    return Call(Name("types", "MethodType"), (function, record))


@pytest.mark.parametrize("method", [by_pickle, by_dill])
def test_an_operator_outside_of_a_target(method: Any) -> None:
    found = loaded(upgraded(write([operator("torch.ops.aten.add.Tensor", method)])))
    assert found == [torch.ops.aten.add.Tensor]


def test_a_method_of_another_function_is_no_operator() -> None:
    def forged(record: Call) -> Call:
        return Call(Name("types", "MethodType"), (Name("os", "system"), record))

    with pytest.raises(UnsupportedValue, match="what a method makes has no form"):
        upgraded(write([operator("torch.ops.aten.add.Tensor", forged)]))


# what dynamo puts around functions of numpy


def test_wrappers_of_numpy_are_their_function() -> None:
    inner = Call(Name("torch.fx._graph_pickler", "_TorchNumpyPickleData"), (), new=True)
    inner.state = Pairs([("mod", "numpy"), ("name", "sin")])
    unpickle = Name("torch.fx._graph_pickler", "_TorchNumpyPickleData.unpickle")
    wrapper = Call(Name("torch._dynamo.utils", "numpy_to_tensor_wrapper"), (), new=True)
    wrapper.state = Pairs([("f", Call(unpickle, (inner, PersistentId("unpickle_state"))))])
    method = Call(Name("torch._dynamo.utils", "numpy_method_wrapper"), (), new=True)
    method.state = Pairs([("method", "astype")])
    by_name = Call(Name("torch._dynamo.utils", "numpy_operator_wrapper"), (), new=True)
    by_name.state = Pairs([("op", Name("_operator", "add"))])
    content = upgraded(write([wrapper, method, by_name]))
    assert [row[1] for row in content.document["targets"]] == [
        "torch._dynamo.utils.numpy_to_tensor_wrapper(torch._numpy.sin)",
        "torch._dynamo.utils.numpy_method_wrapper(torch._numpy.ndarray.astype)",
        "torch._dynamo.utils.numpy_operator_wrapper(operator.add)",
    ]


def test_functions_of_numpy_that_nodes_call() -> None:
    """GraphPickler gives a wrapper by the name that it shows, which leads nowhere; torch cannot load it again."""

    def function(x: torch.Tensor, y: torch.Tensor) -> Any:
        a, b = x.numpy(), y.numpy()
        return torch.from_numpy(np.add(np.sin(a), b, dtype=np.float32) + a.astype(np.float32))

    kept: list[Any] = []
    torch._dynamo.reset()
    torch.compile(function, backend=lambda module, _: kept.append(module) or module, dynamic=False)(
        *(torch.ones(3), torch.ones(3))
    )
    (module,) = kept
    for node in module.graph.nodes:
        node.meta.clear()
    module.meta.clear()
    for name in set(vars(module)) - set(vars(graph())):
        delattr(module, name)
    found = loaded(upgraded(dumped(module)))
    assert found.code == module.code
    assert torch.equal(found(torch.ones(3), torch.ones(3))[0], function(torch.ones(3), torch.ones(3)))


# what cannot be carried, and what is not what it says


def reduced(*args: Any) -> Call:
    return Call(Name("mylib", "Thing"), args)


class Unwrapping(torch.Tensor):
    """Made of others in a way that only its class knows."""


REFUSED: dict[str, tuple[Any, str]] = {
    "made by a call": (lambda: [reduced(1, 2)], r"\[0\]: what mylib\.Thing makes has no form in schema 2"),
    "a list of the user": (lambda: Lists([1]), r"Lists makes has no form in schema 2"),
    "a member with a tuple": (lambda: [Wide.FIRST], r"Wide makes has no form in schema 2"),
    "a field of the interpreter": (
        lambda: [instance(__class__=1)],
        r"\[0\]\.__class__: a field of this name cannot be kept",
    ),
    "a state of its own": (lambda: [instance(state="x")], "keeps its state in a form of its own"),
    "an instance of torch": (
        lambda: [instance("torch.optim.Thing")],
        "what torch.optim.Thing makes has no form",
    ),
    "a partial with attributes": (lambda: [attributed()], "a functools.partial with attributes"),
}


def instance(name: str = "mylib.Thing", state: Any = None, **fields: Any) -> Call:
    module, _, qualname = name.rpartition(".")
    made = Call(Name(module, qualname), (), new=True)
    made.state = Pairs(list(fields.items())) if state is None else state
    return made


def dtype(code: Any = "f8", order: Any = "<", *more: Any, fields: Any = None) -> Call:
    made = Call(Name("numpy", "dtype"), (code, False, True))
    made.state = (3, order, None, fields, fields, -1, -1, 0, *more)
    return made


def array(
    shape: Any = (2,), held: Any = None, fortran: Any = False, data: Any = bytes(16), cls: str = "ndarray"
) -> list[Any]:
    made = Call(Name("numpy.core.multiarray", "_reconstruct"), (Name("numpy", cls), (0,), b"b"))
    made.state = (1, shape, dtype() if held is None else held, fortran, data)
    return [made]


def buffered(data: Any = bytes(48), order: Any = "F") -> list[Any]:
    return [Call(Name("numpy._core.numeric", "_frombuffer"), (data, dtype(), (2, 3), order))]


ARRAYS_REFUSED: dict[str, tuple[Any, str]] = {
    "another class": (array(cls="matrix"), r"\[0\]: an array of class numpy.matrix cannot be kept"),
    "too few bytes": (array((3,)), "the bytes of an array are not those of its shape, of dtype <f8"),
    "too many bytes": (array(()), "the bytes of an array are not those of its shape"),
    "bytes that are none": (array(data="x" * 16), "the bytes of an array are not those of its shape"),
    "objects": (array(held=dtype("O8", "|"), data=[1, 2]), r"of dtype \|O8 cannot be kept"),
    "fields": (array(held=dtype(fields=("a",))), "cannot be kept"),
    "another order": (array(held=dtype(order="?")), r"of dtype \?f8 cannot be kept"),
    "a code that is none": (array(held=dtype(8)), "is not described as numpy does"),
    "no dtype": (array(held="f8"), "the dtype of an array is a str"),
    "metadata": (array(held=dtype("M8", "<", (Pairs([("a", 1)]), ("s", 1, 1, 1)))), "has metadata"),
    "a unit that is none": (array(held=dtype("M8", "<", (None, ("x", 1, 1, 1)))), r"M8\[\?\] cannot be kept"),
    "a negative size": (array((-1, -2)), "the shape of an array is not made of numbers"),
    "a huge size": (array((2**70,)), "the shape of an array is not made of numbers"),
    "many sizes": (array((1,) * 65), "the shape of an array is not made of numbers"),
    "sizes that are none": (array("ab"), "a list is expected here"),
    "an order that is none": (array(fortran=2), "the order of an array is not known"),
    "an order of a buffer": (buffered(order="K"), "the order of an array is not known"),
}


@pytest.mark.parametrize("name", ARRAYS_REFUSED)
def test_arrays_that_are_none(name: str) -> None:
    value, message = ARRAYS_REFUSED[name]
    with pytest.raises(UnsupportedValue, match=message):
        upgraded(write(value))


@pytest.mark.parametrize("protocol", [4, 5])
def test_arrays_of_every_protocol(protocol: int) -> None:
    value = [np.arange(6.0).reshape(2, 3).T, np.array(["ab"]), np.arange(500)[::2]]
    found = loaded(upgraded(pickle.dumps(value, protocol)))
    assert [held.tolist() for held in found] == [held.tolist() for held in value]
    assert [held.dtype for held in found] == [held.dtype for held in value]


@pytest.mark.parametrize("home", ["core", "_core"])
def test_buffers_are_read_only_if_they_are_bytes(home: str) -> None:
    data = np.arange(6.0).tobytes()
    value = [*buffered(data), *buffered(bytearray(data)), *array(data=data[:16])]
    value[0].function = Name(f"numpy.{home}.numeric", "_frombuffer")
    first, second, third = loaded(upgraded(write(value)))
    assert first.tolist() == second.tolist() == np.arange(6.0).reshape(2, 3, order="F").tolist()
    assert (first.flags.writeable, second.flags.writeable, third.flags.writeable) == (False, True, True)


def test_arrays_over_one_string_of_bytes_are_no_longer_than_the_stream() -> None:
    data = bytes(10_000)

    class Repeated:
        def __reduce__(self) -> Any:
            function, args, (version, _, held, *_) = np.zeros(1).__reduce__()
            return function, args, (version, (1250,), held, False, data)

    with pytest.raises(TooLarge, match="The size of the storages in the stream"):
        upgraded(pickle.dumps([Repeated() for _ in range(40)], 4))


def attributed() -> Any:
    made = functools.partial(len)
    made.x = 1  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_is_named(name: str) -> None:
    make, message = REFUSED[name]
    value = make()
    is_record = type(value) is list and type(value[0]) is Call
    with pytest.raises(UnsupportedValue, match=message):
        upgraded(write(value) if is_record else dumped(value))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (configs.Key, "has none with the value 'fast'"),
        (configs.Mode, "has none with the value 'slow'"),
    ],
)
def test_a_member_that_is_none_is_refused(value: Any, message: str) -> None:
    held = "fast" if value is configs.Key else "slow"
    content = upgraded(write([Call(Name(value.__module__, value.__qualname__), (held,))]))
    with pytest.raises(InvalidDocument, match=message):
        loaded(content, TRUST)


def test_fields_in_order_are_those_of_the_class() -> None:
    slotted = instance(f"{configs.__name__}.Slotted", state=[1, 2, 3])
    with pytest.raises(InvalidDocument, match="it has 3 fields in order and Slotted has 2"):
        loaded(upgraded(write([slotted])), TRUST)
    named = instance("types.SimpleNamespace")
    named.state = [1]
    with pytest.raises(FxArchiveError):
        loaded(upgraded(write([named])), TRUST)


def test_kinds_of_outputs_have_the_names_of_their_release() -> None:
    """torch 2.9 put a kind among the others, so those after it have other values."""

    class Writer:
        def __init__(self, releases: str) -> None:
            self.releases = given(releases)

    record = Call(Name("torch.export.graph_signature", "OutputKind"), (4,))
    assert enums.member_name(Writer("2.8"), record) == "GRADIENT_TO_PARAMETER"  # type: ignore[arg-type]
    assert enums.member_name(Writer("2.9"), record) == "PARAMETER_MUTATION"  # type: ignore[arg-type]
    kinds = {member.value: member.name for member in torch.export.graph_signature.OutputKind}
    for value, name in kinds.items():
        record = Call(Name("torch.export.graph_signature", "OutputKind"), (value,))
        assert enums.member_name(Writer(torch.__version__), record) == name  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(enums._OF_TORCH))
def test_members_of_enums_of_torch_are_those_that_it_has(name: str) -> None:
    module, _, qualname = name.rpartition(".")
    try:
        cls = getattr(__import__(module, fromlist=[qualname]), qualname)
    except (ImportError, AttributeError):
        pytest.skip(f"this torch has no {name}")
    for member in cls:
        assert enums._OF_TORCH[name].get(member.value) == member.name
