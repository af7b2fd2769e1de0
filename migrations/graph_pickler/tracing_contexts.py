"""TracingContexts: GraphPickler keeps nine facts of one."""

from __future__ import annotations

from typing import Any

from fxarchive.migrations.graph_pickler.translation import Table, Translation, Untranslatable
from fxarchive.streams import Call

_UNPICKLE = "torch.fx._graph_pickler._TracingContextPickleData.unpickle"


def _tracing_context(tr: Translation, call: Call) -> Any:
    raise Untranslatable.because("a TracingContext belongs to one compilation; save the graph without it")


CALLS: Table = {_UNPICKLE: _tracing_context}
