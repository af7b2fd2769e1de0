"""Operators of process groups and symmetric memory: they name a running job, so no rewriting gives the same."""

from __future__ import annotations

import re

NAMESPACES = re.compile(r"(?:c10d|_c10d_functional|c10d_functional|symm_mem|fsdp)::.*")

REMEDY = "it belongs to a running job; capture the graph again with the torch that runs the job"
