"""What the command writes: text, safe on a terminal, aligned, coloured where that is wanted; and JSON."""

from __future__ import annotations

import base64
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from fxarchive.errors import FxArchiveError, StoreError, escaped
from fxarchive.store import without_scheme

EXIT_CODES = "Exit codes: 0 all good, 1 a file is bad or cannot be read, 2 wrong usage."

FILE = click.Path(readable=False)
"""A path or a URL, which only the shell's completion looks at: what cannot be read is said by whoever reads it."""

LABEL_WIDTH = 12
"""Columns of the labels in front of facts, the space after them included."""


def is_coloured() -> bool:
    """Whether stdout is a terminal that shows colours and nobody asked for none (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def line(text: str = "") -> None:
    """Write one line to stdout; what comes from a file must have been escaped."""
    sys.stdout.write(text + "\n")


def heading(text: str) -> None:
    """Write the heading of a block."""
    line(click.style(text, bold=True) if is_coloured() else text)


def fact(label: str, values: str | Sequence[str]) -> None:
    """Write a label and its value; further values go below the first."""
    shown = label.ljust(LABEL_WIDTH)
    for value in [values] if isinstance(values, str) else values:
        line("  " + (click.style(shown, fg="cyan") if is_coloured() else shown) + value)
        shown = " " * LABEL_WIDTH


def table(rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Write rows of cells as columns.

    Args:
        rows: cells without line ends, equally many in each row.
        right: numbers of the columns that are aligned to the right.
    """
    held = list(rows)
    widths = [max(map(len, column)) for column in zip(*held, strict=True)]
    for row in held:
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line("  " + "  ".join(cells).rstrip())


def size_text(count: int) -> str:
    """Return a number of bytes for people.

    >>> size_text(999), size_text(1536), size_text(524288000)
    ('999 bytes', '1.5 KiB', '500.0 MiB')
    """
    if count < 1024:
        return f"{count} byte{'' if count == 1 else 's'}"
    size, units = count / 1024, ["KiB", "MiB", "GiB", "TiB", "PiB"]
    while round(size, 1) >= 1024 and len(units) > 1:
        size /= 1024
        del units[0]
    return f"{size:.1f} {units[0]}"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "node"), counted(12345, "node"), counted(2, "entry")
    ('1 node', '12,345 nodes', '2 entries')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def message_of(error: FxArchiveError, path: str | None = None) -> str:
    """Return what is wrong in one line, without the path; but with it if that is not the one that is named."""
    named = path is None or (isinstance(error, StoreError) and error.path in (path, without_scheme(path)))
    return one_line(error.reason + "." if isinstance(error, StoreError) and named else str(error))


def one_line(text: str) -> str:
    """Return the text of an error, and of the list below it, in one line that is safe to print."""
    first, *others = text.split("\n")
    joined = first + (" " + "; ".join([other.strip() for other in others]) + "." if others else "")
    return escaped(joined)


def complain(path: str, error: FxArchiveError) -> None:
    """Write one line about a bad file to stderr."""
    complain_of(path, message_of(error, path))


def complain_of(path: str, message: str) -> None:
    """Write what is wrong with a file, in one line, to stderr."""
    sys.stdout.flush()
    sys.stderr.write(f"fxarchive: {escaped(path)}: {message}\n")


def each_file(files: Iterable[str], as_json: bool, act: Callable[[str], bool]) -> int:
    """Do something with each file, and say which cannot be read; the others are still done.

    Args:
        files: paths and URLs.
        as_json: whether what is wrong is also an object on stdout.
        act: does it, and returns whether all is well with the file.

    Returns:
        The exit code.
    """
    code = 0
    for file in files:
        try:
            good = act(file)
        except FxArchiveError as error:
            good = False
            complain(file, error)
            if as_json:
                json_error(file, error)
        code = code if good else 1
    return code


def json_line(value: Any) -> None:
    """Write ``value`` as JSON in one line of ASCII."""
    line(json.dumps(_jsonable(value), ensure_ascii=True, allow_nan=False))


def json_error(path: str, error: FxArchiveError) -> None:
    """Write what is wrong with a file as JSON."""
    json_line({"path": path, "error": message_of(error, path), "error_kind": type(error).__name__})


def _jsonable(value: Any) -> Any:
    """Bytes become ``{"base64": text}``, and the floats that JSON lacks become text."""
    if isinstance(value, dict):
        return {key: _jsonable(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(held) for held in value]
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value
