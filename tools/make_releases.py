"""Write the tables of `fxarchive.releases`: which operators and functions each torch release has.

    python tools/make_releases.py                 add the torch that runs this (a release of its own, or again)
    python tools/make_releases.py --from FOLDER   begin anew from FOLDER/operator_schemas.jsonl and
                                                  FOLDER/python_functions.jsonl: lines of [entry, [[first, last], ...]]

An entry that a release before and a release after have is in the releases between too: builds differ in what
they register (a CPU build lacks operators of CUDA, some operators come with a module that was not imported), and
no release of torch has brought back what an earlier one removed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import warnings
from pathlib import Path
from typing import TypeAlias

from fxarchive.releases import REGISTRARS, number_of, release_of

TABLES = Path(__file__).resolve().parent.parent / "fxarchive" / "releases"
SOURCES = {"operators": "operator_schemas.jsonl", "functions": "python_functions.jsonl"}

HIGHER_ORDER = "torch.ops.higher_order."

Table: TypeAlias = dict[str, set[str]]
"""Entry -> the releases that have it."""


def main() -> None:
    """Read, add, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--from", dest="folder", type=Path, metavar="FOLDER", help="begin anew from this folder"
    )
    folder = parser.parse_args().folder
    for name, source in SOURCES.items():
        table = _from_lines(folder / source) if folder else _from_table(TABLES / f"{name}.txt")
        if not folder:
            _add_running(name, table)
        _write(TABLES / f"{name}.txt", table)


def _from_lines(path: Path) -> Table:
    table: Table = {}
    known = sorted(
        {
            release_of(end)
            for line in path.read_text().splitlines()
            for span in json.loads(line)[1]
            for end in span
        },
        key=number_of,
    )
    for line in path.read_text().splitlines():
        entry, spans = json.loads(line)
        if entry.startswith("!"):  # a module that could not be imported
            continue
        entry = entry.replace("HOP.", HIGHER_ORDER, 1) if entry.startswith("HOP.") else entry
        for first, last in spans:
            at, end = known.index(release_of(first)), known.index(release_of(last))
            table.setdefault(entry, set()).update(known[at : end + 1])
    return table


def _from_table(path: Path) -> Table:
    heading, *lines = path.read_text(encoding="utf-8").splitlines()
    known = heading.removeprefix("# torch ").split()
    table: Table = {}
    for line in lines:
        entry, _, span = line.partition("\t")
        first, _, last = span.partition("-")
        table[entry] = set(known[known.index(first) : known.index(last) + 1] if span else known)
    return table


def _add_running(name: str, table: Table) -> None:
    import torch

    release = release_of(torch.__version__)
    for entry in _running_operators() if name == "operators" else _running_functions(table):
        table.setdefault(entry, set()).add(release)


def _running_operators() -> list[str]:
    import torch

    for module in sorted(REGISTRARS.values()):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(module)
        except ImportError:
            print(f"{module} is not in this torch")
    return [str(schema) for schema in torch._C._jit_get_all_schemas()]


def _running_functions(table: Table) -> list[str]:
    import torch
    import torch._higher_order_ops  # registers the higher-order operators

    from fxarchive.codec.resolve import imported, look_up
    from fxarchive.trust import names

    listed = names("functions") | names("classes") | names("modules")
    listed = {name for name in listed if name.startswith("torch.")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [name for name in listed if imported(name) is not None]
        found += [name for name in table.keys() - listed if look_up(name) is not None]
    found += [f"{HIGHER_ORDER}{name}" for name in torch._ops._higher_order_ops]
    return found + _running_values()


def _running_values() -> list[str]:
    """The values of torch that documents name (`fxarchive.demands`)."""
    from fxarchive import demands
    from fxarchive.codec.signatures import KINDS, class_of
    from fxarchive.codec.symbolic.functions import FUNCTIONS
    from fxarchive.codec.values import CONSTANTS

    constants = [name for held in CONSTANTS.values() for name in held]
    functions = [
        name
        for name, signature in FUNCTIONS.items()
        if getattr(signature.function, "__module__", "").startswith("torch.")
    ]
    kinds = [f"{name}.{kind}" for name in KINDS.values() for kind in class_of(name).__members__]
    return [
        *[f"{demands.CONSTANT}{name}" for name in constants],
        *[f"{demands.FUNCTION}{name}" for name in functions],
        *[f"{demands.KIND}{name}" for name in kinds],
    ]


def _write(path: Path, table: Table) -> None:
    known = sorted(set().union(*table.values()), key=number_of)
    lines = [f"# torch {' '.join(known)}"]
    for entry in sorted(table):
        places = sorted(known.index(release) for release in table[entry])
        first, last = known[places[0]], known[places[-1]]
        lines.append(entry if (first, last) == (known[0], known[-1]) else f"{entry}\t{first}-{last}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{path.name}: {len(lines) - 1} entries, torch {known[0]} to {known[-1]}")


if __name__ == "__main__":
    main()
