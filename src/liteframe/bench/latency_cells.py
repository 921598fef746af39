"""Cells of the tables about latency: milliseconds with their marks, runs, floors."""

from __future__ import annotations

from collections.abc import Sequence

from liteframe.bench.latency_record import LatencyRow, StageTime
from liteframe.bench.page import markdown
from liteframe.bench.tables import milliseconds

COMPUTED, ADDED = "†", "‡"
_LEGEND = {
    COMPUTED: "a stage of it was computed from FLOPs and a rate that the same run measured, not timed.",
    ADDED: "the sum of stages that were timed apart from each other.",
}


def legend(table: str) -> str:
    """What the marks in a table mean, of those that are in it."""
    return " ".join(f"{mark} {words}" for mark, words in _LEGEND.items() if mark in table)


def table_of(header: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A table without the columns that are empty throughout; empty without lines."""
    if not lines:
        return ""
    keep = [0, *(i for i in range(1, len(header)) if any(str(line[i]) not in ("-", "") for line in lines))]
    return markdown([header[i] for i in keep], [[line[i] for i in keep] for line in lines])


def shown(ms: float | None, mark: str = "") -> str:
    """Milliseconds with a mark behind them; a dash for None."""
    if ms is None:
        return "-"
    return marked(f"{ms:,.0f}" if ms >= 1000 else milliseconds(ms), mark)


def marked(text: str, mark: str) -> str:
    """A text with a mark behind it, if there is one."""
    return f"{text} {mark}" if mark else text


def mark_of(*rows: LatencyRow) -> str:
    """The mark that what is made from these rows bears."""
    if any(row.any_computed for row in rows):
        return COMPUTED
    return ADDED if any(row.computed for row in rows) else ""


def time_of(stage: StageTime | None) -> str:
    """A stage's milliseconds; a dash where it is not there."""
    return "-" if stage is None else shown(stage.ms, COMPUTED if stage.computed else "")


def model_ms(row: LatencyRow | None) -> str:
    """A row's model time, or why there is none."""
    if row is None:
        return "-"
    return row.status if row.status != "ok" else shown(row.model_ms, mark_of(row))


def encoder_ms(row: LatencyRow | None) -> str:
    """A row's encode + project, or why there is none."""
    if row is None:
        return "-"
    return row.status if row.status != "ok" else shown(row.encoder_ms, mark_of(row))


def how(row: LatencyRow) -> str:
    """Timed in how many runs, or computed."""
    if row.status != "ok":
        return row.status
    runs = [stage.n for stage in row.stages.values() if not stage.computed]
    if not runs:
        return "computed"
    return f"{'partly computed, ' if row.any_computed else ''}{min(runs)} runs"


def times(ratio: float) -> str:
    """A ratio with two decimals, or two figures of a small one."""
    return f"{ratio:.2f}x" if ratio >= 0.1 else f"{ratio:.2g}x"


def over_floor(stage: StageTime | None) -> str:
    """How many times the floor a timed stage takes."""
    ratio = stage.floor.get("times_floor") if stage and stage.floor and not stage.computed else None
    return "-" if ratio is None else times(ratio)


def spread(stage: StageTime | None) -> str:
    """The 10th to the 90th percentile of a stage."""
    if stage is None or stage.p10 is None or stage.p90 is None:
        return "-"
    return f"{milliseconds(stage.p10)} to {milliseconds(stage.p90)}"


def per_second(row: LatencyRow | None) -> str:
    """Frames a second."""
    return "-" if row is None or row.frames_per_s is None else f"{row.frames_per_s:,.1f}"


def giga(flops: float | None) -> str:
    """FLOPs in billions."""
    return "-" if flops is None else figure(flops / 1e9)


def figure(value: float | None) -> str:
    """Four figures, more of a large number."""
    return "-" if value is None else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
