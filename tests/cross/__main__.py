"""Run the matrix: ``python -m tests.cross 2.7.1 2.15.0``, or with interpreters that are there:
``python -m tests.cross --python 2.7.1=/path/to/bin/python --python 2.15.0=/path/to/bin/python``.

The exit code is 1 if anything is wrong, or refused without a reason.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from .environments import environment
from .outcomes import failures, plain, shown
from .processes import matrix


def main() -> int:
    """Make the environments, run each release in its own, and show what came out."""
    parser = argparse.ArgumentParser(prog="python -m tests.cross", description=__doc__)
    parser.add_argument("releases", nargs="*", help="torch releases, such as 2.8.0")
    parser.add_argument(
        "--python", action="append", default=[], metavar="RELEASE=PATH", help="use this interpreter"
    )
    parser.add_argument(
        "--venvs",
        type=Path,
        default=Path.home() / ".cache" / "fxarchive-cross",
        help="where environments are made, 1 to 5 GB each",
    )
    parser.add_argument("--json", type=Path, help="write the results here too")
    parser.add_argument("--keep", type=Path, help="write the archives here, and use those that are there")
    options = parser.parse_args()
    pythons = dict(pair.split("=", 1) for pair in options.python)
    for release in options.releases or ([] if pythons else ["2.13.0"]):
        pythons[release] = str(environment(options.venvs, release))
    with tempfile.TemporaryDirectory() as folder:
        results = matrix(pythons, options.keep or Path(folder))
    if options.json:
        options.json.write_text(json.dumps(plain(results), indent=1), encoding="utf-8")
    print(shown(results))
    return int(any(failures(results)))


if __name__ == "__main__":
    sys.exit(main())
