"""Compiled artefacts: kept as bytes, handed out by trust alone, never opened."""

from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import fx, nn

import fxarchive
from fxarchive import Artefact, ArtefactCall, SealedArtefact, container
from fxarchive.artefact import LONGEST_KIND
from fxarchive.codec.artefacts import AOT_KIND
from fxarchive.document import ARTEFACTS
from fxarchive.errors import (
    CorruptArchive,
    InvalidDocument,
    UnboundArtefact,
    UnsupportedValue,
    UntrustedNames,
)

from ..compare import assert_same
from ..refusals import altered
from .through import through_the_codec

KIND = "mylib.kernel"
DATA = bytes(range(256)) * 40
INFO = {"device": "sm_90", "flags": ["-O3", None, 2, 1.5, b"\x00", {"deep": True}]}


def made() -> Artefact:
    return Artefact(KIND, DATA, INFO)


def test_an_artefact_comes_back_by_trust() -> None:
    artefact = made()
    data = fxarchive.dumps({"a": artefact, "b": [artefact], "c": Artefact(KIND, DATA)})
    loaded = fxarchive.loads(data, trust=[KIND])
    assert loaded["a"] == artefact
    assert loaded["a"] is loaded["b"][0]
    assert loaded["c"] == Artefact(KIND, DATA) != artefact
    assert fxarchive.dumps(loaded) == data
    assert container.open_archive(data).header.features == (ARTEFACTS,)


def test_without_trust_it_is_sealed() -> None:
    sealed = fxarchive.loads(fxarchive.dumps([made(), torch.ones(2)]))[0]
    assert sealed == SealedArtefact(KIND, len(DATA), INFO)
    with pytest.raises(UntrustedNames) as caught:
        _ = sealed.data
    assert caught.value.names == (KIND,)
    with pytest.raises(UnsupportedValue, match=r"were not loaded, since 'mylib\.kernel' was not in trust="):
        fxarchive.dumps([sealed])


def test_each_kind_is_trusted_by_itself() -> None:
    data = fxarchive.dumps([made(), Artefact("other", b"")])
    assert [type(found) for found in fxarchive.loads(data, trust=["other"])] == [SealedArtefact, Artefact]


def test_sealed_bytes_are_not_even_read() -> None:
    data = altered(fxarchive.dumps([made()]), "artefacts/0")
    assert type(fxarchive.loads(data)[0]) is SealedArtefact
    with pytest.raises(CorruptArchive, match="artefacts/0"):
        fxarchive.loads(data, trust=[KIND])


def test_the_tools_see_it(tmp_path: Path) -> None:
    path = tmp_path / "x.fxa"
    fxarchive.save([made(), Artefact("other", b"xyz")], path)
    for full in (True, False):
        info = fxarchive.inspect(path, full=full)
        assert [(found.kind, found.size) for found in info.contents.artefacts] == [
            (KIND, len(DATA)),
            ("other", 3),
        ]
        assert info.contents.trust == ()
    report = fxarchive.verify(path)
    assert report.ok
    assert report.sections_checked == 3
    path.write_bytes(altered(path.read_bytes(), "artefacts/1"))
    assert not fxarchive.verify(path).ok


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((1, b""), TypeError), (("", b""), ValueError), (("two words", b""), ValueError), (("é", b""), ValueError),
        (("a\n", b""), ValueError), (("a" * (LONGEST_KIND + 1), b""), ValueError), (("a", "text"), TypeError),
        (("a", b"", [1]), TypeError), (("a", b"", {"x": object()}), TypeError), (("a", b"", {1: 2}), TypeError),
        (("a", b"", {"x": (1,)}), TypeError),
    ],
)  # fmt: skip
def test_arguments_are_checked(arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Artefact(*arguments)


def test_bytes_that_can_change_are_copied() -> None:
    data, info = bytearray(b"abc"), {"a": 1}
    artefact = Artefact("a", data, info)  # type: ignore[arg-type]
    data[0] = 0
    info["a"] = 2
    assert artefact == Artefact("a", b"abc", {"a": 1})
    assert Artefact("a", memoryview(b"abc")).data == b"abc"  # type: ignore[arg-type]
    assert "abc" not in repr(artefact)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "two words"}, {"kind": 1}, {"info": []}, {"info": {"a": ("x",)}}, {"size": -1}, {"size": "1"},
        {"size": 3}, {"sha256": bytes(32)}, {"sha256": "text"}, {"section": "document"}, {"section": 1}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_record_that_breaks_a_rule_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument):
        through_the_codec(
            [made()], trust=(KIND,), change=lambda document: document["artefacts"][0].update(change)
        )


def test_two_records_of_one_section_are_refused() -> None:
    def change(document: dict[str, Any]) -> None:
        document["artefacts"][1] = document["artefacts"][0]

    with pytest.raises(InvalidDocument, match="not a section of its own"):
        through_the_codec([made(), Artefact("other", b"")], trust=(KIND,), change=change)


# calls in graphs


class Compiled:
    """Stands for torch's `AOTCompiledArtifact`: something to call that has its own bytes."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor

    def serialize(self) -> bytes:
        return str(self.factor).encode()

    @staticmethod
    def deserialize(data: bytes) -> Compiled:
        return Compiled(int(data))


def calling(*compiled: Any) -> fx.GraphModule:
    graph = fx.Graph()
    x = graph.placeholder("x")
    for each in compiled:

        def wrapped(*args: Any, each: Any = each) -> Any:
            return each(*args)

        x = graph.call_function(functools.wraps(each)(wrapped), (x,))
    graph.output(x)
    return fx.GraphModule(nn.Module(), graph)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "torch._inductor.standalone_compile"
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(AOTCompiledArtifact=Compiled))  # type: ignore[arg-type]


def bound(module: fx.GraphModule, open_bytes: Any) -> fx.GraphModule:
    for node in module.graph.nodes:
        if isinstance(node.target, ArtefactCall):
            assert isinstance(node.target.artefact, Artefact)
            node.target.bind(open_bytes(node.target.artefact.data))
    return module


@pytest.mark.usefixtures("compiler")
def test_a_graph_that_calls_artefacts_comes_back_to_be_bound() -> None:
    twice = Compiled(2)
    module, x = calling(twice, Compiled(3)), torch.ones(2)
    data = fxarchive.dumps(module)
    loaded = fxarchive.loads(data, trust=[AOT_KIND])
    assert [node.name for node in loaded.graph.nodes] == [node.name for node in module.graph.nodes]
    with pytest.raises(UnboundArtefact, match=r"node\.target\.bind"):
        loaded(x)
    assert_same(module(x), bound(loaded, Compiled.deserialize)(x))
    assert fxarchive.dumps(loaded) == data


@pytest.mark.usefixtures("compiler")
def test_a_graph_that_calls_artefacts_opens_without_trust() -> None:
    loaded = fxarchive.loads(fxarchive.dumps(calling(Compiled(2))))
    call = next(node.target for node in loaded.graph.nodes if node.op == "call_function")
    assert call.artefact == SealedArtefact(AOT_KIND, 1, {})
    assert repr(call).startswith("ArtefactCall(SealedArtefact(")
    with pytest.raises(UnboundArtefact):
        loaded(torch.ones(2))
    with pytest.raises(UnsupportedValue, match="were not loaded"):
        fxarchive.dumps(loaded)


@pytest.mark.usefixtures("compiler")
def test_a_call_of_a_section_that_is_not_there_is_refused() -> None:
    def change(document: dict[str, Any]) -> None:
        document["targets"][0] = ["artefact", "artefacts/7"]

    with pytest.raises(InvalidDocument, match="no artefact has the section"):
        through_the_codec(calling(Compiled(2)), change=change)


def test_compiled_code_that_stands_alone_is_refused_with_the_remedy() -> None:
    from torch._inductor.output_code import OutputCode

    class Compiled(OutputCode):
        pass

    value = Compiled.__new__(Compiled)
    with pytest.raises(
        UnsupportedValue, match=r"is compiled code; keep its serialized bytes in a fxarchive\.Artefact"
    ):
        fxarchive.dumps([value])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_artefact_of_inductor_is_opened_by_torch_itself() -> None:
    from torch._inductor import standalone_compile
    from torch._inductor.standalone_compile import AOTCompiledArtifact
    from torch.fx.experimental.proxy_tensor import make_fx

    x = torch.randn(4)
    graph = make_fx(lambda x: (x.sin() + 1,))(x)
    compiled = standalone_compile(graph, (x,), dynamic_shapes="from_example_inputs", aot=True)
    module = calling(compiled)
    data = fxarchive.dumps(module)
    loaded = bound(fxarchive.loads(data, trust=[AOT_KIND]), AOTCompiledArtifact.deserialize)
    assert_same(module(x), loaded(x))
    section = container.open_archive(data).read("artefacts/0")
    assert hashlib.sha256(section).digest() == hashlib.sha256(compiled.serialize()).digest()
