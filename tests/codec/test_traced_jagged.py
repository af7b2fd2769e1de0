"""Jagged tensors under tracing come back: symbols for ragged sizes, which tensor has which, and none by accident."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

import fxarchive
from fxarchive import codec
from fxarchive.codec import nested_ints
from fxarchive.codec.fast import shape_env_names as names
from fxarchive.codec.symbolic.sources import is_ephemeral, source_of_text, source_text
from fxarchive.document import NESTED_INT_SYMBOLS
from fxarchive.errors import FakeModeConflict, InvalidDocument, UnsupportedValue
from fxarchive.releases import number_of

from ..compare import assert_same, differences
from ..corpus.values import traced_jagged_tensors
from .symbolic_cases import IN_ORDER, backed
from .tables import Bytes
from .through import through_the_codec

pytestmark = pytest.mark.filterwarnings("ignore")


def jagged(*lengths: int) -> torch.Tensor:
    parts = [torch.ones(length, 4) * length for length in lengths]
    return torch.nested.nested_tensor(parts, layout=torch.jagged)


def mode() -> FakeTensorMode:
    return FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)


def traced(within: FakeTensorMode | None = None) -> dict[str, Any]:
    """Fake jagged tensors, of which `x` and `same` have one ragged size and `other` another, and the real `x`."""
    within = mode() if within is None else within
    real = jagged(2, 3)
    x, same, other = (within.from_tensor(each) for each in (real, real * 2, jagged(1, 4)))
    return {"x": x, "same": same, "other": other, "real": real}


def mode_of(fake: Any) -> Any:
    return fake._values.fake_mode


def ragged(fake: Any) -> Any:
    return fake.shape[1]


def ids_of(env: Any) -> list[int]:
    return [hint._val for hint in names.hints(env).values() if hasattr(hint, "_val")]


# what comes back


def test_fake_jagged_tensors_come_back() -> None:
    found = traced()
    with mode_of(found["x"]):
        found["sum"] = found["x"] + found["same"]
        found["turned"] = found["other"].transpose(1, 2)
    found["sizes"] = [found["x"].shape, found["turned"].stride()]
    data = fxarchive.dumps(found)
    again = fxarchive.loads(data)
    assert_same(found, again)
    assert fxarchive.dumps(again) == data == fxarchive.dumps(found)
    assert codec.encode(found).features == {"nested-int-symbols", "symbolic-shapes", "tensor-subclasses"}


def test_only_archives_with_such_symbols_carry_the_flag() -> None:
    assert NESTED_INT_SYMBOLS not in codec.encode([jagged(2, 3)]).features
    assert NESTED_INT_SYMBOLS not in codec.encode([mode().from_tensor(torch.ones(3, 4))]).features
    assert NESTED_INT_SYMBOLS in codec.encode([ragged(traced()["x"])]).features
    assert NESTED_INT_SYMBOLS in codec.encode([mode_of(traced()["x"]).shape_env]).features


def test_operators_work_where_the_ragged_sizes_are_equal_and_only_there() -> None:
    again = fxarchive.loads(fxarchive.dumps(traced()))
    with mode_of(again["x"]):
        both = again["x"].sin() + again["same"] * 2
        with pytest.raises((RuntimeError, ValueError)):
            again["x"] + again["other"]
    assert bool(ragged(both) == ragged(again["x"]))


def test_graphs_over_jagged_tensors_come_back() -> None:
    module = make_fx(lambda x: (x * 2).sin(), tracing_mode="symbolic")(jagged(2, 3))
    again = through_the_codec(module)
    assert_same(module, again)
    real = jagged(2, 3)
    assert torch.equal(again(real).values(), module(real).values())
    (x,) = [node.meta["val"] for node in again.graph.find_nodes(op="placeholder")]
    propagated = FakeTensorProp(again, mode_of(x)).propagate_dont_convert_inputs(x)
    assert str(propagated.shape) == str(x.shape)
    torch._dynamo.reset()
    compiled = torch.compile(again, backend="aot_eager")
    assert torch.equal(compiled(real).values(), module(real).values())


def handed_over(function: Callable[..., Any], *inputs: torch.Tensor, dynamic: bool | None = None) -> Any:
    """The graph that dynamo hands to a backend for ``function``."""
    found: list[GraphModule] = []

    def keep(module: GraphModule, examples: Any) -> Any:
        found.append(module)
        return module.forward

    torch._dynamo.reset()
    torch.compile(function, backend=keep, dynamic=dynamic)(*inputs)
    return found[-1]


def test_sizes_are_written_as_they_were() -> None:
    """torch computes the sizes of a jagged tensor from its parts, and otherwise after a guard than before it."""
    graph = handed_over(lambda x: x * 2, jagged(2, 3, 4), dynamic=True)
    again = fxarchive.loads(fxarchive.dumps(graph))
    for node, other in zip(graph.graph.nodes, again.graph.nodes, strict=True):
        value, back = (each.meta.get("example_value") for each in (node, other))
        if getattr(value, "is_nested", False):
            for numbers, others in ((value.size(), back.size()), (value.stride(), back.stride())):
                assert [_written(each) for each in numbers] == [_written(each) for each in others]


def _written(number: Any) -> str:
    return str(number if type(number) is int else number.node._expr)


def test_offsets_know_whose_they_are() -> None:
    found = traced()
    offsets = found["x"].offsets()
    again = fxarchive.loads(fxarchive.dumps({"offsets": offsets, "x": found["x"]}))
    assert again["offsets"] is again["x"].offsets()
    assert str(again["offsets"].nested_int_memo) == str(ragged(found["x"]))
    alone = fxarchive.loads(fxarchive.dumps(offsets))
    with alone.fake_mode:
        made = torch.nested.nested_tensor_from_jagged(torch.empty(5, 4), alone)
    assert str(ragged(made)) == str(ragged(found["x"]))


def test_saving_leaves_offsets_alone() -> None:
    found = traced()
    x, other = found["x"], found["other"]
    offsets = x.offsets()
    size = offsets.nested_int_memo = ragged(other)  # as two tensors over one object leave it
    data = fxarchive.dumps([x, offsets])
    assert offsets.nested_int_memo is size
    again = fxarchive.loads(data)
    assert str(again[1].nested_int_memo) == str(ragged(other))
    assert str(ragged(again[0])) == str(ragged(x))


def test_the_values_of_a_jagged_tensor_share_its_storage_and_are_no_view() -> None:
    x = traced()["x"]
    with mode_of(x):
        doubled = x * 2
        values = doubled.values()
    assert values._base is doubled
    again, tensor = through_the_codec([values, doubled])
    assert type(again) is FakeTensor
    assert not again._is_view()
    assert again.untyped_storage()._cdata == tensor._values.untyped_storage()._cdata
    assert_same([values, doubled], [again, tensor])


def test_jagged_tensors_that_do_not_fit_their_parts_are_refused() -> None:
    x = traced()["x"]
    x._size = (x._size[0], x._size[1], 7)
    x._clear_non_serializable_cached_data()
    with pytest.raises(UnsupportedValue, match="its parts do not have the sizes of its own"):
        fxarchive.dumps([x])


def test_marks_of_dimensions_without_ranges_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch 2.15 writes no ranges without bounds, and earlier releases rely on them when they mark again."""

    def without_ranges(document: Any) -> None:
        for attributes in document["fakes"]["attributes"][1]:
            if "_dynamo_dynamic_range" in attributes:
                at = attributes.index("_dynamo_dynamic_range")
                del attributes[at : at + 2]

    found = traced_jagged_tensors()
    again = through_the_codec(found, change=without_ranges)["traced"][0]
    with mode_of(again):
        assert str((again * 2).shape) == str(again.shape)
    if number_of(torch.__version__) < (2, 15):
        monkeypatch.setattr(nested_ints, "complete_marks", lambda parts: None)
        with pytest.raises(InvalidDocument, match="_dynamo_dynamic_range"):
            through_the_codec(found, change=without_ranges)


# no ragged size equals another by accident


def test_what_is_loaded_equals_nothing_that_the_process_has() -> None:
    data = fxarchive.dumps(traced())
    first, second = fxarchive.loads(data), fxarchive.loads(data)
    known = [set(ids_of(mode_of(each["x"]).shape_env)) for each in (first, second)]
    assert not known[0] & known[1]
    assert not (known[0] | known[1]) & set(range(torch.nested._internal.nested_tensor._tensor_id_counter))  # type: ignore[attr-defined]


def test_new_tensors_in_the_mode_of_what_was_loaded_get_sizes_of_their_own() -> None:
    again = fxarchive.loads(fxarchive.dumps(traced()))
    within = mode_of(again["x"])
    later = within.from_tensor(jagged(2, 3))
    sizes = [ragged(again["x"]), ragged(again["other"]), ragged(later)]
    for _ in range(2):
        within.reset_nt_tensor_id_counter()  # as torch does each time it traces
        with within:
            made = torch.nested.nested_tensor_from_jagged(
                torch.empty(5, 4), torch.empty(3, dtype=torch.int64)
            )
        sizes.append(ragged(made))
    *apart, again_made = sizes
    for one, other in itertools.combinations(apart, 2):
        assert not bool(one == other)
    assert bool(again_made == apart[-1])


def test_a_real_tensor_of_the_archive_still_has_the_size_of_its_fake() -> None:
    found = traced()
    again = fxarchive.loads(fxarchive.dumps(found))
    converted = mode_of(again["x"]).from_tensor(again["real"])
    assert bool(ragged(converted) == ragged(again["x"]))
    assert not bool(ragged(converted) == ragged(again["other"]))
    assert torch.equal((again["real"] + again["real"] * 2).values(), (found["real"] * 3).values())


# the caller's mode


def test_a_graph_joins_the_mode_that_it_was_traced_in() -> None:
    found = traced()
    within = mode_of(found["x"])
    before = dict(names.hints(within.shape_env))
    again = fxarchive.loads(fxarchive.dumps(found), fake_mode=within)
    assert names.hints(within.shape_env) == before
    assert bool(ragged(again["x"]) == ragged(found["x"]))
    with within:
        again["x"] + found["same"]
    # a real tensor is another one, whatever stands for it
    assert again["real"].shape[1] != found["real"].shape[1]


def test_a_graph_joins_a_mode_without_its_symbols() -> None:
    found, theirs = traced(), mode()
    again = fxarchive.loads(fxarchive.dumps(found), fake_mode=theirs)
    for name in ("x", "same", "other"):
        assert list(map(_written, again[name].shape)) == list(map(_written, found[name].shape))
        assert mode_of(again[name]) is theirs
    second = fxarchive.loads(fxarchive.dumps(found), fake_mode=theirs)
    assert bool(ragged(second["x"]) == ragged(again["x"]))
    assert not bool(ragged(second["x"]) == ragged(again["other"]))


def intermediate(within: FakeTensorMode, *more: str) -> Any:
    """A jagged tensor that a program made, in an environment that knows other symbols too."""
    for number, name in enumerate(more):
        backed(within.shape_env, name, 20 + number, DimDynamic.DYNAMIC)
    with within:
        return torch.nested.nested_tensor_from_jagged(torch.empty(5, 4), torch.empty(3, dtype=torch.int64))


@IN_ORDER
def test_an_intermediate_value_of_another_program_is_not_taken_for_this_one() -> None:
    """Both have one name and one source, which all intermediate values have."""
    theirs = mode()
    one, other = intermediate(mode(), "a"), intermediate(theirs, "b")
    assert str(ragged(one)) == str(ragged(other))
    with pytest.raises(FakeModeConflict, match=f"another symbol {ragged(one)}"):
        fxarchive.loads(fxarchive.dumps(one), fake_mode=theirs)


def test_an_intermediate_value_of_the_same_program_is_taken_for_this_one() -> None:
    theirs = mode()
    one, other = intermediate(mode(), "a"), intermediate(theirs, "a")
    again = fxarchive.loads(fxarchive.dumps(one), fake_mode=theirs)
    assert bool(ragged(again) == ragged(other))


def test_sizes_that_are_one_there_and_two_here_do_not_fit() -> None:
    """A symbol of theirs has the id of one of ours, and another has it too."""
    found, theirs = traced(), mode()
    data = fxarchive.dumps(found)
    fxarchive.loads(data, fake_mode=theirs)
    hints = names.hints(theirs.shape_env)
    one, two = (ragged(found[name]).node._expr for name in ("x", "other"))
    hints[two] = hints[one]
    with pytest.raises(FakeModeConflict, match="another symbol"):
        fxarchive.loads(data, fake_mode=theirs)


# sources of what is no input


@pytest.mark.parametrize("text", ["<ephemeral: visitor>", "<ephemeral: visitor>._values.size()[0]"])
def test_ephemeral_sources_come_back_ephemeral(text: str) -> None:
    source = source_of_text(text)
    assert source.is_ephemeral()
    assert source_text(source) == text


@pytest.mark.parametrize(
    "text",
    ["<ephemeral: a b>", "<ephemeral: a>.f()", "<ephemeral: a>; x", "<ephemeral>", "<ephemeral: a>.__b"],
)
def test_other_texts_are_not_ephemeral(text: str) -> None:
    assert not is_ephemeral(text)
    assert not source_of_text(text).is_ephemeral()
    assert source_text(source_of_text(text)) == text


# hostile and careless documents


def document_of(value: Any) -> Any:
    return codec.encode(value).document


def decode(document: Any, features: frozenset[str] | None = None) -> Any:
    sections: Any = Bytes({})
    more = {} if features is None else {"features": features}
    return codec.decode(document, sections, **more)


VALUES_WITH_IT: dict[str, Callable[[], Any]] = {
    "an environment": lambda: mode_of(traced()["x"]).shape_env,
    "a size": lambda: ragged(traced()["x"]),
    "offsets": lambda: traced()["x"].offsets(),
}


@pytest.mark.parametrize("make", VALUES_WITH_IT.values(), ids=VALUES_WITH_IT)
def test_an_archive_that_forgot_the_flag_does_not_load(make: Callable[[], Any]) -> None:
    encoded = codec.encode([make()])
    decode(encoded.document, encoded.features)
    with pytest.raises(InvalidDocument, match="does not name the feature flag 'nested-int-symbols'"):
        decode(encoded.document, encoded.features - {NESTED_INT_SYMBOLS})


def test_a_size_and_offsets_are_refused_without_the_flag_by_themselves() -> None:
    document = document_of([ragged(traced()["x"])])
    del document["symbolic"]["environments"][0]["nested"]
    with pytest.raises(InvalidDocument, match="'nested-int-symbols'"):
        decode(document, frozenset({"symbolic-shapes"}))


def _nested(document: Any) -> Any:
    return document["symbolic"]["environments"][0]["nested"]


def _exponent(document: Any) -> None:
    rows = document["symbolic"]["expressions"]
    rows.append(["Integer", 2])
    rows.append(["Pow", len(rows) - 1, _nested(document)[0][0]])


RECORDS: dict[str, Callable[[Any], Any]] = {
    "no list": lambda document: document["symbolic"]["environments"][0].update(nested=5),
    "half": lambda document: _nested(document)[0].pop(),
    "no symbol": lambda document: _nested(document)[0].__setitem__(0, 999),
    "a number below 0": lambda document: _nested(document)[0].__setitem__(1, -1),
    "a number that is True": lambda document: _nested(document)[0].__setitem__(1, True),
    "a coefficient of 0": lambda document: _nested(document)[0].__setitem__(2, 0),
    "a large coefficient": lambda document: _nested(document)[0].__setitem__(2, 2**31),
    "a flag that is a number": lambda document: _nested(document)[0].__setitem__(3, 1),
    "a symbol twice": lambda document: _nested(document).append([*_nested(document)[0][:3], False]),
    "a symbol with two hints": lambda document: document["symbolic"]["environments"][0]["hints"].extend(
        [_nested(document)[0][0], document["symbolic"]["environments"][0]["hints"][1]]
    ),
    "two symbols for new inputs": lambda document: [
        each.__setitem__(slice(1, 4), [0, 1, True]) for each in _nested(document)
    ],
    "in an exponent": _exponent,
}


@pytest.mark.parametrize("change", RECORDS.values(), ids=RECORDS)
def test_hostile_environments_are_refused(change: Callable[[Any], Any]) -> None:
    document = document_of([ragged(traced()[name]) for name in ("x", "other")])
    decode(document)
    change(document)
    with pytest.raises(InvalidDocument):
        decode(document)


HINTS: list[Any] = [
    ["nested_int", -1, 1], ["nested_int", 0, 0], ["nested_int", 0, 2**31], ["nested_int", True, 1],
    ["nested_int", 0], ["nested_int", 0, 1, 1], ["nested_int", "0", 1], ["tuple", 0, 1], [], [[], [], []],
    ["nested_int", [0], 1],
]  # fmt: skip


@pytest.mark.parametrize("hint", HINTS)
def test_hostile_hints_are_refused(hint: Any) -> None:
    document = document_of(ragged(traced()["x"]))
    size = document["root"]
    assert size[0] == "symint"
    document["root"] = [*size[:3], hint]
    with pytest.raises(InvalidDocument):
        decode(document)
    document["root"] = ["symfloat", *size[1:]]
    with pytest.raises(InvalidDocument):
        decode(document)
    document["root"] = ["symint", None, None, size[3]]
    with pytest.raises(InvalidDocument):
        decode(document)
    document["root"] = [*size, 3]
    with pytest.raises(InvalidDocument):
        decode(document)


def _columns(document: Any) -> Any:
    return document["fakes"]["nested_int"]


OFFSETS: dict[str, Callable[[Any], Any]] = {
    "a number": lambda document: _columns(document)[1].__setitem__(0, 5),
    "another value": lambda document: _columns(document)[1].__setitem__(0, ["dtype", "int64"]),
    "a size that is not ragged": lambda document: _columns(document)[1].__setitem__(
        0, document["descriptions"][document["fakes"]["description"][0]][2][0]
    ),
    "a row that is not there": lambda document: _columns(document)[0].__setitem__(0, 999),
    "no columns": lambda document: document["fakes"].update(nested_int=5),
}


@pytest.mark.parametrize("change", OFFSETS.values(), ids=OFFSETS)
def test_hostile_offsets_are_refused(change: Callable[[Any], Any]) -> None:
    document = document_of([traced()["x"].offsets()])
    decode(document)
    change(document)
    with pytest.raises(InvalidDocument):
        decode(document)


def test_a_plain_tensor_has_no_ragged_size() -> None:
    found = traced()
    document = document_of([found["x"].offsets(), ragged(found["x"])])
    size = document["fakes"]["nested_int"][1][0]
    document["descriptions"][0][2] = [size]
    with pytest.raises(InvalidDocument, match="that of a jagged dimension"):
        decode(document)


def test_offsets_of_another_environment_are_refused() -> None:
    document = document_of([traced()["x"].offsets(), traced()["x"].offsets()])
    sizes = document["fakes"]["nested_int"][1]
    sizes[0], sizes[1] = sizes[1], sizes[0]
    with pytest.raises(InvalidDocument, match="another environment"):
        decode(document)


def test_sizes_that_are_not_those_of_the_parts_are_refused() -> None:
    document = document_of([traced()["x"]])
    size = document["subclasses"][0]["size"]
    size[0] = size[2]
    with pytest.raises(InvalidDocument, match="of another size"):
        decode(document)


# what cannot be kept


def test_a_program_whose_guards_name_what_tracing_made_is_refused() -> None:
    """torch writes them (2.10 to 2.15), and its own ``module()`` fails on them."""

    class Double(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    try:
        program = torch.export.export(Double(), (jagged(2, 3),), strict=True)
    except (AssertionError, RuntimeError, AttributeError) as error:
        pytest.skip(f"torch {torch.__version__} cannot export it: {error!s:.60}")
    with pytest.raises(UnsupportedValue, match="remove the guard"):
        fxarchive.dumps(program)
    program._guards_code = []  # type: ignore[attr-defined]
    again = fxarchive.loads(fxarchive.dumps(program))
    assert differences(program.graph_module, again.graph_module) == []
