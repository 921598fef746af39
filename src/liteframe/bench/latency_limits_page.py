"""The results page's tables of what bounds a latency: the machine's limit, memory, batches, what was not run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from liteframe.bench.arm_names import real_arm_name
from liteframe.bench.latency_cells import how, model_ms, over_floor, per_second, table_of
from liteframe.bench.latency_record import LatencyRecord
from liteframe.bench.latency_words import NO_TIME
from liteframe.bench.records import MODEL_STAGES
from liteframe.bench.tables import milliseconds


def floor_table(record: LatencyRecord) -> str:
    """Timed stages against the least that the machine allows."""
    lines = []
    for row in record.rows:
        for name, stage in row.stages.items():
            if stage.floor and not stage.computed and row.suite in ("encoder", "pipeline") and row.batch == 1:
                cells = [milliseconds(stage.ms), milliseconds(stage.floor["floor_ms"]), stage.floor["bound"]]
                lines.append([real_arm_name(row.arm), row.suite, row.frames or "-", name, *cells, over_floor(stage)])
    return table_of(["arm", "suite", "frames", "stage", "ms", "floor ms", "bound by", "over the floor"], lines)


def below_floor(record: LatencyRecord) -> int:
    """Timed stages that were faster than the measured limits allow, which only a bad measurement of these explains."""
    timed = (stage for row in record.rows for stage in row.stages.values() if stage.floor and not stage.computed)
    return sum((stage.floor or {}).get("times_floor", 1.0) < 1.0 for stage in timed)


def memory_table(record: LatencyRecord) -> str:
    """Peak memory of timed stages, MiB; a sentence where it is the resident set of a process that all arms share."""
    if str(record.settings.get("memory", "")).startswith("resident set"):
        return _resident_set(record)
    lines = []
    for row in record.rows:
        peaks = {name: stage.peak_mib for name, stage in row.stages.items() if stage.peak_mib is not None}
        if peaks and row.suite in ("encoder", "prefill", "pipeline") and row.batch == 1:
            cells = [f"{peaks[name]:,.0f}" if name in peaks else "-" for name in MODEL_STAGES]
            lines.append([real_arm_name(row.arm), row.suite, row.frames or "-", row.prompt_tokens or "-", *cells])
    return table_of(["arm", "suite", "frames", "prompt tokens", *MODEL_STAGES], lines)


def _resident_set(record: LatencyRecord) -> str:
    """Lowest and highest peak, and whose the highest is: the models in the process are its greatest part."""
    timed = ((stage.peak_mib, row) for row in record.rows for stage in row.stages.values())
    peaks = [(peak, row) for peak, row in timed if peak is not None]
    if not peaks:
        return ""
    most, row = max(peaks, key=lambda peak: peak[0])
    size = f"{row.frames} frames" if row.frames else f"{row.prompt_tokens} tokens"
    return (
        f"Of the whole process, which holds all models; lowest to highest: {min(peak[0] for peak in peaks):,.0f} to "
        f"{most:,.0f}. The highest is of {real_arm_name(row.arm)}, {size}."
    )


def throughput_table(record: LatencyRecord) -> str:
    """Frames a second by batch: one video at a time (batch 1) beside several."""
    lines = []
    for row in record.suite("throughput"):
        alone = record.row("pipeline", row.arm, row.frames or 0)
        per_s = [per_second(alone), per_second(row)]
        lines.append([real_arm_name(row.arm), row.frames or "-", row.batch, model_ms(row), *per_s, how(row)])
    return table_of(["arm", "frames", "batch", "model ms", "frames/s at batch 1", "frames/s", "how"], lines)


def _reason(record: LatencyRecord, cell: Mapping[str, Any]) -> str:
    """Why a cell was not run, with the budget's seconds where the record has them."""
    reason, budget_s = cell.get("reason", "no reason recorded"), record.settings.get("budget_s")
    return f"{reason} of {budget_s:,.0f} s" if reason == NO_TIME and budget_s else str(reason)


def left_out_list(record: LatencyRecord) -> str:
    """What was not run, and why; and that the record is not whole, if so."""
    lines = [] if record.complete else ["- The run was not finished: the record is partial."]
    together: dict[tuple[str, str, str, int, str], list[int]] = {}
    for cell in record.dropped:
        suite, arm = str(cell.get("suite", "")), real_arm_name(str(cell.get("arm", "")))
        unit, batch = "tokens" if suite == "prefill" else "frames", cell.get("batch") or 1
        sizes = together.setdefault((suite, arm, unit, batch, _reason(record, cell)), [])
        sizes += [cell["frames"]] if cell.get("frames") else []
    for (suite, arm, unit, batch, reason), sizes in together.items():
        parts = [
            suite,
            arm,
            f"{' / '.join(map(str, sizes))} {unit}" if sizes else "",
            f"batch {batch}" if batch > 1 else "",
        ]
        lines.append(f"- {', '.join(part for part in parts if part)}: {reason}")
    return "\n".join(lines)
