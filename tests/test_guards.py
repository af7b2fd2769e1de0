"""Which texts are conditions over inputs, and which are code that must not reach torch."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxarchive.guards import DEEPEST, MOST_TEXT, is_guard, is_plain_text, parse, split_path


@pytest.mark.parametrize(
    "text",
    [
        "L['x'].size()[0] > 3",
        "(L['x'].size()[0] % 2) == 0",
        "L['x']['k'][0].stride()[1] * 4 <= (-1) + L['y'].size()[0]",
        "math.floor(L['x'].size()[0] / 2) == torch.sym_float(3)",
        "max(1, L['x'].size()[0]) != 1 and not (L['n'] == 2)",
        "L['name'] == 'it'",
        "L['x'].storage_offset() == 0 or L['x'].item() < inf",
        "(3 if L['b'] else L['n']) ** 2 >= -math.inf",
        "IsNonOverlappingAndDenseIndicator(L['x'].size()[0], 1)",
    ],
)
def test_conditions_that_torch_writes_are_guards(text: str) -> None:
    assert is_guard(text)
    assert parse(text, {"L"}) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "__import__('os').system('true')",
        "L.__class__",
        "L['x'].__class__",
        "L['x'].__reduce__() == 1",
        "L['x'](3)",
        "L[L]",
        "L['x'].size(0)",
        "L['x'].tolist() == 1",
        "eval('1')",
        "print(1)",
        "open('f')",
        "math.prod",
        "math.factorial(99999)",
        "torch.load('f')",
        "torch.os.system('true')",
        "(lambda: 1)() == 1",
        "[x for x in L]",
        "{1: 2}",
        "L['x'] if L else yield_",
        "f'{L}'",
        '"text" == 1',
        "L['x'] == 1\n",
        "L['x'] == 1 #",
        "L['x'] == 1; L['y'] == 2",
        "L['x'] == 'a\\'b'",
        "L['x'] == '{}'",
        "9 ** 9 ** 9",
        "L['x'] ** 99999",
        "1 << 99999",
        "(a := 1) == 1",
        "other['x'] == 1",
        "1e999j == 1",
        "b'x' == 1",
        "... == 1",
        "None",
        "max(*L)",
        "max(L, key=1)",
        "9" * 2000,
        "(" * 500 + "1" + ")" * 500,
        "1 +" * 600 + "1",
        "-" * (MOST_TEXT - 1) + "1",
        "1" * (MOST_TEXT + 1),
    ],
)
def test_everything_else_is_not(text: str) -> None:
    assert not is_guard(text)


def test_a_guard_that_is_as_deep_as_it_may_be() -> None:
    assert is_guard("not " * (DEEPEST - 1) + "True")
    assert not is_guard("not " * DEEPEST + "True")


@given(st.text(alphabet="L['x]()_.abc0123+-*/%<>= \n\"\\#;:{}", max_size=40))
def test_a_guard_is_one_expression_without_calls_beyond_the_list(text: str) -> None:
    if not is_guard(text):
        return
    called = [node.func for node in ast.walk(ast.parse(text, mode="eval")) if isinstance(node, ast.Call)]
    names = {getattr(func, "attr", getattr(func, "id", "")) for func in called}
    assert names <= {"abs", "size", "stride", "item", "storage_offset"}


def test_paths_to_inputs() -> None:
    assert split_path("x") == ("x", "")
    assert split_path("z['k'][0].part") == ("z", "['k'][0].part")
    for wrong in (
        "",
        "1",
        "x.__class__",
        "x()",
        "x[y]",
        'x["k"]',
        "x['it\\'s']",
        "x ",
        "x\n",
        "x[-99999999999]",
    ):
        assert split_path(wrong) is None


def test_text_that_can_stand_in_quotes() -> None:
    assert is_plain_text("a b-c é")
    for wrong in ("it's", 'say "x"', "back\\slash", "{x}", "line\nbreak", "\x00"):
        assert not is_plain_text(wrong)
