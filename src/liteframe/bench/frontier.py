"""The latency-accuracy frontier: what a method reaches at another's latency, and the other way round."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from liteframe.bench.records import MODEL_STAGES, RowRecord


@dataclass(frozen=True)
class AtLatency:
    """A method's accuracy at a latency.

    Attributes:
        accuracy: None where the method has no row that fast.
        where: "interpolated", "measured" (a row has exactly that latency), "slowest row" (the latency is beyond the
            method's slowest row, whose accuracy is used, so it is a lower bound) or "faster than any row".
        frames: the frame counts on both sides (twice the same unless interpolated).
    """

    accuracy: float | None
    where: str
    frames: tuple[int, int] | None


def rows_of_method(rows: Sequence[RowRecord], method: str) -> list[RowRecord]:
    """The rows of one method by rising frame count; ValueError if there are none or a frame count comes twice."""
    found = sorted((row for row in rows if row.arm == method), key=lambda row: row.frames)
    if not found:
        raise ValueError(f"no rows of method {method!r}; there are {sorted({row.arm for row in rows})}")
    if len({row.frames for row in found}) < len(found):
        raise ValueError(f"method {method!r} has two rows with the same frame count")
    return found


def row_at(rows: Sequence[RowRecord], method: str, frames: int) -> RowRecord | None:
    """The row of a method at a frame count, if there is one."""
    return next((row for row in rows if row.arm == method and row.frames == frames), None)


def accuracy_at(rows: Sequence[RowRecord], ms: float, field: str = "model_ms") -> AtLatency:
    """Accuracy of one method at a latency, linear in the logarithm of latency between its neighbouring rows.

    Args:
        rows: of one method.
        ms: the latency.
        field: which latency, "model_ms" or "total_ms".
    """
    times = {row.frames: _latency(row, field) for row in rows}
    accuracies = {row.frames: row.accuracy for row in rows}
    weights, where = weights_at(times, ms)
    if not weights:
        return AtLatency(None, where, None)
    accuracy = sum(weight * accuracies[frames] for frames, weight in weights.items())
    return AtLatency(accuracy, where, (next(iter(weights)), next(reversed(weights))))


def weights_at(times: Mapping[int, float], ms: float) -> tuple[dict[int, float], str]:
    """How much each frame count of one method counts at a latency, linear in its logarithm.

    Args:
        times: frame count -> milliseconds.
        ms: the latency.

    Returns:
        Frame count -> weight, at most two and 1 together, none where no row is that fast; and `AtLatency.where`.
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
    rows: Sequence[RowRecord],
    baseline: str = "teacher",
    method: str = "liteframe-lma",
    frames: Sequence[int] = (8, 16),
    fields: Sequence[str] = ("model_ms", "total_ms"),
) -> list[dict[str, Any]]:
    """What ``method`` reaches at the latency of each of the baseline's rows.

    Returns:
        a dict a field and frame count: ``field``, ``baseline``, ``arm``, ``baseline_frames``, ``ms``,
        ``baseline_accuracy``, ``arm_accuracy``, ``gain`` (None where the method has no row that fast), ``where`` and
        ``arm_frames`` (see ``AtLatency``).
    """
    of_method = rows_of_method(rows, method)
    matches: list[dict[str, Any]] = []
    for field in fields:
        for row in rows_of_method(rows, baseline):
            if row.frames not in frames:
                continue
            found = accuracy_at(of_method, _latency(row, field), field)
            matches.append(
                {
                    "field": field,
                    "baseline": baseline,
                    "arm": method,
                    "baseline_frames": row.frames,
                    "ms": _latency(row, field),
                    "baseline_accuracy": row.accuracy,
                    "arm_accuracy": found.accuracy,
                    "gain": None if found.accuracy is None else found.accuracy - row.accuracy,
                    "where": found.where,
                    "arm_frames": list(found.frames) if found.frames else None,
                }
            )
    return matches


def pareto_front(rows: Sequence[RowRecord], field: str = "model_ms") -> list[RowRecord]:
    """The rows that no other row beats in both latency and accuracy, by rising latency."""
    front: list[RowRecord] = []
    for row in sorted(rows, key=lambda row: (_latency(row, field), -row.accuracy)):
        if not front or row.accuracy > front[-1].accuracy:
            front.append(row)
    return front


def speed_ups(
    rows: Sequence[RowRecord], baseline: str = "teacher", method: str = "liteframe-lma"
) -> list[dict[str, float | int]]:
    """At each frame count that both have: baseline over method for ``encode``, ``prefill``, ``model`` and ``total``."""
    ratios: list[dict[str, float | int]] = []
    for row in rows_of_method(rows, baseline):
        other = row_at(rows, method, row.frames)
        if other is None:
            continue
        parts = ("encode", "prefill", "model", "total")
        pairs = {name: (_latency(row, f"{name}_ms"), _latency(other, f"{name}_ms")) for name in parts}
        ratios.append({"frames": row.frames, **{name: a / b for name, (a, b) in pairs.items() if b > 0}})
    return ratios


def latency_to_reach(
    rows: Sequence[RowRecord], accuracy: float, field: str = "model_ms"
) -> tuple[float, int, int] | None:
    """The first latency at which one method, between neighbouring rows, reaches an accuracy.

    Returns:
        (milliseconds, frames before, frames after), or None where the method never reaches it. One whose fastest row is
        already as good gives that row's latency, an upper bound.
    """
    points = sorted((_latency(row, field), row.frames, row.accuracy) for row in rows)
    if not points:
        raise ValueError("needs rows of a method")
    if points[0][2] >= accuracy:
        return points[0][0], points[0][1], points[0][1]
    for (ms_0, frames_0, low), (ms_1, frames_1, high) in itertools.pairwise(points):
        if high >= accuracy:
            share = (accuracy - low) / (high - low)
            return ms_0 * (ms_1 / ms_0) ** share, frames_0, frames_1
    return None


def speed_ups_at_accuracy(
    rows: Sequence[RowRecord], baseline: str = "teacher", method: str = "liteframe-lma", field: str = "model_ms"
) -> list[dict[str, Any]]:
    """For each of the baseline's rows the latency at which a method is as accurate, and the ratio; None where never."""
    of_method = rows_of_method(rows, method)
    found: list[dict[str, Any]] = []
    for row in rows_of_method(rows, baseline):
        reached = latency_to_reach(of_method, row.accuracy, field)
        found.append(
            {
                "field": field,
                "baseline_frames": row.frames,
                "accuracy": row.accuracy,
                "baseline_ms": _latency(row, field),
                "arm_ms": reached[0] if reached else None,
                "arm_frames": list(reached[1:]) if reached else None,
                "speed_up": _latency(row, field) / reached[0] if reached else None,
            }
        )
    return found


def shares(stages_ms: Mapping[str, float]) -> dict[str, dict[str, float | None]]:
    """Each stage's ``share`` of the sum and its ``ceiling``: the speed-up if it took no time (Amdahl).

    The ceiling is None for a stage that is all there is.
    """
    total = sum(stages_ms.values())
    if total <= 0:
        raise ValueError("stages take no time in all, so they have no shares")
    return {
        name: {"share": value / total, "ceiling": total / (total - value) if value < total else None}
        for name, value in stages_ms.items()
    }


def baseline_shares(rows: Sequence[RowRecord], baseline: str = "teacher") -> list[dict[str, Any]]:
    """Of each baseline row: shares of the ``model`` stages and of all stages, ``end_to_end``."""
    result = []
    for row in rows_of_method(rows, baseline):
        model = {name: row.stage_ms[name] for name in MODEL_STAGES}
        result.append({"frames": row.frames, "model": shares(model), "end_to_end": shares(row.stage_ms)})
    return result


def _latency(row: RowRecord, field: str) -> float:
    if not field.endswith("_ms") or not hasattr(row, field):
        raise ValueError(f"{field!r} is no latency of a row; use model_ms or total_ms")
    return float(getattr(row, field))
