"""Semi-structured sparse products, whose way to be split torch 2.8 says otherwise."""

from __future__ import annotations

from fxarchive.migrations.operators.calls import Upgrader

UPGRADERS = (
    # with the defaults, which mean the same, no upgrader is asked
    Upgrader(
        "operator",
        "aten::_cslt_sparse_mm",
        "torch 2.8 replaced split_k_one_kernel by split_k_mode; capture the graph again with its default",
        None,
    ),
)
