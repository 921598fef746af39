"""The rule by which claims are judged."""

from __future__ import annotations

from itertools import product

import pytest

from liteframe.evaluation.paired import Estimate
from liteframe.paper.verdicts import FAILS, HOLDS, OPEN, Finding, judge, judge_cases, judge_difference


def difference(low: float, high: float, *seeds: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, dict(enumerate(seeds or ((low + high) / 2,))), 100)


@pytest.mark.parametrize(
    ("found", "verdict", "why"),
    [
        (difference(0.01, 0.05), HOLDS, ""),
        (difference(-0.05, -0.01), FAILS, ""),
        (difference(-0.01, 0.05), OPEN, "the interval contains 0"),
        (difference(0.0, 0.05), OPEN, "the interval contains 0"),
        (difference(-0.05, 0.0), OPEN, "the interval contains 0"),
        (difference(0.01, 0.05, 0.08, -0.02), OPEN, "the seeds disagree"),
        (difference(-0.05, -0.01, -0.08, 0.02), OPEN, "the seeds disagree"),
        (difference(0.01, 0.05, 0.08, 0.0), OPEN, "the seeds disagree"),
    ],
)
def test_differences(found: Estimate, verdict: str, why: str) -> None:
    finding = judge_difference("a less b", found)
    assert (finding.verdict, finding.why) == (verdict, why)
    assert finding.measured == f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def test_what_was_not_measured_cannot_be_told() -> None:
    assert judge_difference("a less b", None, "no times") == Finding("a less b", OPEN, "", "no times")
    assert judge_cases("a", [], "", "no times") == Finding("a", OPEN, "", "no times")


def test_cases() -> None:
    assert judge_cases("a", [True, True], "text").verdict == HOLDS
    assert judge_cases("a", [False, False], "text").verdict == FAILS
    mixed = judge_cases("a", [True, False, True], "text")
    assert (mixed.verdict, mixed.why) == (OPEN, "so in 2 of 3 cases")


def test_a_claim_needs_all_its_parts() -> None:
    for verdicts in product((HOLDS, FAILS, OPEN), repeat=3):
        found = judge([Finding("part", verdict) for verdict in verdicts]).verdict
        if FAILS in verdicts:
            assert found == FAILS
        elif OPEN in verdicts:
            assert found == OPEN
        else:
            assert found == HOLDS
    with pytest.raises(ValueError, match="at least one part"):
        judge([])
