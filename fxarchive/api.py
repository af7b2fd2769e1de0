"""Saving and loading: short lists of calls to the layers below.

torch is imported when the first object is saved or loaded, not before.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

from fxarchive import container, store
from fxarchive._version import __version__
from fxarchive.audit import audit
from fxarchive.collection import collection_paused
from fxarchive.container import Archive, Header, NewSection, Writer
from fxarchive.document import DOCUMENT, FEATURES, MIN_READER, SCHEMA
from fxarchive.errors import ForbiddenName, InvalidDocument, OldSchemaWarning, Problem, UnsupportedValue
from fxarchive.limits import DEFAULT_LIMITS, Limits
from fxarchive.payload import payload_of
from fxarchive.reading import read_current
from fxarchive.sections import Sections
from fxarchive.summary import summarise

if TYPE_CHECKING:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from fxarchive.codec import Encoded

Target: TypeAlias = str | os.PathLike[str] | BinaryIO


@dataclass(frozen=True)
class SaveReport:
    """What was written.

    Attributes:
        identity: SHA-256 over header and index, in hexadecimal: the same graph gives the same one.
        size: bytes of the archive.
        dropped: metadata entries that were left out, with the reason (only with ``on_unsupported="drop"``).
        trust: names of classes and functions that `load` will ask for in ``trust=``.
    """

    identity: str
    size: int
    dropped: tuple[Problem, ...]
    trust: tuple[str, ...]


def save(
    obj: Any,
    path: Target,
    *,
    metadata: Mapping[str, Any] | None = None,
    example_inputs: tuple[Any, ...] | Mapping[str, Any] | None = None,
    weights: Literal["raw", "zstd", "omit"] = "raw",
    on_unsupported: Literal["error", "drop"] = "error",
) -> SaveReport:
    """Write ``obj`` to one archive, whole or not at all.

    Args:
        obj: a `torch.fx.GraphModule`, a `torch.export.ExportedProgram`, or any tree of supported values (dicts,
            lists, tensors, ...) that holds some.
        path: a path, an open binary file (written forward only), or an fsspec URL such as ``memory://g.fxa``.
        metadata: plain values of your own, shown by `inspect`; keys are strings.
        example_inputs: a tuple of positional arguments or a mapping of keyword arguments. They are stored with
            the outputs that a copy of ``obj`` computes from them now, so that ``verify(path, run=True)`` can
            replay it; ``obj`` and the inputs stay as they are. An ExportedProgram also takes the pair of both, as
            in ``program.example_inputs``. Not with ``weights="omit"``, which leaves nothing to replay.
        weights: "raw" so that loading maps them, "zstd" for a smaller file, "omit" for the structure alone.
        on_unsupported: "drop" leaves out metadata that cannot be kept and reports it; anything else that cannot
            be kept is an error in both cases.

    Returns:
        What was written: the identity and the size in bytes of the archive, what was dropped, and the names that
        `load` will ask for in ``trust=``.

    Raises:
        UnsupportedValue: something cannot be kept; the message lists every path. Nothing is written.
        StoreError: the path cannot be written (it also is an `OSError`).
        TooLarge: the graph is over a limit of the format (spec/limits.md).
        MissingTorch: torch is not installed, or older than 2.7.
        TypeError, ValueError: an argument is not one of those above. What ``obj`` itself raises on the
            example inputs is passed on.

    >>> import torch, fxarchive
    >>> gm = torch.fx.symbolic_trace(torch.nn.Linear(2, 3))
    >>> report = fxarchive.save(gm, "memory://linear.fxa", metadata={"note": "first"})
    >>> fxarchive.load("memory://linear.fxa")(torch.ones(1, 2)).shape
    torch.Size([1, 3])
    """
    if weights not in ("raw", "zstd", "omit"):
        raise ValueError(f"weights is {weights!r}; it must be 'raw', 'zstd' or 'omit'.")
    if on_unsupported not in ("error", "drop"):
        raise ValueError(f"on_unsupported is {on_unsupported!r}; it must be 'error' or 'drop'.")
    if weights == "omit" and example_inputs is not None:
        raise ValueError(
            "example_inputs cannot be replayed without weights; save with weights='raw' or 'zstd'."
        )
    if metadata is not None and not isinstance(metadata, Mapping):
        raise TypeError(f"metadata is a {type(metadata).__qualname__}; give a mapping with str keys.")
    from fxarchive import codec
    from fxarchive.codec import arguments
    from fxarchive.codec.replay import examples_of

    examples = examples_of(obj, example_inputs)

    def write() -> SaveReport:
        encoded = codec.encode(
            obj, examples=examples, omit_weights=weights == "omit", drop=on_unsupported == "drop"
        )
        return write_encoded(
            encoded, path, root=arguments.kind_of(obj), metadata=metadata, compress=weights == "zstd"
        )

    with collection_paused():  # until the document is gone, else the collector walks it
        return write()


def write_encoded(
    encoded: Encoded,
    path: Target,
    *,
    root: str,
    metadata: Mapping[str, Any] | None = None,
    compress: bool = False,
) -> SaveReport:
    """Write what `codec.encode` made of an object; see `save`.

    Args:
        encoded: the document and the bytes beside it.
        path: where to.
        root: kind of the object.
        metadata: plain values of the user.
        compress: whether weights are compressed.
    """
    from fxarchive.codec import arguments
    from fxarchive.codec.storages import chunks

    _check_readable(encoded)
    payload = payload_of(encoded.document)
    summary = summarise(encoded.document)
    if encoded.dropped:
        summary["dropped"] = [f"{path}: {why}" for path, why in encoded.dropped]
    header = Header(
        schema=SCHEMA,
        min_reader=MIN_READER,
        features=tuple(sorted(encoded.features)),
        writer=Writer(__version__, arguments.torch_release(), _python()),
        root=root,
        summary=summary,
        metadata=dict(metadata or {}),
    )

    def sections() -> Iterator[NewSection]:
        yield NewSection(DOCUMENT, "zstd", len(payload), [payload])
        for name, storage in encoded.storages.items():
            yield NewSection(name, "zstd" if compress else "raw", storage.nbytes(), chunks(storage))
        for name, data in encoded.extras.items():
            yield NewSection(name, "zstd", len(data), [data])

    with store.write_atomic(path) as stream:
        written = container.write(stream, header, sections())
    return SaveReport(written.identity, written.size, encoded.dropped, tuple(summary.get("trust", ())))


def _check_readable(encoded: Encoded) -> None:
    """Refuse what no reader would take, such as a name that must not reach generated source."""
    try:
        audit(encoded.document, trust=None, features=encoded.features)
    except ForbiddenName as error:
        why = f"the name {error.name[:80]!r} must not reach generated source; choose a plain one"
        raise UnsupportedValue([Problem(error.where.rstrip(","), why)]) from None
    except InvalidDocument as error:
        raise UnsupportedValue([Problem(error.where, error.reason)]) from None


def load(
    path: Target,
    *,
    trust: Iterable[str] = (),
    device: torch.device | str | None = None,
    fake_mode: FakeTensorMode | None = None,
    mmap: bool = True,
    verify: Literal["graph", "all"] = "graph",
    state_dict: Mapping[str, torch.Tensor] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Any:
    """Open an archive and return what was saved, ready to call; nothing that the file holds is run.

    Args:
        path: a path, an open binary file, or an fsspec URL.
        trust: qualified names of classes and functions outside the shipped list that the archive may use, as
            `inspect` prints them; import the modules that define them first.
        device: where real tensors go; None for where they were.
        fake_mode: the FakeTensorMode that FakeTensors join; None for a new one.
        mmap: map raw weights from a local file instead of reading them; pages are private, so that writing to
            a weight never changes the file.
        verify: "graph" checks everything but large weights against its digest; "all" checks them too.
        state_dict: weights for an archive that was saved with ``weights="omit"``, by their names in the root
            module or program. The tensors are used as they are, without a copy; weights that were tied stay
            tied, and one of their names is enough.
        limits: bounds on what the file may ask for.

    Returns:
        The object that was saved.

    Raises:
        ArchiveNotFound, StoreError: the path cannot be read.
        NotAnArchive, TruncatedArchive, CorruptArchive, TooLarge, TooNew: the file is not whole, or not for
        this release.
        MigrationFailed: the file is of an older schema, and a migration cannot take what it holds.
        ForbiddenName, UntrustedNames: the file asks for what it may not have.
        MissingOperator, IncompatibleOperator: the running torch lacks what the graph calls.
        UnknownExtension, ExtensionFailed: the file has values that another package registers, and it has not
            registered them, or its decoder raises.
        MissingDevice: tensors belong on a device that this machine lacks; pass ``device=``.
        MissingMesh: tensors are spread over a mesh of processes that the caller has not entered.
        FakeModeConflict: ``fake_mode`` cannot take the symbols of the archive.
        MissingTorch: torch is not installed, or older than 2.7.
        MissingNumpy: the archive holds arrays of numpy, which is not installed.
        TypeError, ValueError: an argument is not one of those above, or ``state_dict`` does not fit: the
            archive holds no module at its root, or names or shapes differ.

    >>> import torch, fxarchive
    >>> report = fxarchive.save({"graph": torch.fx.symbolic_trace(torch.nn.ReLU())}, "memory://tree.fxa")
    >>> fxarchive.load("memory://tree.fxa")["graph"](torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    if verify not in ("graph", "all"):
        raise ValueError(f"verify is {verify!r}; it must be 'graph' or 'all'.")
    options: dict[str, Any] = {"trust": _names(trust)}
    if device is not None or fake_mode is not None:
        from fxarchive.codec import arguments

        options |= {"device": arguments.device_of(device), "fake_mode": arguments.mode_of(fake_mode)}
    with store.open_read(path) as file:
        archive = container.open_archive(file, schema=SCHEMA, features=FEATURES, limits=limits)
        with collection_paused():
            obj = decode_archive(archive, mmap=mmap, verify_all=verify == "all", limits=limits, **options)
        if archive.header.schema < SCHEMA:
            _warn_of(archive.header.schema)
    if state_dict is not None:
        from fxarchive.codec import arguments

        arguments.fill(obj, state_dict)
    return obj


def decode_archive(
    archive: Archive,
    *,
    trust: frozenset[str] = frozenset(),
    device: torch.device | None = None,
    fake_mode: FakeTensorMode | None = None,
    mmap: bool = True,
    verify_all: bool = False,
    examples: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Any:
    """Return what an open archive holds; with ``examples`` a pair of it and of its example inputs and outputs."""
    if verify_all:
        archive.check_all()
    content = read_current(archive, limits)
    document = content.document
    audit(document, trust=trust, features=content.features)

    from fxarchive import codec

    return codec.decode(
        document,
        Sections(archive, mmap, content.sections),
        features=frozenset(content.features),
        writer=content.torch,
        trust=trust,
        device=device,
        fake_mode=fake_mode,
        examples=examples,
    )


def dumps(
    obj: Any,
    *,
    metadata: Mapping[str, Any] | None = None,
    example_inputs: tuple[Any, ...] | Mapping[str, Any] | None = None,
    weights: Literal["raw", "zstd", "omit"] = "raw",
    on_unsupported: Literal["error", "drop"] = "error",
) -> bytes:
    """Return the archive of ``obj`` as bytes.

    Args:
        obj, metadata, example_inputs, weights, on_unsupported: as for `save`.

    Returns:
        The bytes that `save` would have written.

    Raises:
        UnsupportedValue, TooLarge, MissingTorch, TypeError, ValueError: as `save` does.

    >>> import torch, fxarchive
    >>> fxarchive.loads(fxarchive.dumps({"weights": torch.arange(3)}))
    {'weights': tensor([0, 1, 2])}
    """
    stream = io.BytesIO()
    save(
        obj,
        stream,
        metadata=metadata,
        example_inputs=example_inputs,
        weights=weights,
        on_unsupported=on_unsupported,
    )
    return stream.getvalue()


def loads(
    data: bytes | bytearray | memoryview,
    *,
    trust: Iterable[str] = (),
    device: torch.device | str | None = None,
    fake_mode: FakeTensorMode | None = None,
    verify: Literal["graph", "all"] = "graph",
    state_dict: Mapping[str, torch.Tensor] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Any:
    """Return the object of an archive given as bytes.

    Args:
        data: an archive; weights are copied out of it.
        trust, device, fake_mode, verify, state_dict, limits: as for `load`.

    Returns:
        The object that was saved.

    Raises:
        FxArchiveError, TypeError, ValueError: as `load` does, but for what a path can cause.

    >>> import fxarchive
    >>> fxarchive.loads(fxarchive.dumps([1.5, {"a": None}]))
    [1.5, {'a': None}]
    """
    return load(
        io.BytesIO(data),
        trust=trust,
        device=device,
        fake_mode=fake_mode,
        mmap=False,
        verify=verify,
        state_dict=state_dict,
        limits=limits,
    )


def _warn_of(schema: int) -> None:
    """Say how to upgrade the file: Python shows it once for each line of a program that loads old archives."""
    warnings.warn(
        f"This archive is of schema {schema} and was brought to {SCHEMA} in memory, as at each load; run "
        "`fxarchive upgrade` on the file, or on the folder of many, to do that once.",
        OldSchemaWarning,
        stacklevel=_outside(),
    )


def _outside() -> int:
    """Return the ``stacklevel`` of the first caller that is not this module."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame, level = frame.f_back, level + 1
    return level


def _python() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def _names(trust: Iterable[str]) -> frozenset[str]:
    names = [trust] if isinstance(trust, str) else list(trust) if isinstance(trust, Iterable) else [trust]
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"trust holds {name!r:.80}; give qualified names such as 'package.module.Class'.")
    return frozenset(names)
