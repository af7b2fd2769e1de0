"""Compiled artefacts: a section of bytes each, which nothing here opens.

A graph may call one: torch's `AOTCompiledArtifact` behind a function, as pipelines around torch.compile put it there.
torch's own ``serialize()`` gives its bytes at save. After a load an `ArtefactCall` stands there, and the caller binds
it to what torch's own ``deserialize()`` makes of the bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from fxarchive.artefact import Artefact, ArtefactCall, SealedArtefact, digest, is_kind, is_plain
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.document import ARTEFACTS, Value
from fxarchive.errors import InvalidDocument

AOT_KIND = "torch._inductor.standalone_compile.AOTCompiledArtifact"
"""Kind of the artefacts that torch's graphs call; also the class that opens their bytes."""

_COMPILED = frozenset(
    {
        "CompiledArtifact", "OutputCode", "AOTAutogradCacheEntry", "GenericAOTAutogradCacheEntry",
        "GenericAOTAutogradResult", "BundledAOTAutogradSerializableCallable",
    }
)  # fmt: skip
"""Classes of torch's compilers, with what derives from them, whose instances are compiled code."""

_COMPILERS = ("torch._inductor.", "torch._functorch.", "torch._dynamo.")


# encoding


def encode_artefact(enc: Encoder, value: Artefact) -> Value:
    return ["artefact", _row(enc, value)]


def _row(enc: Encoder, value: Artefact) -> int:
    row = enc.row("artefacts", id(value))
    if row is None:
        enc.features.add(ARTEFACTS)
        table = enc.document.setdefault("artefacts", [])  # type: ignore[typeddict-item]
        section = f"artefacts/{len(table)}"
        record = {
            "kind": value.kind,
            "info": dict(value.info),
            "section": section,
            "size": len(value.data),
            "sha256": digest(value.data),
        }
        row = enc.add("artefacts", id(value), record)
        enc.keep_alive(value)
        enc.extras[section] = value.data
    return row


def encode_sealed(enc: Encoder, value: SealedArtefact) -> Value:
    raise Refused.because(
        f"the bytes of the artefact were not loaded, since {value.kind!r} was not in trust=; load with it to save again"
    )


def encode_call(enc: Encoder, value: ArtefactCall) -> Value:
    return ["target", call_row(enc, value)]


def call_row(enc: Encoder, target: Any) -> int | None:
    """Return the row in `targets` of a call of an artefact, or None if ``target`` is something else."""
    if type(target) is ArtefactCall:
        artefact: Any = target.artefact
        if type(artefact) is SealedArtefact:
            encode_sealed(enc, artefact)
    else:
        held = getattr(target, "__wrapped__", None)
        compiled = _aot_compiled()
        if held is None or compiled is None or not isinstance(held, compiled):
            return None
        artefact = Artefact(AOT_KIND, held.serialize())
    row = enc.row("targets", id(target))
    if row is None:
        number = _row(enc, artefact)
        section = enc.document["artefacts"][number]["section"]  # type: ignore[typeddict-item]
        row = enc.add("targets", id(target), ["artefact", section])
        enc.keep_alive(target)
    return row


def _aot_compiled() -> Any:
    """Return torch's class, if it is imported: nobody holds an instance of it otherwise."""
    return getattr(sys.modules.get("torch._inductor.standalone_compile"), "AOTCompiledArtifact", None)


def is_compiled(value: Any) -> bool:
    """Whether ``value`` is compiled code of torch's own compilers."""
    return any(
        [
            base.__qualname__ in _COMPILED and str(base.__module__).startswith(_COMPILERS)
            for base in type(value).__mro__
        ]
    )


def refuse_compiled(enc: Encoder, value: Any) -> Value:
    raise Refused.because(
        f"a {type(value).__module__}.{type(value).__qualname__} is compiled code; keep its serialized bytes in a "
        "fxarchive.Artefact(kind, data)"
    )


# decoding


def decode_artefact(dec: Decoder, tagged: Value) -> Artefact | SealedArtefact:
    """Return the artefact of a row: with its bytes if the caller trusts its kind, else sealed."""
    found: Artefact | SealedArtefact = dec.row(
        "artefacts", tagged[1], lambda record: _build(dec, f"artefacts[{tagged[1]}]", record)
    )
    return found


def _build(dec: Decoder, where: str, record: Any) -> Artefact | SealedArtefact:
    kind, info, section, size, expected = [
        record[key] for key in ("kind", "info", "section", "size", "sha256")
    ]
    if len(record) != 5 or not is_kind(kind) or type(info) is not dict or not is_plain(info):
        raise InvalidDocument(where, "it is not a record of an artefact")
    if type(size) is not int or size < 0 or type(expected) is not bytes:
        raise InvalidDocument(where, "its size or its digest is not one")
    used: set[str] = dec.state.setdefault("sections of artefacts", set())
    if type(section) is not str or not section.startswith("artefacts/") or section in used:
        raise InvalidDocument(where, f"section {section!r:.80} is not a section of its own")
    used.add(section)
    if kind not in dec.trust:
        return SealedArtefact(kind, size, info)
    data = dec.sections.read(section)
    if len(data) != size or digest(data) != expected:
        raise InvalidDocument(where, f"section {section!r} holds other bytes than the document says")
    return Artefact(kind, data, info)


def resolve_call(dec: Decoder, section: str) -> ArtefactCall:
    """Return what stands in a graph for the artefact in ``section``, not bound to anything."""
    rows: Any = dec.document.get("artefacts", [])
    for row, record in enumerate(rows):
        if record["section"] == section:
            return ArtefactCall(decode_artefact(dec, ["artefact", row]))
    raise InvalidDocument("table targets", f"no artefact has the section {section!r:.80}")


ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {
    Artefact: encode_artefact,
    SealedArtefact: encode_sealed,
    ArtefactCall: encode_call,
}
ENCODE_WHERE: list[tuple[Callable[[Any], bool], Callable[[Encoder, Any], Value]]] = [
    (is_compiled, refuse_compiled),
]
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {"artefact": decode_artefact}
