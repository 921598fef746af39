"""The fixed rule by which the page says whether a claim holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from liteframe.evaluation.paired import Estimate

HOLDS = "holds"
FAILS = "does not hold"
OPEN = "cannot be told"
RULE = (
    "A part of a claim that compares accuracies is the mean difference between two arms, question by question. It "
    f"*{HOLDS}* where the 95 % interval of that difference lies above 0 and every seed's own difference does too, "
    f"*{FAILS}* where both lie below 0, and otherwise it *{OPEN}*. A part that compares times, which have no interval, "
    f"*{HOLDS}* where it is so at every frame count of every seed, *{FAILS}* where it is so at none, and otherwise "
    f"*{OPEN}*. A claim *{HOLDS}* where all its parts do, *{FAILS}* where one of them does not, and otherwise *{OPEN}*."
)


@dataclass(frozen=True)
class Finding:
    """One part of a claim, measured.

    Attributes:
        what: the part, in a few words.
        verdict: `HOLDS`, `FAILS` or `OPEN`.
        measured: the numbers, in words.
        why: of an open verdict.
    """

    what: str
    verdict: str
    measured: str = ""
    why: str = ""


@dataclass(frozen=True)
class Verdict:
    """A claim, judged by its parts."""

    verdict: str
    findings: list[Finding] = field(default_factory=list)


def judge_difference(what: str, found: Estimate | None, missing: str = "not run yet") -> Finding:
    """A difference that ought to be above 0.

    Args:
        what: the part of the claim.
        found: the difference; None where it was not measured.
        missing: why it was not.
    """
    if found is None:
        return Finding(what, OPEN, why=missing)
    measured = f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
    signs = list(found.by_seed.values())
    if found.low > 0 and min(signs) > 0:
        return Finding(what, HOLDS, measured)
    if found.high < 0 and max(signs) < 0:
        return Finding(what, FAILS, measured)
    why = "the interval contains 0" if found.low <= 0 <= found.high else "the seeds disagree"
    return Finding(what, OPEN, measured, why)


def judge_cases(what: str, cases: Sequence[bool], measured: str, missing: str = "not run yet") -> Finding:
    """Something that is so, or not, in each of several cases.

    Args:
        what: the part of the claim.
        cases: at each frame count of each seed; empty where it was not measured.
        measured: the numbers, in words.
        missing: why it was not.
    """
    if not cases:
        return Finding(what, OPEN, why=missing)
    if all(cases):
        return Finding(what, HOLDS, measured)
    if not any(cases):
        return Finding(what, FAILS, measured)
    return Finding(what, OPEN, measured, f"so in {sum(cases)} of {len(cases)} cases")


def judge(findings: Sequence[Finding]) -> Verdict:
    """A claim by its parts. ValueError for a claim without any."""
    if not findings:
        raise ValueError("a claim needs at least one part")
    verdicts = {finding.verdict for finding in findings}
    overall = FAILS if FAILS in verdicts else OPEN if OPEN in verdicts else HOLDS
    return Verdict(overall, list(findings))
