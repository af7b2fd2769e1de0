"""Keeping the writer's own folders out of the corpus: traces and assertions name files by where they lie."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram
from torch.fx import GraphModule

ROOT = Path(__file__).resolve().parents[2]
ABSOLUTE = re.compile(r"""(?:^|["'\s(])/[^"'\s]+\.py\b""")
"""The path of a source file from the root of the file system, somewhere in a text."""

_INSTALLED = re.compile(r"""[^"'\s]*/(?:site|dist)-packages/|[^"'\s]*/lib/python3\.\d+/""")


def relative(text: str) -> str:
    """Return ``text`` with paths of source files from the folder of the project or of the packages on."""
    return _INSTALLED.sub("", text.replace(f"{ROOT}/", ""))


def make_relative(root: Any) -> None:
    """Do this to the stack traces of a graph's nodes and to the assertions of shape environments."""
    if isinstance(root, GraphModule):
        for node in root.graph.nodes:
            if "stack_trace" in node.meta:
                node.meta["stack_trace"] = relative(node.meta["stack_trace"])
            for number in getattr(node.meta.get("val"), "shape", ()):
                _of_environment(getattr(getattr(number, "node", None), "shape_env", None))
    elif isinstance(root, ExportedProgram):
        make_relative(root.graph_module)
        for held in root.graph_module.children():
            make_relative(held)
    elif isinstance(root, dict):
        for held in root.values():
            make_relative(held)
    elif isinstance(root, list):
        for held in root:
            _of_environment(held)


def _of_environment(env: Any) -> None:
    for asserts in getattr(env, "deferred_runtime_asserts", {}).values():
        asserts[:] = [dataclasses.replace(held, msg=relative(held.msg)) for held in asserts]


def absolute(document: Any) -> list[str]:
    """Return the texts of a document that name a source file from the root of the file system."""
    found = []
    pending = [document]
    while pending:
        part = pending.pop()
        if type(part) is dict:
            pending += part.values()
        elif type(part) is list:
            pending += part
        elif type(part) is str and ABSOLUTE.search(part):
            found.append(part)
    return found
