"""The chain of migrations: its order, what is planned, and what the runner makes sure of."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fxarchive import chain, container, wire
from fxarchive.batch import run_jobs
from fxarchive.document import SCHEMA
from fxarchive.errors import InvalidDocument, LossNotAllowed, MigrationFailed, Problem
from fxarchive.migrations import STEPS
from fxarchive.migrations.content import Content
from fxarchive.orders import Order
from fxarchive.reading import read_content
from fxarchive.selection import select

from .corpus import files
from .documents import small
from .synthetic import NEWER, OLDER, steps, stream_archive


def content(schema: int = 2, **change: Any) -> Content:
    if schema == 1:
        return read_content(container.open_archive(stream_archive()))
    document = {**small(), "schema": schema, **change}
    return Content(schema, document)


def test_the_steps_lead_to_this_schema_without_a_gap() -> None:
    chain.check_steps(STEPS, SCHEMA)


@pytest.mark.parametrize("sources", [(1, 3), (2, 1), (1, 1), (1,), (1, 2, 3)])
def test_a_gap_in_the_steps_is_seen(sources: tuple[int, ...]) -> None:
    wrong: Any = [SimpleNamespace(SOURCE=source) for source in sources]
    with pytest.raises(ValueError, match="do not lead to schema 3 one by one"):
        chain.check_steps(wrong, 3)


def test_a_plan_says_each_move_before_it_is_made() -> None:
    with steps(OLDER, NEWER, newest=3):
        assert [str(move) for move in chain.plan(1, 3)] == ["1 -> 2", "2 -> 3"]
        assert [str(move) for move in chain.plan(3, 1)] == ["3 -> 2", "2 -> 1"]
        assert [move.about for move in chain.plan(2, 3)] == ["Documents may have colours"]
        assert chain.plan(2, 2) == ()
        assert chain.oldest() == 1


@pytest.mark.parametrize(("source", "target"), [(0, 2), (2, 4), (9, 2)])
def test_a_plan_that_no_step_leads_on_from_is_refused(source: int, target: int) -> None:
    with steps(OLDER, NEWER, newest=3), pytest.raises(InvalidDocument, match=f"from schema {source} to"):
        chain.plan(source, target)


def test_every_step_is_taken_and_what_it_said_is_kept() -> None:
    with steps(OLDER, NEWER, newest=3):
        result = chain.migrate(content(1), chain.plan(1, 3))
    assert (result.schema, result.document["schema"]) == (3, 3)
    assert result.document["texts"] == small()["texts"]
    assert list(result.sections) == ["storages/1"]
    assert result.notes == ("the stream does not say who wrote it",)


def test_back_and_forth_is_the_same() -> None:
    before = content(2)
    with steps(OLDER, NEWER, newest=3):
        there = chain.migrate(before, chain.plan(2, 3))
        again = chain.migrate(there, chain.plan(3, 2), allow_loss=False)
    assert again == before


def test_a_loss_is_refused_unless_it_is_allowed() -> None:
    held = content(3, texts=["x", "colour: red", "colour: blue", *small()["texts"][3:]])
    with steps(OLDER, NEWER, newest=3):
        moves = chain.plan(3, 2)
        with pytest.raises(LossNotAllowed) as caught:
            chain.migrate(held, moves, path="a.fxa", allow_loss=False)
        result = chain.migrate(held, moves)
    assert caught.value.losses == ("texts[1]: 'colour: red'", "texts[2]: 'colour: blue'")
    assert (caught.value.source, caught.value.target, caught.value.path) == (3, 2, "a.fxa")
    assert result.notes == caught.value.losses
    assert result.document["texts"] == ["x", "", "", *small()["texts"][3:]]


def test_what_was_said_on_the_way_up_is_no_loss_on_the_way_back() -> None:
    with steps(OLDER, NEWER, newest=3):
        result = chain.migrate(replace(content(3), notes=("known",)), chain.plan(3, 2), allow_loss=False)
    assert result.notes == ("known",)


def test_a_step_that_cannot_go_on_names_file_step_and_items() -> None:
    document = small()
    document["texts"] += ["lambda: 1", "fine", "lambda: 2"]
    held = read_content(container.open_archive(stream_archive(document)))
    with steps(OLDER), pytest.raises(MigrationFailed) as caught:
        chain.migrate(held, chain.plan(1, 2), path="old.fxa")
    why = "a lambda cannot be kept; give it a name"
    assert caught.value.problems == (Problem("strings[6]", why), Problem("strings[8]", why))
    assert (caught.value.source, caught.value.target, caught.value.path) == (1, 2, "old.fxa")
    assert str(caught.value) == (
        "The migration from schema 1 to 2 cannot take old.fxa, which is left as it was; each line says what "
        f"to do.\n  strings[6]: {why}\n  strings[8]: {why}"
    )


def step(**parts: Any) -> Any:
    """A step from 2 to 3 that does what ``upgrade`` says."""
    return SimpleNamespace(SOURCE=2, __doc__="Nothing.", **parts)


def raises() -> Any:
    raise ValueError("a value of no use.")


BROKEN = {
    "it is of schema 2 and not 3": lambda held: held,
    "its document is of schema 2 and not 3": lambda held: replace(held, schema=3),
    "its document is of schema None and not 3": lambda held: replace(held, schema=3, document=b"abc"),
    "it is a dict and not the content of an archive": lambda held: held.document,
    "the step raised KeyError: 'colour'": lambda held: held.document["colour"],
    "the step raised ValueError: a value of no use": lambda held: raises(),
}


@pytest.mark.parametrize("why", BROKEN)
def test_a_step_that_breaks_its_promise_is_named(why: str) -> None:
    with steps(OLDER, step(upgrade=BROKEN[why]), newest=3), pytest.raises(MigrationFailed) as caught:
        chain.migrate(content(2), chain.plan(2, 3))
    (problem,) = caught.value.problems
    assert problem.why == f"{why}; report this with the file"


def test_a_step_cannot_forget_who_wrote_the_archive() -> None:
    forgets = step(upgrade=lambda held: Content(3, {**held.document, "schema": 3}))
    with steps(OLDER, forgets, newest=3):
        assert chain.migrate(content(1), chain.plan(1, 3)).torch == content(1).torch == "2.7.1"


def test_a_step_that_finds_a_broken_document_says_so_in_its_own_words() -> None:
    def refuse(held: Content) -> Content:
        raise InvalidDocument("graph 3", "its columns differ in length")

    with steps(OLDER, step(upgrade=refuse), newest=3), pytest.raises(InvalidDocument, match="graph 3"):
        chain.migrate(content(2), chain.plan(2, 3))


def test_a_step_that_recurses_too_deep_is_an_error_of_the_file() -> None:
    def deep(held: Content) -> Content:
        return deep(held)

    with steps(OLDER, step(upgrade=deep), newest=3), pytest.raises(MigrationFailed, match="nested too deep"):
        chain.migrate(content(2), chain.plan(2, 3))


def bytes_of(held: Content) -> tuple[Any, ...]:
    """All that a content says, as bytes, so that the order of keys counts too."""
    document = held.document if isinstance(held.document, bytes) else wire.dumps(held.document)
    return held.schema, document, sorted(held.features), list(held.sections.items()), held.notes


def check_step(chosen: Any, held: Content, *, back: bool = False) -> Content:
    """Take a step twice: it must give the same, and leave what it was given as it was."""
    before = bytes_of(copy.deepcopy(held))
    move = chain.Move(chosen, held.schema, held.schema + (-1 if back else 1))
    first = chain.migrate(held, [move])
    assert bytes_of(held) == before, "the step changed what it was given"
    assert bytes_of(chain.migrate(copy.deepcopy(held), [move])) == bytes_of(first), "it gave something else"
    return first


def test_the_steps_are_pure_and_give_the_same_every_time() -> None:
    check_step(NEWER, check_step(NEWER, check_step(OLDER, content(1))), back=True)


def test_a_step_that_is_not_pure_or_not_the_same_is_seen() -> None:
    def changes(held: Content) -> Content:
        held.document["schema"] = 3
        return replace(held, schema=3)

    with pytest.raises(AssertionError, match="changed what it was given"):
        check_step(step(upgrade=changes), content(2))
    keep = []

    def random(held: Content) -> Content:
        keep.append(object())
        return replace(held, schema=3, document={**held.document, "schema": 3, "root": len(keep)})

    with pytest.raises(AssertionError, match="it gave something else"):
        check_step(step(upgrade=random), content(2))


REAL = [case for case in files.cases() if case.schema < SCHEMA]
"""Archives of the older schemas in the corpus."""


@pytest.mark.parametrize("case", REAL[::8], ids=str)
def test_the_real_steps_keep_what_every_step_must(case: files.Case) -> None:
    held = read_content(container.open_archive(case.archive.read_bytes()))
    known = {chosen.SOURCE: chosen for chosen in STEPS}
    while held.schema < SCHEMA:
        held = check_step(known[held.schema], held)


def test_every_step_has_real_archives() -> None:
    assert {case.schema for case in REAL} >= {chosen.SOURCE for chosen in STEPS}


def test_a_real_batch_is_upgraded_and_done_twice_is_the_same(tmp_path: Path) -> None:
    for at, case in enumerate(REAL[:40]):
        shutil.copy(case.archive, tmp_path / f"{at}.fxa")
    reports = list(run_jobs(list(select([tmp_path])), Order(backup=True), 2))
    assert {report.result for report in reports} == {"upgraded"}, reports
    once = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {report.result for report in run_jobs(list(select([tmp_path])), Order(backup=True), 2)} == {
        "current"
    }
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == once
    again = tmp_path / "again"
    kept = list(select([tmp_path / "0.fxa.schema-1"]))
    assert [report.result for report in run_jobs(kept, Order(output=str(again)), 1)] == ["upgraded"]
    assert (again / "0.fxa.schema-1").read_bytes() == once["0.fxa"]
