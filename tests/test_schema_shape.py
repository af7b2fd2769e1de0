"""The schema has the shape that its description froze; more may come only behind new feature flags."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fxarchive.document import SCHEMA

ROOT = Path(__file__).resolve().parents[1]


def _tool() -> Any:
    spec = importlib.util.spec_from_file_location("describe_schema", ROOT / "tools" / "describe_schema.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = _tool()
FROZEN = json.loads(tool.path_of(SCHEMA).read_text("utf-8"))


def test_the_schema_is_as_it_was_frozen() -> None:
    assert FROZEN["schema"] == SCHEMA, (
        "a new schema needs a description: python tools/describe_schema.py RELEASE"
    )
    assert tool.problems(FROZEN, tool.described()) == []


def frozen_now() -> tuple[Any, Any]:
    """A description in which all is frozen that the code has, and what the code has."""
    found = tool.described()
    return tool.with_layer({"schema": SCHEMA, "layers": []}, found, "0.1.0"), copy.deepcopy(found)


def test_what_is_frozen_has_every_part() -> None:
    frozen, found = frozen_now()
    assert tool.problems(frozen, found) == []
    (layer,) = frozen["layers"]
    for part in ("Document.texts", "Graph.names", "Module.klass", "tag tuple", "opcode 5", "kind of target operator",
                 "packed column of graphs layout", "packed column of metadata fake", "table symbolic"):  # fmt: skip
        assert part in layer["parts"]
    assert layer["parts"]["Graph.operands"] == "list[int]"


@pytest.mark.parametrize(
    ("item", "value", "text"),
    [
        (
            "Graph.operands",
            "list[str]",
            "Graph.operands was list\\[int\\] and is list\\[str\\]. A schema that is rel",
        ),
        (
            "Graph.operands",
            None,
            r"Graph.operands \(list\[int\]\) is gone. A schema that is released is frozen",
        ),
        ("tag tuple", None, r"tag tuple \(no more than its name\) is gone"),
        ("Graph.colour", "int", "Graph.colour is new and behind no new feature flag"),
        ("tag colour", "", "tag colour is new and behind no new feature flag"),
        ("lowest reader", "3", "lowest reader was 2 and is 3"),
    ],
)
def test_a_change_is_seen_and_the_message_says_what_to_do(item: str, value: str | None, text: str) -> None:
    frozen, found = frozen_now()
    if value is None:
        del found["parts"][item]
    else:
        found["parts"][item] = value
    (said,) = tool.problems(frozen, found)
    assert re.match(text, said)


def test_additions_behind_a_new_flag_are_free_until_a_release_freezes_them() -> None:
    frozen, found = frozen_now()
    found["flags"].append("colours")
    found["parts"]["tag colour"] = ""
    assert tool.problems(frozen, found) == []
    frozen = tool.with_layer(frozen, found, "0.2.0")
    assert frozen["layers"][1]["flags"] == ["colours"]
    assert frozen["layers"][1]["parts"] == {"tag colour": ""}
    assert tool.problems(frozen, found) == []
    assert tool.with_layer(frozen, found, "0.3.0") == frozen
    del found["parts"]["tag colour"]
    assert "tag colour" in tool.problems(frozen, found)[0]
    found["flags"].remove("colours")
    assert tool.problems(frozen, found)[1] == "the feature flag colours is gone; archives carry it"


def test_a_layer_that_was_edited_is_seen() -> None:
    frozen, found = frozen_now()
    frozen = tool.with_layer(frozen, {**found, "flags": [*found["flags"], "colours"]}, "0.2.0")
    found["flags"].append("colours")
    assert tool.problems(frozen, found) == []
    frozen["layers"][0]["release"] = "0.0.9"
    assert "the layer of release 0.0.9 was changed" in tool.problems(frozen, found)[0]
