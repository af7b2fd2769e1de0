"""How the modules of the package stand on each other, read from their source: imports point down only."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

LAYERS = """
_version errors limits qualname inert array_layout extensions names collection schemas releases guards threads
document
tables expressions
shapes
container.frames container.history container.plain
container.header container.index container.sources
container.writer
container.reader
container
staging
packing.numbers
packing.strings
packing.names packing.rows
packing.room
wire store packing trust artefact readback
repeats
payload
source_names demands
program_audit graph_audit
audit
streams.bounds streams.records
streams.machine
streams.interpreter
streams.blobs
streams
migrations.content migrations.graph_pickler migrations.graph_pickler.recognition migrations.graph_pickler.dill
migrations.graph_pickler.translation migrations.graph_pickler.operators
migrations.graph_pickler.values migrations.graph_pickler.geometry migrations.graph_pickler.columns
migrations.graph_pickler.treespecs migrations.graph_pickler.targets migrations.graph_pickler.sources
migrations.graph_pickler.codegen migrations.graph_pickler.storages migrations.graph_pickler.type_hints
migrations.graph_pickler.tuples migrations.graph_pickler.provenance
migrations.graph_pickler.graphs migrations.graph_pickler.tensors
migrations.graph_pickler.expressions migrations.graph_pickler.tracing_contexts
migrations.graph_pickler.environments migrations.graph_pickler.fakes migrations.graph_pickler.modules
migrations.graph_pickler.symbols migrations.graph_pickler.facts
migrations.graph_pickler.records migrations.graph_pickler.standard migrations.graph_pickler.enums
migrations.graph_pickler.arrays
migrations.graph_pickler.partials migrations.graph_pickler.script_objects migrations.graph_pickler.programs
migrations.graph_pickler.families migrations.graph_pickler.survey
migrations.schema_1_to_2
migrations.operators.calls
migrations.operators.autograd migrations.operators.distributed migrations.operators.linear_algebra
migrations.operators.higher_order
migrations.operators.named_tensors migrations.operators.normalization migrations.operators.pooling
migrations.operators.random migrations.operators.sparse migrations.operators.symbolic_shapes
migrations.operators
migrations
binding calls
adaptation
chain
reading
programs
notation
ports nodes weights
summary
listing inspection rewriting selection
orders comparison
outputs
upgrading
batch
bundles
adoption
codec.filters codec.installed codec.deferral
codec.arguments codec.decoder codec.encoder codec.isolation codec.outputs codec.resolve
codec.symbolic codec.symbolic.bounds codec.symbolic.functions codec.nested_numbers
codec.record_rules codec.standard codec.artefacts codec.training_modes
codec.fast codec.fast.fakes codec.fast.nodes codec.fast.programs
codec.fast.shape_env_names codec.fast.sym_nodes codec.fast.zero_tensors codec.fast.ragged codec.guard_functions
codec.fast.unlifting codec.symbolic.nested codec.fast.meshes
codec.guard_modules
codec.unlifted
codec.replay
codec.fast.symbolic_fakes
codec.running_torch
codec.operators codec.symbolic.sources codec.symbolic.expressions codec.type_hints
codec.fact_fields codec.extensions codec.provenance codec.values codec.symbolic.records codec.symbolic.shape_envs
codec.containers codec.observer_facts codec.geometry codec.symbolic.restore
codec.treespecs codec.fact_kinds
codec.facts
codec.partials codec.patterns
codec.signatures codec.storages codec.history codec.symbolic.values
codec.layouts codec.symbolic.fakes codec.symbols codec.transforms
codec.nested_ints codec.plain_tensors codec.descriptions
codec.tensors codec.description_rows codec.array_memory
codec.arrays
codec.script_objects codec.meshes
codec.distributed
codec.subclasses
codec.fake_tables
codec.fakes
codec.copies codec.stacks codec.tensor_metadata
codec.columns
codec.graphs
codec.graph_modules
codec.module_rules codec.lazy_modules
codec.modules codec.records codec.contexts
codec.restated
codec.programs
codec.families
codec
sections
api
pickler verification compatibility
cli.output
cli.options cli.rewrites
cli.adopt cli.compat cli.diff cli.downgrade cli.inspect cli.migrations cli.show cli.upgrade cli.verify
cli.main
cli
__main__
"""
"""Modules of one line know nothing of each other, and nothing of the lines below theirs."""

UPWARD = {
    ("codec.history", "codec.descriptions"): "a view is described as tensors are; inside a function",
}
"""Imports against the order, with the reason."""

USERS_OF_TORCH = ("codec", "pickler")
"""The only modules, with what is below them, that import torch when they are imported."""

LATE_TORCH = {"api": "the header names the release of torch and the kind of the root object"}
"""Other modules that import torch inside a function, with the reason."""

LATE_CODEC = ("api", "verification", "pickler", "compatibility")
"""Who may import the codec; all but `pickler` inside functions only."""

DANGEROUS = frozenset(
    """
    eval exec compile __import__ import_module sympify parse_expr literal_eval os.system popen Popen
    check_output check_call getoutput subprocess.run run_module run_path exec_module load_module Unpickler
    pickle.load pickle.loads marshal.load marshal.loads torch.load
    """.split()  # noqa: SIM905
)
"""Calls that could run or import what a file says; a name with a dot is matched whole."""

PERMITTED = {
    ("", "import_module"): "the public names, from a table in the module itself",
    ("cli.main", "import_module"): "the verbs, from a table in the module itself",
    ("cli.verify", "import_module"): "what the user typed after --import",
    ("codec.resolve", "importlib.import_module"): "modules of listed names, in packages of a closed list",
    ("codec.symbolic.shape_envs", "sympy.sympify"): "a number, while saving: text never gets there",
    ("codec.symbolic.values", "sympy.sympify"): "a number, while saving: text never gets there",
    (
        "codec.symbolic.sources",
        "ast.literal_eval",
    ): "a literal of a bounded text: it builds values and calls nothing",
    ("wire", "pickle.Unpickler"): "it finds no class, and the opcodes were checked before",
}
"""Places that do one of these, with the reason why no file decides what it does."""


MAY_MIGRATE = (
    "array_layout",
    "errors",
    "document",
    "guards",
    "limits",
    "packing",
    "releases",
    "trust",
    "wire",
)
"""What migrations may import besides their own and `streams`: all of it is about plain data."""


class Import(NamedTuple):
    """One name that is imported somewhere in a module."""

    target: str
    """Qualified name of the module, or of what is taken from it."""
    line: int
    late: bool
    """Whether it happens in a function, when that is called."""
    typing_only: bool


def modules() -> dict[str, Path]:
    """Every module of the package by its name below ``fxarchive``; "" is the package itself."""
    found = {}
    for folder, prefix in ((ROOT / "fxarchive", ()), (ROOT / "migrations", ("migrations",))):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if prefix == () and parts[0] == "migrations":
                continue  # the link to the folder beside the package
            parts = (*prefix, *parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
RANK = {name: rank for rank, line in enumerate(LAYERS.strip().split("\n")) for name in line.split()}


def imports(name: str, tree: ast.AST, *, late: bool = False, typing_only: bool = False) -> Iterator[Import]:
    """Yield what the module ``name`` imports, with ``fxarchive.`` before its own package's names."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, late, typing_only)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(name, node)
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", node.lineno, late, typing_only)
        else:
            yield from imports(
                name,
                node,
                late=late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda),
                typing_only=typing_only
                or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"),
            )


def _absolute(name: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = ["fxarchive", *[part for part in name.split(".") if part]]
    if MODULES[name].name != "__init__.py":
        parts.pop()
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def own_imports(name: str) -> Iterator[tuple[str, Import]]:
    """Yield the modules of the package that a module imports, by their names below ``fxarchive``."""
    for found in imports(name, TREES[name]):
        package, _, rest = found.target.partition(".")
        if package == "fxarchive":
            yield rest if rest in MODULES else rest.rpartition(".")[0], found


def is_below(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_the_order_names_every_module_once() -> None:
    listed = LAYERS.split()
    assert sorted(listed) == sorted(MODULES.keys() - {""})


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {""}))
def test_imports_point_down(name: str) -> None:
    upward = [
        f"line {found.line}: {target or 'the package itself'}"
        for target, found in own_imports(name)
        if (target == "" or RANK.get(target, 0) >= RANK.get(name, 0)) and (name, target) not in UPWARD
    ]
    assert upward == []


@pytest.mark.parametrize(("name", "target"), sorted(UPWARD))
def test_an_import_against_the_order_is_still_made_and_never_when_the_module_loads(
    name: str, target: str
) -> None:
    against = [found for other, found in own_imports(name) if other == target]
    assert against
    assert all(found.late or found.typing_only for found in against)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_only_the_codec_imports_torch(name: str) -> None:
    if is_below(name, USERS_OF_TORCH):
        return
    of_torch = [found for found in imports(name, TREES[name]) if found.target.partition(".")[0] == "torch"]
    early = [f"line {found.line}" for found in of_torch if not (found.late or found.typing_only)]
    assert early == []
    assert name in LATE_TORCH or not any(found.late for found in of_torch)


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {""}))
def test_the_codec_is_imported_when_it_is_needed(name: str) -> None:
    of_codec = [found for target, found in own_imports(name) if is_below(target, ("codec",))]
    if is_below(name, ("codec", "pickler")):
        return
    assert name in LATE_CODEC or of_codec == []
    assert [f"line {found.line}" for found in of_codec if not (found.late or found.typing_only)] == []


@pytest.mark.parametrize("name", sorted(name for name in MODULES if is_below(name, ("container",))))
def test_the_container_knows_neither_pickle_nor_the_document(name: str) -> None:
    names = {found.target.partition(".")[0] for found in imports(name, TREES[name])}
    assert names.isdisjoint({"pickle", "marshal", "torch", "importlib"})
    own = {target for target, _ in own_imports(name)}
    assert all(target in ("errors", "limits") or is_below(target, ("container",)) for target in own)


@pytest.mark.parametrize("name", sorted(name for name in MODULES if is_below(name, ("migrations",))))
def test_migrations_know_plain_data_alone(name: str) -> None:
    own = {target for target, _ in own_imports(name)}
    assert all(target in MAY_MIGRATE or is_below(target, ("migrations", "streams")) for target in own)


@pytest.mark.parametrize("name", sorted(name for name in MODULES if is_below(name, ("streams",))))
def test_streams_know_nothing_but_errors(name: str) -> None:
    own = {target for target, _ in own_imports(name)}
    assert all(target == "errors" or is_below(target, ("streams",)) for target in own)


def dangerous_calls(tree: ast.AST) -> list[str]:
    """Name every function of `DANGEROUS` that is named anywhere: called, passed on, or derived from."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            whole = ast.unparse(node)
            if whole in DANGEROUS or (node.attr in DANGEROUS and not whole.startswith("re.")):
                found.append(whole)
        elif isinstance(node, ast.Name) and node.id in DANGEROUS:
            found.append(node.id)
    return found


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nothing_is_evaluated_or_unpickled(name: str) -> None:
    assert [call for call in dangerous_calls(TREES[name]) if (name, call) not in PERMITTED] == []


def test_every_permission_is_used() -> None:
    used = {(name, call) for name, tree in TREES.items() for call in dangerous_calls(tree)}
    assert set(PERMITTED) - used == set()
    late = {name for name in MODULES for found in imports(name, TREES[name]) if found.target == "torch"}
    assert set(LATE_TORCH) - late == set()


@pytest.mark.parametrize(
    ("source", "calls"),
    [
        ("eval('1')", ["eval"]),
        ("import pickle\npickle.loads(b'')", ["pickle.loads"]),
        ("run = exec", ["exec"]),
        ("import sympy\nmap(sympy.sympify, texts)", ["sympy.sympify"]),
        ("import re\nre.compile('x')", []),
        ("from fxarchive import wire\nwire.loads(b'')", []),
    ],
)
def test_the_search_finds_what_it_should(source: str, calls: list[str]) -> None:
    assert dangerous_calls(ast.parse(source)) == calls


def test_an_import_is_seen_wherever_it_stands() -> None:
    tree = ast.parse(
        "import torch.fx\nif TYPE_CHECKING:\n  from torch import nn\ndef f():\n  from .errors import TooNew\n"
    )
    assert list(imports("api", tree)) == [
        Import("torch.fx", 1, False, False),
        Import("torch.nn", 3, False, True),
        Import("fxarchive.errors.TooNew", 5, True, False),
    ]


LOOK = """
import sys
import fxarchive, fxarchive.cli
from fxarchive.cli.main import run
from fxarchive import chain, inspect, listing, reading, verify, migrations
path = sys.argv[1]
assert inspect(path, full=True).contents.nodes == 3
assert verify(path).ok
assert [run([*verb.split(), path]) for verb in ("inspect", "show", "show --metadata", "verify")] == [0] * 4
heavy = {"torch", "numpy", "sympy", "fxarchive.codec"} & sys.modules.keys()
assert not heavy, heavy
"""


def test_a_look_at_an_archive_leaves_torch_alone(tmp_path: Path) -> None:
    import torch

    import fxarchive

    path = tmp_path / "relu.fxa"
    fxarchive.save(torch.fx.symbolic_trace(torch.nn.ReLU()), path)
    done = subprocess.run([sys.executable, "-c", LOOK, path], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("relu") >= 3
