"""The regression corpus: every entry is as it was written, opens, and computes what it did.

`tests/corpus/__init__.py` says how to add to it.
"""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import fxarchive
from fxarchive import store
from fxarchive.codec.outputs import differences as exact_differences
from fxarchive.document import FEATURES, MIN_READER, SCHEMA, VALUE_TAGS
from fxarchive.releases import number_of

from .compare import differences
from .corpus import add, checking, expected, files, numbers, places, values
from .corpus.checking import OTHER_WHEN_SAVED_AGAIN, RUNNING
from .corpus.entries import AWAITED, ENTRIES, TRUST, WRITTEN_HERE
from .corpus.files import Case

CASES = [case for case in files.cases() if case.schema > 1]
"""Entries of documents; those of schema 1 are streams of torch's own, in `tests/test_adopted.py`."""

KINDS = frozenset({"operator", "packet", "higher_order", "function", "class", "artefact"})
"""Kinds of rows of `targets` (spec/schema-2.md, section 3)."""

WAIVED: dict[str, str] = {
    "operators-by-name": "no save writes it, since torch tells every schema; test_adopted has entries",
    "member": "no save writes it, since classes tell the names of members; migrations/test_values_of_users has some",
}
"""Tags, kinds and feature flags that no entry has, each with the reason."""

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*quantiz.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*quantiz.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Sparse"),
    pytest.mark.filterwarnings("ignore:.*support is experimental"),
    pytest.mark.filterwarnings("ignore:.*lazy modules:UserWarning"),
]

each_case = pytest.mark.parametrize("case", CASES, ids=str)


# the real corpus


def test_the_corpus_is_not_empty() -> None:
    assert CASES


def test_the_corpus_is_as_it_was() -> None:
    assert files.problems() == []


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in files.HOME.glob("schema-*/*/*")) < 20_000_000


def test_this_schema_has_every_entry() -> None:
    assert {case.name for case in CASES if case.schema == SCHEMA} == ENTRIES.keys() - AWAITED


@pytest.mark.parametrize("what", sorted(VALUE_TAGS | KINDS | FEATURES))
def test_every_kind_of_record_has_an_entry(what: str, written: Path) -> None:
    awaited = [case for case in files.cases(written) if case.name in AWAITED]
    assert what in covered(CASES) or what in covered(awaited) or WAIVED.get(what), (
        f"no entry has {what}: add one, and its length to files.LENGTHS if values with it have other than 2 items"
    )


def covered(cases: list[Case]) -> set[str]:
    """The tags, kinds of targets and feature flags that occur in the archives of this schema."""
    found: set[str] = set()
    for case in cases:
        if case.schema == SCHEMA and case not in _covered:
            document = files.document_of(case.archive)
            _covered[case] = files.tags_of(document) | set(files.kinds_of(document))
            _covered[case] |= files.features_of(case.archive)
        found |= _covered.get(case, set())
    return found


_covered: dict[Case, set[str]] = {}


@each_case
def test_an_entry_reads_as_it_did(case: Case) -> None:
    check_text(case)


@each_case
def test_an_entry_is_whole_and_names_its_writer(case: Case) -> None:
    assert fxarchive.verify(case.archive).ok
    info = fxarchive.inspect(case.archive, full=True)
    assert (info.schema, info.min_reader <= MIN_READER) == (case.schema, True)
    assert info.writer.torch.partition("+")[0] == case.release
    assert info.metadata["entry"] == case.name
    assert set(info.contents.trust) <= set(TRUST)
    assert places.absolute(files.document_of(case.archive)) == []


@each_case
def test_an_entry_loads(case: Case) -> None:
    check_load(case)


def check_text(case: Case) -> None:
    assert checking.wrong_text(case) == []


def check_load(case: Case) -> None:
    """What a torch lacks it may refuse, for a reason that is written down."""
    try:
        wrong = checking.wrong_load(case)
    except fxarchive.FxArchiveError as error:
        if not expected.reason(case.name, case.release, RUNNING, type(error).__name__):
            raise
        return
    assert wrong == []


# a corpus written here and now: the tools work, and the checks see what is wrong


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of every entry that this torch can make."""
    root = tmp_path_factory.mktemp("corpus")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert add.main(["--all", "--root", str(root)]) == 0
    return root


@pytest.mark.parametrize("name", WRITTEN_HERE)
def test_an_entry_that_is_written_now_passes(written: Path, name: str) -> None:
    case = Case(files.archive_path(written, SCHEMA, RUNNING, name))
    check_text(case)
    check_load(case)


def test_a_new_corpus_has_no_problem_and_covers_everything(written: Path) -> None:
    assert files.problems(written) == []
    unmarked = {"dim_range"} if number_of(RUNNING) >= (2, 15) else set()  # torch 2.15 marks no range
    assert covered(files.cases(written)) | WAIVED.keys() | unmarked >= VALUE_TAGS | KINDS | FEATURES
    assert {case.name for case in files.cases(written)} == WRITTEN_HERE.keys()


def test_nothing_is_waived_that_is_there(written: Path) -> None:
    assert WAIVED.keys() & covered(files.cases(written)) == set()
    assert OTHER_WHEN_SAVED_AGAIN.keys() <= ENTRIES.keys()
    assert {refusal.names for refusal in expected.REFUSALS} <= ENTRIES.keys()


@pytest.mark.parametrize(
    "make",
    [make for make in values.VALUES if make is not values.rare_tensors],  # torch refuses to look at those
    ids=lambda make: make.__name__,
)
def test_values_come_back_as_their_builder_makes_them(written: Path, make: Any) -> None:
    root, _, _ = checking.opened(files.archive_path(written, SCHEMA, RUNNING, make.__name__))
    expected, _ = ENTRIES[make.__name__].built()
    places.make_relative(expected)
    assert differences(expected, root) == []


def test_an_entry_is_never_written_twice(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files.archive_path(written, SCHEMA, RUNNING, "atoms").read_bytes()
    assert add.main(["atoms", "--root", str(written)]) == 1
    assert "exists, and entries are frozen; give a new entry another name" in capsys.readouterr().err
    assert files.archive_path(written, SCHEMA, RUNNING, "atoms").read_bytes() == before
    assert files.problems(written) == []


def test_the_same_values_give_the_same_files(written: Path, tmp_path: Path) -> None:
    names = ["atoms", "containers", "strided_tensors", "modules"]
    assert add.main([*names, "--root", str(tmp_path)]) == 0
    for name in names:
        again = files.archive_path(tmp_path, SCHEMA, RUNNING, name)
        assert again.read_bytes() == files.archive_path(written, SCHEMA, RUNNING, name).read_bytes()


def test_a_name_that_is_no_entry_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        add.main(["no_such_entry"])
    assert stopped.value.code == 2
    assert "there is no entry no_such_entry" in capsys.readouterr().err


def copied(written: Path, tmp_path: Path) -> tuple[Path, Case]:
    root = tmp_path / "corpus"
    shutil.copytree(written, root)
    return root, Case(files.archive_path(root, SCHEMA, RUNNING, "calls"))


def test_a_change_of_the_corpus_is_seen(written: Path, tmp_path: Path) -> None:
    root, case = copied(written, tmp_path)
    name = case.text.relative_to(root).as_posix()
    files.freeze(root, "0.1.0")
    assert files.problems(root) == []

    text = case.text.read_text()
    case.text.write_text(text + " ")
    assert files.problems(root) == [f"{name} was changed"]
    case.text.unlink()
    assert files.problems(root) == [f"{name} is gone", f"{case} has no text"]
    case.text.write_text(text)
    (case.archive.parent / "new.txt").write_text("x")
    assert files.problems(root) == [
        f"{case.archive.parent.relative_to(root).as_posix()}/new.txt is not in MANIFEST"
    ]
    (case.archive.parent / "new.txt").unlink()
    assert files.problems(root) == []

    manifest = root / files.MANIFEST
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join([*lines, lines[0]]))
    assert files.problems(root) == [f"{lines[0].split()[1]} is listed twice"]
    # an entry that is taken out with all that speaks of it
    kept = [line for line in lines if "/calls." not in line]
    manifest.write_text("".join(kept))
    case.text.unlink()
    case.archive.unlink()
    assert files.problems(root) == ["MANIFEST does not begin as it did in release 0.1.0"]


def test_another_graph_is_seen(written: Path, tmp_path: Path) -> None:
    _, case = copied(written, tmp_path)
    module, _ = ENTRIES["calls"].built()
    next(node for node in module.graph.nodes if node.op == "call_module").target = "true"
    module.recompile()
    fxarchive.save(module, case.archive, metadata={"entry": "calls", "machine": add.machine()})
    with pytest.raises(AssertionError):
        check_text(case)


def test_other_numbers_are_seen(written: Path, tmp_path: Path) -> None:
    _, case = copied(written, tmp_path)
    root, examples, _ = checking.opened(case.archive)
    assert checking.wrong_numbers(case, root, examples) == []
    args, kwargs, outputs = examples
    outputs[0].add_(1e-2)
    [wrong] = checking.wrong_numbers(case, root, (args, kwargs, outputs))
    assert "differs by up to 0.01" in wrong


def test_other_numbers_of_a_program_are_seen_twice() -> None:
    [case] = [case for case in CASES if (case.name, case.release) == ("exported_program", "2.13.0")]
    root, examples, _ = checking.opened(case.archive)
    assert checking.wrong_numbers(case, root, examples) == []
    args, kwargs, outputs = examples
    outputs.add_(1e-2)
    first, second, *_ = checking.wrong_numbers(case, root, (args, kwargs, outputs))
    assert first.startswith("decomposed, output 0 differs")
    assert second.startswith("output 0 differs")


X = torch.tensor([1.0, 2.0, float("nan")])
FAR: dict[str, tuple[Any, Any]] = {
    "numbers": (X, X + 1e-2),
    "dtype": (X, X.double()),
    "shape": (X, X[None]),
    "nan": (X, X.nan_to_num()),
    "structure": ([X], (X,)),
    "length": ([X], [X, X]),
    "no tensor": (X, 1.0),
    "plain": ((1, "a"), (1, "b")),
    "type": (1, True),
}


@pytest.mark.parametrize("name", FAR)
def test_the_comparer_of_numbers_sees_it(name: str) -> None:
    expected, found = FAR[name]
    assert list(numbers.far_apart(expected, found)) != []
    assert list(numbers.far_apart(expected, expected)) == []
    assert list(numbers.far_apart(found, found)) == []


def test_the_comparer_of_numbers_lets_rounding_pass() -> None:
    assert list(numbers.far_apart([X, 1], [X * (1 + 1e-6), 1])) == []
    half = torch.ones(2, dtype=torch.bfloat16)
    assert list(numbers.far_apart(half, half + 0.0078125)) == []
    assert list(exact_differences(half, half + 0.0078125)) != []


def test_paths_of_the_machine_are_found_and_left_out() -> None:
    trace = f'  File "{places.ROOT}/tests/a.py", line 1\n  File "{sys.prefix}/lib/python3.11/site-packages/torch/b.py"'
    assert places.absolute({"texts": [trace, "torch/b.py", "tests/a.py:3"]}) == [trace]
    assert places.relative(trace) == '  File "tests/a.py", line 1\n  File "torch/b.py"'


def test_names_that_look_like_tags_are_not_counted() -> None:
    document = {
        "graphs": [{"columns": [["fake", b""], ["plain", []]]}],
        "modules": [{"attributes": ["value", ["tuple", []], "text", 2, "named", 3]}],
        "texts": ["node"],
    }
    assert files.tags_of(document) == {"tuple", "fake"}


def test_archives_of_the_corpus_can_be_read_without_the_path(written: Path) -> None:
    with store.open_read(files.cases(written)[0].archive) as file:
        assert fxarchive.inspect(file).metadata["entry"] == files.cases(written)[0].name
