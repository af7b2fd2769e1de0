"""The audit: hostile documents are refused before anything is built from them, each with its own error."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fxarchive import codec
from fxarchive.audit import audit
from fxarchive.errors import ForbiddenName, FxArchiveError, InvalidDocument, UntrustedNames


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv1d(2, 3, 1)
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor, factor: float = 2.0) -> torch.Tensor:
        y = torch.nn.functional.gelu(self.conv(x), approximate="tanh")
        return y.mul(self.scale) + factor


@pytest.fixture(scope="module")
def good() -> Any:
    return codec.encode(torch.fx.symbolic_trace(Net())).document


def test_a_written_document_passes(good: Any) -> None:
    audit(good, trust=())


HOSTILE_NAMES = ["x y", "", "1x", "x;import os", "x\ny", "class", "lambda", "x)", "x=1", "é\u0301 x", "x\x00"]
HOSTILE_PATHS = ['a"', "a'", "a\\", "a\nb", "", "a..b", "a\x1b", 'x", __import__("os").system("true"), "']


def edited(document: Any, edit: Callable[[Any], None]) -> Any:
    document = copy.deepcopy(document)
    edit(document)
    return document


def text_of(document: Any, op: int) -> int:
    graph = document["graphs"][0]
    return int(graph["targets"][graph["ops"].index(op)])


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_that_reach_source_are_identifiers(good: Any, name: str) -> None:
    def rename_node(document: Any) -> None:
        names = document["graphs"][0]["names"].split("\n")
        document["graphs"][0]["names"] = "\n".join([name, *names[1:]])

    def rename_placeholder(document: Any) -> None:
        document["texts"][text_of(document, 0)] = name

    def rename_method(document: Any) -> None:
        document["texts"][text_of(document, 3)] = name

    def rename_keyword(document: Any) -> None:
        next(p for p in document["graphs"][0]["patterns"] if p[1])[1][0] = name

    def rename_function(document: Any) -> None:
        document["graphs"][0]["codegen"] = ["plain", name]

    def rename_argument(document: Any) -> None:
        document["graphs"][0]["codegen"] = ["pytree", "forward", [name], None, None]

    for edit in (
        rename_node,
        rename_placeholder,
        rename_method,
        rename_keyword,
        rename_function,
        rename_argument,
    ):
        with pytest.raises((ForbiddenName, InvalidDocument)):
            audit(edited(good, edit), trust=())


def test_keyword_names_of_an_input_spec_are_identifiers(good: Any) -> None:
    def edit(key: Any) -> Any:
        arguments = [[["target", 0], None, []], [["target", 1], ["list", [key]], [None]]]
        spec = [["target", 0], None, arguments]

        def change(document: Any) -> None:
            graph = document["graphs"][0]
            graph["codegen"] = ["pytree", "forward", ["x"], ["treespec", spec], None]
            graph["patterns"] = [
                pattern if pattern != [[2.0], []] else [[], []] for pattern in graph["patterns"]
            ]

        return edited(good, change)

    audit(edit("key"), trust=())
    with pytest.raises(ForbiddenName):
        audit(edit("k':0}, self._in_spec); import os #"), trust=())


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_attribute_paths_hold_nothing_that_ends_a_string(good: Any, path: str) -> None:
    for op in (1, 4):

        def edit(document: Any, op: int = op) -> None:
            document["texts"][text_of(document, op)] = path

        with pytest.raises(ForbiddenName):
            audit(edited(good, edit), trust=())

    def rename_child(document: Any) -> None:
        document["modules"][0]["modules"][0] = path

    with pytest.raises(ForbiddenName):
        audit(edited(good, rename_child), trust=())


def test_every_untrusted_name_is_in_one_error(good: Any) -> None:
    def edit(document: Any) -> None:
        document["targets"] += [
            ["function", "os.system"],
            ["class", "mylib.Thing"],
            ["function", "builtins.eval"],
        ]

    document = edited(good, edit)
    with pytest.raises(UntrustedNames) as caught:
        audit(document, trust=["mylib.Thing"])
    assert caught.value.names == ("builtins.eval", "os.system")
    audit(document, trust=["mylib.Thing", "builtins.eval", "os.system"])


@pytest.mark.parametrize(
    "name",
    [
        "torch.os.system", "torch.load", "torch.hub.load", "torch.ops.load_library", "builtins.eval",
        "builtins.exec", "builtins.__import__",
        "builtins.open", "builtins.compile", "operator.methodcaller", "operator.attrgetter",
        "torch._C._jit_get_operation", "torch.save",
        "torch.jit.load", "torch.nn.functional.__builtins__", "torch.utils.cpp_extension.load",
        "torch.serialization.pickle.loads",
        "torch.compile", "subprocess.run", "torch.nn.functional.torch.load", "sys.exit",
        "builtins.getattr.__call__", "torch.package.PackageImporter",
        "torch.from_file", "torch.fx.experimental.symbolic_shapes.ShapeEnv.evaluate_guards_expression",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["function", "class"])
def test_dangerous_names_are_not_in_the_shipped_list(good: Any, kind: str, name: str) -> None:
    with pytest.raises(UntrustedNames):
        audit(edited(good, lambda document: document["targets"].append([kind, name])), trust=())


def set_column(key: str, value: Any) -> Callable[[Any], None]:
    def edit(document: Any) -> None:
        document["graphs"][0][key] = value

    return edit


BROKEN: list[Callable[[Any], Any]] = [
    lambda d: d.pop("texts"),
    lambda d: d.update(extra=1),
    lambda d: d.update(graphs={}),
    lambda d: d["texts"].append(3),
    lambda d: d["targets"].append(["module", "x"]),
    lambda d: d["targets"].append("x"),
    lambda d: d["targets"].append(["operator", "aten::add.Tensor"]),
    lambda d: d["targets"].append(["function", None]),
    lambda d: d["targets"].append([]),
    lambda d: d["graphs"].append({}),
    lambda d: d["graphs"].append(None),
    lambda d: d["graphs"][0].pop("keys"),
    set_column("ops", b"\x06" * 8),
    set_column("ops", b""),
    set_column("names", 5),
    set_column("names", "x"),
    set_column("targets", [99] * 8),
    set_column("targets", [-1] * 8),
    set_column("pattern", [True] * 8),
    set_column("pattern", ["0"] * 8),
    set_column("pattern", [10**30] * 8),
    set_column("operands", [0]),
    set_column("operands", [-1]),
    set_column("layout", [7] * 8),
    set_column("patterns", [[]]),
    set_column("patterns", [[[], ["k"]]] * 8),
    set_column("patterns", [[[], [1, 2]]] * 8),
    set_column("codegen", []),
    set_column("codegen", ["bytecode", "x"]),
    set_column("codegen", ["plain", None]),
    lambda d: d["modules"].append([]),
    lambda d: d["modules"].append({"klass": "x"}),
    lambda d: d["modules"][0].update(parameters=["w"]),
    lambda d: d["modules"][0].update(buffers={}),
    lambda d: d["modules"][0].update(attributes=[1, 2]),
]


@pytest.mark.parametrize("edit", BROKEN)
def test_a_table_of_another_form_is_refused(good: Any, edit: Callable[[Any], Any]) -> None:
    with pytest.raises(FxArchiveError) as caught:
        audit(edited(good, edit), trust=())
    assert isinstance(caught.value, InvalidDocument | ForbiddenName)
