"""What `liteframe bench` prints: accuracy, latency and latency matched, as tables of plain text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from liteframe.bench.records import RowRecord
from liteframe.system.tables import aligned, milliseconds, or_dash, signed

_COLUMNS_AT_ONCE = 6


def terminal(report: Mapping[str, Any], rows: Sequence[RowRecord]) -> str:
    """Accuracy, latency and matched latency, no wider than 100 columns."""
    wide = max((row.accuracy_high - row.accuracy_low) / 2 for row in rows)
    parts = [
        f"Accuracy by frames a video ({question_count(rows)} questions; 95 % intervals within +-{wide:.3f})",
        *_grids(rows, lambda row: f"{row.accuracy:.3f}"),
        "Milliseconds a video: model (end to end, with decoding)",
        *_grids(rows, lambda row: f"{milliseconds(row.model_ms)} ({milliseconds(row.total_ms)})"),
        "Tokens the LLM sees",
        *_grids(rows, lambda row: str(row.tokens)),
    ]
    matches = report.get("matched_latency", ())
    methods = list(dict.fromkeys(match["arm"] for match in matches))
    if methods:
        shown = "liteframe-lma" if "liteframe-lma" in methods else methods[-1]
        own = aligned(*matched([match for match in matches if match["arm"] == shown]))
        parts += [f"{shown} at equal latency", own]
    return "\n\n".join(parts)


def matched(matches: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of a table of what methods reach at the latency of each of the teacher's rows."""
    lines = [
        [
            match["arm"],
            "model" if match["field"] == "model_ms" else "end to end",
            str(match["baseline_frames"]),
            milliseconds(match["ms"]),
            f"{match['baseline_accuracy']:.3f}",
            or_dash(match["arm_accuracy"]),
            signed(match["gain"]),
            match["where"],
        ]
        for match in matches
    ]
    return ["method", "by", "teacher's frames", "ms", "teacher", "accuracy", "gain", "found"], lines


def question_count(rows: Sequence[RowRecord]) -> str:
    """How many questions a row answers; a range where rows differ."""
    counts = sorted({row.questions for row in rows})
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"


def grid(rows: Sequence[RowRecord], cell: Callable[[RowRecord], str]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of a table with a line a method and a column a frame count."""
    frames = sorted({row.frames for row in rows})
    cells = {(row.arm, row.frames): cell(row) for row in rows}
    lines = [
        [method, *(cells.get((method, count), "-") for count in frames)]
        for method in dict.fromkeys(r.arm for r in rows)
    ]
    return ["method", *(str(count) for count in frames)], lines


def _grids(rows: Sequence[RowRecord], cell: Callable[[RowRecord], str]) -> list[str]:
    header, lines = grid(rows, cell)
    blocks = []
    for start in range(1, len(header), _COLUMNS_AT_ONCE):
        keep = [0, *range(start, min(len(header), start + _COLUMNS_AT_ONCE))]
        blocks.append(aligned([header[i] for i in keep], [[line[i] for i in keep] for line in lines]))
    return blocks
