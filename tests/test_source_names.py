"""Paths of modules in metadata: attribute paths, and the texts of dynamo that read attributes and do nothing else."""

from __future__ import annotations

import pytest

from fxarchive.errors import ForbiddenName
from fxarchive.source_names import check_module_path


@pytest.mark.parametrize(
    "path",
    [
        "layers.0.attention",
        "L['fn']",
        "L['self'].layers",
        "getattr(L['fn'], '0')",
        "getattr(getattr(L['fn'].layers, '0').inner, '1').weight",
        "L['self']._modules['layers'][3]",
        "getattr(" * 500 + "L['fn']" + ", '0')" * 500,
    ],
)
def test_a_path_that_only_reads_may_stand(path: str) -> None:
    check_module_path("a module", path)


@pytest.mark.parametrize(
    "path",
    [
        "L['fn",
        "L['fn'](1)",
        "L['fn']()",
        "L['fn'] + L['x']",
        "L['fn'].a; import os",
        "L['fn']['a\\'b']",
        'L["fn"]',
        "G['os'].system",
        "getattr(L['fn'], '0'",
        "getattr(L['fn'], '0'))",
        "getattr(L['fn'], x)",
        "getattr(L['fn'], '0', '1')",
        "getattr(L['fn'], '__import__('os')')",
        "L['fn'], '0')",
        "x(getattr(L['fn'], '0')",
        "L['\u00e9']",
        "L['fn']\n",
    ],
)
def test_anything_else_is_forbidden(path: str) -> None:
    with pytest.raises(ForbiddenName):
        check_module_path("a module", path)
