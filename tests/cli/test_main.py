"""What all verbs share: help, version, exit codes, closed pipes, colours, start-up."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from fxarchive._version import __version__
from fxarchive.cli import output
from tests.cli.conftest import Call

PROGRAM = [sys.executable, "-c", "from fxarchive.cli import main; main()"]


def test_help_names_every_verb_and_the_exit_codes(call: Call) -> None:
    code, out, err = call("--help")
    assert (code, err) == (0, "")
    for text in (
        "inspect",
        "show",
        "verify",
        "Exit codes: 0 all good, 1 a file is bad",
        "FILE is a path or an fsspec URL",
    ):
        assert text in out


@pytest.mark.parametrize("verb", ["inspect", "show", "verify"])
def test_help_of_every_verb(call: Call, verb: str) -> None:
    code, out, _ = call(verb, "-h")
    assert code == 0
    assert "--json" in out
    assert "Exit codes:" in out


def test_version(call: Call) -> None:
    assert call("--version") == (0, f"fxarchive {__version__}\n", "")


@pytest.mark.parametrize(
    "args",
    [
        ["explode"],
        ["inspect"],
        ["inspect", "--what", "f"],
        ["show"],
        ["show", "a", "b"],
        ["show", "--graph", "-1", "f"],
    ],
)
def test_wrong_usage_is_2(call: Call, args: list[str]) -> None:
    code, out, err = call(*args)
    assert (code, out) == (2, "")
    assert "Usage:" in err


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("inspcet", "there is no command 'inspcet'; did you mean inspect?"),
        ("explode", "there is no command 'explode'"),
        (
            "memory://x.fxa",
            "memory://x.fxa is a file, and a command comes first: fxarchive inspect memory://x.fxa",
        ),
    ],
)
def test_a_word_that_is_no_verb_is_answered_with_what_was_meant(call: Call, word: str, says: str) -> None:
    code, _, err = call(word)
    assert code == 2
    assert err.splitlines()[-1] == f"Error: {says}"


def test_a_file_without_a_verb(call: Call, good: Path) -> None:
    code, _, err = call(good)
    assert (code, err.splitlines()[-1].endswith(f"fxarchive inspect {good}")) == (2, True)


def test_the_package_is_the_command(good: Path) -> None:
    command = [sys.executable, "-m", "fxarchive", "verify", str(good)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{good}: good")


def completions(words: str, at: int) -> list[list[str]]:
    environment = {
        **os.environ, "_FXARCHIVE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)
    }  # fmt: skip
    done = subprocess.run(PROGRAM, capture_output=True, text=True, check=True, env=environment)
    return [line.split(",") for line in done.stdout.splitlines()]


def test_a_shell_completes_verbs_and_files() -> None:
    assert completions("fxarchive in", 1) == [["plain", "inspect"]]
    assert completions("fxarchive inspect mo", 2) == [["file", "mo"]]


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from fxarchive.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "args", [["verify", "--run"], ["compat", "--torch", "running"]], ids=lambda args: args[0]
)
def test_without_torch_what_needs_it_is_one_line(good: Path, args: list[str]) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, *args, str(good)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"fxarchive: {good}: Saving and loading need torch 2.7 or later, and torch is not installed; "
        "run pip install 'torch>=2.7'.\n"
    )


@pytest.mark.parametrize("verb", ["inspect", "show", "verify"])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("bad.fxa", "Not an fxarchive file: it starts with the bytes 73 6f 6d 65 74 68 69 6e."),
        ("none.fxa", "there is no such file; check the path."),
        (".", "it is a directory; name a file in it."),
    ],
)
def test_a_bad_file_is_one_line_on_stderr(call: Call, bad: Path, verb: str, name: str, says: str) -> None:
    path = bad.parent / name
    assert call(verb, path) == (1, "", f"fxarchive: {path}: {says}\n")


def test_a_path_is_escaped_in_messages(call: Call, tmp_path: Path) -> None:
    code, _, err = call("inspect", tmp_path / "a\x1b[31m\n.fxa")
    assert code == 1
    assert err.endswith("a\\x1b[31m\\n.fxa: there is no such file; check the path.\n")


def test_urls_are_files(call: Call, good: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://good.fxa", "wb") as file:
        file.write(good.read_bytes())
    for verb in ("inspect", "show", "verify"):
        code, out, err = call(verb, "memory://good.fxa")
        assert (code, err) == (0, "")
        assert out
    assert call("inspect", "memory://none.fxa").code == 1


@pytest.mark.parametrize("verb", ["inspect", "show", "verify"])
def test_nothing_from_a_file_reaches_the_terminal_unescaped(call: Call, hostile: Path, verb: str) -> None:
    options = {"inspect": ["--full"], "show": ["--metadata"], "verify": []}[verb]
    for extra in ([], ["--json"]):
        code, out, err = call(verb, *options, *extra, hostile)
        assert code in (0, 1)
        assert (out + err).replace("\n", "").isprintable()
        assert "\\x1b[31m" in out + err or "\\u001b[31m" in out + err or verb == "verify"


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    from tests.documents import archive_of, graph, small

    document = small()
    count = 50_000
    document["graphs"][0] = graph(
        " ".join(map("n{}".format, range(count))), [0] * count, [0] * count, [[[], []]] * count, []
    )
    path = tmp_path / "long.fxa"
    path.write_bytes(archive_of(document))
    process = subprocess.Popen([*PROGRAM, "show", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), errors) == (141, b"")


def test_letters_that_the_terminal_lacks_are_escaped(good: Path, tmp_path: Path) -> None:
    path = good.rename(tmp_path / "modèle.fxa")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*PROGRAM, "verify", str(path)], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"mod\\xe8le.fxa: good" in done.stdout


def test_colours_only_on_a_terminal_and_where_nobody_asks_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert not output.is_coloured()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert output.is_coloured()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not output.is_coloured()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not output.is_coloured()


def test_headings_are_bold_on_a_terminal(monkeypatch: pytest.MonkeyPatch, call: Call, good: Path) -> None:
    monkeypatch.setattr("fxarchive.cli.output.is_coloured", lambda: True)
    assert "\x1b[1minputs\x1b[0m" in call("inspect", good).out


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (1024**2 - 1, "1.0 MiB"),
     (5 * 1024**3, "5.0 GiB"), (1024**6, "1024.0 PiB")],
)  # fmt: skip
def test_sizes(count: int, text: str) -> None:
    assert output.size_text(count) == text


def processor_seconds(args: list[str]) -> float:
    """Return the processor time of a whole call, the best of some; other processes disturb it less than the clock.

    The first call may compile: bytecode is written, whatever the environment of the tests says.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    found = []
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*PROGRAM, *args], stdout=subprocess.DEVNULL, check=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


@pytest.mark.parametrize("verb", ["inspect", "show", "verify"])
def test_verbs_import_neither_torch_nor_what_they_do_not_use(good: Path, verb: str) -> None:
    program = (
        "import sys\nfrom fxarchive.cli.main import run\n"
        f"assert run([{verb!r}, {str(good)!r}]) == 0\n"
        "assert not {'torch', 'numpy', 'rich', 'fsspec', 'sympy'} & set(sys.modules)\n"
        f"assert not {{'inspect', 'show', 'verify'}} - {{{verb!r}}} "
        "& {name.rpartition('.')[2] for name in sys.modules if name.startswith('fxarchive.cli.')}"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_starts_fast() -> None:
    assert processor_seconds(["--help"]) < 0.15
