"""A kind of value that came with a feature flag is read only from archives that name the flag."""

from __future__ import annotations

from typing import Any

import pytest

from fxarchive import codec
from fxarchive.codec.decoder import Decoder
from fxarchive.codec.families import DECODE, decoders
from fxarchive.document import FEATURES, FLAG_OF_TAG, VALUE_TAGS, empty_document
from fxarchive.errors import InvalidDocument

from ..material import configs
from .tables import Bytes


def test_every_tag_behind_a_flag_is_a_tag_and_every_flag_is_known() -> None:
    assert FLAG_OF_TAG.keys() <= VALUE_TAGS
    assert {*FLAG_OF_TAG.values()} <= FEATURES


@pytest.mark.parametrize("tag", sorted(FLAG_OF_TAG))
def test_a_tag_is_refused_without_its_flag_and_decoded_with_it(tag: str) -> None:
    others = FEATURES - {FLAG_OF_TAG[tag]}
    dec = Decoder(empty_document(), Bytes({}), decoders(others), features=others)  # type: ignore[arg-type]
    with pytest.raises(
        InvalidDocument, match=f"kind '{tag}': .* feature flag '{FLAG_OF_TAG[tag]}' that it needs"
    ):
        dec.value([tag])
    assert decoders(frozenset({FLAG_OF_TAG[tag]}))[tag] is DECODE[tag]


def test_an_archive_that_forgot_its_flag_does_not_load() -> None:
    encoded = codec.encode({"config": configs.STANDARD[0]})
    assert encoded.features == {"records"}
    sections: Any = Bytes({})
    assert codec.decode(encoded.document, sections, features=encoded.features) == {
        "config": configs.STANDARD[0]
    }
    with pytest.raises(InvalidDocument, match="does not name the feature flag 'records' that it needs"):
        codec.decode(encoded.document, sections, features=frozenset())
