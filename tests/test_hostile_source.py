"""Documents that try to get text of their own into generated source, or to have something called: all are refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.fx import GraphModule
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo
from torch.utils import _pytree as pytree

import fxarchive
from fxarchive import codec, packing, wire
from fxarchive.audit import audit
from fxarchive.errors import ForbiddenName, FxArchiveError, InvalidDocument, UnsupportedValue

from .codec.through import Sections
from .documents import small
from .material import programs, symbolic


def load(obj: Any, change: Callable[[Any], None]) -> Any:
    """Return what a changed document of ``obj`` becomes."""
    made = codec.encode(obj)
    document = wire.loads(wire.dumps(made.document))
    change(document)
    audit(document, trust=(), features=made.features)
    return codec.decode(document, Sections(made.storages))


def added(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.add(a, b)


def traced() -> Any:
    return {"graph": torch.fx.symbolic_trace(added), "module": torch.nn.Linear(2, 2)}


def row_of(document: Any, name: str) -> int:
    return next(row for row, record in enumerate(document["targets"]) if record[1] == name)


def add_target(document: Any, *record: Any) -> int:
    document["targets"].append(list(record))
    return len(document["targets"]) - 1


def linear(document: Any) -> int:
    klass = row_of(document, "torch.nn.modules.linear.Linear")
    return next(row for row, module in enumerate(document["modules"]) if module.get("klass") == klass)


def call(document: Any) -> list[Any]:
    """Return the pattern of the addition."""
    graph = document["graphs"][0]
    found: list[Any] = graph["patterns"][graph["pattern"][2]]
    return found


# values among arguments and types


def test_a_module_is_not_an_argument(tmp_path: Path) -> None:
    """``repr`` of a Linear prints `in_features` as it stands."""
    mark = tmp_path / "mark"

    def change(document: Any) -> None:
        row = linear(document)
        attributes = document["modules"][row]["attributes"]
        at = attributes.index("in_features")
        attributes[at + 1] = f"1) if __import__('os').mkdir({str(mark)!r}) else dict(a=1"
        call(document)[1] = ["alpha", ["module", row]]

    with pytest.raises(InvalidDocument, match="a module cannot be an argument or a type of a node"):
        load(traced(), change)(torch.ones(1), torch.ones(1))
    assert not mark.exists()


def test_a_module_is_not_a_type() -> None:
    """Of whatever has a module of torch, torch writes the ``__name__``."""

    def change(document: Any) -> None:
        row = linear(document)
        document["modules"][row]["attributes"] += ["__name__", "Linear = print() #"]
        document["graphs"][0]["types"] = [[2], [["module", row]]]

    with pytest.raises(InvalidDocument, match="a module cannot be an argument or a type of a node"):
        load(traced(), change)


@pytest.mark.parametrize(
    "value",
    [
        ["weakref", ["module", 1]], ["shape_env", 0], ["program", 0], ["export", "ConstantArgument", ["x", 1]],
        ["graph", 0], ["node", 0, 0], ["path_key", "MappingKey", "x"], ["name", "builtins.getattr"], ["nonsense", 1],
        [["tuple", []]], [], ["partial", ["target", 0], [["module", 1]], []],
        ["partial", ["target", 0], [], ["a", ["module", 1]]], ["treespec", [["target", 0], ["module", 1], []]],
        ["treespec", [None, None, [[["target", 0], ["list", [["module", 1]]], []]]]], ["deque", [["module", 1]], 3],
        ["dict", [["module", 1], 1]], ["slice", [None, ["module", 1], None]], ["target", 99], ["target", "x"],
        ["target", True],
    ],
    ids=repr,
)  # fmt: skip
def test_arguments_are_values_of_a_closed_list(value: Any) -> None:
    def change(document: Any) -> None:
        call(document)[1] = ["alpha", value]

    with pytest.raises(FxArchiveError):
        load(traced(), change)


@pytest.mark.parametrize(
    "value", [["tensor", 0], ["dtype", "float32"], ["device", "cpu", None], ["symint", 0, 0, 1]]
)
def test_types_are_classes_and_annotations(value: Any) -> None:
    def change(document: Any) -> None:
        document["graphs"][0]["types"] = [[2], [value]]

    with pytest.raises(InvalidDocument, match="cannot be an argument or a type of a node"):
        load(traced(), change)


@pytest.mark.parametrize("place", ["argument", "type"])
def test_what_a_load_refuses_a_save_refuses(place: str) -> None:
    graph = torch.fx.symbolic_trace(added).graph
    node = next(node for node in graph.nodes if node.op == "call_function")
    if place == "argument":
        node.kwargs = {"alpha": torch.nn.Linear(2, 2)}  # type: ignore[dict-item]
    else:
        node.type = torch.nn.Linear(2, 2)
    with pytest.raises(
        UnsupportedValue, match=f"a value of kind module in it cannot be an? {place} of a node"
    ):
        codec.encode(graph)


# defaults of inputs beside an input spec


def with_spec() -> GraphModule:
    module = torch.fx.symbolic_trace(added)
    spec = pytree.tree_structure(((1, 2), {}))
    module.graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(["a", "b"], spec, None)))  # type: ignore[arg-type]
    module.recompile()
    return module


def test_inputs_beside_a_spec_have_no_defaults(tmp_path: Path) -> None:
    """Torch cuts ``b = 'text'`` at the first colon, so that two such texts make a string of what is between them."""
    mark = tmp_path / "mark"

    def change(document: Any) -> None:
        graph = document["graphs"][0]
        graph["patterns"] += [[["a:"], []], [[f'; __import__("os").mkdir("{mark}"); b:'], []]]
        graph["pattern"][:2] = [len(graph["patterns"]) - 2, len(graph["patterns"]) - 1]

    with pytest.raises(InvalidDocument, match="an input has a default value beside an input spec"):
        load(with_spec(), change)(torch.ones(1), torch.ones(1))
    assert not mark.exists()


def test_a_save_refuses_defaults_beside_a_spec() -> None:
    module = with_spec()
    next(iter(module.graph.nodes)).args = (1,)
    with pytest.raises(
        UnsupportedValue, match="the input a has a default value, from which torch generates no code"
    ):
        codec.encode(module)


# names of nodes


@pytest.mark.parametrize("name", ["ﬁ", "__debug__", "__class__", "a\n__x__"])
def test_names_of_nodes_are_what_python_reads(name: str) -> None:
    def change(document: Any) -> None:
        document["graphs"][0]["names"] = "\n".join(
            ["a", "b", *name.split("\n"), "output"][: 4 + name.count("\n")]
        )

    with pytest.raises(FxArchiveError):
        load(traced(), change)


# what is called


def test_a_tree_spec_calls_nothing(tmp_path: Path) -> None:
    """Pytree makes a named tuple by calling the context of its spec: here an operator that makes a file, at load."""
    mark = tmp_path / "mark"
    program, _ = programs.exported(programs.state)

    def change(document: Any) -> None:
        schema = str(torch.ops.aten.from_file.default._schema)
        row = add_target(document, "operator", "aten::from_file", schema, None)
        document["programs"][0]["examples"] = [
            "treespec",
            ["namedtuple", ["target", row], [None, None, None]],
        ]
        document["programs"][0]["leaves"] = ["tuple", [os.fspath(mark), True, 8]]

    with pytest.raises(InvalidDocument, match="is not a class of named tuples"):
        load(program, change)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("kind", "context"),
    [
        ("namedtuple", ["target", 0]), ("namedtuple", None), ("namedtuple", 1),
        (["target", "collections.defaultdict"], ["list", [["target", 0], ["list", []]]]),
        (["target", "collections.defaultdict"], None), (1, None), (["target", 0], None), ("dict", None),
    ],
)  # fmt: skip
def test_tree_specs_have_types_that_are_classes_of_containers(kind: Any, context: Any) -> None:
    def change(document: Any) -> None:
        if isinstance(kind, list) and isinstance(kind[1], str):
            kind[1] = add_target(document, "class", kind[1])
        document["targets"][0] = ["function", "torch.relu"]
        document["root"] = ["treespec", [kind, context, []]]

    with pytest.raises(InvalidDocument):
        load([torch.relu], change)


def test_a_spec_of_a_defaultdict_with_a_factory_of_its_own_is_refused_at_save() -> None:
    import collections

    spec = pytree.tree_structure(collections.defaultdict(torch.nn.ReLU, a=1))
    with pytest.raises(UnsupportedValue, match="a factory that is a builtin container or number"):
        codec.encode(spec)
    plain = pytree.tree_structure(collections.defaultdict(list, a=1))
    assert load(plain, lambda document: None) == plain


READERS = ("builtins.getattr", "torch._dynamo.utils.numpy_attr_wrapper")


@pytest.mark.parametrize("reader", READERS)
def test_what_reads_attributes_is_called_directly_or_not_at_all(reader: str) -> None:
    def as_an_argument(document: Any) -> None:
        call(document)[0] = [["target", add_target(document, "function", reader)], ["hole"], ["hole"]]

    def in_a_partial(document: Any) -> None:
        row = add_target(document, "function", reader)
        document["root"] = ["partial", ["target", row], [1, "__class__"], []]

    def of_a_special_name(document: Any) -> None:
        document["targets"][row_of(document, "torch.add")] = ["function", reader]
        graph = document["graphs"][0]
        graph["patterns"][graph["pattern"][2]] = [[["hole"], "__class__"], []]
        del graph["operands"][1]

    for change in (as_an_argument, in_a_partial, of_a_special_name):
        with pytest.raises(FxArchiveError):
            load(traced(), change)


@pytest.mark.parametrize(
    "name",
    [
        "torch.fx.graph_module.GraphModule", "torch.fx.graph.Graph", "torch.fx.interpreter.Interpreter",
        "torch.fx._symbolic_trace.Tracer", "torch.export.exported_program.ExportedProgram", "torch.UntypedStorage",
        "torch.storage.UntypedStorage",
    ],
)  # fmt: skip
def test_a_graph_calls_no_class_that_makes_graphs_or_maps_files(name: str) -> None:
    def called(document: Any) -> None:
        document["targets"][row_of(document, "torch.add")] = ["class", name]

    def handed_on(document: Any) -> None:
        call(document)[1] = ["alpha", ["target", add_target(document, "class", name)]]

    for change in (called, handed_on):
        with pytest.raises(InvalidDocument):
            load(traced(), change)


@pytest.mark.parametrize("name", ["tofile", "dump", "from_file", "_write_file", "format", "__reduce_ex__"])
def test_a_graph_calls_no_method_that_touches_files(name: str) -> None:
    graph = torch.fx.Graph()
    graph.output(graph.call_method("sin", (graph.placeholder("x"),)))

    def change(document: Any) -> None:
        document["texts"][document["texts"].index("sin")] = name

    with pytest.raises(ForbiddenName):
        load(graph, change)


def test_a_name_in_metadata_is_an_operator_and_no_attribute_of_one() -> None:
    def change(document: Any) -> None:
        names = ["torch.ops.aten.add.Tensor", "torch.ops.aten.add.__class__", "torch.ops.aten.add.op"]
        document["root"] = ["list", [["name", name] for name in names]]

    operator, *others = load([1], change)
    assert operator is torch.ops.aten.add.Tensor
    assert [type(other) for other in others] == [fxarchive.QualifiedName] * 2


# memory


def test_copies_of_rows_do_not_multiply() -> None:
    def change(document: Any) -> None:
        document["values"] = [["tuple", [1]]] + [["tuple", [["value", k], ["value", k]]] for k in range(40)]
        document["root"] = ["value", 40]

    with pytest.raises(InvalidDocument, match="is copied outside a column of metadata"):
        load([1], change)


def test_names_of_nodes_do_not_unfold_to_texts() -> None:
    """A node is named after its target with one byte: a text of a million characters would come a thousand times."""
    document: Any = packing.pack(small())
    graph, count = document["graphs"][0], 1000
    document["texts"] = packing.strings.pack_strings(["x" * 1_000_000])
    graph["ops"] = bytes(count)
    graph |= {key: packing.numbers.pack_numbers([0] * count) for key in ("targets", "pattern", "layout")}
    steps = packing.numbers.pack_numbers([2, *[0] * (count - 1)])
    graph["names"] = [packing.strings.pack_strings([]), graph["layout"], steps]
    with pytest.raises(InvalidDocument, match="its columns are not those of its schema"):
        packing.unpack(document)


def test_facts_of_symbols_are_not_large_together() -> None:
    """Torch goes through all guards for each size that it looks at: 2 KB could keep it busy for hours."""
    module, _ = symbolic.symbolic_guards()

    def change(document: Any) -> None:
        rows = document["symbolic"]["expressions"]
        row = next(at for at, entry in enumerate(rows) if entry[0] == "Symbol")
        for _ in range(14):
            rows.append(["FloorDiv", row, row])
            row = len(rows) - 1
        for bound in range(20):
            rows += [["Integer", bound], ["StrictLessThan", row, len(rows)]]
            document["symbolic"]["environments"][0]["guards"].append([len(rows) - 1, False])

    with pytest.raises(InvalidDocument, match="parts, more than 262144 together"):
        load(module, change)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_a_packed_tensor_may_have_a_larger_storage() -> None:
    """Torch takes a byte for each of its elements, and the storage may hold more."""
    tensor = torch.quantize_per_tensor(torch.ones(4), 0.1, 3, torch.quint4x2)

    def change(document: Any) -> None:
        document["storages"][0] = {
            "size": 200_000,
            "device": "cpu",
            "data": document["storages"][0]["data"] * 100_000,
        }

    loaded = load([tensor], change)[0]
    assert loaded.untyped_storage().nbytes() == 200_000
    assert torch.equal(loaded.int_repr(), tensor.int_repr())
