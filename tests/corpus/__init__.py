"""The regression corpus: archives that real releases wrote, which every later release must open.

``schema-2/torch-2.13.0/NAME.fxa`` is an archive with its example inputs and outputs inside, and ``NAME.txt``
beside it what a reader must see in it. ``MANIFEST`` has the SHA-256 of every file; ``RELEASES`` says how many
of its lines each release of fxarchive found there. Both are append-only, and so is the corpus: an entry that
was released is never written again, changed or taken away.

``broken/`` has files that must be refused, and ``broken/errors.json`` the error that each must give; the module
`broken` builds them.

To add an entry: write a builder in `values` or `tests/material/models.py`, list it in `entries`, and run
``make corpus NAME=name``. With another torch release: ``python -m tests.corpus.add --all`` in its environment.
At a release: ``python -m tests.corpus.add --freeze``.
"""
