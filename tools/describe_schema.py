"""The shape of the current schema as JSON, and what of it is frozen: `python tools/describe_schema.py RELEASE`.

`spec/schema-N.json` describes schema N in layers. Each layer was released and never changes; a later one adds what
new feature flags brought. A test compares the code with it: what a layer has must be there as it is, and more may
be there only behind a flag that no layer has yet. At a release this script writes all that is new as one more layer.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, is_typeddict

from fxarchive import audit, document, packing

HERE = Path(__file__).resolve().parents[1] / "spec"

FROZEN = "A schema that is released is frozen"
RAISE = "or raise SCHEMA and write a migration as fxarchive/document.py says"
CHANGED = "{item} was {old} and is {new}. " + f"{FROZEN}: undo this, {RAISE}."
GONE = "{item} ({old}) is gone. " + f"{FROZEN}: put it back, {RAISE}."
NO_FLAG = (
    "{item} is new and behind no new feature flag, so older readers would not know that they cannot read it: "
    "name it in a flag of document.FEATURES that archives carry when they use it."
)


def described() -> dict[str, Any]:
    """Return what the code says of the schema, an entry for each part, and the feature flags."""
    parts: dict[str, str] = {}
    for name, record in vars(document).items():
        if isinstance(record, type) and is_typeddict(record):
            for key, kind in record.__annotations__.items():
                parts[f"{name}.{key}"] = str(getattr(kind, "__forward_arg__", kind))
            parts |= {f"{name}.{key} always": "" for key in sorted(record.__required_keys__)}
    parts |= {f"opcode {number}": op for number, op in enumerate(document.OPS)}
    parts |= {f"tag {tag}": "" for tag in document.VALUE_TAGS}
    parts |= {f"kind of target {kind}": f"{size} items" for kind, size in audit._TARGET_LENGTHS.items()}
    parts |= {f"packed column of graphs {key}": "" for key in packing.GRAPH_COLUMNS}
    parts |= {f"packed column of metadata {tag}": "" for tag in packing.ROW_TAGS}
    parts |= {f"table {table}": f"only with {flag}" for flag, table in audit.FEATURE_KEYS.items()}
    parts["lowest reader"] = str(document.MIN_READER)
    return {"flags": sorted(document.FEATURES), "parts": dict(sorted(parts.items()))}


def path_of(schema: int) -> Path:
    """Return where a schema is described."""
    return HERE / f"schema-{schema}.json"


def problems(frozen: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return how what was found breaks what is frozen, a sentence each."""
    flags: set[str] = set()
    parts: dict[str, str] = {}
    said = []
    before = ""
    for layer in frozen["layers"]:
        if layer["digest"] != digest(layer, before):
            said.append(f"the layer of release {layer['release']} was changed; restore spec/schema-N.json")
        before = layer["digest"]
        flags.update(layer["flags"])
        parts.update(layer["parts"])
    for item, old in parts.items():
        new = found["parts"].get(item)
        if new is None:
            said.append(GONE.format(item=item, old=old or "no more than its name"))
        elif new != old:
            said.append(CHANGED.format(item=item, old=old, new=new))
    said += [
        f"the feature flag {flag} is gone; archives carry it" for flag in sorted(flags - {*found["flags"]})
    ]
    if not set(found["flags"]) - flags:
        said += [NO_FLAG.format(item=item) for item in found["parts"] if item not in parts]
    return said


def digest(layer: dict[str, Any], before: str) -> str:
    """Return the digest of a layer, in which that of the one before it stands too."""
    held = {key: layer[key] for key in ("release", "flags", "parts")}
    return hashlib.sha256((before + json.dumps(held, sort_keys=True)).encode()).hexdigest()


def with_layer(frozen: dict[str, Any], found: dict[str, Any], release: str) -> dict[str, Any]:
    """Return the description with all that is new as one more layer, or as it is if nothing is new."""
    layers = list(frozen["layers"])
    known = {item for layer in layers for item in layer["parts"]}
    flags = {flag for layer in layers for flag in layer["flags"]}
    new = {
        "release": release,
        "flags": sorted(set(found["flags"]) - flags),
        "parts": {item: text for item, text in found["parts"].items() if item not in known},
    }
    if not new["flags"] and not new["parts"]:
        return frozen
    new["digest"] = digest(new, layers[-1]["digest"] if layers else "")
    return {**frozen, "layers": [*layers, new]}


def main() -> None:
    (release,) = sys.argv[1:]
    path = path_of(document.SCHEMA)
    frozen = (
        json.loads(path.read_text("utf-8")) if path.exists() else {"schema": document.SCHEMA, "layers": []}
    )
    found = described()
    if frozen["layers"] and (said := problems(frozen, found)):
        sys.exit("\n".join(said))
    path.write_text(json.dumps(with_layer(frozen, found, release), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
