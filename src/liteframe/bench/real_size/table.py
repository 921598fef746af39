"""What a latency run prints; floors, spreads and memory are in its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from liteframe.bench.floor import RATE_OF
from liteframe.bench.latency_record import LatencyRecord, LatencyRow
from liteframe.bench.records import MODEL_STAGES
from liteframe.system.tables import aligned, milliseconds


def latency_text(record: LatencyRecord) -> str:
    """A line a row with the milliseconds of a whole batch, the machine's limits, and what was left out."""
    dtype = record.settings.get("dtype", "bfloat16")
    limits, header = record.limits, ["suite", "method", "dtype", "frames", "batch", "tokens", *MODEL_STAGES, "model"]
    parts = [
        f"{record.environment['device']}: {limits[RATE_OF[dtype]] / 1e3:.2f} TFLOP/s in {dtype},"
        f" {limits['bandwidth_gbs']:.0f} GB/s, measured in this run",
        f"Milliseconds, ~ computed\n{aligned(header, [_line(row) for row in record.rows])}",
    ]
    if record.dropped:
        parts.append("\n".join(["Not run:", *(f"  {_left_out(cell)}" for cell in record.dropped)]))
    return "\n\n".join(parts)


def _line(row: LatencyRow) -> list[str]:
    name = f"{row.arm}, {row.execution}" if row.execution else row.arm
    cells = [
        row.suite,
        name,
        row.dtype or "-",
        *("-" if n is None else str(n) for n in (row.frames, row.batch, row.tokens_llm)),
    ]
    times = [
        ("~" if stage.computed else "") + milliseconds(stage.ms) if (stage := row.stages.get(name)) else "-"
        for name in MODEL_STAGES
    ]
    return [*cells, *times, milliseconds(row.model_ms) if row.model_ms else "-" if row.status == "ok" else row.status]


def _left_out(cell: Mapping[str, Any]) -> str:
    """One cell that was not run; a method that cannot be made has no size."""
    unit = "tokens" if cell["suite"] == "prefill" else "frames"
    size = f", {cell['frames']} {unit}, batch {cell['batch']}" if cell["frames"] else ""
    return f"{cell['suite']} {cell['arm']}{size}: {cell['reason']}"
