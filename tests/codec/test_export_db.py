"""Every program of torch's own export database: as a graph, as a program, and as the program's module."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._export.db.case import ExportCase
from torch._export.db.examples import all_examples
from torch.export import ExportedProgram, export

import fxarchive

from ..compare import differences

pytestmark = pytest.mark.slow

CASES: dict[str, ExportCase] = dict(sorted(all_examples().items()))

UNSUPPORTED = {"dynamic_shape_round"}
"""Programs of the database that torch itself says it cannot export."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def exported(case: ExportCase, strict: bool) -> ExportedProgram:
    return export(
        case.model, case.example_args, case.example_kwargs, dynamic_shapes=case.dynamic_shapes, strict=strict
    )


def outcome(module: Any, case: ExportCase, args: Any) -> Any:
    """Return what a call gives, or how it fails; the module is a copy, since calls change buffers."""
    torch.manual_seed(0)
    try:
        return copy.deepcopy(module)(*copy.deepcopy(args), **copy.deepcopy(case.example_kwargs))
    except Exception as error:
        return type(error).__qualname__, str(error)


@pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
@pytest.mark.parametrize("name", sorted(CASES.keys() - UNSUPPORTED))
def test_a_program_of_the_database(name: str, strict: bool) -> None:
    case = CASES[name]
    program = exported(case, strict)
    module = program.module()
    inputs = [case.example_args, *([case.extra_args] if case.extra_args else []), ()]
    for saved in (program.graph_module, program, module):
        data = fxarchive.dumps(saved)
        loaded = fxarchive.loads(data)
        assert differences(saved, loaded) == []
        assert fxarchive.dumps(loaded) == data
        if saved is program.graph_module:
            continue
        runs = [what.module() if isinstance(what, ExportedProgram) else what for what in (saved, loaded)]
        for args in inputs:
            expected, found = (outcome(run, case, args) for run in runs)
            assert differences(expected, found) == []
    loaded = fxarchive.loads(fxarchive.dumps(program))
    assert str(loaded) == str(program)
    assert loaded.graph_signature == program.graph_signature
    loaded.validate()


def test_what_is_left_out_cannot_be_exported() -> None:
    assert len(CASES) - len(UNSUPPORTED) >= 35
    for name in UNSUPPORTED & CASES.keys():
        with pytest.raises(Exception, match="Constraints violated"):
            exported(CASES[name], strict=False)
