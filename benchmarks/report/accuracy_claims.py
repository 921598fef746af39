"""What of the paper's claims is about accuracy: differences between methods, question by question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import log2

from liteframe.bench.methods import label, method, methods, of_groups
from liteframe.bench.paper.cells import AGAIN, BUDGETS, CONTROL, CTD, FRAMES, LMA, LONGEST, RATIOS, frames_at

from .at_time import at_time, shown_at_times
from .evidence import Evidence, Point, Weights, difference
from .verdicts import ENDS, Part, as_context, judge_difference, judge_growth

WAP, DYCOKE = "teacher+wap", "teacher+dycoke"
TOME_INSIDE, TOME_QUARTER = "tome-teacher+wap", "tome4-teacher+wap"
"""WAP itself behind an encoder that merges; that to a quarter is shown beside the claims, which do not count it."""
AT_16X = ("pool", "wap", "named", "other", "inside the encoder")
"""Groups whose LLM sees one token in 16 from its first layer on."""
REDUCING = (*AT_16X, "own budget", "inside the LLM")
WHY = {"own budget": "one in four", "inside the LLM": "first layers see all"}


def counted(*groups: str) -> list[str]:
    """The methods of some groups, those that are the same at one token a frame once."""
    return [name for name in of_groups(*groups) if methods()[name].same_as is None]


def part_of(evidence: Evidence, what: str, weights: Weights, noise: float | None = 0.0) -> Part:
    """A sum of accuracies that ought to be above 0."""
    part = judge_difference(what, evidence.combine(weights), evidence.wanted(weights), noise=noise)
    return replace(part, methods=tuple(dict.fromkeys(name for name, _ in weights)))


def beats(evidence: Evidence, name: str, other: str, what: str) -> Part:
    """One method against another at equal frames, mean over the frame counts of Table 1."""
    return part_of(evidence, what, difference(name, other))


def trained_apart(evidence: Evidence, name: str, other: str, what: str, *trainings: str) -> Part:
    """One trained student against another; `trainings` are those of which the noise is known."""
    part = part_of(evidence, what, difference(name, other), evidence.training_noise(*trainings))
    return replace(part, methods=(*part.methods, *(AGAIN[training] for training in trainings)))


def wap_against(evidence: Evidence, rivals: Iterable[str]) -> list[Part]:
    """On both base VLMs: one has learnt to read what WAP makes, the other what average pooling makes."""
    return [
        beats(evidence, base + WAP, base + rival, f"WAP less {label(rival)}{where}")
        for base, where in (("", ""), (CONTROL, ", the other base VLM"))
        for rival in list(rivals)
    ]


def wap_against_pools(evidence: Evidence) -> list[Part]:
    return wap_against(evidence, counted("pool"))


def wap_against_named(evidence: Evidence) -> list[Part]:
    return wap_against(evidence, counted("named"))


def wap_against_others(evidence: Evidence) -> list[Part]:
    # No cell asks ToMe inside the encoder before the other base VLM.
    inside, quarter, apart = (
        beats(evidence, WAP, name, f"WAP less {label(name)}") for name in (TOME_INSIDE, TOME_QUARTER, DYCOKE)
    )
    shown = [as_context(quarter, "WAP itself"), as_context(apart, "one in four")]
    return [*wap_against(evidence, counted("other")), inside, *shown]


def slope(name: str, frames: Sequence[int]) -> dict[Point, float]:
    """Weights of a method's gain for each doubling of the frames: the slope of a straight line on log2(frames)."""
    x = [log2(count) for count in frames]
    middle = sum(x) / len(x)
    spread = sum((value - middle) ** 2 for value in x)
    return {(name, count): (value - middle) / spread for count, value in zip(frames, x, strict=True)}


def bend(name: str, frames: Sequence[int]) -> dict[Point, float]:
    """Weights of the gain of the last doubling less that of the first; 0 on a straight line."""
    weights: dict[Point, float] = {}
    for count, weight in zip((frames[-1], frames[-2], frames[1], frames[0]), (1.0, -1.0, -1.0, 1.0), strict=True):
        weights[name, count] = weights.get((name, count), 0.0) + weight
    return weights


def logarithmic(evidence: Evidence) -> list[Part]:
    parts = []
    for name, what in (("teacher", "teacher"), (LMA, "student after LMA")):
        line = slope(name, FRAMES)
        grown, bent = evidence.combine(line), evidence.combine(bend(name, FRAMES))
        parts.append(replace(judge_growth(what, grown, bent, evidence.wanted(line)), methods=(name,)))
    return parts


def at_budget(name: str, other: str, budget: int) -> dict[Point, float] | None:
    """Weights of one ratio less another at equal visual tokens; None where one of them cannot fill the budget."""
    own, others = (frames_at(budget, RATIOS[each]) for each in (name, other))
    return {(name, own): 1.0, (other, others): -1.0} if own and others else None


def _ratios(evidence: Evidence, pairs: Sequence[tuple[str, str]]) -> list[Part]:
    words = {name: "no compression" if ratio == 1 else f"WAP {ratio}x" for name, ratio in RATIOS.items()}
    return [
        part_of(evidence, f"{words[name]} less {words[other]} at {budget} tokens", weights)
        for name, other in pairs
        for budget in BUDGETS
        if (weights := at_budget(name, other, budget))
    ]


def ratios_against_none(evidence: Evidence) -> list[Part]:
    return _ratios(evidence, [(name, "teacher") for name, ratio in RATIOS.items() if ratio > 1])


def highest_ratio_best(evidence: Evidence) -> list[Part]:
    return _ratios(evidence, [(WAP, name) for name, ratio in RATIOS.items() if 1 < ratio < RATIOS[WAP]])


def _mixers(evidence: Evidence, names: dict[str, str]) -> list[Part]:
    return [
        trained_apart(evidence, own, f"{stage}-{mixer}", f"depth-wise convolution less {text}, {after}", own)
        for mixer, text in names.items()
        for own, stage, after in ((CTD, "ctd", "after CTD"), (LMA, "lma", "after LMA"))
    ]


def mixer_against_joint(evidence: Evidence) -> list[Part]:
    return _mixers(evidence, {"joint": "joint attention"})


def mixer_against_others(evidence: Evidence) -> list[Part]:
    return _mixers(evidence, {"attention": "temporal attention", "full": "full convolution"})


def targets(evidence: Evidence) -> list[Part]:
    texts = {"average": "average pooling", "wap": "WAP by the mean token (the student has no class token)"}
    start = "CTD on WAP less distilling all tokens, then"
    return [
        trained_apart(evidence, CTD, f"ctd-dense+{pool}", f"{start} {text}, at 16x", CTD)
        for pool, text in texts.items()
    ]


def adaptation(evidence: Evidence) -> list[Part]:
    return [trained_apart(evidence, LMA, CTD, "student after LMA less after CTD alone", CTD, LMA)]


def more_frames(evidence: Evidence) -> list[Part]:
    return [
        part_of(
            evidence,
            f"student at {8 * few} frames less teacher at {few}",
            {(LMA, 8 * few): 1.0, ("teacher", few): -1.0},
        )
        for few in (8, 16)
    ]


def best_against_best(evidence: Evidence) -> list[Part]:
    what = f"student at {LONGEST} frames less teacher at {max(FRAMES)}"
    return [part_of(evidence, what, {(LMA, LONGEST): 1.0, ("teacher", max(FRAMES)): -1.0})]


def at_the_teachers_time(evidence: Evidence) -> list[Part]:
    return [at_time(evidence, LMA, "teacher", 8, "student less teacher at the model time of its 8 frames")]


def frontier(evidence: Evidence) -> list[Part]:
    """The methods that the paper names decide; all others are shown."""
    named = counted("named")
    parts = [
        at_time(evidence, LMA, name, count, f"student less {label(name)} at the model time of its {count} frames")
        for name in named
        for count in FRAMES
    ]
    for name in counted(*REDUCING):
        if name not in named:
            what = f"student less {label(name)} at the model time of its frames (then {ENDS})"
            parts.append(shown_at_times(evidence, LMA, name, FRAMES, what, WHY.get(method(name).group, "not named")))
    return parts


def frozen_is_better(evidence: Evidence) -> list[Part]:
    """Accuracy alone; the times are a part of their own, see `time_claims`."""
    rivals = [name for name in counted(*AT_16X) if name not in (WAP, TOME_QUARTER)]
    target, quarter, apart = (
        beats(evidence, CTD, name, f"{before}student after CTD less {label(name)}, equal frames")
        for name, before in ((WAP, "its own target: "), (TOME_QUARTER, ""), (DYCOKE, ""))
    )
    parts = [beats(evidence, CTD, name, f"student after CTD less {label(name)}, equal frames") for name in rivals]
    return [*parts, target, as_context(quarter, "WAP itself"), as_context(apart, "one in four")]
