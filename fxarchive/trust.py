"""The names that a file may ask for, and the names that may reach generated source.

`is_listed` answers by exact name from the lists in `fxarchive/names/`, which say for each group of names why
it is there. Nothing is ever found by walking attributes that a file chose: ``torch.os.system`` is such a
walk.
"""

from __future__ import annotations

import functools
import keyword
import re
import unicodedata
from pathlib import Path
from typing import Literal, TypeAlias

from fxarchive.errors import ForbiddenName

Kind: TypeAlias = Literal["function", "module", "class"]

WRAPPERS = (
    "torch._dynamo.utils.numpy_to_tensor_wrapper",
    "torch._dynamo.utils.numpy_method_wrapper",
    "torch._dynamo.utils.numpy_operator_wrapper",
)
"""What dynamo makes around torch-numpy functions; named ``WRAPPER(NAME)``, NAME being a listed function."""

_WRAPPED_IN = {
    WRAPPERS[0]: "torch._numpy.",
    WRAPPERS[1]: "torch._numpy.ndarray.",
    WRAPPERS[2]: "operator.",
}

DUNDER_METHODS = frozenset(
    f"__{name}__"
    for name in """
    abs add and bool call ceil complex contains delitem divmod enter eq exit float floor floordiv ge getitem
    gt hash iadd iand ifloordiv ilshift imatmul imod imul index int invert ior ipow irshift isub iter itruediv
    ixor le len length_hint lshift lt matmul mod mul ne neg next nonzero or pos pow radd rand rdiv rdivmod
    reversed rfloordiv rlshift rmatmul rmod rmul ror round rpow rrshift rshift rsub rtruediv rxor setitem sub
    truediv trunc xor div idiv long
    """.split()  # noqa: SIM905
)
"""Names with two underscores at both ends that traced graphs use; any other leads into the interpreter."""

ATTRIBUTE_READERS = frozenset({"builtins.getattr", "torch._dynamo.utils.numpy_attr_wrapper"})
"""Functions that read an attribute whose name stands in the call, where it is checked; nothing else may call them."""

_MACHINERY = (
    "torch.fx.", "torch.export.", "torch._export.", "torch._dynamo.", "torch.ao.quantization.fx.", "torch.storage.",
    "torch.UntypedStorage", "torch._C.ScriptObject",
)  # fmt: skip
_HARMLESS = ("torch.fx.immutable_collections.", "torch.fx.passes.shape_prop.")

FORBIDDEN_METHODS = frozenset(
    """
    tofile dump dumps from_file share_memory_ _share_fd_cpu_ _share_filename_cpu_ _share_cuda_ _write_file
    _set_from_file _new_with_file _new_shared _new_shared_fd_cpu _new_shared_filename_cpu _new_shared_cuda
    _new_using_fd_cpu _new_using_filename_cpu _new_using_cuda _release_ipc_counter _release_ipc_counter_cuda
    _new_with_weak_ptr _set_cdata _reduce_ex_internal format format_map
    """.split()  # noqa: SIM905
)
"""Methods of tensors, arrays, storages and strings that touch files, shared memory, pickles or raw memory, or that read
attributes as a format says."""

_WORDS = frozenset(keyword.kwlist) | {"__debug__"}
_ATOM = re.compile(r"""[^\x00-\x1f\x7f-\x9f"'\\.\u2028\u2029\ud800-\udfff]+""")


@functools.cache
def names(kind: Literal["functions", "modules", "classes"]) -> frozenset[str]:
    """Return the shipped list of that name."""
    return frozenset(ordered_names(kind))


def ordered_names(kind: Literal["functions", "modules", "classes"]) -> list[str]:
    """Return the shipped list of that name in the order of its file."""
    return [line for line in _read(kind).split("\n") if line and line[0] != "#"]


def _read(kind: str) -> str:
    return (Path(__file__).parent / "names" / f"{kind}.txt").read_text(encoding="ascii")


@functools.cache
def aliases() -> dict[str, tuple[str, ...]]:
    """Return ``{name: names}``: what to try, in order, where a torch lacks a name of another release."""
    pairs = (line.split(" = ") for line in _read("aliases").split("\n") if line and line[0] != "#")
    return {name: tuple(others.split()) for name, others in pairs}


def is_listed(kind: Kind, name: str) -> bool:
    """Whether the shipped list has ``name``, so that it loads without being named in ``trust=``.

    Args:
        kind: "function", "module" (a class of modules) or "class" (any class, those of modules too).
        name: qualified name, compared as it stands.

    >>> is_listed("function", "torch.relu"), is_listed("function", "torch.os.system")
    (True, False)
    """
    if kind == "function":
        return name in names("functions") or (name.endswith(")") and wrapped(name) is not None)
    return name in names("modules") or (kind == "class" and name in names("classes"))


def is_plain_value(kind: str, name: str) -> bool:
    """Whether a graph may call the row of `targets`, or hand it to something that does.

    A class that makes graphs, programs or storages is named by metadata and never called: fx writes what it is given
    into source. A function that reads attributes is called directly, where the name that it reads is checked.

    >>> is_plain_value("class", "torch.Size"), is_plain_value("class", "torch.fx.graph.Graph")
    (True, False)
    """
    if kind == "class":
        return not name.startswith(_MACHINERY) or name.startswith(_HARMLESS)
    return name not in ATTRIBUTE_READERS


def wrapped(name: str) -> tuple[str, str] | None:
    """Split ``WRAPPER(NAME)`` in two if it is one of `WRAPPERS` around a listed function that it may hold."""
    wrapper, _, inner = name.removesuffix(")").partition("(")
    prefix = _WRAPPED_IN.get(wrapper)
    if prefix is None or not inner.startswith(prefix) or inner not in names("functions"):
        return None
    return wrapper, inner


def check_identifier(where: str, name: str) -> None:
    """Check a name that fx writes into source as it stands: of a node, an argument or a method.

    Args:
        where: what holds the name, for the message.
        name: must be a Python identifier, no keyword, and no special name but those of `DUNDER_METHODS`.

    Raises:
        ForbiddenName: it is none of these.

    >>> check_identifier("a node", "relu_1")
    """
    special = name.startswith("__") and name.endswith("__") and name not in DUNDER_METHODS
    if not name.isidentifier() or name in _WORDS or special or not _is_normal(name):
        raise ForbiddenName(where, name)


def check_method(where: str, name: str) -> None:
    """Check the name of a method that a graph calls: as `check_identifier`, and none of `FORBIDDEN_METHODS`.

    Args:
        where: what holds the name, for the message.
        name: of the method.

    Raises:
        ForbiddenName: it is none that a graph may call.

    >>> check_method("a method call", "relu_")
    """
    check_identifier(where, name)
    if name in FORBIDDEN_METHODS:
        raise ForbiddenName(where, name)


def check_path_atom(where: str, atom: str) -> None:
    """Check one step of an attribute path such as ``0`` in ``layers.0``.

    fx writes it as ``.atom`` or ``getattr(x, "atom")`` without escaping anything
    (`torch.fx.graph._format_target`).

    Args:
        where: what holds the path, for the message.
        atom: not empty, printable, without quote, backslash, dot, line break or control character, and no
            special name such as ``__class__``.

    Raises:
        ForbiddenName: it is not so.

    >>> check_path_atom("a module", "conv-1")
    """
    special = atom.startswith("__") and atom.endswith("__")
    if (
        special
        or atom in _WORDS
        or not _ATOM.fullmatch(atom)
        or not atom.isprintable()
        or not _is_normal(atom)
    ):
        raise ForbiddenName(where, atom)


def _is_normal(name: str) -> bool:
    """Whether Python's parser, which reads identifiers in normal form KC, sees the name that was checked."""
    return name.isascii() or not name.isidentifier() or unicodedata.is_normalized("NFKC", name)
