"""The migration from schema 1: what torch's GraphPickler writes here and now becomes what `save` would have written."""

from __future__ import annotations

import inspect
import pickle
import random
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import _graph_pickler

from fxarchive import chain, codec, packing, releases, wire
from fxarchive.audit import audit
from fxarchive.codec.running_torch import RunningTorch
from fxarchive.errors import BadStream, FxArchiveError, MigrationFailed, TooLarge, UnsupportedValue
from fxarchive.migrations import schema_1_to_2
from fxarchive.migrations.content import Content
from fxarchive.migrations.graph_pickler import recognition
from fxarchive.migrations.graph_pickler.codegen import argument_names
from fxarchive.migrations.graph_pickler.dill import read_stream
from fxarchive.migrations.graph_pickler.recognition import Releases, given, records
from fxarchive.streams import Call, FrozenSet, Name, Pairs, PersistentId, Set
from fxarchive.streams.records import NOTHING
from tests.corpus import adopted
from tests.corpus.entries import ENTRIES, TRUST
from tests.stream_writer import write

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
]


def dumped(obj: Any) -> bytes:
    """The stream of an object with every operator and all metadata, as far as the running torch lets one choose."""
    options = getattr(_graph_pickler, "Options", None)
    if options is None:  # torch 2.7
        return _graph_pickler.GraphPickler.dumps(obj)
    names = {"ops_filter", "node_metadata_key_filter"} & set(inspect.signature(options).parameters)
    return _graph_pickler.GraphPickler.dumps(obj, options(**dict.fromkeys(names)))


def upgraded(data: bytes, torch_release: str = "") -> Content:
    return schema_1_to_2.upgrade(Content(1, data, torch=torch_release))


def stored(document: Any) -> bytes:
    """The bytes of a document in an archive."""
    return wire.dumps(packing.pack(document))


class Sections:
    def __init__(self, content: Content) -> None:
        self.content = content

    def writable(self, name: str) -> memoryview:
        return memoryview(bytearray(self.content.sections[name]))


def loaded(content: Content, trust: tuple[str, ...] = TRUST) -> Any:
    document = content.document
    audit(document, trust=trust, features=content.features)
    return codec.decode(document, Sections(content), trust=frozenset(trust))


# what torch writes now

SAME = (
    "atoms",
    "containers",
    "newer_dtypes",
    "quantized_tensors",
    "shape_environments",
    "exported",
    "node_sources",
)
"""Entries of which GraphPickler keeps everything."""

NAMED_OTHERWISE = ("resnet", "tied_decoder", "mixed_calls", "pytree_inputs", "nested_graph_modules",
                   "in_place_and_random", "fake_propagated", "symbolic_graph", "calls", "omitted",
                   "exported_program")  # fmt: skip
"""Entries of which it loses nothing but the name of the GraphModule's class."""


WITH_SLICES_OF_NODES = ("tied_decoder", "calls")
"""Entries that torch before 2.12 cannot write: its GraphPickler takes no node inside of a slice."""


@pytest.mark.parametrize("name", SAME + NAMED_OTHERWISE)
def test_the_document_is_that_of_saving(name: str) -> None:
    obj, _ = ENTRIES[name].built()
    if releases.number_of(RunningTorch.release) < (2, 12) and name in WITH_SLICES_OF_NODES:
        with pytest.raises(AssertionError):
            dumped(obj)
        pytest.skip("before torch 2.12 GraphPickler takes no node inside of a slice")
    content = upgraded(dumped(obj), torch.__version__)
    expected = codec.encode(obj)
    document: Any = expected.document
    for module in document["modules"]:
        assert name in NAMED_OTHERWISE or "class_name" not in module
        module.pop("class_name", None)
    assert stored(content.document) == stored(document)
    assert {key: bytes(held) for key, held in expected.storages.items()} == dict(content.sections)
    assert content.features == expected.features
    loaded(content)


def test_storages_that_a_pickle_stores_twice_are_two() -> None:
    base = torch.arange(12.0)
    content = upgraded(dumped([base, base[3:]]))
    found = loaded(content)
    assert [list(part) for part in found] == [list(base), list(base[3:])]
    assert len(content.document["storages"]) == 2


def test_large_storages_are_sections() -> None:
    content = upgraded(dumped(torch.arange(100)))
    assert {name: len(held) for name, held in content.sections.items()} == {"storages/0": 800}
    assert torch.equal(loaded(content), torch.arange(100))


def test_a_tensor_with_attributes_and_a_parameter() -> None:
    buffer = torch.nn.Buffer(torch.ones(2), persistent=False)
    parameter = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    parameter.note = "mine"  # type: ignore[attr-defined]
    found = loaded(upgraded(dumped([buffer, parameter, parameter])))
    assert found[0].persistent is False
    assert (type(found[1]), found[1].requires_grad, found[1].note) == (torch.nn.Parameter, False, "mine")
    assert found[1] is found[2]


def test_notes_say_what_a_stream_does_not_hold() -> None:
    assert upgraded(dumped(torch.nn.UninitializedParameter())).notes == (
        "The stream does not hold dtype and device of a tensor without a shape; float32 on the CPU is taken.",
    )
    assert upgraded(dumped(torch.relu)).notes == ()


def test_a_tracing_context_is_what_saving_it_gives() -> None:
    context = torch._guards.TracingContext(FakeTensorMode())
    context.params_flat = [torch.nn.Parameter(torch.ones(2))]
    context.module_context.nn_modules = {"m": torch.nn.ReLU()}
    context.frame_summary_stack = [traceback.FrameSummary("a.py", 3, "f", line="x = 1")]
    content = upgraded(dumped(context))
    assert stored(content.document) == stored(codec.encode(context).document)
    assert list(loaded(content).module_context.nn_modules) == ["m"]


class Strange:
    """An object that no schema has a form for: code of its own makes it again."""

    def __reduce__(self) -> Any:
        return Strange, ()


def graph() -> torch.fx.GraphModule:
    return torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU()))


def test_metadata_and_attributes_without_a_form_are_left_out_with_a_note() -> None:
    module = graph()
    module.meta = {"strange": Strange(), "kept": 1}
    module.strange = Strange()
    for node in module.graph.nodes:
        node.meta = {"strange": [Strange()], "kept": (2, 3)}
    content = upgraded(dumped(module))
    name = f"{__name__}.Strange"
    (note,) = content.notes
    assert note.startswith(f"Left out, since what {name} makes has no form in schema 2: ")
    assert "graph.input_1.meta['strange'][0]" in note
    assert "meta['strange']" in note
    assert ", strange, " in note
    found = loaded(content)
    assert found.meta == {"kept": 1}
    assert not hasattr(found, "strange")
    assert [node.meta for node in found.graph.nodes] == [{"kept": (2, 3)}] * 4
    document = codec.encode(found).document
    assert stored(document) == stored(content.document)


# what cannot be translated is an error that names it


def hooked() -> Any:
    module = graph()
    next(module.children()).register_forward_hook(print)
    return module


REFUSED: dict[str, tuple[Any, str]] = {
    "object": (
        Strange,
        r"\[0\]: what tests\.migrations\.test_schema_1_to_2\.Strange makes has no form in schema 2",
    ),
    "hook": (
        hooked,
        r"\.0\._forward_hooks: hooks are code and code is never stored; save again without them",
    ),
    "factory": (
        lambda: __import__("collections").defaultdict(Strange),
        "a defaultdict is kept only with a factory",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_is_named(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(UnsupportedValue, match=message):
        upgraded(dumped([make()]))


def test_every_place_is_named_at_once() -> None:
    with pytest.raises(UnsupportedValue) as caught:
        upgraded(dumped({"a": [Strange(), 1], "b": Strange()}))
    assert [problem.path for problem in caught.value.problems] == ["['a'][0]", "['b']"]


def test_the_chain_names_file_step_and_item() -> None:
    content = Content(1, dumped([Strange()]))
    with pytest.raises(
        MigrationFailed, match=r"schema 1 to 2 cannot take old\.fxa(.|\n)*\[0\]: what"
    ) as caught:
        chain.migrate(content, chain.plan(1, 2), path="old.fxa")
    assert (caught.value.source, caught.value.target) == (1, 2)


def test_there_is_no_way_back() -> None:
    content = upgraded(dumped([1]))
    with pytest.raises(UnsupportedValue, match="schema 1 is a stream of torch's GraphPickler"):
        schema_1_to_2.downgrade(content)


def test_code_that_dill_stores_is_refused_by_name() -> None:
    stored = Call(Name("dill._dill", "_create_function"), ())
    with pytest.raises(UnsupportedValue, match="dill stored it by value, as code"):
        upgraded(write([stored]))


def test_names_that_dill_gives_types_are_names() -> None:
    assert str(read_stream(b"\x80\x04cdill._dill\n_load_type\n\x8c\x05slice\x85R.")) == "builtins.slice"
    assert read_stream(b"\x80\x04cdill._dill\n_eval_repr\n\x8c\x0brange(1, 5)\x85R.").args == (1, 5, 1)


# whose stream it is


def test_releases_that_were_given() -> None:
    assert given("2.9") == given("2.9.1+cpu") == Releases((2, 9), (2, 9))
    assert given("2.7 to 2.8") == Releases((2, 7), (2, 8))
    assert given(str(Releases((2, 15), (2, 15), later=True))) == Releases((2, 15), (2, 15), later=True)
    assert given("2.99") == Releases((2, 15), (2, 15))
    for text in ("", "unknown", "2", "2.x", "2.7 to 2.8 to 2.9", "2.9\n", "9" * 99 + ".1", "2.9 to 2.8"):
        assert given(text) is None, text


def test_evidence_narrows_the_range() -> None:
    leaf, function = (
        Name("torch.utils._pytree", "treespec_leaf"),
        Name("torch.fx._graph_pickler", "_OpFunctionPickleData"),
    )
    assert str(recognition.recognise([])) == "2.7 to 2.15"
    assert str(recognition.recognise([function])) == "2.10 or later"
    assert str(recognition.recognise([leaf])) == "2.14 or later"
    assert str(recognition.recognise([leaf, Name("itertools", "count")])) == "2.7 to 2.15"
    spec = Call(Name("torch.utils._pytree", "TreeSpec"), (), new=True)
    spec.state = Pairs([("_context", None)])
    assert str(recognition.recognise([spec])) == "2.10"


def test_here_and_now_is_recognised() -> None:
    release = tuple(int(part) for part in torch.__version__.split(".")[:2])
    assert recognition.recognise(read_stream(dumped(graph()))).includes(release)  # type: ignore[arg-type]


# codegen before it was stored

FLATTEN = "fx_pytree.tree_flatten_spec"
SOURCES: dict[str, list[str] | None] = {
    f"def forward(self, d):\n    self, d_1, = {FLATTEN}([self, d], self._in_spec)": ["self", "d"],
    f"def forward(self, x, k=None):\n    a, = {FLATTEN}(([x], {{'k':k}}), self._in_spec)": None,
    f"def forward(self, x, k):\n    a, = {FLATTEN}(([x], {{'k':k}}), self._in_spec)": ["x", "k"],
    f"\n\n\ndef forward(self, x, y) -> Any:\n    x_1, = {FLATTEN}(([x, y], {{}}), self._in_spec)": ["x", "y"],
    "def forward(self, x):\n    return x": None,
    f"def forward(x):\n    x_1, = {FLATTEN}(([x], {{}}), self._in_spec)": None,
}


@pytest.mark.parametrize("source", SOURCES)
def test_names_of_arguments_come_from_generated_source(source: str) -> None:
    assert argument_names(source) == SOURCES[source]


def test_a_stream_without_codegen_gets_it_from_the_module() -> None:
    (data,) = (
        data for name, title, data, _ in adopted_graphs() if (name, title) == ("2.8.0", "pytree_codegen")
    )
    root = read_stream(data)
    (held,) = (r for r in records(root) if type(r) is Pairs and "_in_spec" in r.named())
    held.items = [(key, value) for key, value in held.items if key != "_code"]
    (note,) = upgraded(write(root)).notes
    assert note == (
        "This release of torch did not store how the graph takes nested arguments; it takes them flat: graph."
    )


def adopted_graphs() -> Iterator[tuple[str, str, bytes, None]]:
    from fxarchive import container
    from tests.corpus import files

    for case in files.cases():
        if case.schema == adopted.SCHEMA:
            archive = container.open_archive(case.archive.read_bytes())
            yield case.release, case.name, bytes(archive.read("stream")), None


# hostile streams

JUNK: list[Any] = [
    None, True, -1, 2**70, 0.5, "x", b"", (), [], Pairs(), Set(), FrozenSet(), PersistentId("unpickle_state"),
    Name("os", "system"), Call(Name("os", "system"), ("id",)), Name("builtins", "eval"), bytearray(b"x"),
]  # fmt: skip


def mutate(root: Any, rng: random.Random) -> None:
    """Put something else in the place of one part of a stream."""
    everything = list(records(root))
    record, junk = rng.choice(everything), rng.choice([*JUNK, rng.choice(everything)])
    if type(record) is Call:
        kind = rng.randrange(5)
        if kind == 0:
            record.function = junk
        elif kind == 1 and type(record.args) is tuple and record.args:
            args = list(record.args)
            args[rng.randrange(len(args))] = junk
            record.args = tuple(args)
        elif kind == 2 and type(record.state) is Pairs and record.state.items:
            at = rng.randrange(len(record.state))
            record.state.items[at] = (record.state.items[at][0], junk)
        elif kind == 3 and record.state is not NOTHING:
            record.state = junk
        else:
            record.args = junk
    elif type(record) is Pairs and record.items:
        at = rng.randrange(len(record))
        key, value = record.items[at]
        record.items[at] = (key, junk) if rng.random() < 0.8 else (junk, value)
    elif type(record) is list and record:
        record[rng.randrange(len(record))] = junk
    elif isinstance(record, Set) and record.items:
        record.items[0] = junk
    elif type(record) is Name:
        record.qualname = "system"


@pytest.mark.parametrize("seed", range(12))
def test_a_stream_with_other_parts_is_translated_or_refused(seed: int) -> None:
    """Whatever stands in a stream, the only errors are those that name what is wrong, and nothing is run."""
    rng = random.Random(seed)
    graphs = [data for _, _, data, _ in adopted_graphs() if len(data) < 15_000]
    streams = [*graphs, *[data for _, _, data, _ in adopted.singles() if len(data) < 15_000]]
    found: dict[str, int] = {}
    for _ in range(60):
        root = read_stream(rng.choice(streams))
        for _ in range(rng.choice((1, 1, 2, 5))):
            mutate(root, rng)
        try:
            content = upgraded(write(root))
        except (UnsupportedValue, BadStream, TooLarge) as error:
            found[type(error).__name__] = found.get(type(error).__name__, 0) + 1
            continue
        except RecursionError:
            continue  # of the writer, or of a stream that holds itself; the chain makes an error of it
        found["translated"] = found.get("translated", 0) + 1
        stored(content.document)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loaded(content, ())
        except FxArchiveError:
            found["refused"] = found.get("refused", 0) + 1
    assert {"UnsupportedValue", "translated"} <= found.keys(), found


def shared_tuples(levels: int) -> Any:
    value: Any = ()
    for _ in range(levels):
        value = (value,) * 10
    return value


def nested(levels: int, kind: type) -> Any:
    value: Any = kind()
    for _ in range(levels):
        value = kind([value])
    return value


BOMBS: dict[str, tuple[Any, str]] = {
    "shared tuples": (shared_tuples(12), "The number of values of the document"),
    "deep lists": (nested(200, list), "nested more than 128 containers deep"),
    "deep tuples": (nested(200, tuple), "nested more than 128 containers deep"),
    "shared in metadata": ({"meta": [shared_tuples(9)] * 10}, "The number of values of the document"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused(name: str) -> None:
    value, message = BOMBS[name]
    with pytest.raises((UnsupportedValue, TooLarge), match=message):
        upgraded(pickle.dumps(value))


def test_records_that_hold_themselves_are_refused() -> None:
    symbol = Call(Name("sympy.core.add", "Add"), (), new=True)
    symbol.args = (symbol, symbol)
    with pytest.raises(UnsupportedValue, match="holds itself"):
        upgraded(write_loop(symbol))
    spec = Call(Name("torch.utils._pytree", "TreeSpec"), (), new=True)
    spec.state = Pairs([("type", Name("builtins", "list")), ("context", None), ("children_specs", [spec])])
    with pytest.raises(UnsupportedValue, match="nested more than 128 levels"):
        upgraded(write(spec))
    cause = Call(Name("torch._dynamo.source", "AttrSource"), (), new=True)
    cause.state = Pairs([("base", cause), ("member", "x")])
    with pytest.raises(UnsupportedValue, match="nested more than 128 records deep"):
        upgraded(write(cause))


def write_loop(call: Call) -> bytes:
    """A call that is its own argument cannot be pickled; the memo of a hostile stream can say it in a list."""
    inner: list[Any] = []
    loop = Call(call.function, inner, new=True)
    inner += [loop, loop]
    return write(loop)
