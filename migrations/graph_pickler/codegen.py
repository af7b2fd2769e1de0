"""How a graph generates code: stored since torch 2.11; through 2.10 only its traces in the module are."""

from __future__ import annotations

import re
from typing import Any

from fxarchive.migrations.graph_pickler.translation import Translation, Untranslatable, sequence_of, shown
from fxarchive.streams import Call

_PLAIN = "torch.fx.graph.CodeGen"
_PYTREE = "torch.fx.graph._PyTreeCodeGen"
_INFO = "torch.fx.graph._PyTreeInfo"

_SIGNATURE = re.compile(r"^def forward\(([^()]*)\)[^\n]*:$", re.MULTILINE)
_FLATTEN = re.compile(r"fx_pytree\.tree_flatten_spec\(\(?\[([^\[\]]*)\]")
"""In generated source: the names of the parameters, and those of the positional ones that are flattened."""


def codegen(tr: Translation, graph: dict[str, Any], module: dict[str, Any]) -> list[Any]:
    """Return the codegen of a graph.

    Args:
        tr: the translation.
        graph: the fields of its `_GraphPickleData`.
        module: the ``__dict__`` of the module that has the graph.
    """
    if "_codegen" not in graph:
        return _before_it_was_stored(tr, module)
    found = graph["_codegen"]
    name = found.name if type(found) is Call else shown(found)
    if name not in (_PLAIN, _PYTREE):
        raise Untranslatable.because(
            f"a codegen of class {name} holds live code; save again after graph.set_codegen(CodeGen())"
        )
    fields = found.fields()
    if fields.get("_body_transformer") is not None:
        raise Untranslatable.because(
            "it transforms the generated code with a function (on_generate_code); save again without it"
        )
    function = fields.get("_func_name", "forward")
    if name == _PLAIN:
        return ["plain", function]
    info = fields.get("pytree_info")
    if type(info) is not Call or info.name != _INFO:
        raise Untranslatable.because(f"a {_INFO} is expected here and there is {shown(info)}")
    names, in_spec, out_spec = sequence_of(info.args, 3)
    return ["pytree", function, list(sequence_of(names)), tr.value(in_spec), tr.value(out_spec)]


def _before_it_was_stored(tr: Translation, module: dict[str, Any]) -> list[Any]:
    """Rebuild a pytree codegen from what the module holds: its specs, and the source that was generated."""
    if module.get("_in_spec") is None:
        return ["plain", "forward"]
    names = argument_names(module.get("_code"))
    if names is None or module.get("_out_spec") is None:
        tr.note(
            "This release of torch did not store how the graph takes nested arguments; it takes them flat",
            tr.path.lstrip("."),
        )
        return ["plain", "forward"]
    tr.note(
        "This release of torch did not store how the graph takes nested arguments; that was taken from the "
        "specs of the module and from the parameters of its generated source",
        tr.path.lstrip("."),
    )
    return ["pytree", "forward", names, tr.value(module["_in_spec"]), tr.value(module["_out_spec"])]


def argument_names(source: Any) -> list[str] | None:
    """Return the names of the original arguments that generated source shows, or None.

    >>> argument_names("def forward(self, d):\\n    self, d_1, = fx_pytree.tree_flatten_spec([self, d], self._in_spec)")
    ['self', 'd']
    >>> argument_names("def forward(self, x):\\n    x_1, = fx_pytree.tree_flatten_spec(([x], {}), self._in_spec)")
    ['x']
    """
    if type(source) is not str:
        return None
    signature, flattened = _SIGNATURE.search(source), _FLATTEN.search(source)
    if signature is None or flattened is None:
        return None
    names = [name.partition(":")[0].strip() for name in signature[1].split(",") if name.strip()]
    positional = [name.strip() for name in flattened[1].split(",") if name.strip()]
    if names[:1] != ["self"] or not all([name.isidentifier() for name in names]):
        return None
    return names if positional[:1] == ["self"] else names[1:]
