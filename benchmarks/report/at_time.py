"""A method's accuracy at the model time of another, as weights of its own frame counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

from liteframe.bench.frontier import weights_at
from liteframe.bench.methods import label
from liteframe.bench.records import MODEL_STAGES, RowRecord
from liteframe.bench.timers import median_interval

from .evidence import Estimate, Evidence, Point, Weights
from .verdicts import HOLDS, MISSING, OPEN, AtTime, Part, Reason, judge_difference

MEDIANS, UNFAVOURABLE = ("median", "median"), ("high", "low")
"""Where in the interval of its median the model time of the method, and of the baseline, is taken."""


def times_of(rows: Sequence[RowRecord], method: str, end: str = "median") -> dict[int, float] | None:
    """Frame count -> model time of a method, at that end of the 95 % interval of its median, "low" or "high".

    The interval is that of the single runs' sums. None where a row has no samples.
    """
    own = [row for row in rows if row.arm == method]
    if end == "median":
        return {row.frames: row.model_ms for row in own}
    if not all(row.samples.get(stage) for row in own for stage in MODEL_STAGES):
        return None
    times = {}
    for row in own:
        runs = [sum(run) for run in zip(*(row.samples[stage] for stage in MODEL_STAGES), strict=True)]
        times[row.frames] = row.model_ms * median_interval(runs)[0 if end == "low" else 1] / median(runs)
    return times


def gain_at_time(
    evidence: Evidence, method: str, baseline: str, frames: int, ends: tuple[str, str] = MEDIANS
) -> Callable[[int], Weights | None]:
    """Weights, by seed, of what a method reaches at the baseline's model time less what the baseline does."""

    def weights(seed: int) -> Weights | None:
        rows = evidence.times.get(seed, [])
        own, others = (times_of(rows, name, end) for name, end in zip((method, baseline), ends, strict=True))
        if not own or not others or frames not in others:
            return None
        at, _ = weights_at(own, others[frames])
        total: dict[Point, float] = {(method, count): weight for count, weight in at.items()}
        return {**total, (baseline, frames): -1.0} if at else None

    return weights


def at_time(evidence: Evidence, method: str, baseline: str, frames: int, what: str) -> Part:
    """A method against another at the model time of one of the other's frame counts.

    It holds only where it does with both methods' times at the unfavourable ends of their intervals too.
    """
    part, at_ends = (_judged(evidence, method, baseline, frames, what, ends) for ends in (MEDIANS, UNFAVOURABLE))
    usual, far = part.measured, at_ends.measured
    if not isinstance(usual, Estimate):
        return part
    if isinstance(far, Estimate):
        shown, margin, more = AtTime(usual, far), min(usual.mean, far.mean), at_ends.reasons
    else:  # the reason stands in place of the number
        shown, margin, more = AtTime(usual, None, next(iter(at_ends.reasons), None)), usual.mean, ()
    part = replace(part, measured=shown, margin=margin)
    if part.verdict != HOLDS or at_ends.verdict == HOLDS:
        return part
    verdict = MISSING if at_ends.verdict == MISSING else OPEN
    return replace(part, verdict=verdict, reasons=(Reason("not at the ends"), *more))


def _judged(evidence: Evidence, method: str, baseline: str, frames: int, what: str, ends: tuple[str, str]) -> Part:
    """The difference with the times at these ends; no number where the method has no row that fast at some seed."""
    weights, about = gain_at_time(evidence, method, baseline, frames, ends), (method, baseline)
    wanted = evidence.wanted([(method, frames), (baseline, frames)])
    timed = [seed for seed in wanted if set(about) <= {row.arm for row in evidence.times.get(seed, ())}]
    asked = [seed for seed in timed if seed in evidence.right.get((baseline, frames), {})]
    unknown = [
        seed
        for seed in asked
        if any(times_of(evidence.times[seed], *each) is None for each in zip(about, ends, strict=True))
    ]
    slow = [seed for seed in asked if seed not in unknown and weights(seed) is None]
    if slow and asked == wanted and not unknown and evidence.frames_of(method):
        name, values = ("never that fast", {}) if slow == wanted else ("not that fast", {"seeds": slow})
        return Part(what, OPEN, reasons=(Reason(name, {"method": label(method), **values}),), methods=about)
    lacking = (Reason("no samples", {"seeds": unknown}),) if unknown else _untimed(evidence, method, baseline)
    return replace(judge_difference(what, evidence.combine(weights), wanted, lacking), methods=about)


def _untimed(evidence: Evidence, *methods: str) -> tuple[Reason, ...]:
    seeds = evidence.untimed_seeds(*methods)
    return (Reason("not timed", {"seeds": seeds}),) if seeds else ()
