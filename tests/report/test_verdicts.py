"""The rule by which claims are judged."""

from __future__ import annotations

from itertools import product

import pytest

from report.evidence import Estimate
from report.verdicts import (
    BEYOND,
    FAILS,
    HOLDS,
    MISSING,
    OPEN,
    Figures,
    Part,
    Reason,
    judge,
    judge_cases,
    judge_difference,
    judge_growth,
)
from report.wording import by_seed, measured, why

NO = Reason("run latency")
SHOWN = Figures("times", {"ratio": 1.0, "frames": 8})


def difference(low: float, high: float, *seeds: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, dict(enumerate(seeds or ((low + high) / 2,))))


@pytest.mark.parametrize(
    ("found", "verdict", "reason"),
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
def test_differences(found: Estimate, verdict: str, reason: str) -> None:
    finding = judge_difference("a less b", found)
    assert (finding.verdict, why(finding)) == (verdict, reason)
    assert measured(finding.measured) == f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
    assert all(f"seed {seed} {value:+.3f}" in by_seed(finding.measured) for seed, value in found.by_seed.items())


def test_what_was_not_measured_is_said_so() -> None:
    assert judge_difference("a less b", None, missing=[NO]) == Part("a less b", MISSING, reasons=(NO,))
    assert judge_cases("a", [], None, [NO]) == Part("a", MISSING, reasons=(NO,))
    assert judge_cases("a", [True], SHOWN, [NO], complete=False).verdict == MISSING


def test_a_verdict_needs_all_seeds() -> None:
    found = difference(0.01, 0.05, 0.03, 0.03)
    assert judge_difference("a", found, [0, 1]).verdict == HOLDS
    finding = judge_difference("a", found, [0, 1, 2])
    assert (finding.verdict, why(finding)) == (MISSING, "seeds 0, 1 of 0, 1, 2") and "+0.030" in measured(
        finding.measured
    )


@pytest.mark.parametrize(
    ("noise", "verdict", "reason"),
    [
        (0.02, HOLDS, ""),
        (0.031, OPEN, "not larger than between two trainings of the same, 0.031"),
        (None, MISSING, "two trainings of the same have not been compared yet"),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_noise_of_training(noise: float | None, verdict: str, reason: str, sign: int) -> None:
    low, high = sorted((0.01 * sign, 0.05 * sign))
    finding = judge_difference("a", difference(low, high), noise=noise)
    assert (finding.verdict, why(finding)) == (FAILS if verdict == HOLDS and sign < 0 else verdict, reason)
    assert judge_difference("a", difference(-0.01, 0.05), noise=noise).reasons == (Reason("contains zero"),)


@pytest.mark.parametrize("sign", [1, -1])
def test_every_seed_has_to_be_beyond_the_noise(sign: int) -> None:
    low, high = sorted((0.001 * sign, 0.008 * sign))
    found = difference(low, high, 0.008 * sign, 0.0008 * sign)
    finding = judge_difference("a", found, noise=0.002)
    assert abs(found.mean) > 0.002
    assert (finding.verdict, why(finding)) == (
        OPEN,
        "at seed 1 not larger than between two trainings of the same, 0.002",
    )
    assert judge_difference("a", found, noise=0.0007).verdict == (HOLDS if sign > 0 else FAILS)
    assert judge_difference("a", found, noise=0.0008).verdict == OPEN


def test_growth() -> None:
    rising, flat = difference(0.06, 0.08), difference(-0.01, 0.01)
    assert judge_growth("a", rising, flat).verdict == HOLDS
    bent = judge_growth("a", rising, difference(-0.04, -0.01))
    assert (bent.verdict, why(bent)) == (FAILS, "it saturates")
    assert why(judge_growth("a", rising, difference(0.01, 0.04))) == "it grows faster at the end"
    assert judge_growth("a", difference(-0.08, -0.06), flat).verdict == FAILS
    assert judge_growth("a", flat, flat).verdict == OPEN
    assert judge_growth("a", None, None).verdict == MISSING
    assert judge_growth("a", rising, difference(-0.04, -0.01), [0, 1]).verdict == MISSING, "a seed is not there"


def test_cases() -> None:
    assert judge_cases("a", [True, True], SHOWN).verdict == HOLDS
    assert judge_cases("a", [False, False], SHOWN).verdict == FAILS
    mixed = judge_cases("a", [True, False, True], SHOWN)
    assert (mixed.verdict, why(mixed)) == (OPEN, "so in 2 of 3 cases")


def test_a_claim_needs_all_its_parts() -> None:
    for verdicts in product((HOLDS, FAILS, OPEN, MISSING), repeat=3):
        found = judge([Part("part", verdict) for verdict in verdicts]).verdict
        if FAILS in verdicts:
            assert found == FAILS
        elif MISSING in verdicts:
            assert found == MISSING
        elif OPEN in verdicts:
            assert found == OPEN
        else:
            assert found == HOLDS
    assert judge([Part("", BEYOND)]).verdict == BEYOND
    with pytest.raises(ValueError, match="at least one part"):
        judge([])


def test_the_part_nearest_to_another_verdict_decides() -> None:
    strong, weak = judge_difference("s", difference(0.3, 0.5)), judge_difference("w", difference(0.1, 0.2))
    assert judge([strong, weak]).deciding == weak
    lost, close = judge_difference("l", difference(-0.5, -0.3)), judge_difference("c", difference(-0.2, -0.1))
    assert judge([strong, lost, close]).deciding == close
