"""What of the paper's claims is about accuracy: differences between arms, question by question."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

from liteframe.paper.at_latency import at_latency, shown_at_latencies
from liteframe.paper.cells import BUDGETS, FRAMES, LONGEST, RATIOS, frames_at
from liteframe.paper.evidence import Evidence, Point, Weights, difference
from liteframe.paper.names import (
    BEFORE_LLM,
    CONTROL,
    CTD,
    INSIDE_LLM,
    LMA,
    REDUCTIONS,
    SAME_AS,
    TOME_INSIDE,
    TOME_QUARTER,
    name_of,
)
from liteframe.paper.training_noise import noise_of_training
from liteframe.paper.verdicts import Finding, as_context, judge_difference, judge_growth

WAP = "teacher+wap"
POOLS = ("teacher+average", "teacher+max", "teacher+subsample")
NAMED_RIVALS = ("teacher+tome", "teacher+prumerge", "teacher+fastvid")
"""Post-hoc methods that the paper's text names in Table 1 and Figures 2 and 6."""
OTHERS = ("teacher+visionzip", "teacher+prunevid", "teacher+holitom")
"""Those at the same budget that stand in none of these."""
OF_ITS_OWN = "teacher+dycoke"
OTHER_BUDGET = "another budget: it leaves 1 token in 4"
NOT_NAMED = "the paper does not name it there"
WAP_ITSELF = "WAP itself, behind an encoder that merges"
BUDGET_OF = {OF_ITS_OWN: OTHER_BUDGET, **dict.fromkeys(INSIDE_LLM, "another budget: the LLM's first layers see all")}


def _judged(evidence: Evidence, what: str, weights: Weights, noise: float | None = 0.0) -> Finding:
    return judge_difference(what, evidence.combine(weights), evidence.wanted(weights), noise=noise)


def _beats(evidence: Evidence, arm: str, other: str, what: str) -> Finding:
    """One arm against another at equal frames, mean over the frame counts of Table 1."""
    return _judged(evidence, what, difference(arm, other, FRAMES))


def _trained_apart(evidence: Evidence, arm: str, other: str, what: str, *trainings: str) -> Finding:
    """One trained student against another; `trainings` are those of which the noise is known."""
    return _judged(evidence, what, difference(arm, other, FRAMES), noise_of_training(evidence, *trainings))


def _wap_against(evidence: Evidence, rivals: Sequence[str]) -> list[Finding]:
    """On both hosts: one has learnt to read what WAP makes, the other what average pooling makes."""
    return [
        _beats(evidence, host + WAP, host + rival, f"WAP less {name_of(rival)}{where}")
        for host, where in (("", ""), (CONTROL, ", the other host"))
        for rival in rivals
    ]


def wap_against_pools(evidence: Evidence) -> list[Finding]:
    return _wap_against(evidence, POOLS)


def wap_against_rivals(evidence: Evidence) -> list[Finding]:
    return _wap_against(evidence, NAMED_RIVALS)


def wap_against_others(evidence: Evidence) -> list[Finding]:
    apart = _beats(evidence, WAP, OF_ITS_OWN, f"WAP less {name_of(OF_ITS_OWN)}")
    # No cell asks ToMe inside the encoder before the other host.
    inside = _beats(evidence, WAP, TOME_INSIDE, f"WAP less {name_of(TOME_INSIDE)}")
    quarter = _beats(evidence, WAP, TOME_QUARTER, f"WAP less {name_of(TOME_QUARTER)}")
    return [*_wap_against(evidence, OTHERS), inside, as_context(quarter, WAP_ITSELF), as_context(apart, OTHER_BUDGET)]


def slope(arm: str, frames: Sequence[int]) -> dict[Point, float]:
    """Weights of an arm's gain for each doubling of the frames: the slope of a straight line on log2(frames)."""
    x = [log2(count) for count in frames]
    middle = sum(x) / len(x)
    spread = sum((value - middle) ** 2 for value in x)
    return {(arm, count): (value - middle) / spread for count, value in zip(frames, x, strict=True)}


def bend(arm: str, frames: Sequence[int]) -> dict[Point, float]:
    """Weights of the gain of the last doubling less that of the first; 0 on a straight line."""
    weights: dict[Point, float] = {}
    for count, weight in zip((frames[-1], frames[-2], frames[1], frames[0]), (1.0, -1.0, -1.0, 1.0), strict=True):
        weights[arm, count] = weights.get((arm, count), 0.0) + weight
    return weights


def logarithmic(evidence: Evidence) -> list[Finding]:
    return [
        judge_growth(
            name,
            evidence.combine(slope(arm, FRAMES)),
            evidence.combine(bend(arm, FRAMES)),
            evidence.wanted(slope(arm, FRAMES)),
        )
        for arm, name in (("teacher", "teacher"), (LMA, "student after LMA"))
    ]


def at_budget(arm: str, other: str, budget: int) -> dict[Point, float] | None:
    """Weights of one ratio less another at equal visual tokens; None where one of them cannot fill the budget."""
    own, others = (frames_at(budget, RATIOS[name]) for name in (arm, other))
    return {(arm, own): 1.0, (other, others): -1.0} if own and others else None


def _ratios(evidence: Evidence, pairs: Sequence[tuple[str, str]]) -> list[Finding]:
    words = {arm: "no compression" if ratio == 1 else f"WAP {ratio}x" for arm, ratio in RATIOS.items()}
    return [
        _judged(evidence, f"{words[arm]} less {words[other]} at {budget} tokens", weights)
        for arm, other in pairs
        for budget in BUDGETS
        if (weights := at_budget(arm, other, budget))
    ]


def ratios_against_none(evidence: Evidence) -> list[Finding]:
    return _ratios(evidence, [(arm, "teacher") for arm, ratio in RATIOS.items() if ratio > 1])


def highest_ratio_best(evidence: Evidence) -> list[Finding]:
    return _ratios(evidence, [(WAP, arm) for arm, ratio in RATIOS.items() if 1 < ratio < RATIOS[WAP]])


def _mixers(evidence: Evidence, names: dict[str, str]) -> list[Finding]:
    return [
        _trained_apart(evidence, own, f"{stage}-{mixer}", f"depth-wise convolution less {text}, {after}", own)
        for mixer, text in names.items()
        for own, stage, after in ((CTD, "ctd", "after CTD"), (LMA, "lma", "after LMA"))
    ]


def mixer_against_joint(evidence: Evidence) -> list[Finding]:
    return _mixers(evidence, {"joint": "joint attention"})


def mixer_against_others(evidence: Evidence) -> list[Finding]:
    return _mixers(evidence, {"attention": "temporal attention", "full": "full convolution"})


def more_frames_more_accuracy(evidence: Evidence) -> list[Finding]:
    return [
        _judged(
            evidence,
            f"student at {8 * few} frames less teacher at {few}",
            {(LMA, 8 * few): 1.0, ("teacher", few): -1.0},
        )
        for few in (8, 16)
    ]


def best_against_best(evidence: Evidence) -> list[Finding]:
    most = max(FRAMES)
    what = f"student at {LONGEST} frames less teacher at {most}"
    return [_judged(evidence, what, {(LMA, LONGEST): 1.0, ("teacher", most): -1.0})]


def at_the_teachers_time(evidence: Evidence) -> list[Finding]:
    return [at_latency(evidence, LMA, "teacher", 8, "student less teacher at the model time of its 8 frames")]


def frontier(evidence: Evidence) -> list[Finding]:
    """The methods that the paper names decide; all others are shown."""
    findings = [
        at_latency(evidence, LMA, arm, count, f"student less {name_of(arm)} at the model time of its {count} frames")
        for arm in NAMED_RIVALS
        for count in FRAMES
    ]
    for arm in REDUCTIONS:
        if arm not in (*NAMED_RIVALS, *SAME_AS):
            what = f"student less {name_of(arm)} at the model time of its frames"
            findings.append(shown_at_latencies(evidence, LMA, arm, FRAMES, what, BUDGET_OF.get(arm, NOT_NAMED)))
    return findings


def frozen_against_rivals(evidence: Evidence) -> list[Finding]:
    """Accuracy alone; the times are a part of their own, see `time_claims`."""
    rivals = [arm for arm in BEFORE_LLM if arm not in (WAP, TOME_QUARTER, *SAME_AS)]
    findings = [_beats(evidence, CTD, arm, f"student after CTD less {name_of(arm)}, equal frames") for arm in rivals]
    findings.append(_beats(evidence, CTD, WAP, "its own target: student after CTD less WAP, equal frames"))
    quarter = _beats(evidence, CTD, TOME_QUARTER, f"student after CTD less {name_of(TOME_QUARTER)}, equal frames")
    apart = _beats(evidence, CTD, OF_ITS_OWN, f"student after CTD less {name_of(OF_ITS_OWN)}, equal frames")
    return [*findings, as_context(quarter, WAP_ITSELF), as_context(apart, OTHER_BUDGET)]


def targets(evidence: Evidence) -> list[Finding]:
    texts = {"average": "average pooling", "wap": "WAP by the mean token (the student has no class token)"}
    return [
        _trained_apart(
            evidence, CTD, f"ctd-dense+{pool}", f"CTD on WAP less distilling all tokens, then {text}, at 16x", CTD
        )
        for pool, text in texts.items()
    ]


def adaptation(evidence: Evidence) -> list[Finding]:
    return [_trained_apart(evidence, LMA, CTD, "student after LMA less after CTD alone", CTD, LMA)]
