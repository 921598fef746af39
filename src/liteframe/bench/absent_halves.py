"""What of a compressor's paper is not built here, as its line in the registry says."""

from __future__ import annotations

from liteframe.bench.arm_names import method_name
from liteframe.bench.page import markdown


def absent_table() -> str:
    """A line for each method with a text in its field ``absent``; empty where there is none."""
    from liteframe.ops.compressors.registry import METHODS

    lines = [[method_name(name), made.absent] for name, made in METHODS.items() if made.absent]
    return markdown(["method", "what it does besides, not built here"], lines).replace("---:", "---") if lines else ""
