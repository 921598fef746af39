"""What of the paper's claims is about accuracy: differences between arms, question by question."""

from __future__ import annotations

from collections.abc import Sequence

from liteframe.paper.at_latency import gain_at_latency
from liteframe.paper.cells import BUDGETS, FRAMES, RATIOS, frames_at
from liteframe.paper.evidence import Evidence, Point, difference
from liteframe.paper.names import CTD, LMA
from liteframe.paper.verdicts import Finding, judge_cases, judge_difference

NAMED_RIVALS = {"tome": "ToMe", "prumerge": "PruMerge", "fastvid": "FastVID"}
"""Post-hoc methods that the paper's text names in Table 1 and Figures 2 and 6."""
OTHERS = {
    "prumerge+": "PruMerge+",
    "visionzip": "VisionZip",
    "dycoke": "DyCoke (which leaves 1 in 4)",
    "prunevid": "PruneVid",
    "holitom": "HoliTom",
}
"""Those that reduce before the LLM and stand in none of these; what reduces inside it has another budget."""
POOLS = {"average": "average pooling", "max": "max pooling", "subsample": "subsampling"}


def _beats(evidence: Evidence, arm: str, other: str, what: str) -> Finding:
    """One arm against another at equal frames, mean over the frame counts of Table 1."""
    return judge_difference(what, evidence.combine(difference(arm, other, FRAMES)))


def wap_against_pools(evidence: Evidence) -> list[Finding]:
    return [_beats(evidence, "teacher+wap", f"teacher+{name}", f"WAP less {text}") for name, text in POOLS.items()]


def wap_against_rivals(evidence: Evidence) -> list[Finding]:
    return [
        _beats(evidence, "teacher+wap", f"teacher+{name}", f"WAP less {text}") for name, text in NAMED_RIVALS.items()
    ]


def wap_against_others(evidence: Evidence) -> list[Finding]:
    return [_beats(evidence, "teacher+wap", f"teacher+{name}", f"WAP less {text}") for name, text in OTHERS.items()]


def slope(arm: str, frames: Sequence[int]) -> dict[Point, float]:
    """Weights of an arm's gain for each doubling of the frames: the slope of a straight line on log2(frames)."""
    from math import log2

    x = [log2(count) for count in frames]
    middle = sum(x) / len(x)
    spread = sum((value - middle) ** 2 for value in x)
    return {(arm, count): (value - middle) / spread for count, value in zip(frames, x, strict=True)}


def straightness(accuracies: Sequence[float]) -> float:
    """Share of the variance over doublings that a straight line explains (R squared)."""
    n = len(accuracies)
    x_mean, y_mean = (n - 1) / 2, sum(accuracies) / n
    xy = sum((i - x_mean) * (y - y_mean) for i, y in enumerate(accuracies))
    xx = sum((i - x_mean) ** 2 for i in range(n))
    yy = sum((y - y_mean) ** 2 for y in accuracies)
    return xy * xy / (xx * yy) if yy else 1.0


STRAIGHT = 0.9


def logarithmic(evidence: Evidence) -> list[Finding]:
    findings = []
    for arm, name in (("teacher", "teacher"), (LMA, "student after LMA")):
        found = evidence.combine(slope(arm, FRAMES))
        findings.append(judge_difference(f"{name}: gain for each doubling of the frames", found))
        if found is not None:
            known = [evidence.accuracy(arm, count) for count in FRAMES]
            share = straightness([point.mean for point in known if point is not None])
            text = f"{share:.2f} of the variance is on a line in log(frames)"
            findings.append(
                judge_cases(f"{name}: straight in log(frames), at least {STRAIGHT}", [share >= STRAIGHT], text)
            )
    return findings


def at_budgets(arm: str, other: str) -> dict[Point, float]:
    """Weights of one ratio less another at equal visual tokens, mean over the budgets that both can fill."""
    pairs = [
        (own, others)
        for budget in BUDGETS
        if (own := frames_at(budget, RATIOS[arm])) and (others := frames_at(budget, RATIOS[other]))
    ]
    weights: dict[Point, float] = {}
    for own, others in pairs:
        weights[arm, own] = weights.get((arm, own), 0.0) + 1.0 / len(pairs)
        weights[other, others] = weights.get((other, others), 0.0) - 1.0 / len(pairs)
    return weights


def ratios_against_none(evidence: Evidence) -> list[Finding]:
    return [
        judge_difference(f"WAP {ratio}x less no compression", evidence.combine(at_budgets(arm, "teacher")))
        for arm, ratio in RATIOS.items()
        if ratio > 1
    ]


def highest_ratio_best(evidence: Evidence) -> list[Finding]:
    return [
        judge_difference(f"WAP 16x less {ratio}x", evidence.combine(at_budgets("teacher+wap", arm)))
        for arm, ratio in RATIOS.items()
        if 1 < ratio < 16
    ]


def mixers(evidence: Evidence) -> list[Finding]:
    names = {"joint": "joint attention", "attention": "temporal attention", "full": "full convolution"}
    return [
        _beats(evidence, own, f"{stage}-{mixer}", f"depth-wise convolution less {text}, {after}")
        for mixer, text in names.items()
        for own, stage, after in ((CTD, "ctd", "after CTD"), (LMA, "lma", "after LMA"))
    ]


def more_frames_more_accuracy(evidence: Evidence) -> list[Finding]:
    return [
        judge_difference(
            f"student at {8 * few} frames less teacher at {few}",
            evidence.combine({(LMA, 8 * few): 1.0, ("teacher", few): -1.0}),
        )
        for few in (8, 16)
    ]


def best_against_best(evidence: Evidence) -> list[Finding]:
    found = evidence.combine({(LMA, 128): 1.0, ("teacher", 64): -1.0})
    return [judge_difference("student at 128 frames less teacher at 64", found)]


def _at_latency(evidence: Evidence, arm: str, baseline: str, frames: Sequence[int], what: str) -> Finding:
    found = evidence.combine(gain_at_latency(evidence, arm, baseline, frames))
    asked = bool(evidence.frames_of(arm) and evidence.frames_of(baseline))
    return judge_difference(what, found, "the sweep has not timed it" if asked else "not run yet")


def at_the_teachers_time(evidence: Evidence) -> list[Finding]:
    return [_at_latency(evidence, LMA, "teacher", [8], "student less teacher at the model time of its 8 frames")]


def frontier(evidence: Evidence) -> list[Finding]:
    return [
        _at_latency(evidence, LMA, f"teacher+{name}", FRAMES, f"student less {text} at its model times")
        for name, text in NAMED_RIVALS.items()
    ]


def frozen_against_rivals(evidence: Evidence) -> list[Finding]:
    findings = []
    for name, text in NAMED_RIVALS.items():
        arm = f"teacher+{name}"
        findings.append(_beats(evidence, CTD, arm, f"student after CTD less {text}, equal frames"))
        pairs = [
            (own[seed], other[seed])
            for count in FRAMES
            for own, other in [(evidence.milliseconds(CTD, count), evidence.milliseconds(arm, count))]
            for seed in own.keys() & other.keys()
        ]
        ratios = sorted(other / own for own, other in pairs)
        measured = f"{ratios[0]:.1f} to {ratios[-1]:.1f} times faster" if ratios else ""
        cases = [own < other for own, other in pairs]
        what = f"student after CTD faster than {text}, equal frames"
        findings.append(judge_cases(what, cases, measured, "the sweep has not timed it"))
    return findings


def frozen_against_others(evidence: Evidence) -> list[Finding]:
    others = {"wap": "WAP", **POOLS, **OTHERS}
    return [_beats(evidence, CTD, f"teacher+{name}", f"student after CTD less {text}") for name, text in others.items()]


def targets(evidence: Evidence) -> list[Finding]:
    return [
        _beats(evidence, CTD, f"ctd-dense+{pool}", f"CTD on WAP less distilling all tokens, then {text} at 16x")
        for pool, text in (("average", "average pooling"), ("wap", "WAP"))
    ]


def adaptation(evidence: Evidence) -> list[Finding]:
    return [_beats(evidence, LMA, CTD, "student after LMA less after CTD alone")]
