"""The claims of the paper, each with what of it can be measured here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from liteframe.evaluation.paired import Estimate
from liteframe.paper.at_latency import gain_at_latency
from liteframe.paper.cells import BUDGETS, FRAMES, RATIOS, frames_at
from liteframe.paper.evidence import Evidence, Point, difference
from liteframe.paper.shape_claims import (
    bottleneck,
    eight_times_frames,
    encoder_factor,
    mixer_costs,
    prefill_factor,
    sizes,
)
from liteframe.paper.verdicts import OPEN, Finding, Verdict, judge, judge_cases, judge_difference

NAMED_RIVALS = {"tome": "ToMe", "prumerge": "PruMerge", "fastvid": "FastVID"}
"""Post-hoc methods that the paper's text names in Table 1 and Figures 2 and 6."""
POOLS = {"average": "average pooling", "max": "max pooling", "subsample": "subsampling"}
CTD, LMA = "liteframe-ctd", "liteframe-lma"
NEEDS_WEIGHTS = "needs the published weights of InternVL3-8B and the benchmarks, which this ground has not"


@dataclass(frozen=True)
class Claim:
    """Something that the paper says.

    Attributes:
        text: in our words.
        where: section, table or figure of the paper.
        parts: what is measured of it.
    """

    text: str
    where: str
    parts: Callable[[Evidence], Sequence[Finding]]

    def judged(self, evidence: Evidence) -> Verdict:
        """By the rule of `verdicts`."""
        return judge(self.parts(evidence))


def _beats(evidence: Evidence, arm: str, other: str, what: str) -> Finding:
    """One arm against another at equal frames, mean over the frame counts of Table 1."""
    return judge_difference(what, evidence.combine(difference(arm, other, FRAMES)))


def _wap_against_pools(evidence: Evidence) -> list[Finding]:
    return [_beats(evidence, "teacher+wap", f"teacher+{name}", f"WAP less {text}") for name, text in POOLS.items()]


def _wap_against_rivals(evidence: Evidence) -> list[Finding]:
    return [
        _beats(evidence, "teacher+wap", f"teacher+{name}", f"WAP less {text}") for name, text in NAMED_RIVALS.items()
    ]


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


def _logarithmic(evidence: Evidence) -> list[Finding]:
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


def _ratios_against_none(evidence: Evidence) -> list[Finding]:
    return [
        judge_difference(f"WAP {ratio}x less no compression", evidence.combine(at_budgets(arm, "teacher")))
        for arm, ratio in RATIOS.items()
        if ratio > 1
    ]


def _highest_ratio_best(evidence: Evidence) -> list[Finding]:
    return [
        judge_difference(f"WAP 16x less {ratio}x", evidence.combine(at_budgets("teacher+wap", arm)))
        for arm, ratio in RATIOS.items()
        if 1 < ratio < 16
    ]


def _mixers(evidence: Evidence) -> list[Finding]:
    names = {"joint": "joint attention", "attention": "temporal attention", "full": "full convolution"}
    return [
        _beats(evidence, own, f"{stage}-{mixer}", f"depth-wise convolution less {text}, {after}")
        for mixer, text in names.items()
        for own, stage, after in ((CTD, "ctd", "after CTD"), (LMA, "lma", "after LMA"))
    ]


def _more_frames_more_accuracy(evidence: Evidence) -> list[Finding]:
    return [
        judge_difference(
            f"student at {8 * few} frames less teacher at {few}",
            evidence.combine({(LMA, 8 * few): 1.0, ("teacher", few): -1.0}),
        )
        for few in (8, 16)
    ] + [
        judge_difference(
            "student at its most frames (128) less teacher at its most (64)",
            evidence.combine({(LMA, 128): 1.0, ("teacher", 64): -1.0}),
        )
    ]


def _at_latency(evidence: Evidence, arm: str, baseline: str, frames: Sequence[int], what: str) -> Finding:
    found: Estimate | None = evidence.combine(gain_at_latency(evidence, arm, baseline, frames))
    asked = bool(evidence.frames_of(arm) and evidence.frames_of(baseline))
    return judge_difference(what, found, "the sweep has not timed it" if asked else "not run yet")


def _at_the_teachers_time(evidence: Evidence) -> list[Finding]:
    return [_at_latency(evidence, LMA, "teacher", [8], "student less teacher at the model time of its 8 frames")]


def _frontier(evidence: Evidence) -> list[Finding]:
    return [
        _at_latency(evidence, LMA, f"teacher+{name}", FRAMES, f"student less {text} at its model times")
        for name, text in NAMED_RIVALS.items()
    ]


def _frozen_against_rivals(evidence: Evidence) -> list[Finding]:
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


def _targets(evidence: Evidence) -> list[Finding]:
    return [_beats(evidence, CTD, "ctd-dense", "CTD on WAP less distilling all tokens")]


def _adaptation(evidence: Evidence) -> list[Finding]:
    return [_beats(evidence, LMA, CTD, "student after LMA less after CTD alone")]


def _beyond(reason: str) -> Callable[[Evidence], list[Finding]]:
    return lambda evidence: [Finding("", OPEN, why=reason)]


CLAIMS: tuple[Claim, ...] = (
    Claim("At 16x, WAP is more accurate than plain pooling and subsampling.", "3.1, Table 1", _wap_against_pools),
    Claim("At 16x, WAP is more accurate than elaborate merging and pruning.", "3.1, Table 1", _wap_against_rivals),
    Claim("Accuracy grows about with the logarithm of the frame count.", "3.2, Fig. 3 left", _logarithmic),
    Claim(
        "At a fixed number of visual tokens, WAP at every ratio beats no compression.",
        "3.2, Fig. 3 right",
        _ratios_against_none,
    ),
    Claim("There, the highest ratio (16x, so the most frames) is best.", "3.2, Fig. 3 right", _highest_ratio_best),
    Claim("Once tokens are reduced after the encoder, the encoder is what takes the time.", "3.2, Fig. 1", bottleneck),
    Claim("The student has 87 M parameters, the teacher 304 M.", "4.1, 5.1", sizes),
    Claim(
        "The depth-wise temporal convolution is faster and cheaper than the other mixers.", "4.1, Table 2", mixer_costs
    ),
    Claim("It is also the most accurate of them.", "4.1, Table 5", _mixers),
    Claim("Learning compressed tokens is better than learning the teacher's tokens as they are.", "4.2", _targets),
    Claim("Adapting the language model to the student makes it more accurate.", "4.3", _adaptation),
    Claim("After that it makes use of up to 512 frames.", "4.3", _beyond("the videos of this ground have 128 frames")),
    Claim(
        "With 8 times the frames the student is more accurate than the host model.",
        "5.2.1, Table 3",
        _more_frames_more_accuracy,
    ),
    Claim("With 8 times the frames it takes 35 % less time.", "5.2.1, Table 3", eight_times_frames),
    Claim("At the time that the host takes for 8 frames it is more accurate.", "5.2.1, Table 3", _at_the_teachers_time),
    Claim("It lies above the post-hoc methods in accuracy against time.", "5.2.1, Fig. 2", _frontier),
    Claim("The encoder is 5.3 times faster at 64 frames.", "reported by readers", encoder_factor),
    Claim("The language model's prefill is 12.7 times faster at 64 frames.", "reported by readers", prefill_factor),
    Claim(
        "With the LLM frozen, the student alone is more accurate and faster than every post-hoc method.",
        "5.2.2, Fig. 6",
        _frozen_against_rivals,
    ),
    Claim("Averages and single scores on Video-MME, MLVU and LongVideoBench.", "Table 3", _beyond(NEEDS_WEIGHTS)),
    Claim("Tiles of large frames, each encoded on its own, are best on HLVid.", "5.2.3", _beyond(NEEDS_WEIGHTS)),
)
