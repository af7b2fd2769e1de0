"""torch objects <-> document: the only part of fxarchive, with `fxarchive.pickler`, that imports torch.

`encode` and `decode` are the whole of it for the rest of fxarchive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fxarchive.codec import installed  # noqa: F401 (says what to install, before the others need it)

# isort: split
from fxarchive.codec import distributed
from fxarchive.codec.decoder import Decoder, Sections
from fxarchive.codec.encoder import Encoder, Refused
from fxarchive.codec.extensions import check_registered
from fxarchive.codec.facts import import_classes
from fxarchive.codec.families import ENCODE, ENCODE_WHERE, decoders
from fxarchive.codec.filters import KEEP_ALL, Filters
from fxarchive.codec.isolation import import_fake_tensors, isolated
from fxarchive.codec.running_torch import resolve_targets
from fxarchive.codec.training_modes import import_factories
from fxarchive.codec.unlifted import import_parts
from fxarchive.collection import collection_paused
from fxarchive.document import DISTRIBUTED_TENSORS, FEATURES, Document
from fxarchive.errors import FxArchiveError, InvalidDocument, Problem, UnsupportedValue


@dataclass(frozen=True)
class Encoded:
    """What an object became."""

    document: Document
    storages: Mapping[str, Any]
    """Section name -> `torch.UntypedStorage` whose bytes go there."""
    extras: Mapping[str, bytes]
    """Section name -> bytes that go there as they are."""
    features: frozenset[str]
    """Feature flags that a reader must understand."""
    dropped: tuple[Problem, ...] = field(default=())
    """Metadata entries that were left out, and why; only with ``drop``."""


def encode(
    obj: Any,
    *,
    examples: Any = None,
    omit_weights: bool = False,
    drop: bool = False,
    filters: Filters = KEEP_ALL,
) -> Encoded:
    """Turn ``obj`` into a document.

    Args:
        obj: a GraphModule, or any tree of supported values that holds some.
        examples: None or ``(args, kwargs, outputs)``.
        omit_weights: keep the structure of tensors and leave out their bytes.
        drop: leave out metadata entries that cannot be kept, and say so in the result.
        filters: what to refuse or leave out though it could be kept.

    Raises:
        UnsupportedValue: something cannot be kept; it lists every path.
    """
    leave_out: frozenset[tuple[int, int, int]] = frozenset()
    dropped: list[Problem] = []
    while True:
        enc = Encoder(
            ENCODE, ENCODE_WHERE, omit_weights=omit_weights, drop=drop, leave_out=leave_out, filters=filters
        )
        try:
            with isolated(), collection_paused():
                _encode_root(enc, obj, examples)
        except RecursionError:
            raise UnsupportedValue(
                [Problem("the object", "it is nested too deep for the interpreter's stack")]
            ) from None
        finally:
            enc.let_go()
        if not enc.dropped:
            return Encoded(enc.document, enc.storages, enc.extras, frozenset(enc.features), tuple(dropped))
        # what was encoded before its refusal left rows behind, so the whole is encoded again without it
        leave_out |= frozenset(enc.dropped)
        dropped += [
            p._replace(path=p.path.lstrip(".")) for problems in enc.dropped.values() for p in problems
        ]


def _encode_root(enc: Encoder, obj: Any, examples: Any) -> None:
    try:
        enc.document["root"] = enc.value(obj)
    except Refused as refused:
        enc.problems += refused.problems
    try:
        enc.document["examples"] = enc.value(examples)
    except Refused as refused:
        enc.problems += refused.below("example_inputs")
    enc.run()


def decode(
    document: Document,
    sections: Sections,
    *,
    features: frozenset[str] = FEATURES,
    writer: str = "",
    trust: frozenset[str] = frozenset(),
    device: Any = None,
    fake_mode: Any = None,
    examples: bool = False,
) -> Any:
    """Turn an audited document of the current schema into the object that it stands for.

    Args:
        document: as `fxarchive.audit.audit` passed it.
        sections: where the bytes of storages come from.
        features: feature flags of the archive; what is behind another one is refused.
        writer: the torch that wrote the archive, as `fxarchive.adaptation.adapt` takes it.
        trust: names of classes and functions outside the shipped list that may be used.
        device: where real tensors go; None for where they were.
        fake_mode: the FakeTensorMode that FakeTensors join; None for a new one.
        examples: return ``(obj, examples)`` instead of ``obj``.

    Raises:
        UntrustedNames, MissingOperator, IncompatibleOperator: see there.
        InvalidDocument: the document breaks a rule of its schema.
    """
    dec = Decoder(
        document,
        sections,
        decoders(features),
        features=features,
        trust=trust,
        device=device,
        fake_mode=fake_mode,
    )
    try:
        with collection_paused():
            resolve_targets(dec, writer)
            check_registered(document)
            import_classes(document)
        if DISTRIBUTED_TENSORS in features:
            distributed.prepare(document)
        if document["fakes"] or "symbolic" in document or "contexts" in document:
            import_fake_tensors()
        document = dec.document  # its calls as this torch takes them
        if any(["unlifted" in module or "guards" in module for module in document["modules"]]):
            import_parts()
        if any(["train_eval" in module for module in document["modules"]]):
            import_factories()
        with isolated(), collection_paused():
            root = dec.value(document["root"])
            held = dec.value(document["examples"]) if examples else None
            dec.run()
    except FxArchiveError:
        raise
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        StopIteration,
    ) as error:
        raise InvalidDocument(
            "the document", f"it does not hold what its schema says ({error!r:.200})"
        ) from error
    except (RecursionError, RuntimeError) as error:
        raise InvalidDocument("the document", f"it cannot be rebuilt ({str(error).strip():.200})") from error
    finally:
        dec.forget()
    return (root, held) if examples else root
