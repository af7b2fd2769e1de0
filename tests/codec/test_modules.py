"""Every class of `torch.nn` comes back as it was, and what cannot come back is refused by its path."""

from __future__ import annotations

import copy
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils import _pytree as pytree

import fxarchive
from fxarchive import codec
from fxarchive.errors import InvalidDocument, UnsupportedValue, UntrustedNames

from ..compare import assert_same
from ..material import module_db
from .through import through_the_codec

HERE = __name__


def outputs(module: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a copy of the module, since a call may change buffers; random numbers start anew."""
    torch.manual_seed(7)
    with torch.no_grad():
        result = copy.deepcopy(module)(*copy.deepcopy(inputs), **copy.deepcopy(kwargs))
    # Some losses leave memory that nobody wrote behind their result, in the same storage.
    return pytree.tree_map_only(torch.Tensor, torch.clone, result)


def assert_comes_back(module: nn.Module, *inputs: Any, **kwargs: Any) -> nn.Module:
    again: nn.Module = through_the_codec(module)
    assert type(again) is type(module)
    assert again.training is module.training
    assert_same(module, again)
    assert list(module.state_dict()) == list(again.state_dict())
    if inputs or kwargs:
        assert_same(outputs(module, inputs, kwargs), outputs(again, inputs, kwargs))
    return again


def samples(info: Any, training: bool) -> list[tuple[nn.Module, Any]]:
    """Make what torch tests itself with, at most three of a class, each called once so that it has shapes."""
    torch.manual_seed(0)
    dtype = torch.float32 if torch.float32 in info.dtypes else info.dtypes[0]
    made: list[tuple[nn.Module, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sample in info.module_inputs_func(
            info, device="cpu", dtype=dtype, requires_grad=False, training=training
        ):
            given = sample.forward_input
            if given is None or len(made) == 3:
                continue
            arguments = sample.constructor_input
            module = info.module_cls(*arguments.args, **arguments.kwargs).to(dtype).train(training)
            try:
                module(*given.args, **given.kwargs)
            except (RuntimeError, NotImplementedError, ValueError):
                continue  # samples that torch expects to fail, or that the CPU lacks
            made.append((module, given))
    return made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("info", module_db.modules(), ids=lambda info: str(info.name))
def test_every_class_that_torch_tests_comes_back(info: Any) -> None:
    found = [*samples(info, True), *samples(info, False)]
    assert found
    for module, given in found:
        assert_comes_back(module, *given.args, **given.kwargs)


def image(channels: int = 4) -> torch.Tensor:
    return torch.arange(float(2 * channels * 4 * 4)).reshape(2, channels, 4, 4) / 100


def signal(channels: int = 4) -> torch.Tensor:
    return torch.arange(float(2 * channels * 6)).reshape(2, channels, 6) / 100


def volume() -> torch.Tensor:
    return torch.arange(float(2 * 4 * 2 * 4 * 4)).reshape(2, 4, 2, 4, 4) / 100


ROWS = torch.arange(24.0).reshape(4, 6) / 10
OTHER = ROWS.flip(0) + 1

BY_HAND: dict[type, Callable[[], tuple[Any, ...]]] = {
    nn.AdaptiveLogSoftmaxWithLoss: lambda: (
        nn.AdaptiveLogSoftmaxWithLoss(6, 12, [4, 8]),
        ROWS,
        torch.tensor([1, 5, 9, 2]),
    ),
    nn.AlphaDropout: lambda: (nn.AlphaDropout(0.3), ROWS),
    nn.ChannelShuffle: lambda: (nn.ChannelShuffle(2), image()),
    nn.Container: lambda: (nn.Container(first=nn.ReLU()),),
    nn.CosineSimilarity: lambda: (nn.CosineSimilarity(), ROWS, OTHER),
    nn.CrossMapLRN2d: lambda: (nn.CrossMapLRN2d(2), image()),
    nn.DataParallel: lambda: (nn.DataParallel(nn.Linear(6, 2)), ROWS),
    nn.Dropout: lambda: (nn.Dropout(0.25), ROWS),
    nn.Dropout1d: lambda: (nn.Dropout1d(), signal()),
    nn.Dropout2d: lambda: (nn.Dropout2d(), image()),
    nn.Dropout3d: lambda: (nn.Dropout3d(), volume()),
    nn.EmbeddingBag: lambda: (nn.EmbeddingBag(9, 3, mode="sum"), torch.tensor([[1, 2], [3, 8]])),
    nn.FeatureAlphaDropout: lambda: (nn.FeatureAlphaDropout(), image()),
    nn.Flatten: lambda: (nn.Flatten(), image()),
    nn.Fold: lambda: (nn.Fold((4, 5), (2, 2)), torch.ones(1, 12, 12)),
    nn.Hardsigmoid: lambda: (nn.Hardsigmoid(), ROWS),
    nn.Identity: lambda: (nn.Identity(54, unused=1), ROWS),
    nn.MaxUnpool1d: lambda: (nn.MaxUnpool1d(2), torch.ones(1, 1, 2), torch.tensor([[[0, 3]]])),
    nn.MaxUnpool2d: lambda: (nn.MaxUnpool2d(2), torch.ones(1, 1, 1, 1), torch.tensor([[[[3]]]])),
    nn.MaxUnpool3d: lambda: (nn.MaxUnpool3d(2), torch.ones(1, 1, 1, 1, 1), torch.tensor([[[[[5]]]]])),
    nn.Module: lambda: (nn.Module(),),
    nn.ModuleDict: lambda: (nn.ModuleDict({"b": nn.Linear(2, 3), "a": nn.ReLU(), "none": nn.Identity()}),),
    nn.ModuleList: lambda: (nn.ModuleList([nn.Linear(2, 3), nn.Linear(3, 2)]),),
    nn.NLLLoss2d: lambda: (nn.NLLLoss2d(), image(), torch.zeros(2, 4, 4, dtype=torch.long)),
    nn.PairwiseDistance: lambda: (nn.PairwiseDistance(), ROWS, OTHER),
    nn.ParameterDict: lambda: (nn.ParameterDict({"b": nn.Parameter(ROWS), "a": torch.ones(2), "n": 3}),),
    nn.ParameterList: lambda: (nn.ParameterList([nn.Parameter(ROWS), torch.ones(2), "text"]),),
    nn.PixelShuffle: lambda: (nn.PixelShuffle(2), image()),
    nn.PixelUnshuffle: lambda: (nn.PixelUnshuffle(2), image()),
    nn.RNNBase: lambda: (nn.RNNBase("GRU", 6, 3),),
    nn.RNNCellBase: lambda: (nn.RNNCellBase(6, 3, True, num_chunks=2),),
    nn.RReLU: lambda: (nn.RReLU(), -ROWS),
    nn.Sequential: lambda: (nn.Sequential(OrderedDict(b=nn.Linear(6, 3), a=nn.ReLU())), ROWS),
    nn.SyncBatchNorm: lambda: (nn.SyncBatchNorm(4).eval(),),
    nn.TransformerDecoder: lambda: (
        nn.TransformerDecoder(nn.TransformerDecoderLayer(6, 2, 8, activation=torch.tanh), 2),
        ROWS.reshape(2, 2, 6),
        OTHER.reshape(2, 2, 6),
    ),
    nn.TripletMarginLoss: lambda: (nn.TripletMarginLoss(), ROWS, OTHER, ROWS.flip(1)),
    nn.TripletMarginWithDistanceLoss: lambda: (
        nn.TripletMarginWithDistanceLoss(distance_function=nn.functional.pairwise_distance),
        ROWS,
        OTHER,
        ROWS.flip(1),
    ),
    nn.Unflatten: lambda: (nn.Unflatten(1, (2, 3)), ROWS),
    nn.Unfold: lambda: (nn.Unfold((2, 2)), image()),
    nn.Upsample: lambda: (nn.Upsample(scale_factor=(2.0, 1.5), mode="bilinear"), image()),
    nn.UpsamplingBilinear2d: lambda: (nn.UpsamplingBilinear2d(size=(7, 5)), image()),
    nn.UpsamplingNearest2d: lambda: (nn.UpsamplingNearest2d(scale_factor=2), image()),
}
"""Class -> a module and its inputs, for what is not in torch's module database."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cls", BY_HAND, ids=lambda cls: str(cls.__name__))
def test_every_other_class_comes_back(cls: type, training: bool) -> None:
    torch.manual_seed(0)
    module, *inputs = BY_HAND[cls]()
    assert type(module) is cls
    if cls is not nn.SyncBatchNorm:
        module.train(training)
    assert_comes_back(module, *inputs)


LAZY = sorted(name for name in vars(nn) if name.startswith("Lazy"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LAZY)
def test_lazy_modules_come_back_before_and_after_their_first_input(name: str) -> None:
    cls = getattr(nn, name)
    module = cls() if "Norm" in name else cls(4) if name == "LazyLinear" else cls(4, 1)
    shape = (2, 3, *[4] * int(name[-2])) if name[-1] == "d" else (2, 3)
    loaded = fxarchive.loads(fxarchive.dumps(nn.Sequential(module)))[0]
    assert type(loaded) is cls
    assert loaded.has_uninitialized_params() == module.has_uninitialized_params()
    for each in (module, loaded):
        torch.manual_seed(0)
        each(torch.ones(shape))
    assert type(loaded) is type(module)
    assert_same(module, loaded)
    assert_comes_back(module, torch.ones(shape))


def test_a_hook_of_the_user_on_a_lazy_module_is_refused() -> None:
    module = nn.LazyLinear(3)
    module.register_forward_pre_hook(lambda module, args: None)
    with pytest.raises(UnsupportedValue, match="code is never stored"):
        fxarchive.dumps(module)


def test_a_module_that_is_not_lazy_cannot_wait() -> None:
    document = codec.encode(nn.Linear(2, 3)).document
    document["modules"][0]["waits"] = True
    with pytest.raises(InvalidDocument, match="only a lazy module waits"):
        codec.decode(document, None)  # type: ignore[arg-type]


def test_every_class_of_torch_nn_has_a_test() -> None:
    classes = {cls for cls in vars(nn).values() if isinstance(cls, type) and issubclass(cls, nn.Module)}
    tested = {info.module_cls for info in module_db.modules()} | BY_HAND.keys()
    assert {cls.__name__ for cls in classes - tested} <= set(LAZY)
    assert len(classes) >= 150


# what a module holds


class Block(nn.Module):
    """A module of the user, with members of every kind."""

    scale = 1.0
    made = 0

    def __init__(self) -> None:
        self.early = "before nn.Module has begun"
        super().__init__()
        type(self).made += 1
        self.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3), requires_grad=False)
        self.register_parameter("bias", None)
        self.register_buffer("mean", torch.ones(3))
        self.register_buffer("mask", torch.zeros(3, dtype=torch.bool), persistent=False)
        self.register_buffer("nothing", None, persistent=False)
        self.child: nn.Module | None = nn.Linear(3, 3)
        self.add_module("gone", None)
        self.scale = 2.5  # a class attribute that is plain data may be overridden
        self.options = {"sizes": (1, 2), "dtype": torch.float16, 3: [None]}
        self.act = nn.functional.gelu
        self.plain = torch.ones(2)
        self.experts = [nn.Linear(1, 1), nn.Linear(1, 1)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.child is not None
        return self.act(self.child(x) @ self.weight.T) * self.scale


TRUSTED = (f"{HERE}.Block",)


def test_members_of_every_kind_come_back_in_order_without_the_constructor() -> None:
    block = Block()
    before = Block.made
    again = through_the_codec(block, trust=TRUSTED)
    assert Block.made == before
    assert type(again) is Block
    assert_same(block, again)
    for members in ("_parameters", "_buffers", "_modules"):
        assert list(getattr(again, members)) == list(getattr(block, members))
    assert again._non_persistent_buffers_set == {"mask", "nothing"}
    assert list(again.state_dict()) == ["weight", "mean", "child.weight", "child.bias"]
    x = torch.arange(3.0)
    assert torch.equal(again(x), block(x))
    again.child = None  # it is a live module, not a dict of members
    assert again._modules["child"] is None


def test_classes_outside_torch_need_trust() -> None:
    with pytest.raises(UntrustedNames) as raised:
        through_the_codec(nn.Sequential(Block()))
    assert raised.value.names == TRUSTED


def test_shared_modules_and_parameters_stay_shared() -> None:
    linear = nn.Linear(3, 3)
    tied = nn.Linear(3, 3)
    tied.weight = linear.weight
    model = nn.Sequential(linear, nn.Sequential(linear), tied, nn.ModuleList([linear]))
    model.register_module("again", model[1])
    again = through_the_codec(model)
    assert again[0] is again[1][0] is again[3][0]
    assert again.again is again[1]
    assert again[2].weight is again[0].weight
    assert_same(model, again)


def test_modules_that_refer_to_their_parents_come_back() -> None:
    parent, child = nn.Module(), nn.Linear(2, 2)
    parent.child = child
    object.__setattr__(child, "parent", parent)
    child.reference = weakref.ref(parent)
    child.family = [parent, {"self": child}]
    again = through_the_codec(parent)
    assert again.child.parent is again
    assert again.child.reference() is again
    assert again.child.family[0] is again
    assert again.child.family[1]["self"] is again.child
    assert dict(again.named_parameters()).keys() == {"child.weight", "child.bias"}


def test_a_cycle_of_submodules_comes_back() -> None:
    first, second = nn.Module(), nn.Module()
    first.next, second.next = second, first
    again = through_the_codec(first)
    assert again.next.next is again
    assert len(list(again.modules())) == 2


@pytest.mark.slow
def test_nesting_has_no_depth_limit() -> None:
    module = nn.Module()
    for _ in range(100_000):
        above = nn.Module()
        above._modules["inner"] = module
        module = above
    again = through_the_codec(module)
    depth = 0
    while "inner" in again._modules:
        again = again._modules["inner"]
        depth += 1
    assert depth == 100_000


def test_paths_of_deep_modules_keep_their_ends() -> None:
    module = nn.Module()
    module.lock = object()
    for number in range(2000):
        above = nn.Module()
        above._modules[f"at{number}"] = module
        module = above
    (path,) = refusals(module)
    assert path.startswith("at1999.at1998.")
    assert " ... " in path
    assert path.endswith(".at1.at0.lock")
    assert len(path) < 2100


def test_modules_in_plain_values_come_back() -> None:
    held = {"a": [nn.Linear(2, 2)], "b": (nn.ReLU(),)}
    again = through_the_codec(held)
    assert_same(held, again)


def test_a_leftover_backward_hook_flag_comes_back() -> None:
    module = nn.Linear(2, 2)
    module.register_full_backward_hook(lambda *_: None).remove()
    assert module._is_full_backward_hook is True
    assert assert_comes_back(module)._is_full_backward_hook is True


@pytest.mark.parametrize("cls", [nn.RNN, nn.GRU, nn.LSTM])
def test_caches_of_recurrent_modules_are_rebuilt(cls: type[nn.RNNBase]) -> None:
    module = cls(3, 4, num_layers=2, bidirectional=True)
    encoded = codec.encode(module)
    assert not {"_flat_weights", "_flat_weight_refs"} & set(encoded.document["modules"][0]["attributes"][::2])
    again = assert_comes_back(module, torch.ones(5, 2, 3))
    assert all(
        flat is again._parameters[name]
        for flat, name in zip(again._flat_weights, again._flat_weights_names, strict=True)
    )
    assert all(ref() is flat for ref, flat in zip(again._flat_weight_refs, again._flat_weights, strict=True))
    again.weight_ih_l0 = nn.Parameter(torch.zeros_like(again.weight_ih_l0))
    assert again._flat_weights[0] is again.weight_ih_l0


def test_a_changed_cache_of_a_recurrent_module_comes_back_as_it_is() -> None:
    module = nn.GRU(3, 4)
    module._flat_weights[0] = None
    again = through_the_codec(module)
    assert again._flat_weights[0] is None
    assert again._flat_weights[1] is again.weight_hh_l0


def test_caches_of_recurrent_modules_from_a_transform_are_rebuilt() -> None:
    module = nn.LSTM(3, 3)
    x = torch.randn(4, 2, 3)
    before = fxarchive.dumps(module)
    torch.func.grad(lambda weights: torch.func.functional_call(module, weights, (x,))[0].sum())(
        dict(module.named_parameters())
    )  # leaves its own tensors in both caches
    assert fxarchive.dumps(module) == before
    assert torch.equal(fxarchive.loads(before)(x)[0], module(x)[0])


def test_a_module_is_the_same_before_and_after_it_was_compiled() -> None:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return torch.fx.symbolic_trace(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3), nn.LSTM(3, 3)))

    module = make().eval()
    before = fxarchive.dumps(module)
    torch.compile(module, backend="eager")(torch.randn(2, 3))
    assert fxarchive.dumps(module) == before
    torch._dynamo.reset()


def test_a_mark_of_the_user_on_a_tensor_is_kept() -> None:
    cache = torch.zeros(2)
    torch._dynamo.mark_static_address(cache, guard=False)
    assert vars(fxarchive.loads(fxarchive.dumps([cache]))[0]) == vars(cache) != {}


def test_the_document_depends_on_the_module_alone() -> None:
    def model() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.LSTM(2, 3), nn.BatchNorm1d(3), nn.ParameterDict({"a": torch.ones(2)}))

    assert codec.encode(model()).document == codec.encode(model()).document


# what cannot be kept


def refusals(module: Any) -> dict[str, str]:
    with pytest.raises(UnsupportedValue) as raised:
        codec.encode(module)
    return dict(raised.value.problems)


REGISTRATIONS: dict[str, Callable[[nn.Module], Any]] = {
    "_forward_pre_hooks": lambda m: m.register_forward_pre_hook(print, with_kwargs=True),
    "_forward_hooks": lambda m: m.register_forward_hook(print, with_kwargs=True, always_call=True),
    "_backward_pre_hooks": lambda m: m.register_full_backward_pre_hook(print),
    "_backward_hooks": lambda m: m.register_full_backward_hook(print),
    "_state_dict_pre_hooks": lambda m: m.register_state_dict_pre_hook(print),
    "_state_dict_hooks": lambda m: m.register_state_dict_post_hook(vars),
    "_load_state_dict_pre_hooks": lambda m: m.register_load_state_dict_pre_hook(print),
    "_load_state_dict_post_hooks": lambda m: m.register_load_state_dict_post_hook(print),
}


@pytest.mark.parametrize("kind", REGISTRATIONS)
def test_hooks_are_refused_by_their_path(kind: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU()))
    if kind == "_state_dict_hooks":
        model[1][0]._register_state_dict_hook(print)
        key = next(iter(model[1][0]._state_dict_hooks))
    else:
        key = REGISTRATIONS[kind](model[1][0]).id
    assert refusals(model) == {
        f"1.0.{kind}[{key}]": "the hook print is code and code is never stored; "
        f"remove it first with the handle of its registration, or all of them with module.{kind}.clear()"
    }


def test_every_kind_of_hook_that_this_torch_has_is_tested() -> None:
    flags = {"_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs"}
    assert {name for name in vars(nn.Module()) if name.endswith(("_hooks", *flags))} - flags == set(
        REGISTRATIONS
    )


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_hooks_of_torch_itself_name_the_call_that_removes_them() -> None:
    model = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
    nn.utils.weight_norm(model[0])
    nn.utils.spectral_norm(model[1])
    prune.l1_unstructured(model[2], "weight", 0.5)
    found = " ".join(refusals(model).values())
    for remedy in ("remove_weight_norm", "remove_spectral_norm", "prune.remove"):
        assert remedy in found
    nn.utils.remove_weight_norm(model[0])
    nn.utils.remove_spectral_norm(model[1])
    prune.remove(model[2], "weight")
    model[1]._load_state_dict_pre_hooks.clear()  # torch leaves this one behind
    assert_comes_back(model)


def test_parametrized_modules_are_refused_until_the_parametrization_is_removed() -> None:
    module = parametrizations.weight_norm(nn.Linear(2, 2))
    assert "remove_parametrizations" in refusals(nn.Sequential(module))["0"]
    parametrize.remove_parametrizations(module, "weight")
    module._load_state_dict_pre_hooks.clear()  # torch leaves one behind
    assert_comes_back(module, torch.ones(2))


@pytest.mark.filterwarnings("ignore")
def test_modules_that_hold_other_code_are_refused() -> None:
    plain = nn.Linear(2, 2)
    assert "TorchScript" in refusals(torch.jit.script(plain))["the object"]
    assert "_orig_mod" in refusals(torch.compile(plain))["the object"]
    parallel = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(parallel)
    assert "module.module" in refusals(parallel)["the object"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_interpreted_modules_of_unflatten_are_refused() -> None:
    program = torch.export.export(nn.Sequential(nn.Linear(2, 2)), (torch.ones(1, 2),), strict=False)
    assert "save that and unflatten it" in refusals(torch.export.unflatten(program))["the object"]


def test_a_replaced_method_is_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].forward = model[0].extra_repr
    assert "takes the place of Linear.forward" in refusals(model)["0.forward"]


def test_a_compiled_module_is_refused_until_it_forgets_that() -> None:
    module = nn.Linear(2, 2)
    module._compiled_call_impl = print
    assert "set module._compiled_call_impl to None" in refusals(module)["_compiled_call_impl"]
    module._compiled_call_impl = None
    again = through_the_codec(module)
    assert "_compiled_call_impl" not in vars(again)


def test_names_that_have_a_meaning_are_refused() -> None:
    module = nn.Module()
    vars(module)["__class_getitem__"] = 1
    module._parameters["a.b"] = nn.Parameter(torch.ones(1))
    module._modules[""] = nn.ReLU()
    module.training = 1  # type: ignore[assignment]
    module._non_persistent_buffers_set.add("stale")
    assert set(refusals(module)) == {"__class_getitem__", "['a.b']", "['']", "training", "stale"}


class WithState(nn.Module):
    def __getstate__(self) -> dict[str, Any]:
        return {}


class WithSlots(nn.Module):
    __slots__ = ("hidden",)


class OwnLSTM(nn.LSTM):
    """Has the __setstate__ of torch, not one of its own."""


def test_classes_with_state_of_their_own_are_refused() -> None:
    assert "WithState.__getstate__ would have to run" in refusals(WithState())["the object"]
    assert "WithSlots keeps attributes in __slots__" in refusals(WithSlots())["the object"]
    module = OwnLSTM(2, 3)
    assert_same(module, through_the_codec(module, trust=(f"{HERE}.OwnLSTM",)))


def test_every_problem_is_reported_with_its_path() -> None:
    class Local(nn.Module):
        pass

    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU()), Local())
    model[0].lock = object()
    model[1][0].functions = {"a": [lambda: None]}
    model[1].others = [nn.ReLU()]
    model[1].others[0].lock = object()
    found = refusals(model)
    assert set(found) == {"0.lock", "1.0.functions['a'][0]", "1.others.lock", "2"} or set(found) == {
        "0.lock",
        "1.0.functions['a'][0]",
        "1.others[0].lock",
        "2",
    }


# what a hostile file cannot do


def attribute(name: Any, value: Any = 1) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["modules"][0]["attributes"].extend((name, value))


def entry(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["modules"][0].__setitem__(key, value)


HOSTILE: dict[str, Callable[[dict[str, Any]], None]] = {
    **{
        f"attribute {name!r}": attribute(name)
        for name in (
            "forward",
            "__class__",
            "__dict__",
            "_forward_hooks",
            "_parameters",
            "training",
            "weight2",
            3,
        )
        if name != "weight2"
    },
    "attribute named as compiled": attribute("_compiled_call_impl", None),
    "attribute that hides a method": attribute("load_state_dict"),
    "attribute twice": attribute("in_features"),
    "attribute without a value": entry("attributes", ["a"]),
    "attributes not a list": entry("attributes", {"a": 1}),
    "attribute of an unknown tag": attribute("extra", ["nonsense", 1]),
    "parameter that is no tensor": entry("parameters", ["weight", 3]),
    "parameter without a row": entry("parameters", ["weight", ["tensor", 99]]),
    "parameter with a dot": entry("parameters", ["a.b", None]),
    "parameter of no name": entry("parameters", ["", None]),
    "parameter name not text": entry("parameters", [1, None]),
    "buffer persistent as a number": entry("buffers", ["b", None, 1]),
    "buffers of the wrong size": entry("buffers", ["b", None]),
    "submodule without a row": entry("modules", ["a", 99]),
    "submodule of a negative row": entry("modules", ["a", -1]),
    "submodule that is a value": entry("modules", ["a", ["module", 0]]),
    "submodule that is True": entry("modules", ["a", True]),
    "no training flag": lambda document: document["modules"][0].pop("training"),
    "training as a number": entry("training", 1),
    "backward hook flag as text": entry("full_backward_hook", "yes"),
    "unknown key": entry("surprise", 1),
    "not a record": lambda document: document["modules"].__setitem__(0, ["klass", 0]),
    "no class": lambda document: document["modules"][0].pop("klass"),
    "class without a row": entry("klass", 99),
    "class that is no module": lambda document: document["targets"].__setitem__(0, ["class", "torch.Size"]),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_record_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises((InvalidDocument, UntrustedNames)):
        through_the_codec(nn.Linear(2, 2), change=change)


def test_a_record_cannot_make_a_graph_module_or_script_of_a_class() -> None:
    def change(document: dict[str, Any]) -> None:
        document["targets"][0] = ["class", "torch.fx.graph_module.GraphModule"]

    with pytest.raises((InvalidDocument, UntrustedNames)):
        through_the_codec(nn.Linear(2, 2), change=change, trust=("torch.fx.graph_module.GraphModule",))


def test_recurrent_names_from_a_file_are_checked() -> None:
    def change(document: dict[str, Any]) -> None:
        attributes = document["modules"][0]["attributes"]
        attributes[attributes.index("_flat_weights_names") + 1] = 5

    with pytest.raises(InvalidDocument):
        through_the_codec(nn.GRU(2, 2), change=change)
