"""What a document asks of torch beside its calls, and that ``compat`` and ``load`` agree about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode

import fxarchive
from fxarchive import codec, compatibility
from fxarchive.api import write_encoded
from fxarchive.codec.running_torch import RunningTorch
from fxarchive.demands import demands
from fxarchive.document import Document

from .corpus import files
from .material import programs, symbolic

FLOAT4 = "float4_e2m1fn_x2"
"""A dtype since torch 2.8."""


def document_of(value: Any) -> Document:
    return codec.encode(value).document


def graph_with(key: str, value: Any) -> fx.GraphModule:
    module = fx.symbolic_trace(lambda x: x)
    for node in module.graph.nodes:
        node.meta[key] = value
    return module


@pytest.mark.parametrize(
    "value",
    [
        [torch.float16],
        torch.zeros(2, dtype=torch.float16),
        torch.zeros(300, dtype=torch.float16),
        graph_with("dtype", torch.float16),
        FakeTensorMode().from_tensor(torch.zeros(2, dtype=torch.float16)),
    ],
    ids=["value", "small tensor", "tensor", "column of metadata", "FakeTensor"],
)
def test_dtypes_are_found_wherever_they_stand(value: Any) -> None:
    assert "torch.float16" in demands(document_of(value))


@pytest.mark.filterwarnings("ignore:Sparse")
def test_an_index_of_a_sparse_fake_is_found() -> None:
    fake = FakeTensorMode().from_tensor(torch.eye(2).to_sparse_csr())
    assert {"torch.float32", "torch.int64"} <= {*demands(document_of([fake]))}


def test_functions_of_expressions_are_found() -> None:
    module, _ = symbolic.symbolic_views()
    found = {name for name in demands(document_of(module)) if "_sympy" in name}
    assert "torch.utils._sympy.functions.Mul" in found


def test_kinds_of_inputs_and_outputs_are_found() -> None:
    program, _ = programs.exported(programs.state)
    found = {name.rpartition(".")[2] for name in demands(document_of(program)) if "graph_signature" in name}
    assert {"PARAMETER", "USER_INPUT", "USER_OUTPUT"} <= found


def older(document: Any, was: str, now: str) -> Any:
    """The document with one text in place of another, wherever it stands."""
    if type(document) is dict:
        return {key: older(value, was, now) for key, value in document.items()}
    if type(document) is list:
        return [older(value, was, now) for value in document]
    return now if document == was else document


@pytest.mark.parametrize(
    ("value", "was", "now", "name", "last"),
    [
        ([torch.float16], "float16", FLOAT4, f"torch.{FLOAT4}", "2.7"),
        (torch.zeros(2, dtype=torch.uint8), "uint8", FLOAT4, f"torch.{FLOAT4}", "2.7"),
        (
            programs.exported(programs.state)[0],
            "USER_OUTPUT",
            "PARAMETER_MUTATION",
            "torch.export.graph_signature.OutputKind.PARAMETER_MUTATION",
            "2.8",
        ),
    ],
    ids=["dtype", "tensor", "kind"],
)
def test_a_release_that_lacks_a_value_does_not_open_it(
    value: Any, was: str, now: str, name: str, last: str
) -> None:
    document = older(document_of(value), was, now)
    answer = compatibility.compatibility(document, last)
    assert not answer.opens
    [problem] = answer.missing
    assert problem.path == name
    assert problem.why.startswith(
        f"torch {last} has no such value; load with a release that has it (torch 2."
    )
    assert compatibility.compatibility(document, "2.15").opens


def test_the_running_torch_is_asked_for_the_value_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    document = document_of([torch.float16])
    assert compatibility.judge(document, RunningTorch()).opens
    monkeypatch.delattr(torch, "float16")
    [problem] = compatibility.judge(document, RunningTorch()).missing
    assert problem.path == "torch.float16"


def test_texts_that_read_as_values_ask_for_nothing() -> None:
    document = document_of([{"dtype": "no_such_dtype"}, ["dtype", "no_such_dtype"]])
    assert compatibility.compatibility(document, "2.7").opens


@pytest.mark.parametrize("case", [c for c in files.cases() if c.schema == 1], ids=str)
def test_archives_of_streams_are_judged_too(case: files.Case) -> None:
    content = compatibility.read(case.archive)
    assert compatibility.compatibility(content.document, case.release, content.torch).opens


def test_what_compat_says_is_what_load_does(tmp_path: Path) -> None:
    """Of a dtype that torch 2.14 brought; `tests.cross` asks it of every archive and release."""
    path = tmp_path / "new.fxa"
    encoded = codec.encode([torch.float16])
    encoded.document.update(older(encoded.document, "float16", "bcomplex32"))
    write_encoded(encoded, path, root="value", metadata=None, compress=False)
    answer = compatibility.judge(compatibility.read(path).document, RunningTorch())
    assert answer.opens == hasattr(torch, "bcomplex32")
    if answer.opens:
        assert fxarchive.load(path) == [torch.bcomplex32]
        return
    with pytest.raises(fxarchive.MissingOperator) as refused:
        fxarchive.load(path)
    assert [problem.path for problem in refused.value.operators] == ["torch.bcomplex32"]
    assert [problem.path for problem in answer.missing] == ["torch.bcomplex32"]
