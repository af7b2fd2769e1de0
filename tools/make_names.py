"""Write the shipped lists of names: `fxarchive/names/{functions,modules,classes}.txt`.

    python tools/make_names.py PYTHON_FUNCTIONS_JSONL

The names are those of the installed torch, and those of PYTHON_FUNCTIONS_JSONL (lines ``["name", [[first,
last], ...]]``) that other releases have: a name that the running torch lacks is a missing operator, not an
untrusted one. Every entry comes from a group, and each group says why its names are safe to call with
arguments from a file. `reviewed_names.py` has what was reviewed by hand; its `DENIED` holds whatever a group
would bring in that reads or writes files, loads or compiles code, talks to a network or another process, or
turns a string into something to call.
"""

from __future__ import annotations

import builtins
import enum
import importlib
import inspect
import json
import math
import operator
import pkgutil
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from reviewed_names import (
    BUILTINS,
    CLASSES,
    DENIED,
    ENUM_SCOPES,
    HELPERS,
    NAMESPACES,
    NOT_GRAPH_FUNCTIONS,
    OWN,
    STATE,
    SYMBOLIC_SHAPES,
    TORCH_OTHERS,
    UNPACKED,
)

NAMES = Path(__file__).resolve().parent.parent / "fxarchive" / "names"


class Group:
    """Names of one kind, with the reason for their being listed."""

    def __init__(self, title: str, names: Iterable[str]) -> None:
        self.title, self.names = title, sorted(set(names))


def lookup(name: str) -> Any:
    """Return what a dotted name says, importing modules on the way; None if the installed torch lacks it."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                thing = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            thing = getattr(thing, part, None)
        return thing
    return None


def is_function(thing: Any) -> bool:
    return isinstance(
        thing,
        types.FunctionType
        | types.BuiltinFunctionType
        | types.MethodDescriptorType
        | types.WrapperDescriptorType,
    )


def public(names: Iterable[str], keep: Callable[[str], bool] = lambda name: True) -> list[str]:
    return [
        name
        for name in names
        if not DENIED.search(name) and name.rpartition(".")[2] not in NOT_GRAPH_FUNCTIONS and keep(name)
    ]


def functions_of(prefix: str, recorded: dict[str, list[str]], own: bool = False) -> list[str]:
    """Functions of a namespace: those that the installed torch has, and recorded names that it lacks.

    ``own`` leaves out what a Python module only imported from elsewhere.
    """
    scope = lookup(prefix)
    if scope is None:
        scope = types.ModuleType(prefix)
    found = {name for name in dir(scope) if is_function(getattr(scope, name, None))}
    if own:
        found = {name for name in found if getattr(getattr(scope, name), "__module__", prefix) == prefix}
    lost = {
        name
        for name in recorded.get(prefix, [])
        if not hasattr(scope, name) and re.match(r"_{0,2}[a-z]", name)
    }
    return public(f"{prefix}.{name}" for name in found | lost)


def torch_functions(recorded: dict[str, list[str]]) -> list[str]:
    """Functions at the top of torch: all that torch binds to operators, and a reviewed list of the others."""
    bound = [
        name
        for name in dir(torch._C._VariableFunctions)
        if hasattr(torch, name) and not name.startswith("__")
    ]
    lost = [name for name in recorded["torch"] if not hasattr(torch, name) and re.match(r"_?[a-z]", name)]
    lost = [name for name in lost if name not in torch._C.__dict__]
    return public(
        f"torch.{name}" for name in {*bound, *lost, *TORCH_OTHERS} if not name.startswith("_functionalize_")
    )


def function_groups(recorded: dict[str, list[str]]) -> list[Group]:
    math_names = [name for name in dir(math) if not name.startswith("_") and callable(getattr(math, name))]
    operator_names = [
        name
        for name in dir(operator)
        if not name.startswith("_") and isinstance(getattr(operator, name), types.BuiltinFunctionType)
    ]
    return [
        Group(
            "Functions of torch: they compute on tensors, ask for a property, or check a condition",
            torch_functions(recorded),
        ),
        *(
            Group(
                title,
                [
                    name
                    for prefix in prefixes
                    for name in functions_of(prefix, recorded, prefix.startswith(OWN))
                ],
            )
            for title, prefixes in NAMESPACES.items()
        ),
        Group(
            "Methods of Tensor, called as functions: they compute on tensors; none looks up an attribute",
            functions_of("torch.Tensor", recorded),
        ),
        Group("Methods of torch._numpy.ndarray, called through numpy_method_wrapper", ndarray_methods()),
        Group(
            "Helpers of symbolic shapes: they read or constrain a number",
            [f"torch.fx.experimental.symbolic_shapes.{name}" for name in SYMBOLIC_SHAPES],
        ),
        Group(
            "Switches that dynamo records when a graph enters and leaves a mode, and questions about devices",
            STATE,
        ),
        Group("Helpers of torch that tracers put in graphs", HELPERS),
        Group(
            "Operators of Python. Not listed: attrgetter, methodcaller and itemgetter, which make "
            "something to call from a string, and call",
            [f"operator.{name}" for name in operator_names if name != "call"],
        ),
        Group("Mathematics of Python: numbers in, numbers out", [f"math.{name}" for name in math_names]),
        Group(
            "Builtins that tracers put in graphs. getattr is what x.shape becomes in every traced graph. "
            "Not listed: eval, exec, compile, __import__, open, input, breakpoint, globals, "
            "locals, vars, dir, setattr, delattr, callable, super, memoryview, help",
            [f"builtins.{name}" for name in BUILTINS if not isinstance(getattr(builtins, name), type)],
        ),
        Group(
            "einops: they rearrange tensors by a pattern that einops parses itself",
            [f"einops.einops.{name}" for name in ("rearrange", "reduce", "repeat", "einsum", "parse_shape")]
            + [f"einops.packing.{name}" for name in ("pack", "unpack")]
            + [
                f"einops.{name}"
                for name in ("rearrange", "reduce", "repeat", "einsum", "pack", "unpack", "parse_shape")
            ],
        ),
    ]


def ndarray_methods() -> list[str]:
    ndarray = lookup("torch._numpy.ndarray")
    return public(
        f"torch._numpy.ndarray.{name}" for name in dir(ndarray) if is_function(getattr(ndarray, name))
    )


def walk(package: str, skip: str) -> None:
    """Import every module of a package, so that its classes can be found."""
    found = importlib.import_module(package)
    for info in pkgutil.walk_packages(found.__path__, f"{package}.", onerror=lambda name: None):
        if not re.search(skip, info.name):
            try:
                importlib.import_module(info.name)
            except Exception as error:  # modules for hardware or packages that this machine lacks
                print(f"not imported: {info.name}: {type(error).__name__}", file=sys.stderr)


def subclasses(base: type) -> set[type]:
    found: set[type] = set()
    pending = [base]
    while pending:
        for child in type.__subclasses__(pending.pop()):
            if child not in found:
                found.add(child)
                pending.append(child)
    return found


def qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def module_groups() -> list[Group]:
    walk("torch.nn", r"torch\.nn\.(?:intrinsic|qat|quantizable|quantized|utils\.(?:prune|_expanded))")
    names = [qualified(cls) for cls in {torch.nn.Module, *subclasses(torch.nn.Module)}]
    fixed = [name for name in names if name.startswith("torch.nn.") and "<" not in name]
    walk("torch.ao", r"_test|\.tests?|__main__|experimental|pt2e|pruning|ns\b")
    names = [qualified(cls) for cls in subclasses(torch.nn.Module)]
    return [
        Group(
            "Modules of torch.nn: rebuilt from their class and their state, without calling __init__", fixed
        ),
        Group(
            "Modules of torch.ao that hold tensors and numbers, not packed weights: likewise",
            [name for name in names if name.startswith(UNPACKED) and "<" not in name],
        ),
    ]


def class_groups(recorded: dict[str, list[str]]) -> list[Group]:
    for package in ("torch.export", "torch.fx", "torch.ao.quantization.fx"):
        walk(package, r"_test|\.tests?|__main__|graph_drawer|migrate_gm|fb\b")
    for name in ENUM_SCOPES:
        lookup(f"{name}._")
    return_types = [
        f"torch.return_types.{name}"
        for name in dir(torch.return_types)
        if not name.startswith(("__", "_attr"))
    ]
    return_types = [name for name in return_types if type(lookup(name)) is type]
    return_types += [
        f"torch.return_types.{name}" for name in ("qr", "lstsq", "symeig", "eig", "solve", "cholesky_ex")
    ]
    enums = {
        cls
        for cls in subclasses(enum.Enum)
        if cls.__module__.split(".")[0] == "torch" and "<" not in cls.__qualname__
    }
    enums = {cls for cls in enums if cls.__module__.startswith(ENUM_SCOPES)}
    bound = {
        f"torch._C.{name}"
        for name, cls in vars(torch._C).items()
        if isinstance(cls, type) and hasattr(cls, "__members__")
    }
    return [
        *(Group(title, text.split()) for title, text in CLASSES.items()),
        Group("Named tuples that operators return", return_types),
        Group("Enumerations of torch: a member is looked up by its name", {*map(qualified, enums), *bound}),
    ]


def write(path: Path, what: str, groups: list[Group]) -> None:
    """Write one name a line, each name once, under the first group that has it."""
    seen: set[str] = set()
    lines = [f"# {what} Written by tools/make_names.py; change that file, not this one."]
    for group in groups:
        names = [name for name in group.names if name not in seen]
        seen.update(names)
        lines += ["", f"# {group.title}.", *names]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    print(f"{path.name}: {len(seen)} names")


def main(source: str) -> None:
    recorded: dict[str, list[str]] = {}
    for line in Path(source).read_text(encoding="utf-8").splitlines():
        scope, _, name = json.loads(line)[0].rpartition(".")
        recorded.setdefault(scope, []).append(name)
    write(NAMES / "functions.txt", "Functions that graphs may call.", function_groups(recorded))
    write(NAMES / "modules.txt", "Modules that are rebuilt from their state.", module_groups())
    write(NAMES / "classes.txt", "Classes that values, metadata and types may name.", class_groups(recorded))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(inspect.getdoc(sys.modules[__name__]))
    main(sys.argv[1])
