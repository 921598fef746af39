"""What a latency run prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from liteframe.system.tables import aligned, milliseconds

_TITLES = {
    "encoder": "Encoders: milliseconds of a video",
    "mixer": "Temporal mixers",
    "prefill": "The LLM alone",
    "pipeline": "Model time: encode + project + prefill (~ composed of other cells or computed)",
    "throughput": "Several videos at once",
}
_STAGES = ("host_to_device", "normalize", "encode", "project", "prefill", "first_token", "decode")


def latency_text(record: Mapping[str, Any]) -> str:
    """Tables of every suite, the machine's limits, and what was left out."""
    limits = record["limits"]
    parts = [
        f"{record['environment']['device']}: {limits['bf16_gflops'] / 1e3:.2f} TFLOP/s in bfloat16,"
        f" {limits['bandwidth_gbs']:.0f} GB/s, measured in this run"
    ]
    for suite, title in _TITLES.items():
        rows = [row for row in record["rows"] if row["suite"] == suite]
        if rows:
            parts.append(f"{title}\n{_table(rows)}")
    if record["dropped"]:
        parts.append("\n".join(["Not run:", *(f"  {_left_out(cell)}" for cell in record["dropped"])]))
    return "\n\n".join(parts)


def _left_out(cell: Mapping[str, Any]) -> str:
    """One cell that was not run; a method that cannot be made has no size."""
    unit = "tokens" if cell["suite"] == "prefill" else "frames"
    size = f", {cell['frames']} {unit}, batch {cell['batch']}" if cell["frames"] else ""
    return f"{cell['suite']} {cell['arm']}{size}: {cell['reason']}"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    stages = [stage for stage in _STAGES if any(stage in row["stages"] for row in rows)]
    whole = any(row["model_ms"] is not None for row in rows)
    batches = any(row["batch"] > 1 for row in rows)
    header = ["method", "frames", *(["batch"] if batches else []), "tokens", *stages]
    header += ["model", "encode %", "prefill %"] if whole else []
    header += ["x floor", "peak MiB"]
    return aligned(header, [_line(row, stages, whole, batches) for row in rows])


def _line(row: Mapping[str, Any], stages: Sequence[str], whole: bool, batches: bool) -> list[str]:
    cells = [row["arm"], _or_dash(row["frames"]), *([str(row["batch"])] if batches else [])]
    cells.append(_or_dash(row["tokens_llm"]))
    if row["status"] != "ok":
        return [*cells, row["status"], *["-"] * (len(stages) + 1 + 3 * whole)]
    cells += [_stage(row["stages"].get(stage)) for stage in stages]
    if whole:
        share = row["share"] or {}
        cells += [milliseconds(row["model_ms"]) if row["model_ms"] else "-"]
        cells += [f"{100 * share[stage]:.0f}" if stage in share else "-" for stage in ("encode", "prefill")]
    main = row["stages"].get("encode") or row["stages"]["prefill"]
    peaks = [stage["peak_mib"] for stage in row["stages"].values() if stage["peak_mib"] is not None]
    floor = f"{main['times_floor']:.1f}" if main["times_floor"] else "-"
    return [*cells, floor, f"{max(peaks):.0f}" if peaks else "-"]


def _stage(stage: Mapping[str, Any] | None) -> str:
    return "-" if stage is None else ("~" if stage["computed"] else "") + milliseconds(stage["ms"])


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
