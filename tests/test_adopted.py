"""Streams that nine releases of torch wrote: each upgrades without torch, prints the graph that torch printed,
and computes what torch computed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import fxarchive
from fxarchive import chain, codec, container
from fxarchive.adoption import look
from fxarchive.api import decode_archive
from fxarchive.audit import audit
from fxarchive.migrations import schema_1_to_2
from fxarchive.migrations.content import Content
from fxarchive.migrations.graph_pickler import recognition
from fxarchive.migrations.graph_pickler.dill import read_stream

from .corpus import adopted, checking, files, numbers
from .corpus.files import Case

CASES = [case for case in files.cases() if case.schema == adopted.SCHEMA]
SINGLES = list(adopted.singles())
RELEASES = ("2.7.0", "2.8.0", "2.9.0", "2.10.0", "2.11.0", "2.12.0", "2.13.0", "2.14.0", "2.15.0")
ROOT = Path(__file__).resolve().parent.parent

checking.custom_operator()

each_case = pytest.mark.parametrize("case", CASES, ids=str)


def stream_of(case: Case) -> bytes:
    archive = container.open_archive(case.archive.read_bytes())
    return bytes(archive.read("stream"))


def release(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def leaves(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [leaf for item in value.values() for leaf in leaves(item)] if isinstance(value, dict) else [value]


def test_the_corpus_has_every_release() -> None:
    assert {case.release for case in CASES} == {name for name, *_ in SINGLES} | {"2.9.0"} == set(RELEASES)
    assert (len(CASES), len(SINGLES)) == (94, 318)


# the graphs


@each_case
def test_a_graph_is_what_torch_wrote(case: Case) -> None:
    """Node for node, with its code and what its metadata describes, and the numbers that torch computed."""
    archive = container.open_archive(case.archive.read_bytes())
    module, _ = decode_archive(archive, examples=True)
    found = adopted.recorded({"graph": str(module.graph), "code": module.code, "vals": values(module, case)})
    assert found == case.text.read_text(encoding="utf-8")
    held = torch.load(case.archive.with_suffix(".pt"), weights_only=True)
    outputs = leaves(module(*held["args"]))
    assert list(numbers.far_apart(held["out"], outputs)) == []


def values(module: Any, case: Case) -> dict[str, str]:
    """What the metadata describes, as it was recorded; text of what is no tensor is taken as it stands."""
    tail = case.text.read_text(encoding="utf-8").rpartition("\n\n")[2]
    lines = dict(line.split(": ", 1) for line in tail.splitlines() if line)
    described = {}
    for node in module.graph.nodes:
        value = node.meta.get("val", node.meta.get("example_value"))
        if isinstance(value, torch.Tensor):
            described[node.name] = f"{tuple(value.shape)}{value.dtype}"
        elif isinstance(value, list | tuple) and node.name in lines:
            described[node.name] = lines[node.name]
        elif value is not None:
            described[node.name] = f"{type(value).__name__}{value}"
    return described


def test_operators_that_dill_stored_as_methods_are_kept() -> None:
    """With dill GraphPickler makes the methods that give operators in another way than without."""
    (case,) = (case for case in CASES if case.name == "dill_operators")
    module = decode_archive(container.open_archive(case.archive.read_bytes()))
    assert schema_1_to_2.upgrade(Content(1, stream_of(case))).notes == ()
    named = [str(node.meta["original_aten"]) for node in module.graph.nodes if "original_aten" in node.meta]
    assert named[:3] == ["aten.sin.default", "aten.mm.default", "aten.add.Tensor"]


@each_case
def test_the_writer_is_recognised(case: Case) -> None:
    found = recognition.recognise(read_stream(stream_of(case)))
    assert found.includes(release(case.release))
    if case.name in ("makefx_dyn", "symint_args"):  # what a ShapeEnv holds tells every release from the next
        assert found.oldest == release(case.release)
        assert found.newest == release(case.release)


@pytest.mark.parametrize(
    "name", ["aten_consts", "dynamo_static", "getattr_const", "pytree_codegen", "symtrace_convbn"]
)
def test_what_comes_of_it_is_what_would_be_saved(name: str) -> None:
    """Without symbols, whose facts name the release, the document is that of saving the loaded graph again."""
    for case in (case for case in CASES if case.name == name):
        archive = container.open_archive(case.archive.read_bytes())
        content = chain.to_current(Content(1, archive.read("stream")))
        encoded = codec.encode(decode_archive(archive))
        assert encoded.document == content.document, case
        assert {key: bytes(held) for key, held in encoded.storages.items()} == dict(content.sections)


# single objects and operators


def decoded(content: Content) -> Any:
    document = content.document
    audit(document, trust=(), features=content.features)
    return codec.decode(document, None)  # type: ignore[arg-type]


def described(value: Any) -> str:
    """Describe an object as it was described when its stream was written."""
    kind = type(value).__name__
    if isinstance(value, torch.Tensor):
        facts = (
            f"rg={value.requires_grad} view={value._is_view()} param={isinstance(value, torch.nn.Parameter)}"
        )
        return f"{kind} {tuple(value.shape)} {value.stride()} {value.dtype} {value.device} {facts}"
    if isinstance(value, tuple):
        return f"{kind}{[described(item) for item in value]}"
    if kind == "ShapeEnv":
        return f"{kind} {sorted(str(pair) for pair in value.var_to_range.items())}"
    if kind in ("function", "builtin_function_or_method", "Generator", "NodeSource"):
        return kind  # what is printed of these names an address
    return f"{kind} {value}"


COMPARED = frozenset(
    {
        "device", "dtype", "ellipsis", "hop", "fake_bf16", "fake_cuda", "fake_dyn", "fake_static", "fake_transposed",
        "fake_view_of_fake", "layout", "memfmt", "op", "packet", "qscheme", "real_tensor", "shape_env", "size", "slice",
        "symbool", "symint", "sympy_oo", "sympy_sym", "tensor_meta", "treespec", "vr",
    }
)  # fmt: skip
"""Objects whose description says what they are; of the others it names the type."""


@pytest.mark.parametrize("name", RELEASES)
def test_an_object_is_what_it_was(name: str) -> None:
    for written_by, title, data, expected in SINGLES:
        if written_by != name or expected is None:
            continue
        found = described(decoded(schema_1_to_2.upgrade(Content(1, data, torch=name))))
        if title in COMPARED:
            assert found == expected, title
        else:
            assert expected.startswith(found.split()[0]), title


def test_every_operator_becomes_a_row() -> None:
    for name, title, data, expected in SINGLES:
        if expected is None:
            document = schema_1_to_2.upgrade(Content(1, data, torch=name)).document
            assert document["graphs"], title


def test_every_stream_can_be_looked_at() -> None:
    for name, title, data, _ in SINGLES:
        assert look(data).releases.includes(release(name)), title


# without torch

CHECK = """
import sys
from pathlib import Path

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "numpy", "sympy", "dill"):
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Refuse())

import io, json, zipfile, zstandard, msgpack
import fxarchive, fxarchive.adoption, fxarchive.chain, fxarchive.upgrading, fxarchive.inspection
from fxarchive import adopt, upgrade, inspect

folder, streams = Path(sys.argv[1]), json.loads(sys.stdin.read())
for at, path in enumerate(streams[:2]):  # whatever is imported late is imported now
    adopt(path, folder / f"warm-{at}.fxa")
    adopt(path, folder / f"warm-{at}-2.fxa", to=2)
    upgrade(folder / f"warm-{at}.fxa")
    inspect(folder / f"warm-{at}.fxa", full=True)

FORBIDDEN = ("exec", "compile", "import", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork",
             "socket.connect", "socket.getaddrinfo", "socket.bind", "urllib.Request", "pickle.find_class",
             "marshal.loads", "ctypes.dlopen", "code.__new__", "sys.setprofile", "sys.settrace")
found = []
def hook(event, args):
    if event in FORBIDDEN:
        found.append((event, str(args)[:200]))
        raise RuntimeError(f"{event} {args}")
sys.addaudithook(hook)
for at, path in enumerate(streams):
    adopted = folder / f"{at}.fxa"
    adopt(path, adopted)
    upgrade(adopted)
    assert inspect(adopted, full=True).schema == 2
assert not found, found
assert not {"torch", "sympy", "numpy"} & sys.modules.keys()
print(len(streams))
"""


def test_adopting_and_upgrading_need_no_torch_and_run_nothing(tmp_path: Path) -> None:
    streams = []
    for at, case in enumerate(CASES):
        streams.append(tmp_path / f"{at}.pkl")
        streams[-1].write_bytes(stream_of(case))
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", CHECK, tmp_path / "out"],
        input=json.dumps([str(path) for path in streams]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (done.stderr, done.stdout.strip()) == ("", str(len(CASES)))


def test_an_adopted_archive_loads(tmp_path: Path) -> None:
    case = next(case for case in CASES if str(case).endswith("2.7.0/makefx_dyn"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fxarchive.OldSchemaWarning)
        module = fxarchive.load(case.archive)
    assert type(module).__name__ == "GraphModule"
    info = fxarchive.inspect(case.archive, full=True)
    assert (info.schema, info.writer.torch, info.root, info.contents.nodes) == (1, "2.7.0", "GraphModule", 10)
