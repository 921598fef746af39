from __future__ import annotations

from dataclasses import replace

import pytest
from scipy.stats import binomtest

from liteframe.errors import DataError
from liteframe.evaluation.scoring.compare import Judged, compare, mcnemar_exact

ASKED = {"benchmark": "mlvu", "prompt": "lmms-eval", "rule": "strict"}


def judged(name: str, right: str) -> Judged:
    """Answers to q0, q1, ...: right where there is a 1, none where there is a dash."""
    correct = {f"q{number}": mark == "1" for number, mark in enumerate(right) if mark != "-"}
    return Judged(name, ASKED, frozenset(f"q{number}" for number in range(len(right))), correct)


def test_flips_and_counts() -> None:
    found = compare(judged("a", "1101-01"), judged("b", "1010111"))
    assert (found.only_a, found.only_b) == (("q1", "q3"), ("q2", "q5"))
    assert (found.pairs, found.unpaired, found.unanswered_a, found.unanswered_b) == (6, 1, 1, 0)
    assert (found.accuracy_a, found.accuracy_b) == (pytest.approx(4 / 6), pytest.approx(4 / 6))
    assert found.p == 1.0


def test_the_other_way_round_is_the_same_p() -> None:
    a, b = judged("a", "11111110000"), judged("b", "00000110011")
    there, back = compare(a, b), compare(b, a)
    assert there.p == back.p and there.only_a == back.only_b


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (5, 0), (7, 2), (2, 7), (4, 4), (30, 51), (1200, 1100)])
def test_mcnemar_is_the_exact_binomial_test(only_a: int, only_b: int) -> None:
    flips = only_a + only_b
    expected = binomtest(only_a, flips, 0.5).pvalue if flips else 1.0
    assert mcnemar_exact(only_a, only_b) == pytest.approx(expected, rel=1e-9)


def test_what_was_asked_otherwise_is_not_compared() -> None:
    a, b = judged("a.jsonl", "10"), judged("b.jsonl", "10")
    with pytest.raises(DataError, match=r"a.jsonl and b.jsonl .*: prompt is 'lmms-eval' and 'liteframe'"):
        compare(a, replace(b, asked={**ASKED, "prompt": "liteframe"}))
    with pytest.raises(DataError, match="split is None and 'dev'"):
        compare(a, replace(b, asked={**ASKED, "split": "dev"}))
    with pytest.raises(DataError, match="1 questions are only in the first and 0 only in the second"):
        compare(judged("a", "101"), b)
    left_out = compare(judged("a", "101"), replace(b, left_out=1))
    assert (left_out.pairs, left_out.unanswered_a, left_out.unanswered_b) == (2, 0, 1)
    with pytest.raises(DataError, match="2 questions are only in the first and 0 only in the second, more than"):
        compare(judged("a", "1011"), replace(b, left_out=1))
    with pytest.raises(DataError, match="no question has an answer in both"):
        compare(judged("a", "1-"), judged("b", "-1"))
