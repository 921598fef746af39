"""The latency-accuracy frontier: what a method reaches at another's latency."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from liteframe.bench.records import RowRecord

LATENCIES = ("model_ms", "total_ms")
"""Fields of a row: the time of the model, and that end to end."""


def weights_at(times: Mapping[int, float], ms: float) -> tuple[dict[int, float], str]:
    """How much each frame count of one method counts at a latency, linear in its logarithm.

    Args:
        times: frame count -> milliseconds.
        ms: the latency.

    Returns:
        Frame count -> weight, at most two and 1 together, none where no row is that fast; and what was found:
        "interpolated", "measured" (a row has exactly that latency), "slowest row" (the latency is beyond the method's
        slowest row, whose accuracy is a lower bound) or "faster than any row".
    """
    if ms <= 0 or not times:
        raise ValueError(f"needs rows and a latency above 0, got {len(times)} rows and {ms} ms")
    points = sorted((time, frames) for frames, time in times.items())
    if ms < points[0][0]:
        return {}, "faster than any row"
    if equal := [frames for time, frames in points if time == ms]:
        return {equal[-1]: 1.0}, "measured"
    if ms > points[-1][0]:
        return {points[-1][1]: 1.0}, "slowest row"
    right = next(index for index, (time, _) in enumerate(points) if time > ms)
    (ms_0, frames_0), (ms_1, frames_1) = points[right - 1], points[right]
    share = math.log(ms / ms_0) / math.log(ms_1 / ms_0)
    return {frames_0: 1.0 - share, frames_1: share}, "interpolated"


def matched_latency(
    rows: Sequence[RowRecord], method: str = "liteframe-lma", baseline: str = "teacher"
) -> list[dict[str, Any]]:
    """What ``method`` reaches at the latency of each of the baseline's rows; empty where there are none of either.

    Returns:
        a dict a field of `LATENCIES` and frame count: ``field``, ``baseline``, ``arm``, ``baseline_frames``, ``ms``,
        ``baseline_accuracy``, ``arm_accuracy`` and ``gain`` (None where the method has no row that fast), ``where``
        (see `weights_at`) and ``arm_frames``, the frame counts on both sides.
    """
    own = {row.frames: row for row in rows if row.arm == method}
    others = sorted((row for row in rows if row.arm == baseline), key=lambda row: row.frames)
    matches: list[dict[str, Any]] = []
    for field, other in [(field, other) for field in LATENCIES for other in others if own]:
        ms = getattr(other, field)
        weights, where = weights_at({frames: getattr(row, field) for frames, row in own.items()}, ms)
        reached = sum(weight * own[frames].accuracy for frames, weight in weights.items()) if weights else None
        matches.append(
            {
                "field": field,
                "baseline": baseline,
                "arm": method,
                "baseline_frames": other.frames,
                "ms": ms,
                "baseline_accuracy": other.accuracy,
                "arm_accuracy": reached,
                "gain": None if reached is None else reached - other.accuracy,
                "where": where,
                "arm_frames": [next(iter(weights)), next(reversed(weights))] if weights else None,
            }
        )
    return matches
