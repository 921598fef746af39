"""Stages of the record: medians and raw samples, how they were computed, distance to the floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from liteframe.bench.floor import RATE_OF, distance_to_floor
from liteframe.bench.latency_record import How, LatencyRow, StageTime
from liteframe.bench.timers import summary


def measured(
    samples_ms: Sequence[float],
    flops: float | None = None,
    moved_bytes: float = 0.0,
    peak_mib: float | None = None,
    note: str = "",
) -> StageTime:
    """A stage that was timed; `with_floors` adds its floor.

    Args:
        samples_ms: raw times.
        flops: of the stage; None where they are not known, then it has no floor.
        moved_bytes: at least the weights, once.
        peak_mib: peak memory.
        note: in words.
    """
    raw = [round(float(value), 4) for value in samples_ms]
    spread = summary(raw)
    return StageTime(
        ms=spread["median"],
        computed=False,
        n=int(spread["n"]),
        p10=spread["p10"],
        p90=spread["p90"],
        flops=None if flops is None else int(flops),
        moved_bytes=moved_bytes,
        peak_mib=peak_mib,
        how=How.TIMED,
        note=note,
        samples=raw,
    )


def computed(ms: float, flops: float | None, how: How, note: str) -> StageTime:
    """A stage that was not timed; `note` says in words what its time comes from."""
    return StageTime(ms=ms, computed=True, flops=None if flops is None else int(flops), how=how, note=note)


def with_floors(row: LatencyRow, limits: Mapping[str, float]) -> LatencyRow:
    """The row, its timed stages of known work with their distance to the floor.

    Args:
        row: without floors.
        limits: of `measure_limits`, the rate of the row's dtype and the bandwidth.
    """
    stages = {}
    for name, stage in row.stages.items():
        floor = None
        if stage.flops is not None and not stage.computed:
            rates = limits[RATE_OF[row.dtype or "bfloat16"]], limits["bandwidth_gbs"]
            floor = distance_to_floor(stage.ms, stage.flops, rates[0], stage.moved_bytes, rates[1])
        stages[name] = replace(stage, floor=floor, times_floor=floor["times_floor"] if floor else None)
    return replace(row, stages=stages)
