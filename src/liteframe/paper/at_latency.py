"""An arm's accuracy at the model time of another arm, as weights of its own frame counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import log
from statistics import median

from liteframe.bench.frontier import accuracy_at, row_at, rows_of_arm
from liteframe.bench.records import MODEL_STAGES, RowRecord
from liteframe.bench.timers import median_interval
from liteframe.evaluation.paired import Estimate
from liteframe.paper.evidence import Evidence, Point, Weights
from liteframe.paper.verdicts import CONTEXT, HOLDS, MISSING, OPEN, Finding, each_seed, judge_difference, signed

FIELD = "model_ms"
MEDIANS, UNFAVOURABLE = ("median", "median"), ("high", "low")
"""Where in the interval of its median the model time of the arm, and of the baseline, is taken."""
AT_THE_ENDS = "at the unfavourable ends of the times"


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


def rows_at(rows: Sequence[RowRecord], end: str) -> list[RowRecord] | None:
    """The same rows with the model time at that end of the 95 % interval of its median, "low" or "high".

    Of the single runs' sums; every stage is scaled alike. With "median" they are as they are. None where a row has no
    samples.
    """
    if end == "median":
        return list(rows)
    if not all(row.samples.get(stage) for row in rows for stage in MODEL_STAGES):
        return None
    moved = []
    for row in rows:
        runs = [sum(run) for run in zip(*(row.samples[stage] for stage in MODEL_STAGES), strict=True)]
        scale = median_interval(runs)[0 if end == "low" else 1] / median(runs)
        encode, project, prefill = (scale * row.stage_ms[stage] for stage in MODEL_STAGES)
        moved.append(replace(row, encode_ms=encode, project_ms=project, prefill_ms=prefill))
    return moved


def gain_at_latency(
    evidence: Evidence, arm: str, baseline: str, frames: Sequence[int], ends: tuple[str, str] = MEDIANS
) -> Callable[[int], Weights | None]:
    """Weights, by seed, of what an arm reaches at the baseline's model times less what the baseline does.

    The mean over those of the frame counts at which the arm has a row that fast. `ends` are where in the interval of
    its median the time of the arm and of the baseline are taken, see `rows_at`.
    """

    def weights(seed: int) -> Weights | None:
        rows = evidence.times.get(seed, [])
        names = {row.arm for row in rows}
        if not {arm, baseline} <= names:
            return None
        own, others = (rows_at(rows_of_arm(rows, name), end) for name, end in zip((arm, baseline), ends, strict=True))
        if own is None or others is None:
            return None
        matches: list[tuple[int, dict[int, float]]] = []
        for count in frames:
            row = row_at(others, baseline, count)
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
    """An arm against another at the model time of one of the other's frame counts.

    It holds only where it does with both arms' times at the unfavourable ends of their intervals too.
    """
    (found, finding), (far, at_ends) = (
        _judged(evidence, arm, baseline, frames, what, ends) for ends in (MEDIANS, UNFAVOURABLE)
    )
    if found is None:
        return finding
    finding = replace(finding, measured=f"{signed(found)}; {AT_THE_ENDS}: {signed(far) if far else at_ends.why}")
    if far is not None:
        ends = f"{AT_THE_ENDS} {each_seed(far)}"
        finding = replace(finding, by_seed=f"{finding.by_seed}; {ends}", margin=min(found.mean, far.mean))
    if finding.verdict != HOLDS or at_ends.verdict == HOLDS:
        return finding
    verdict = MISSING if at_ends.verdict == MISSING else OPEN
    said = at_ends.why if far is not None else ""  # without a number the reason stands in its place
    return replace(finding, verdict=verdict, why=": ".join(filter(None, [f"not {AT_THE_ENDS}", said])))


def shown_at_latencies(
    evidence: Evidence, arm: str, baseline: str, frames: Sequence[int], what: str, why: str = ""
) -> Finding:
    """The same at several of the other's frame counts, in one part that decides nothing.

    Of each frame count the difference stands first, then that at the unfavourable ends of the times.
    """
    estimates: dict[int, Estimate] = {}
    texts = []
    for count in frames:
        (found, finding), (far, at_ends) = (
            _judged(evidence, arm, baseline, count, what, ends) for ends in (MEDIANS, UNFAVOURABLE)
        )
        if found is None:
            texts.append(f"{finding.why or MISSING}, at {count} frames")
            continue
        estimates[count] = found
        texts.append(f"{signed(found)}, then {signed(far) if far else at_ends.why}, at {count} frames")
    by_seed = []
    for seed in sorted({seed for found in estimates.values() for seed in found.by_seed}):
        values = [found.by_seed[seed] for found in estimates.values() if seed in found.by_seed]
        by_seed.append(f"seed {seed} {min(values):+.3f} to {max(values):+.3f}")
    reason = evidence.how_to_time(arm, baseline) or why
    what = f"{what} (then {AT_THE_ENDS})"
    return Finding(what, CONTEXT, "; ".join(texts) if estimates else "", reason, ", ".join(by_seed))


def _judged(
    evidence: Evidence, arm: str, baseline: str, frames: int, what: str, ends: tuple[str, str]
) -> tuple[Estimate | None, Finding]:
    """The difference with the times at these ends of their intervals, and what it says alone.

    None where it is not measured, or where the arm has no row that fast at some seed.
    """
    weights = gain_at_latency(evidence, arm, baseline, [frames], ends)
    found = evidence.combine(weights)
    wanted = evidence.wanted([(arm, frames), (baseline, frames)])
    timed = [seed for seed in wanted if {arm, baseline} <= {row.arm for row in evidence.times.get(seed, ())}]
    asked = [seed for seed in timed if seed in evidence.right.get((baseline, frames), {})]
    unknown = [seed for seed in asked if _without_samples(evidence, seed, (arm, baseline), ends)]
    slow = [seed for seed in asked if seed not in unknown and weights(seed) is None]
    if slow and asked == wanted and not unknown and evidence.frames_of(arm):
        where = f" at seed {', '.join(map(str, slow))}" if slow != wanted else ""
        return None, Finding(what, OPEN, why=f"no frame count of {arm} is that fast{where}")
    lacking = f"the report of seed {', '.join(map(str, unknown))} has no samples of the times" if unknown else ""
    return found, judge_difference(what, found, wanted, lacking or evidence.how_to_time(arm, baseline))


def _without_samples(evidence: Evidence, seed: int, arms: Sequence[str], ends: tuple[str, str]) -> bool:
    rows = evidence.times.get(seed, [])
    return any(rows_at(rows_of_arm(rows, arm), end) is None for arm, end in zip(arms, ends, strict=True))
