"""``fxarchive inspect``: what an archive is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fxarchive.cli import output
from fxarchive.document import DOCUMENT, content_section
from fxarchive.errors import escaped
from fxarchive.notation import clipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fxarchive.container import Change
    from fxarchive.expressions import Range
    from fxarchive.inspection import ArchiveInfo
    from fxarchive.ports import Port
    from fxarchive.weights import Weight

MOST_ROWS = 12
MOST_WEIGHTS = 5
MOST_NAMES = 4
"""Rows of the blocks, and names in a row, that are shown without --full."""


@click.command(name="inspect", short_help="Say what an archive is.", epilog=output.EXIT_CODES)
@click.argument("files", type=output.FILE, metavar="FILE...", nargs=-1, required=True)
@click.option("--full", is_flag=True, help="Read the whole graph however large it is, and list everything.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file, one a line.")
def command(files: tuple[str, ...], full: bool, as_json: bool) -> int:
    """Say what an archive is: its graph, operators, inputs, outputs, sizes, and what loading asks for.

    Only the header, the index and a small graph are read: no weights, and no torch.
    """
    from fxarchive.inspection import inspect

    written = 0

    def look(file: str) -> bool:
        nonlocal written
        info = inspect(file, full=True if full else None)
        if as_json:
            output.json_line({**info.to_dict(), "error": None, "error_kind": None})
            return True
        if written:
            output.line()
        written += 1
        _write(info, None if full else MOST_ROWS)
        return True

    return output.each_file(files, as_json, look)


def _write(info: ArchiveInfo, most: int | None) -> None:
    output.heading(escaped(info.path))
    for label, value in _facts(info):
        output.fact(label, value)
    for title, ports in (("inputs", info.contents.inputs), ("outputs", info.contents.outputs)):
        _write_rows(title, [_port(port) for port in ports], most)
    _write_rows("symbols", [_symbol(symbol) for symbol in info.contents.symbols], most)
    calls = [(f"{call.calls:,}", call.name, _KINDS.get(call.kind, "")) for call in info.contents.calls]
    missing = max(0, info.contents.operators - len(calls))
    _write_rows("calls", calls, most, right=(0,), missing=missing)
    weights = [_weight(weight) for weight in info.contents.weights if not weight.example]
    _write_rows("largest weights", weights, None if most is None else MOST_WEIGHTS, right=(0,))
    classes = [(f"{count:,}", name) for name, count in info.contents.classes.items()]
    if most is None:
        _write_rows("module classes", classes, most, right=(0,))
    if not info.complete and info.too_new is None and info.stuck is None:
        output.line()
        output.line("  The graph is large and was not read; --full reads it and lists everything.")


_KINDS = {"method": "method", "module": "module", "higher_order": "higher-order operator"}
"""What is said of things that their names do not tell apart."""


def _facts(info: ArchiveInfo) -> list[tuple[str, Any]]:
    contents = info.contents
    root = escaped(info.root)
    stored = output.size_text(info.size) + (f" ({info.size:,} bytes)" if info.size >= 1024 else "")
    writer = [
        f"{name} {escaped(release)}"
        for name, release in zip(("fxarchive", "torch", "Python"), _releases(info), strict=True)
        if release
    ]
    facts: list[tuple[str, Any]] = [
        ("object", f"{root}: {_counts(info)}"),
        ("written by", ", ".join(writer)),
        ("format", f"container {info.container_version}, schema {info.schema}"),
        *([("features", ", ".join(map(escaped, info.features)))] if info.features else []),
        ("identity", info.identity),
        ("size", f"{stored}{_sections(info)}"),
    ]
    if contents.parameters or contents.buffers:
        buffers = f", and {contents.buffers:,} in buffers" if contents.buffers else ""
        facts.append(("parameters", f"{contents.parameters:,}{buffers}"))
    if contents.examples:
        facts.append(("examples", "stored; fxarchive verify --run replays them"))
    facts.append(
        ("trust", [escaped(name) for name in contents.trust] or "nothing beyond what fxarchive lists")
    )
    if contents.imports:
        facts.append(("import", [escaped(name) for name in contents.imports]))
    if contents.artefacts:
        facts.append(
            (
                "artefacts",
                [
                    f"{escaped(artefact.kind)}, {output.size_text(artefact.size)}: loads if trust has it"
                    for artefact in contents.artefacts
                ],
            )
        )
    if info.dropped:
        facts.append(("dropped", _some(info.dropped)))
    if info.too_new:
        facts.append(("too new", escaped(info.too_new)))
    if info.stuck:
        facts.append(
            ("stuck", f"no migration brings it to the current schema: {clipped(escaped(info.stuck), 400)}")
        )
    elif info.old:
        facts.append(("old", "loads as it is; fxarchive upgrade brings it to the current schema"))
    if info.history:
        facts.append(("history", [_change(change) for change in info.history]))
    notes = [note for change in info.history for note in change.notes] + list(info.notes)
    if notes:
        facts.append(("notes", _some(notes)))
    if info.metadata:
        facts.append(
            ("metadata", [f"{escaped(key)} = {_shown(value)}" for key, value in info.metadata.items()])
        )
    return facts


def _some(texts: Sequence[str]) -> list[str]:
    """The first few of what an archive says, safe to print, and how many follow."""
    shown = [clipped(escaped(text), 200) for text in texts[:MOST_ROWS]]
    more = len(texts) - len(shown)
    return [*shown, *([f"and {more:,} more"] if more else [])]


def _change(change: Change) -> str:
    by = f" by fxarchive {change.by}" if change.by else ""
    return f"from schema {change.source} to {change.target}{by}; it was {change.predecessor[:16]}..."


def _releases(info: ArchiveInfo) -> tuple[str, str, str]:
    return info.writer.fxarchive, info.writer.torch, info.writer.python


def _counts(info: ArchiveInfo) -> str:
    contents = info.contents
    found = [
        (contents.graphs, "graph"),
        (contents.nodes, "node"),
        (contents.modules, "module"),
        (contents.tensors, "tensor"),
        (contents.fake_tensors, "FakeTensor"),
    ]
    return ", ".join([output.counted(count, noun) for count, noun in found if count]) or "no graph"


def _sections(info: ArchiveInfo) -> str:
    content = content_section(info.schema)
    graph = [section for section in info.sections if section.name == content]
    artefacts = [section for section in info.sections if section.name.startswith("artefacts/")]
    weights = [section for section in info.sections if section not in (*graph, *artefacts)]
    parts = []
    if graph:
        noun = "graph" if content == DOCUMENT else content
        parts.append(f"{noun} {output.size_text(graph[0].stored_size)}")
    if weights:
        stored = output.size_text(sum([section.stored_size for section in weights]))
        packed = " (zstd)" if "zstd" in {section.codec for section in weights} else ""
        parts.append(f"weights {stored}{packed} in {output.counted(len(weights), 'section')}")
    if artefacts:
        stored = output.size_text(sum([section.stored_size for section in artefacts]))
        parts.append(f"artefacts {stored}")
    return f": {', '.join(parts)}" if parts else ""


def _shown(value: Any) -> str:
    return clipped(escaped(repr(value) if not isinstance(value, str) else value), 200)


def _port(port: Port) -> tuple[str, str]:
    return port.name, port.text or "?"


def _symbol(symbol: Range) -> tuple[str, str]:
    if symbol.least and symbol.most:
        said = f"{symbol.least} to {symbol.most}" if symbol.least != symbol.most else symbol.least
    elif symbol.least or symbol.most:
        said = f"at least {symbol.least}" if symbol.least else f"at most {symbol.most}"
    else:
        said = "any number"
    return symbol.name, said + (f", captured with {symbol.hint}" if symbol.hint else "")


def _weight(weight: Weight) -> tuple[str, str]:
    names = weight.names[:MOST_NAMES]
    shown = ", ".join(names) + (
        f", and {len(weight.names) - len(names):,} more" if len(weight.names) > len(names) else ""
    )
    if not names:
        shown = "part of another value"
    return output.size_text(weight.size), shown + (
        "" if weight.device == "cpu" else f" on {escaped(weight.device)}"
    )


def _write_rows(
    title: str, rows: list[Any], most: int | None, *, right: tuple[int, ...] = (), missing: int = 0
) -> None:
    if not rows:
        return
    shown = rows if most is None else rows[:most]
    output.line()
    output.heading(title)
    output.table(shown, right)
    more = len(rows) - len(shown) + missing
    if more:
        output.line(f"  and {more:,} more")
