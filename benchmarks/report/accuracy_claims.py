"""What of the paper's claims is about accuracy: differences between methods, question by question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import log2
from typing import Any

from liteframe.bench.methods import label, methods
from liteframe.bench.paper.cells import AGAIN, BUDGETS, CONTROL, FRAMES, RATIOS, frames_at

from .at_time import at_time
from .evidence import Evidence, Point, Weights, difference
from .verdicts import Part, judge_difference, judge_growth

WAP = "teacher+wap"
AT_16X = ("pool", "wap", "named", "other", "inside the encoder")
"""Groups whose LLM sees one token in 16 from its first layer on."""
REDUCING = (*AT_16X, "own budget", "inside the LLM")


def counted(*names: str) -> list[str]:
    """The methods of some groups or names in the order of tables, those that are the same at one token a frame once."""
    known, groups = methods(), {each.group for each in methods().values()}
    registered = [name for name, each in known.items() if {name, each.group} & set(names) and each.same_as is None]
    return [*registered, *(name for name in names if name not in known and name not in groups)]


def differences(evidence: Evidence, row: Mapping[str, Any]) -> Iterator[Part]:
    """The method of a row of `claims.toml` less each of the others, on both base VLMs where it says so.

    One base VLM has learnt to read what WAP makes, the other what average pooling makes.
    """
    trainings = row.get("noise", ())
    noise = evidence.training_noise(*trainings)
    for base, where in (("", ""), (CONTROL, ", the other base VLM")) if row.get("control") else (("", ""),):
        for other in counted(*row["less"]):
            for weights, tokens in _weights(row, base + row["method"], base + other):
                what = row["what"].format(other=label(other), tokens=tokens) + where
                part = judge_difference(what, evidence.combine(weights), evidence.wanted(weights), noise=noise)
                names = dict.fromkeys(name for name, _ in weights)
                yield replace(part, methods=(*names, *(AGAIN[training] for training in trainings)))


def _weights(row: Mapping[str, Any], name: str, other: str) -> Iterator[tuple[Weights, int | None]]:
    """Of each sum that ought to be above 0, with the visual tokens where these are equal."""
    if "less_at" in row:
        yield {(name, row["frames"]): 1.0, (other, row["less_at"]): -1.0}, None
    elif row.get("at_budgets"):
        yield from ((weights, budget) for budget in BUDGETS if (weights := at_budget(name, other, budget)))
    else:
        yield difference(name, other), None


def at_budget(name: str, other: str, budget: int) -> dict[Point, float] | None:
    """Weights of one ratio less another at equal visual tokens; None where one of them cannot fill the budget."""
    own, others = (frames_at(budget, RATIOS[each]) for each in (name, other))
    return {(name, own): 1.0, (other, others): -1.0} if own and others else None


def growth(evidence: Evidence, row: Mapping[str, Any]) -> Part:
    """Whether the accuracy of a row's method grows with the logarithm of the frames."""
    line, bent = slope(row["method"], FRAMES), bend(row["method"], FRAMES)
    part = judge_growth(row["what"], evidence.combine(line), evidence.combine(bent), evidence.wanted(line))
    return replace(part, methods=(row["method"],))


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


def at_times(evidence: Evidence, row: Mapping[str, Any]) -> Iterator[Part]:
    """The method of a row against each of the others at the model times of the other's frame counts."""
    for other in counted(*row["at_time_of"]):
        for count in row["frames"]:
            what = row["what"].format(other=label(other), frames=count)
            yield at_time(evidence, row["method"], other, count, what)
