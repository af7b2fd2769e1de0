"""What `load`, `verify` and the writing of files refuse."""

from __future__ import annotations

import errno
import functools
import importlib
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode

import fxarchive
from fxarchive import adoption, chain, container, errors, store, streams
from fxarchive.document import DOCUMENT, FEATURES, empty_document
from fxarchive.limits import DEFAULT_LIMITS
from fxarchive.migrations.content import Content
from fxarchive.streams import Bounds

from .. import synthetic
from ..codec import symbolic_cases
from ..documents import archive_of, small
from ..material import archives
from ..material.models import Point
from . import Bytes, altered, case, edited, graph, loads, made, operator_graph, put, save, saved

ROOT = Path(__file__).resolve().parents[2]

# paths


def path_case(
    name: str, path: str, act: Callable[[str], Any], make: Callable[[Path], Any] = lambda folder: None
) -> None:
    @case(name)
    def prepared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        make(folder)
        full = path if "://" in path or path.startswith("/dev") else str(folder / path)
        return lambda: act(full), {"path": full}


def write(path: str) -> Any:
    return fxarchive.save([1], path)


path_case("no-file", "none.fxa", fxarchive.load)
path_case("no-remote-file", "memory://none-at-all.fxa", fxarchive.load)
path_case("directory", "", fxarchive.load)
path_case("directory-to-write", "", write)
path_case("no-folder", "no/folder/g.fxa", write)
path_case("special-file", "/dev/null", fxarchive.load)
path_case("special-file-to-write", "/dev/null", write)
path_case("long-name", "x" * 300, fxarchive.load)
path_case("file-as-folder", "file/g.fxa", fxarchive.load, lambda folder: (folder / "file").touch())
path_case("circle-of-links", "a", fxarchive.load, lambda folder: (folder / "a").symlink_to(folder / "a"))
case("empty-path", lambda folder: fxarchive.load(""))
case("null-character", lambda folder: fxarchive.load("a\0b"))


def system_case(name: str, number: int) -> None:
    @case(name)
    def prepared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        def refuse(*args: Any, **options: Any) -> Any:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(store.os, "open", refuse)
        return lambda: fxarchive.load(folder / "g.fxa"), {"path": folder / "g.fxa"}


system_case("no-permission", errno.EACCES)
system_case("read-only-system", errno.EROFS)
system_case("quota", errno.EDQUOT)
system_case("other-reason", errno.EIO)


@case("full-disk")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def act() -> None:
        with open("/dev/full", "wb", buffering=0) as file:
            fxarchive.save(torch.zeros(1000), file)

    return act, {"path": "/dev/full"}


SAVE_LIMITED = """
import resource, sys, fxarchive
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    fxarchive.save(b"0123456789abcdef" * 100_000 + bytes(range(256)), sys.argv[1])
except fxarchive.StoreError as error:
    print(error, end="")
"""


@case("file-size-limit")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    path = folder / "g.fxa"
    path.write_bytes(b"old")
    script = SAVE_LIMITED.replace(
        'b"0123456789abcdef" * 100_000', 'b"".join([i.to_bytes(4, "big") for i in range(99999)])'
    )

    def act() -> None:
        done = subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert path.read_bytes() == b"old"
        assert os.listdir(folder) == ["g.fxa"]
        shown, _, reason = done.stdout.removesuffix(".").partition(": ")
        raise errors.StoreError(shown, reason)

    return act, {"path": path}


@case("no-fsspec")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    return lambda: fxarchive.load("s3://bucket/g.fxa"), {"path": "s3://bucket/g.fxa"}


case("unknown-url", lambda folder: fxarchive.load("nosuch://g.fxa"), path="nosuch://g.fxa")

# what is no archive, or not whole

GOOD = fxarchive.dumps({"weights": torch.arange(100.0), "text": "the graph " * 30})
HEADER_END = container.header_extent(GOOD)

case("empty-file", loads(b""))
case("zip", loads(b"PK\x03\x04rest"))
case("pickle", loads(b"\x80\x04\x95"))
case("zstandard", loads(archives.compressed(b"x")))
case("skippable-frame", loads(b"\x50\x2a\x4d\x18\0\0\0\0"))
case("other-bytes", loads(b"hello, world"), bytes="68 65 6c 6c 6f 2c 20 77")
case("header-cut-early", loads(GOOD[:20]), size=20)
case("header-cut", loads(GOOD[:90]), size=90, header=HEADER_END)
case("index-missing", loads(GOOD[:HEADER_END]), size=HEADER_END)
case("end-cut", loads(GOOD[:-1]))
case("header-altered", loads(GOOD.replace(b"python", b"pythos", 1)))
case("index-altered", loads(GOOD.replace(b"zstd", b"zstc")))
case("document-altered", loads(altered(GOOD, DOCUMENT)))
case("weights-altered", loads(altered(GOOD, "storages/0"), verify="all"))
case("bytes-appended", loads(GOOD + b"\0" * 100))
case("document-missing", loads(archives.archive_bytes(replace(archives.HEADER, features=()))))
case(
    "not-a-document",
    loads(
        archives.archive_bytes(
            replace(archives.HEADER, features=()), [container.NewSection(DOCUMENT, "zstd", 3, [b"abc"])]
        )
    ),
)
case(
    "call-in-the-pickle",
    loads(
        archives.archive_bytes(
            replace(archives.HEADER, features=()),
            [container.NewSection(DOCUMENT, "zstd", len(b := b"\x80\x05cos\nsystem\n(Vtrue\ntR."), [b])],
        )
    ),
)

# what is not for this release

NEWER = {"writer": {"fxarchive": "9.1"}}
case(
    "container-too-new",
    loads(archives.header_frame(NEWER, version=2)),
    found=2,
    supported="up to 1",
    release="9.1",
)
case(
    "schema-too-new",
    loads(archive_of(empty_document(), schema=4, min_reader=3)),
    found=3,
    supported="up to 2",
    release="0.1.0",
)
case(
    "feature-too-new",
    loads(archive_of(empty_document(), features=("time-travel",))),
    found="time-travel",
    supported=", ".join(sorted(FEATURES)),
    release="0.1.0",
)

case("stream-of-graph-pickler", lambda folder: fxarchive.GraphPickler.loads(pickle.dumps([1]), None))
case("artefact-untrusted", lambda folder: fxarchive.SealedArtefact("kernel", 3, {}).data, name="'kernel'")
case(
    "artefact-not-bound",
    lambda folder: fxarchive.ArtefactCall(fxarchive.Artefact("kernel", b""))(),
    kind="'kernel'",
)
# older schemas


case("stream-broken", lambda folder: fxarchive.adopt(b"\x80\x04]q", folder / "g.fxa"))
case("stream-no-pickle", lambda folder: fxarchive.adopt(b"no pickle", folder / "g.fxa"))
case(
    "stream-of-others",
    lambda folder: fxarchive.adopt(b"\x80\x04cposix\nsystem\nX\x02\x00\x00\x00id\x85R.", folder / "g.fxa"),
)
case("stream-of-another-kind", lambda folder: fxarchive.adopt(b"PK\x03\x04 model/data.pkl", folder / "g.fxa"))
case(
    "stream-in-a-pickle",
    lambda folder: fxarchive.adopt(
        pickle.dumps({"graph": b"\x80\x04ctorch.fx._graph_pickler\nx\n)R."}), folder / "g.fxa"
    ),
)
case("stream-at", lambda folder: fxarchive.adopt(b"\x80\x04N.", folder / "g.fxa", at=["graph"]))
case(
    "stream-of-dill",
    lambda folder: fxarchive.adopt(b"\x80\x04cdill._dill\n_create_code\n)R.", folder / "g.fxa"),
)
case("stream-release", lambda folder: fxarchive.adopt(b"\x80\x04N.", folder / "g.fxa", torch="newest"))


@case("stream-too-many-opcodes")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(adoption, "read_stream", lambda data: streams.read(data, bounds=Bounds(opcodes=2)))
    return lambda: fxarchive.adopt(b"\x80\x04NNN.", folder / "g.fxa"), {"limit": 2, "found": 3}


@case("migration-failed")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    document = small()
    document["texts"][1] = "lambda x: x"
    synthetic.install(synthetic.OLDER, patch=monkeypatch)
    data = synthetic.stream_archive(document)
    return lambda: fxarchive.loads(data), {
        "path": "the archive",
        "item": "strings[1]",
        "why": "a lambda cannot be kept; give it a name",
    }


@case("loss-not-allowed")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    synthetic.install(synthetic.NEWER, newest=3, patch=monkeypatch)
    held = Content(3, {"schema": 3, "texts": ["colour: red"]})
    return lambda: chain.migrate(held, chain.plan(3, 2), allow_loss=False), {
        "path": "the archive",
        "loss": "texts[0]: 'colour: red'",
    }


@case("no-migration")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    synthetic.install(patch=monkeypatch)
    return lambda: fxarchive.loads(synthetic.stream_archive()), {"found": 1, "wanted": 2}


# limits

case(
    "document-too-large",
    loads(GOOD, limits=replace(DEFAULT_LIMITS, payload_bytes=100)),
    what="The size of section 'document' in bytes",
    found=container.open_archive(GOOD).sections[DOCUMENT].size,
    limit=100,
)
case(
    "header-too-large",
    loads(GOOD, limits=replace(DEFAULT_LIMITS, header_bytes=100)),
    what="The header size in bytes",
    found=HEADER_END - 52,
    limit=100,
)
case(
    "too-many-sections",
    loads(GOOD, limits=replace(DEFAULT_LIMITS, sections=1)),
    what="The number of sections",
    found=2,
    limit=1,
)

# names


def rename_node(document: Any) -> None:
    document["graphs"][0]["names"] = document["graphs"][0]["names"].replace("input_1", "import os")


case("unsafe-name", loads(edited(graph, rename_node)), where="graph 0, a node,", name="'import os'")
case("untrusted", loads(saved(lambda: [Point(1, 2)])), name=f"'{Point.__module__}.Point'")

# operators

RUNNING = torch.__version__


def operator_case(
    title: str,
    change: Callable[[Any], Any],
    make: Callable[[], Any] = operator_graph,
    trust: Any = (),
    /,
    **places: Any,
) -> None:
    case(title, loads(edited(make, change), trust=trust), torch=RUNNING, **places)


operator_case(
    "operator-gone", put(1, "aten::gone", "aten::gone(Tensor x) -> Tensor", None), name="aten::gone"
)
operator_case(
    "overload-gone",
    put(1, "aten::relu.gone", "aten::relu.gone(Tensor x) -> Tensor", None),
    name="aten::relu.gone",
)
operator_case(
    "custom-operator",
    put(1, "mine::f", "mine::f(Tensor x) -> Tensor", "mine.ops"),
    name="mine::f",
    module="mine.ops",
)
operator_case(
    "custom-operator-of-unknown-module",
    put(1, "mine::f", "mine::f(Tensor x) -> Tensor", None),
    name="mine::f",
)
operator_case("higher-order-operator-gone", put(0, "higher_order", "gone", "torch.gone"), name="gone")
operator_case(
    "higher-order-operator-of-another-package",
    put(0, "higher_order", "gone", "mine.ops"),
    name="gone",
    module="mine.ops",
)
operator_case(
    "class-not-imported",
    put(0, "class", "mine.ops.Block"),
    lambda: [Point(1, 2)],
    ("mine.ops.Block",),
    name="mine.ops.Block",
    module="mine.ops",
)
operator_case(
    "script-class-not-registered",
    put(0, "class", "__torch__.torch.classes.mine.Queue"),
    lambda: [Point(1, 2)],
    ("__torch__.torch.classes.mine.Queue",),
    name="__torch__.torch.classes.mine.Queue",
)
operator_case(
    "operator-changed",
    put(2, "aten::relu(Tensor self, int old) -> Tensor", None),
    name="aten::relu",
    reason="the call does not pass old, which its own schema asks for",
    archive="aten::relu(Tensor self, int old) -> Tensor",
    running="aten::relu(Tensor self) -> Tensor",
)


@case("function-gone")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    data = edited(lambda: fx.symbolic_trace(lambda x: torch.relu(x)), put(0, "function", "torch.gone"))()
    from fxarchive import trust
    from fxarchive.codec import operators, resolve, running_torch

    for module in (trust, operators, resolve, running_torch):
        listed = module.is_listed
        monkeypatch.setattr(
            module, "is_listed", lambda kind, name, listed=listed: name == "torch.gone" or listed(kind, name)
        )
    monkeypatch.setattr("fxarchive.audit.is_listed", lambda kind, name: True)
    return lambda: fxarchive.loads(data), {"torch": RUNNING, "name": "torch.gone"}


# devices, replays, modes

CUDA = torch.device("cuda:7")


def on_missing_device(document: Any) -> None:
    document["storages"][0]["device"] = "cuda:7"


@case("mesh-missing")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    mesh = ["mesh", "cpu", [2, 2], [0, 1, 2, 3], ["dp", "tp"]]
    from torch.distributed.tensor import Shard

    data = edited(lambda: Shard(0), lambda document: document.update(root=["distributed", mesh]))()
    return lambda: fxarchive.loads(data), {}


@case("mesh-of-another-rank")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def elsewhere(document: Any) -> None:
        document["subclasses"][0]["coordinate"] = [1]

    def loaded() -> Any:
        from torch import distributed
        from torch.distributed.tensor import DTensor, Shard, init_device_mesh

        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        try:
            mesh = init_device_mesh("cpu", (1,))
            data = edited(lambda: DTensor.from_local(torch.ones(2), mesh, [Shard(0)]), elsewhere)()
            with mesh:
                return fxarchive.loads(data)
        finally:
            distributed.destroy_process_group()

    return loaded, {}


@case("device-missing")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda: fxarchive.loads(edited(lambda: [torch.ones(2)], on_missing_device)()), {
        "reason": reason_of(CUDA)
    }


@case("device-missing-that-was-asked-for")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda: fxarchive.loads(fxarchive.dumps([torch.ones(2)]), device="cuda:7"), {
        "reason": reason_of(CUDA)
    }


def reason_of(device: torch.device) -> str:
    from fxarchive.codec.geometry import reason

    try:
        torch.empty(0).to(device)
    except (RuntimeError, AssertionError) as error:
        return reason(error)
    raise AssertionError(f"this machine has {device}")


def verify(data: Bytes) -> Callable[[Path], Any]:
    def act(folder: Path) -> None:
        error = fxarchive.verify(io.BytesIO(made(data)), run=True).error
        assert error is not None
        raise error

    return act


def other_output(document: Any) -> None:
    document["storages"][-1]["data"] = bytes(12)


INPUT = (torch.ones(1, 2),)
case("no-examples", verify(saved(graph)))
case(
    "other-numbers",
    verify(edited(lambda: fx.symbolic_trace(lambda x: x + 1), other_output, example_inputs=(torch.ones(3),))),
    torch=RUNNING,
    different="output differs in 3 of 3 elements",
)


def failing(document: Any) -> None:
    document["targets"][0][1] = "torch.linalg.inv"


case(
    "graph-raises",
    verify(
        edited(lambda: fx.symbolic_trace(lambda x: torch.sin(x)), failing, example_inputs=(torch.ones(3),))
    ),
    error="RuntimeError",
    text="linalg.inv: The input tensor A must have at least 2 dimensions",
)
case(
    "storage-not-named",
    verify(
        edited(lambda: [torch.ones(100)], lambda document: document["storages"][0].update(section="document"))
    ),
)


@case("flag-not-named")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    archive = container.open_archive(fxarchive.dumps([functools.partial(max, 1)]))
    content = archive.read(DOCUMENT)
    forgetful, stream = replace(archive.header, features=()), io.BytesIO()
    container.write(stream, forgetful, [container.NewSection(DOCUMENT, "zstd", len(content), [content])])
    return lambda: fxarchive.loads(stream.getvalue()), {}


symbolic = saved(lambda: symbolic_cases.plain().plain())
case("mode-without-symbols", lambda folder: fxarchive.loads(symbolic(), fake_mode=FakeTensorMode()))


@case("mode-with-other-symbols")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    other = symbolic_cases.floating()
    mode = FakeTensorMode(shape_env=other.env)
    return lambda: fxarchive.loads(symbolic(), fake_mode=mode), {"symbol": other.numbers["a"].node.expr}


# arguments


def torch_case(name: str, found: str | None) -> None:
    @case(name)
    def prepared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        there = None if found is None else SimpleNamespace(__version__=found)
        monkeypatch.setitem(sys.modules, "torch", there)
        monkeypatch.delitem(sys.modules, "fxarchive.codec.installed", raising=False)
        return lambda: importlib.import_module("fxarchive.codec.installed"), {"found": found}


@case("numpy-missing")
def _(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    data = fxarchive.dumps([numpy.ones(2)])
    monkeypatch.setitem(sys.modules, "numpy", None)
    return lambda: fxarchive.loads(data), {}


torch_case("torch-missing", None)
torch_case("torch-too-old", "2.6.0+cu124")
case("weights-argument", save(lambda: [1], weights="none"))
case("on-unsupported-argument", save(lambda: [1], on_unsupported="ignore"))
case("verify-argument", loads(GOOD, verify="some"))
case("inputs-for-what-cannot-be-called", save(lambda: [1], example_inputs=(1,)), kind="list")
case("inputs-of-another-kind", save(operator_graph, example_inputs=[1]), kind="list")
case("text-file", lambda folder: fxarchive.load(io.StringIO("")))
case("path-of-bytes", lambda folder: fxarchive.load(b"g.fxa"))
case("not-a-path", lambda folder: fxarchive.load(3), kind="int")
