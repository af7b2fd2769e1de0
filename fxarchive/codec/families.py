"""All families together: who encodes what, who decodes what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fxarchive.codec import (
    artefacts,
    columns,
    containers,
    contexts,
    extensions,
    facts,
    fakes,
    graph_modules,
    graphs,
    modules,
    nested_ints,
    operators,
    partials,
    programs,
    provenance,
    records,
    script_objects,
    signatures,
    standard,
    subclasses,
    symbols,
    tensors,
    treespecs,
    type_hints,
    values,
)
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.encoder import Encoder
from fxarchive.document import VALUE_TAGS, Value

FAMILIES = (
    extensions,
    facts,
    symbols,
    nested_ints,
    fakes,
    tensors,
    subclasses,
    values,
    containers,
    treespecs,
    operators,
    script_objects,
    partials,
    type_hints,
    provenance,
    graphs,
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
