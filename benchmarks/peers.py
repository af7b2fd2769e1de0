"""How each peer saves and loads: the calls that its own documentation gives, to and from one file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import zstandard
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import _graph_pickler
from torch.fx._graph_pickler import GraphPickler
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import fxarchive
from benchmarks import plan
from benchmarks.subjects import Subject


@dataclass(frozen=True)
class Peer:
    """One way to keep a subject in a file.

    Attributes:
        save: writes the subject to the path.
        load: reads what was written, or None when there is nothing to load.
        ready: makes what `load` returned callable now, code generated, and returns it; None when weights
            alone were kept.
    """

    save: Callable[[Subject, Path], object]
    load: Callable[[Path], Any] | None
    ready: Callable[[Any], Callable[..., Any]] | None


def _save_pickler(subject: Subject, path: Path) -> None:
    path.write_bytes(GraphPickler.dumps(subject.module, *_everything()))


def _everything() -> tuple[Any, ...]:
    """Options with which GraphPickler keeps every operator and all metadata, as fxarchive does; torch 2.7 has none."""
    options = getattr(_graph_pickler, "Options", None)
    if options is None:
        return ()
    filters = {"ops_filter", "node_metadata_key_filter"} & {field.name for field in fields(options)}
    return (options(**dict.fromkeys(filters)),)


def load_pickled(data: bytes) -> Any:
    """Return the module in what GraphPickler wrote; it cannot be called before it is recompiled."""
    return GraphPickler.loads(data, FakeTensorMode(shape_env=ShapeEnv()))


def _load_pickler(path: Path) -> Any:
    return load_pickled(path.read_bytes())


def _recompile(module: fx.GraphModule) -> fx.GraphModule:
    module.recompile()
    return module


def _generate(module: fx.GraphModule) -> fx.GraphModule:
    """Have the code generated that fxarchive leaves until it is asked for."""
    _ = module.code
    return module


def _save_export(subject: Subject, path: Path) -> None:
    assert subject.program is not None
    with path.open("wb") as file:
        torch.export.save(subject.program, file)


def _load_export(path: Path) -> Any:
    with path.open("rb") as file:
        return torch.export.load(file)


def _save_safetensors(subject: Subject, path: Path) -> None:
    safetensors.torch.save_file(subject.weights(), path)


def _save_plain(subject: Subject, path: Path) -> None:
    """Write the bytes of the weights and sync: what no writer can go below."""
    with path.open("wb", buffering=0) as file:
        for tensor in subject.weights().values():
            _write_all(file.fileno(), memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy().data))
        os.fsync(file.fileno())


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def compress(source: Path, path: Path) -> None:
    """Write ``path``, the file ``source`` as one Zstandard frame of level 3."""
    path.write_bytes(zstandard.ZstdCompressor(level=3).compress(source.read_bytes()))


def decompress(path: Path) -> bytes:
    """Return what `compress` was given."""
    return zstandard.ZstdDecompressor().decompress(path.read_bytes())


def _save_ours(subject: Subject, path: Path) -> None:
    fxarchive.save(subject.module, path, weights="raw" if subject.inputs else "omit")


PEERS: dict[str, Peer] = {
    plan.PICKLER: Peer(_save_pickler, _load_pickler, _recompile),
    plan.SAVE_MODULE: Peer(
        lambda subject, path: torch.save(subject.module, path),
        lambda path: torch.load(path, weights_only=False),
        lambda module: module,
    ),
    plan.EXPORT: Peer(_save_export, _load_export, lambda program: program.module()),
    plan.SAFETENSORS: Peer(_save_safetensors, safetensors.torch.load_file, None),
    plan.SAVE_STATE: Peer(
        lambda subject, path: torch.save(subject.module.state_dict(), path),
        lambda path: torch.load(path, mmap=True),
        None,
    ),
    plan.PLAIN: Peer(_save_plain, None, None),
    plan.OURS: Peer(_save_ours, fxarchive.load, _generate),
}
