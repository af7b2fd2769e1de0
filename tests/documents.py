"""Documents and archives made by hand, without torch."""

from __future__ import annotations

import io
from typing import Any

from fxarchive import container, packing, wire
from fxarchive.container import Header, NewSection, Writer
from fxarchive.document import empty_document

HOLE = ["hole"]


def graph(
    names: str, ops: list[int], targets: list[int], calls: list[Any], operands: list[int], **more: Any
) -> Any:
    """Return a record of a graph; ``calls`` holds args and kwargs of each node as one pattern each."""
    count = len(ops)
    record: dict[str, Any] = {
        "names": names.replace(" ", "\n"),
        "ops": bytes(ops),
        "targets": targets,
        "patterns": calls,
        "pattern": list(range(count)),
        "operands": operands,
        "types": [[], []],
        "keys": [],
        "layouts": [[]],
        "layout": [0] * count,
        "columns": [],
        "codegen": ["plain", "forward"],
        "tracer": [None, ["dict", []]],
    }
    return {**record, **more}


def small() -> Any:
    """``output(((add(x, w, alpha=2), relu), None))`` with a module, a method call, weights and metadata."""
    document: Any = empty_document()
    document["root"] = ["module", 0]
    document["texts"] = ["x", "lin.weight", "tanh", "lin", "output", "word " * 20]
    document["targets"] = [
        [
            "operator",
            "aten::add.Tensor",
            "aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1)",
            None,
        ],
        ["operator", "mine::relu", "mine::relu(Tensor x) -> Tensor", "mine.ops"],
        ["class", "torch.nn.modules.linear.Linear"],
        ["class", "mine.Block"],
        ["function", "mine.helper"],
    ]
    document["storages"] = [
        {"size": 24, "device": "cpu", "data": bytes(24)},
        {"size": 4096, "device": "cuda:0", "section": "storages/1"},
        {"size": 16, "device": "cpu", "data": bytes(16)},
    ]
    document["tensors"] = [
        {"storage": 0, "dtype": "float32", "size": [2, 3], "class": "parameter", "requires_grad": True},
        {"storage": 1, "dtype": "bfloat16", "size": [2048]},
        {"storage": 2, "dtype": "int64", "size": [2]},
    ]
    document["modules"] = [
        {
            "training": True,
            "graph": 0,
            "modules": ["lin", 1, "twin", 1],
            "buffers": ["table", ["tensor", 1], True],
        },
        {"training": True, "klass": 2, "parameters": ["weight", ["tensor", 0], "bias", None]},
    ]
    document["descriptions"] = [["float32", "cpu", [2, 3], None], ["int64", "cuda:1", [7], None]]
    document["fakes"] = {"description": [0, 0, 1]}
    document["graphs"] = [
        graph(
            "x w add tanh lin relu output",
            [0, 1, 2, 3, 4, 2, 5],
            [0, 1, 0, 2, 3, 1, 4],
            [
                [[], []],
                [[], []],
                [[HOLE, HOLE], ["alpha", 2]],
                [[HOLE], []],
                [[HOLE], []],
                [[HOLE], []],
                [[["tuple", [["tuple", [HOLE, HOLE]], None]]], []],
            ],
            [2, 1, 1, 1, 1, 4, 1],
            keys=["val", "note"],
            layouts=[[], [0], [1, 0]],
            layout=[1, 0, 2, 0, 0, 1, 0],
            columns=[["fake", [0, 1, 2]], ["plain", [["text", 5]]]],
        )
    ]
    document["examples"] = None
    return document


def archive_of(document: Any, payload: Any = None, **header: Any) -> bytes:
    """Return an archive of ``document``, or of ``payload``, its wire form; ``header`` has fields of the header."""
    fields: dict[str, Any] = {
        "schema": 2,
        "min_reader": 2,
        "features": (),
        "writer": Writer("0.1.0", "2.13.0", "3.11.8"),
        "root": "GraphModule",
    }
    payload = wire.dumps(packing.pack(document) if payload is None else payload)
    sections = [NewSection("document", "zstd", len(payload), [payload])]
    for record in document["storages"]:
        if "section" in record:
            sections.append(NewSection(record["section"], "raw", record["size"], [bytes(record["size"])]))
    stream = io.BytesIO()
    container.write(stream, Header(**{**fields, **header}), sections)
    return stream.getvalue()
