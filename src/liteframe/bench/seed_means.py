"""Rows of several seeds as one: means, and intervals of the mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from liteframe.bench.records import STAGES, RowRecord
from liteframe.errors import DataError


def mean_interval(values: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> tuple[float, float, float]:
    """Mean of independent figures, each with an interval; the interval of the mean, cut to [0, 1].

    The distances to the interval's ends add up as independent errors do, so this is the uncertainty of *these* worlds
    and models from the videos that were asked about. How far another seed would lie is told by the seeds themselves.

    Returns:
        mean, low, high.
    """
    count = len(values)
    if not count or not count == len(lows) == len(highs):
        raise ValueError(f"needs as many lows and highs as values, got {count}, {len(lows)} and {len(highs)}")
    mean = fmean(values)
    down = math.sqrt(sum((value - low) ** 2 for value, low in zip(values, lows, strict=True))) / count
    up = math.sqrt(sum((high - value) ** 2 for value, high in zip(values, highs, strict=True))) / count
    return mean, max(0.0, mean - down), min(1.0, mean + up)


def mean_rows(seeds: Sequence[Sequence[RowRecord]]) -> list[RowRecord]:
    """One row an arm and frame count that all seeds have: mean accuracy, times, tokens, memory and floors.

    Questions and videos are those of all seeds together; raw times stay in the seeds' own reports.

    Raises:
        DataError: no row is in all of them.
    """
    tables = [{(row.arm, row.frames): row for row in rows} for rows in seeds]
    cells = [cell for cell in tables[0] if all(cell in table for table in tables)] if tables else []
    if not cells:
        raise DataError("the reports have no arm and frame count in common; they are of different sweeps")
    return [_mean_row([table[cell] for table in tables]) for cell in cells]


def left_out(seeds: Sequence[Sequence[RowRecord]]) -> list[str]:
    """Arms at frame counts that only some seeds have, as words."""
    tables = [{(row.arm, row.frames) for row in rows} for rows in seeds]
    some, every = set().union(*tables), set.intersection(*tables) if tables else set()
    return [f"{arm} at {frames}" for arm, frames in sorted(some - every)]


def _mean_row(rows: Sequence[RowRecord]) -> RowRecord:
    accuracy, low, high = mean_interval(
        [row.accuracy for row in rows], [row.accuracy_low for row in rows], [row.accuracy_high for row in rows]
    )
    return RowRecord(
        arm=rows[0].arm,
        frames=rows[0].frames,
        tokens=round(fmean(row.tokens for row in rows)),
        tokens_encoder=round(fmean(row.tokens_encoder for row in rows)),
        tokens_asked=None if (asked := _mean_known([row.tokens_asked for row in rows])) is None else round(asked),
        tokens_mean_over_layers=_mean_known([row.tokens_mean_over_layers for row in rows]),
        accuracy=accuracy,
        accuracy_low=low,
        accuracy_high=high,
        questions=sum(row.questions for row in rows),
        videos=sum(row.videos for row in rows),
        per_type=_means([row.per_type for row in rows]),
        extra_ms=_means([row.extra_ms for row in rows]),
        peak_mib=_means([row.peak_mib for row in rows]),
        floor=_mean_floors(rows),
        decode_ms=fmean(row.decode_ms for row in rows),
        preprocess_ms=fmean(row.preprocess_ms for row in rows),
        encode_ms=fmean(row.encode_ms for row in rows),
        project_ms=fmean(row.project_ms for row in rows),
        prefill_ms=fmean(row.prefill_ms for row in rows),
    )


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _means(dicts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: fmean(values[name] for values in dicts) for name in dicts[0] if all(name in d for d in dicts)}


def _mean_floors(rows: Sequence[RowRecord]) -> dict[str, dict[str, Any]]:
    floors: dict[str, dict[str, Any]] = {}
    for name in rows[0].floor:
        if not all(name in row.floor and name in STAGES for row in rows):
            continue
        floor_ms = fmean(row.floor[name]["floor_ms"] for row in rows)
        bounds = dict.fromkeys(row.floor[name]["bound"] for row in rows)
        taken = fmean(row.stage_ms[name] for row in rows)
        floors[name] = {
            "floor_ms": floor_ms,
            "bound": " or ".join(bounds),
            "times_floor": taken / floor_ms if floor_ms else None,
        }
    return floors
