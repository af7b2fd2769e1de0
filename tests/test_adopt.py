"""`fxarchive.adopt`: a stream of torch's GraphPickler as an archive, and what is refused; nothing in a stream runs."""

from __future__ import annotations

import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import fxarchive
from fxarchive import container
from fxarchive.errors import BadStream, FxArchiveError, MigrationFailed, NotAGraphPickler, TooLarge
from fxarchive.limits import Limits
from fxarchive.streams import Call, Name, Pairs, read
from tests.stream_writer import write


def dumped(obj: Any) -> bytes:
    from torch.fx._graph_pickler import GraphPickler

    data: bytes = GraphPickler.dumps(obj)
    return data


@pytest.fixture
def stream() -> bytes:
    torch.manual_seed(0)
    return dumped(torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())))


def load(path: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fxarchive.OldSchemaWarning)
        return fxarchive.load(path)


def test_the_stream_is_kept_as_it_is(stream: bytes, tmp_path: Path) -> None:
    report = fxarchive.adopt(stream, tmp_path / "g.fxa", metadata={"note": "mine"})
    archive = container.open_archive((tmp_path / "g.fxa").read_bytes())
    assert bytes(archive.read("stream")) == stream
    assert list(archive.sections) == ["stream"]
    assert (archive.header.schema, archive.header.min_reader, archive.header.features) == (1, 1, ())
    assert archive.header.metadata == {"note": "mine"}
    assert (report.identity, report.size) == (archive.identity, archive.size)
    assert (report.root, report.nodes, report.schema, report.notes) == ("GraphModule", 4, 1, ())


def test_bytes_paths_and_files_give_the_same_archive(stream: bytes, tmp_path: Path) -> None:
    (tmp_path / "g.pkl").write_bytes(stream)
    sources = [stream, bytearray(stream), memoryview(stream), tmp_path / "g.pkl", io.BytesIO(stream)]
    archives = []
    for source in sources:
        file = io.BytesIO()
        fxarchive.adopt(source, file)
        archives.append(file.getvalue())
    assert len(set(archives)) == 1


def test_an_adopted_archive_loads_and_computes(stream: bytes, tmp_path: Path) -> None:
    fxarchive.adopt(stream, tmp_path / "g.fxa")
    fxarchive.adopt(stream, tmp_path / "g2.fxa", to=2)
    first, second = load(tmp_path / "g.fxa"), fxarchive.load(tmp_path / "g2.fxa")
    x = torch.ones(1, 2)
    assert torch.equal(first(x), second(x))
    assert str(first.graph) == str(second.graph)


def test_adopting_to_the_current_schema_is_adopting_and_upgrading(stream: bytes, tmp_path: Path) -> None:
    fxarchive.adopt(stream, tmp_path / "one.fxa")
    fxarchive.upgrade(tmp_path / "one.fxa")
    report = fxarchive.adopt(stream, tmp_path / "two.fxa", to=2)
    assert (tmp_path / "one.fxa").read_bytes() == (tmp_path / "two.fxa").read_bytes()
    assert report.schema == 2
    info = fxarchive.inspect(tmp_path / "two.fxa")
    assert (info.schema, info.identity, info.contents.nodes) == (2, report.identity, 4)


def test_the_writer_is_proven_or_given(stream: bytes) -> None:
    release = ".".join(torch.__version__.split(".")[:2])
    assert fxarchive.adopt(stream, io.BytesIO(), torch=torch.__version__).torch == torch.__version__
    assert fxarchive.adopt(stream, io.BytesIO(), torch="2.99").torch == "2.99"
    proven = fxarchive.adopt(stream, io.BytesIO()).torch
    assert proven == release or " or later" in proven or " to " in proven
    for wrong in ("", "newest", "2", "2.9\n"):
        with pytest.raises(ValueError, match="give a release such as"):
            fxarchive.adopt(stream, io.BytesIO(), torch=wrong)
    with pytest.raises(ValueError, match="give 1 or 2"):
        fxarchive.adopt(stream, io.BytesIO(), to=3)


def test_the_header_says_what_is_in_a_stream(stream: bytes) -> None:
    file = io.BytesIO()
    fxarchive.adopt(stream, file)
    summary = container.open_archive(file.getvalue()).header.summary
    assert (summary["nodes"], summary["graphs"], summary["modules"]) == (4, 1, 1)
    assert summary["inputs"] == [["input_1", ""]]
    file = io.BytesIO()
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_function(torch.ops.aten.add.Tensor, (graph.call_method("view", (x, -1)), x)))
    fxarchive.adopt(dumped(torch.fx.GraphModule(torch.nn.Module(), graph)), file)
    calls = container.open_archive(file.getvalue()).header.summary["calls"]
    assert calls == [["operator", "torch.ops.aten.add.Tensor", 1], ["method", "view", 1]]


def test_a_stream_over_the_limit_is_refused(stream: bytes) -> None:
    with pytest.raises(TooLarge, match="The size of the stream"):
        fxarchive.adopt(stream, io.BytesIO(), limits=Limits(payload_bytes=100))


def test_nothing_is_written_when_a_stream_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadStream):
        fxarchive.adopt(b"no pickle", tmp_path / "g.fxa")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_translated_is_adopted_and_named_when_it_is_upgraded(tmp_path: Path) -> None:
    data = dumped([torch.ops.aten.add.Tensor, object()])
    fxarchive.adopt(data, tmp_path / "g.fxa")
    with pytest.raises(MigrationFailed, match=r"\[1\]: what builtins.object makes has no form in schema 2"):
        fxarchive.upgrade(tmp_path / "g.fxa")
    with pytest.raises(MigrationFailed):
        fxarchive.adopt(data, tmp_path / "g2.fxa", to=2)
    assert not (tmp_path / "g2.fxa").exists()


# hostile streams: shapes of what is found in the wild

MARK = "fxarchive-was-here"


def command(folder: Path) -> str:
    return f"touch {folder / MARK}"


class Evil:
    def __init__(self, function: Any, *args: Any) -> None:
        self.reduced = (function, args)

    def __reduce__(self) -> Any:
        return self.reduced


def attacks(folder: Path) -> dict[str, bytes]:
    """Streams that do something when they are unpickled."""
    import builtins
    import os
    import runpy
    import subprocess

    shell = command(folder)
    code = f"open({str(folder / MARK)!r}, 'w').close()"
    text = shell.encode()
    short = bytes([len(text)])
    return {
        "os.system": pickle.dumps(Evil(os.system, shell)),
        "eval": pickle.dumps(Evil(builtins.eval, f"__import__('os').system({shell!r})")),
        "exec": pickle.dumps(Evil(builtins.exec, code)),
        "compile": pickle.dumps([Evil(builtins.compile, code, "x", "exec")]),
        "subprocess": pickle.dumps(Evil(subprocess.check_output, ["sh", "-c", shell])),
        "popen": pickle.dumps({"weights": Evil(os.popen, shell)}),
        "runpy": pickle.dumps(Evil(runpy.run_path, str(folder / "x.py"))),
        "getattr": pickle.dumps(Evil(getattr, Evil(__import__, "os"), "system")),
        "import": pickle.dumps(Evil(__import__, "this")),
        "global": b"\x80\x02cposix\nsystem\nX" + len(text).to_bytes(4, "little") + text + b"\x85R.",
        "stack global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c" + short + text + b"\x85R.",
        "memoised names": b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94h\x00h\x01\x93\x8c"
        + short
        + text
        + b"\x85R.",
        "instance": b"\x80\x02(X" + len(text).to_bytes(4, "little") + text + b"iposix\nsystem\n.",
        "protocol 0": b"cposix\nsystem\n(S'" + text + b"'\ntR.",
        "newobj": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c" + short + text + b"\x85\x81.",
        "newobj_ex": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c" + short + text + b"\x85}\x92.",
        "build": b"\x80\x04\x8c\x05posix\x8c\x06system\x93)R}\x8c\x0c__setstate__\x8c\x01xsb.",
        "after the end": b"\x80\x04N." + pickle.dumps(Evil(os.system, shell)),
        "torch.save": saved(Evil(os.system, shell)),
        "operator": pickle.dumps(
            Evil(__import__("operator").attrgetter, "__class__.__base__.__subclasses__")
        ),
        "pip": pickle.dumps(Evil(__import__("importlib").import_module, "antigravity")),
        "dill": b"\x80\x04cdill._dill\n_create_function\n(cdill._dill\n_create_code\n)RN}tR.",
    }


def saved(obj: Any) -> bytes:
    file = io.BytesIO()
    torch.save(obj, file)
    return file.getvalue()


@pytest.mark.parametrize("name", sorted(attacks(Path("/nowhere"))))
def test_an_attack_has_no_effect_and_a_clear_error(name: str, tmp_path: Path) -> None:
    data = attacks(tmp_path)[name]
    with pytest.raises((BadStream, NotAGraphPickler)) as caught:
        fxarchive.adopt(data, tmp_path / "g.fxa")
    assert str(caught.value).endswith(".")
    assert list(tmp_path.iterdir()) == []


PLACES = ("target", "args", "kwargs", "type", "meta")


@pytest.mark.parametrize("place", [*PLACES, "module", "class", "parameter", "blob", "codegen", "tracer"])
def test_an_attack_inside_a_graph_has_no_effect(place: str, stream: bytes, tmp_path: Path) -> None:
    """A call of os.system in any part of a real stream: it is named in an error, or left out with a note."""
    root = read(stream)
    evil = Call(Name("posix", "system"), (command(tmp_path),))
    graph_module = root.args[0].fields()
    held, graph = graph_module["gm_dict"], graph_module["graph"]
    node = graph.fields()["nodes"][1]

    def put(pairs: Any, key: str, value: Any) -> None:
        pairs.items = [(name, value if name == key else old) for name, old in pairs.items]

    if place in PLACES:
        node.state.items = [item for item in node.state.items if item[0] != place]
        wrapped = {"args": (evil,), "kwargs": Pairs([("x", evil)]), "meta": Pairs([("x", evil)])}
        node.state.items.append((place, wrapped.get(place, evil)))
    elif place == "module":
        held.items.append(("attribute", evil))
    elif place == "class":
        modules = held.named()["_modules"]
        child = modules.items[0][1]
        child.function = Name("posix", "system")
    elif place in ("parameter", "blob"):
        child = held.named()["_modules"].items[0][1]
        parameters = child.fields()["_parameters"]
        tensor = parameters.items[0][1]
        if place == "parameter":
            parameters.items[0] = (parameters.items[0][0], evil)
        else:
            storage = tensor.args[0].args[0]
            storage.args = (saved(Evil(__import__("os").system, command(tmp_path))),)
    else:
        graph.state.items = [item for item in graph.state.items if item[0] != f"{place}_cls"]
        graph.state.items.append(("_codegen" if place == "codegen" else "tracer_cls", evil))
    data = write(root)
    path = tmp_path / "g.fxa"
    fxarchive.adopt(data, path)
    if place in ("module", "meta"):
        report = fxarchive.adopt(data, tmp_path / "g2.fxa", to=2)
        assert "what posix.system makes has no form in schema 2" in report.notes[0]
        load(path)
    else:
        with pytest.raises(FxArchiveError, match=r"posix\.system|its storage does not say|has the name"):
            load(path)
    assert not (tmp_path / MARK).exists()
