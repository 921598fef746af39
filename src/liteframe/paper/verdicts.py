"""The fixed rule by which the page says whether a claim holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from liteframe.evaluation.paired import Estimate

HOLDS = "holds"
FAILS = "does not hold"
OPEN = "cannot be told"
MISSING = "not measured yet"
BEYOND = "not measurable here"
VERDICTS = (HOLDS, FAILS, OPEN, MISSING, BEYOND)
CONTEXT = "context"
"""Of a part that is shown beside the others and decides nothing."""
RULE = (
    "A part of a claim that compares accuracies is the mean difference between two arms, question by question. It "
    f"*{HOLDS}* where the 95 % interval of that difference lies above 0 and every seed's own difference does too, "
    f"*{FAILS}* where both lie below 0, and otherwise it *{OPEN}*. Two students, each trained once, *{OPEN}* apart "
    "where the difference at any seed is not larger than that between two trainings of the same (see Table 5). A part "
    "that compares accuracies at a model time takes the medians of the times, whose noise is not in the interval; it "
    f"*{HOLDS}* only where it also does at the unfavourable ends of the times: with every time of the first arm at the "
    "upper end of its median's 95 % interval (by the ranks of its runs) and of the second arm at the lower. That "
    "accuracy "
    f"grows with the logarithm of the frames *{HOLDS}* where the gain a doubling lies above 0 by that rule and the "
    f"last doubling's gain less the first one's has an interval that contains 0; it *{FAILS}* where that interval does "
    f"not contain 0. A part that compares times, which have no interval, *{HOLDS}* where it is so at every frame count "
    f"of every seed, *{FAILS}* where it is so at none, and otherwise it *{OPEN}*. A part with a seed missing is "
    f"*{MISSING}*, and what is there stands beside it. A claim *{FAILS}* where one of its parts does not hold; else it "
    f"is *{MISSING}* where one part is not, else it *{OPEN}* where one part cannot, and else it *{HOLDS}*. What no "
    f"record of this ground can decide is *{BEYOND}*; parts marked *{CONTEXT}* decide nothing. Intervals are not "
    "corrected for the number of parts: of forty differences that are none, two would lie outside on average."
)


@dataclass(frozen=True)
class Finding:
    """One part of a claim, measured.

    Attributes:
        what: the part, in a few words.
        verdict: of `VERDICTS`, or `CONTEXT`.
        measured: the numbers, in words.
        why: of a verdict that is open.
        by_seed: each seed's own number, in words.
        margin: how far it is from turning, where that is a number; the least decides.
    """

    what: str
    verdict: str
    measured: str = ""
    why: str = ""
    by_seed: str = ""
    margin: float | None = None


@dataclass(frozen=True)
class Verdict:
    """A claim, judged by its parts."""

    verdict: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def deciding(self) -> Finding | None:
        """The part with the claim's verdict that is nearest to another, so that all others say it more strongly."""
        alike = [finding for finding in self.findings if finding.verdict == self.verdict]
        sign = -1.0 if self.verdict == FAILS else 1.0
        known = [finding for finding in alike if finding.margin is not None]
        if known:
            return min(known, key=lambda finding: sign * (finding.margin or 0.0))
        return alike[0] if alike else None


def judge_difference(
    what: str, found: Estimate | None, wanted: Sequence[int] = (), missing: str = "", noise: float | None = 0.0
) -> Finding:
    """A difference that ought to be above 0.

    Args:
        what: the part of the claim.
        found: the difference; None where it was not measured.
        wanted: seeds that it needs.
        missing: what to do where it was not measured, in words.
        noise: how far two trainings of the same are apart; None where that is not known but needed.
    """
    if found is None:
        return Finding(what, MISSING, why=missing)
    finding = Finding(what, OPEN, signed(found), by_seed=each_seed(found), margin=found.mean)
    if not set(found.seeds) >= set(wanted):
        there, all_ = (", ".join(map(str, seeds)) for seeds in (found.seeds, wanted))
        return replace(finding, verdict=MISSING, why="; ".join(filter(None, [f"seeds {there} of {all_}", missing])))
    signs = list(found.by_seed.values())
    verdict = HOLDS if found.low > 0 and min(signs) > 0 else FAILS if found.high < 0 and max(signs) < 0 else OPEN
    if verdict == OPEN:
        return replace(finding, why="the interval contains 0" if found.low <= 0 <= found.high else "the seeds disagree")
    if noise is None:
        return replace(finding, verdict=MISSING, why="two trainings of the same have not been compared yet")
    if within := [str(seed) for seed, value in sorted(found.by_seed.items()) if abs(value) <= noise]:
        where = f"at seed {', '.join(within)} " if len(within) < len(signs) else ""
        return replace(finding, why=f"{where}not larger than between two trainings of the same, {noise:.3f}")
    return replace(finding, verdict=verdict)


def judge_growth(what: str, slope: Estimate | None, bend: Estimate | None, wanted: Sequence[int] = ()) -> Finding:
    """Growth along a straight line over doublings.

    Args:
        what: the part of the claim.
        slope: gain a doubling.
        bend: gain of the last doubling less that of the first.
        wanted: seeds that it needs.
    """
    finding = judge_difference(what, slope, wanted)
    if slope is None or bend is None:
        return finding
    finding = replace(
        finding,
        measured=f"{signed(slope)} a doubling, the last less the first {signed(bend)}",
        by_seed=f"{each_seed(slope)}; last less first {each_seed(bend)}",
        margin=bend.mean,
    )
    if finding.verdict == MISSING or bend.low <= 0 <= bend.high:
        return finding
    return replace(finding, verdict=FAILS, why="it saturates" if bend.high < 0 else "it grows faster at the end")


def judge_cases(
    what: str, cases: Sequence[bool], measured: str, missing: str = "", complete: bool = True, by_seed: str = ""
) -> Finding:
    """Something that is so, or not, in each of several cases.

    Args:
        what: the part of the claim.
        cases: at each frame count of each seed; empty where it was not measured.
        measured: the numbers, in words.
        missing: what to do where it was not, in words.
        complete: whether these are all cases.
        by_seed: each seed's numbers, in words.
    """
    if not cases or not complete:
        return Finding(what, MISSING, measured, missing, by_seed)
    if all(cases):
        return Finding(what, HOLDS, measured, by_seed=by_seed)
    if not any(cases):
        return Finding(what, FAILS, measured, by_seed=by_seed)
    return Finding(what, OPEN, measured, f"so in {sum(cases)} of {len(cases)} cases", by_seed)


def as_context(finding: Finding, why: str = "") -> Finding:
    """The same, shown without deciding anything."""
    return replace(finding, verdict=CONTEXT, why=why)


def judge(findings: Sequence[Finding]) -> Verdict:
    """A claim by its parts. ValueError for a claim without any."""
    if not findings:
        raise ValueError("a claim needs at least one part")
    verdicts = {finding.verdict for finding in findings}
    overall = next((verdict for verdict in (FAILS, MISSING, OPEN, BEYOND, HOLDS) if verdict in verdicts), MISSING)
    return Verdict(overall, list(findings))


def signed(found: Estimate) -> str:
    """A difference and its interval."""
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def each_seed(found: Estimate) -> str:
    """Each seed's own difference."""
    return ", ".join(f"seed {seed} {value:+.3f}" for seed, value in sorted(found.by_seed.items()))
