"""An arm's accuracy at the model time of another arm, as weights of its own frame counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log

from liteframe.bench.frontier import accuracy_at, row_at, rows_of_arm
from liteframe.bench.records import RowRecord
from liteframe.paper.evidence import Evidence, Point, Weights
from liteframe.paper.verdicts import OPEN, Finding, judge_difference

FIELD = "model_ms"


def weights_at(rows: Sequence[RowRecord], ms: float, field: str = FIELD) -> dict[int, float] | None:
    """How much each frame count of one arm counts at a latency, see `bench.frontier.accuracy_at`.

    Args:
        rows: of the arm, with latencies.
        ms: the latency.
        field: which latency.

    Returns:
        Frame count -> weight, at most two and 1 together; None where the arm has no row that fast.
    """
    found = accuracy_at(rows, ms, field)
    if found.frames is None:
        return None
    first, second = found.frames
    if first == second:
        return {first: 1.0}
    times = {row.frames: float(getattr(row, field)) for row in rows}
    share = log(ms / times[first]) / log(times[second] / times[first])
    return {first: 1.0 - share, second: share}


def gain_at_latency(
    evidence: Evidence, arm: str, baseline: str, frames: Sequence[int]
) -> Callable[[int], Weights | None]:
    """Weights, by seed, of what an arm reaches at the baseline's model times less what the baseline does.

    The mean over those of the frame counts at which the arm has a row that fast.
    """

    def weights(seed: int) -> Weights | None:
        rows = evidence.times.get(seed, [])
        names = {row.arm for row in rows}
        if not {arm, baseline} <= names:
            return None
        own = rows_of_arm(rows, arm)
        matches: list[tuple[int, dict[int, float]]] = []
        for count in frames:
            row = row_at(rows, baseline, count)
            at = None if row is None else weights_at(own, float(getattr(row, FIELD)))
            if at is not None:
                matches.append((count, at))
        total: dict[Point, float] = {}
        for count, at in matches:
            for own_frames, weight in at.items():
                total[arm, own_frames] = total.get((arm, own_frames), 0.0) + weight / len(matches)
            total[baseline, count] = total.get((baseline, count), 0.0) - 1.0 / len(matches)
        return total or None

    return weights


def at_latency(evidence: Evidence, arm: str, baseline: str, frames: int, what: str) -> Finding:
    """An arm against another at the model time of one of the other's frame counts."""
    found = evidence.combine(gain_at_latency(evidence, arm, baseline, [frames]))
    wanted = evidence.wanted([(arm, frames), (baseline, frames)])
    timed = [seed for seed in wanted if {arm, baseline} <= {row.arm for row in evidence.times.get(seed, ())}]
    asked = [seed for seed in timed if seed in evidence.right.get((baseline, frames), {})]
    if found is None and asked == wanted and evidence.frames_of(arm):
        return Finding(what, OPEN, why=f"no frame count of {arm} is that fast")
    return judge_difference(what, found, wanted, evidence.how_to_time(arm, baseline))
