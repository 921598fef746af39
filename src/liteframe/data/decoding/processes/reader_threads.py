"""How many threads a decode process may read one file with."""

from __future__ import annotations

import os

from liteframe.system.runtime import usable_cores
from liteframe.system.whole_number import whole_number

_MOST = 8
"""Each thread holds a decoder with pictures of its own."""


def threads_for(processes: int) -> int:
    """Threads for each of so many decode processes that run at once beside those of other ranks; at least 1."""
    cores = usable_cores()
    return max(1, min(_MOST, cores // (max(1, processes) * _ranks())))


def _ranks() -> int:
    told = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE") or "1"
    return whole_number(told) or 1
