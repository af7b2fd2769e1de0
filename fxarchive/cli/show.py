"""``fxarchive show``: the graphs of an archive as text."""

from __future__ import annotations

from typing import Any

import click

from fxarchive.cli import output


@click.command(name="show", short_help="Print its graphs, a line a node.", epilog=output.EXIT_CODES)
@click.argument("file", type=output.FILE, metavar="FILE")
@click.option(
    "--graph", "number", type=click.IntRange(min=0), metavar="N", help="Only graph N; the first is 0."
)
@click.option("--metadata", is_flag=True, help="With the metadata of each node below it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a graph, one a line.")
def command(file: str, number: int | None, metadata: bool, as_json: bool) -> int:
    """Print the graphs of an archive, a line a node: %name : dtype[shape] = op target(arguments).

    Nested graphs follow the one at the root. Neither weights nor torch are needed.
    """
    from fxarchive.errors import FxArchiveError, escaped
    from fxarchive.listing import list_graphs
    from fxarchive.tables import root_kind

    try:
        document, identity = _read(file)
        graphs = list_graphs(document)
        if number is not None and number >= len(graphs):
            raise click.UsageError(
                f"there is no graph {number}: the archive has {output.counted(len(graphs), 'graph')}"
            )
        if not graphs and not as_json:
            output.line(
                f"no graph: the archive holds a {escaped(root_kind(document))}; see fxarchive inspect"
            )
        for at, graph in enumerate(graphs if number is None else graphs[number : number + 1]):
            if as_json:
                _write_json(file, identity, document, graph, metadata)
            else:
                if at:
                    output.line()
                _write(document, graph, metadata)
    except FxArchiveError as error:
        output.complain(file, error)
        if as_json:
            output.json_error(file, error)
        return 1
    return 0


def _read(file: str) -> tuple[Any, str]:
    from fxarchive import container, store
    from fxarchive.document import FEATURES, SCHEMA
    from fxarchive.reading import read_document

    with store.open_read(file) as opened:
        archive = container.open_archive(opened, schema=SCHEMA, features=FEATURES, walk=False)
        return read_document(archive), archive.identity


def _write(document: Any, graph: Any, metadata: bool) -> None:
    from fxarchive.listing import list_nodes

    where = ", ".join([path or "the root" for path in graph.modules])
    output.heading(
        f"graph {graph.number}{f' ({where})' if where else ''}: {output.counted(graph.nodes, 'node')}"
    )
    for node in list_nodes(document, graph.number, metadata=metadata):
        output.line(f"  {node}")
        for key, value in node.metadata:
            output.line(f"      {key}: {value}")


def _write_json(file: str, identity: str, document: Any, graph: Any, metadata: bool) -> None:
    from fxarchive.listing import list_nodes

    nodes = []
    for node in list_nodes(document, graph.number, metadata=metadata):
        plain = {**vars(node), "metadata": dict(node.metadata)}
        nodes.append(plain if metadata else {key: held for key, held in plain.items() if key != "metadata"})
    output.json_line(
        {
            "path": file,
            "identity": identity,
            "graph": graph.number,
            "modules": graph.modules,
            "nodes": nodes,
            "error": None,
            "error_kind": None,
        }
    )
