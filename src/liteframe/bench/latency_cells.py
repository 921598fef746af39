"""Cells of the tables about latency: milliseconds with their marks, runs, floors."""

from __future__ import annotations

from collections.abc import Sequence

from liteframe.bench.latency_record import LatencyRow, StageTime
from liteframe.bench.latency_words import AT_RATE, BY_THE_FRAME, FITTED, LONGER
from liteframe.bench.page import markdown
from liteframe.bench.tables import milliseconds

AT_NEIGHBOURS, SCALED, EXTRAPOLATED, UNTOLD, ADDED = "†", "‡", "§", "◊", "¶"
_LEGEND = {
    AT_NEIGHBOURS: "prefill computed: its operations over the rate that this run measured at neighbouring lengths.",
    SCALED: "encode and project scaled by the frame, from the longest video below that was timed.",
    EXTRAPOLATED: "prefill of a prompt longer than any that was timed: extrapolated.",
    UNTOLD: "computed; the record does not say how.",
    ADDED: "the sum of stages that were timed apart from each other.",
}
_OF_NOTES = {AT_RATE: AT_NEIGHBOURS, BY_THE_FRAME: SCALED, FITTED: EXTRAPOLATED, LONGER: EXTRAPOLATED}
_SUMS = "Sums and ratios bear the marks of all that they are made from."


def legend(table: str) -> str:
    """What the marks in a table mean, of those that are in it."""
    words = [f"{mark} {words}" for mark, words in _LEGEND.items() if mark in table]
    several = any(mark in table for mark in (AT_NEIGHBOURS, SCALED, EXTRAPOLATED))
    return " ".join([*words, _SUMS] if several else words)


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
    """The marks that what is made from these rows bears."""
    marks = stage_marks(*(stage for row in rows for stage in row.stages.values()))
    return marks or (ADDED if any(row.computed for row in rows) else "")


def stage_marks(*stages: StageTime) -> str:
    """The marks that what is made from these stages bears, each once, read off their notes; empty if all were timed."""
    found = {
        next((mark for note, mark in _OF_NOTES.items() if stage.note.startswith(note)), UNTOLD)
        for stage in stages
        if stage.computed
    }
    return "".join(mark for mark in _LEGEND if mark in found)


def time_of(stage: StageTime | None) -> str:
    """A stage's milliseconds; a dash where it is not there."""
    return "-" if stage is None else shown(stage.ms, stage_marks(stage))


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
