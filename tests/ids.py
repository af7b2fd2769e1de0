"""Names of cases that are the same in every process."""

from __future__ import annotations

import re
from typing import Any


def shown(value: Any) -> str:
    """Return the value's ``repr`` without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
