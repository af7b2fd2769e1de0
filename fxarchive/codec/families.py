"""All families together: who encodes what, who decodes what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from fxarchive.codec import (
    arrays,
    artefacts,
    columns,
    containers,
    contexts,
    distributed,
    extensions,
    facts,
    fakes,
    graph_modules,
    graphs,
    modules,
    nested_ints,
    operators,
    partials,
    patterns,
    programs,
    provenance,
    records,
    script_objects,
    signatures,
    standard,
    subclasses,
    symbols,
    tensor_metadata,
    tensors,
    treespecs,
    type_hints,
    values,
)
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder
from fxarchive.document import FLAG_OF_TAG, VALUE_TAGS, Value

FAMILIES = (
    extensions,
    facts,
    symbols,
    nested_ints,
    fakes,
    tensors,
    subclasses,
    arrays,
    distributed,
    values,
    containers,
    tensor_metadata,
    treespecs,
    operators,
    script_objects,
    partials,
    type_hints,
    provenance,
    graphs,
    patterns,
    columns,
    graph_modules,
    modules,
    signatures,
    programs,
    artefacts,
    contexts,
    standard,
    records,
)
"""In the order in which their predicates are tried; that of `records` is for what nobody else takes."""

ENCODE: dict[type, Callable[[Encoder, Any], Value]] = {
    k: v for family in FAMILIES for k, v in family.ENCODE.items()
}
ENCODE_WHERE = [pair for family in FAMILIES for pair in family.ENCODE_WHERE]
DECODE: dict[str, Callable[[Decoder, Any], Any]] = {
    k: v for family in FAMILIES for k, v in family.DECODE.items()
}

if len(DECODE) != sum(len(family.DECODE) for family in FAMILIES) or set(DECODE) != VALUE_TAGS:
    raise AssertionError("every tag of the schema is decoded by one family, and no other tag is")


@lru_cache
def decoders(features: frozenset[str]) -> Mapping[str, Callable[[Decoder, Any], Any]]:
    """Return tag -> decoder for an archive with these feature flags: a tag behind another one is refused.

    So a writer that forgets a flag fails at its first load, not in an old reader that was never told.
    """
    missing = {tag: _refuse for tag, flag in FLAG_OF_TAG.items() if flag not in features}
    return DECODE | missing


def _refuse(dec: Decoder, tagged: Value) -> Any:
    tag = tagged[0]
    dec.require(FLAG_OF_TAG[tag], f"a value of the kind {tag!r}")
