"""Two models on the same questions: which answers flipped, and whether that may be chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import comb
from typing import Any

from liteframe.errors import DataError


@dataclass(frozen=True)
class Judged:
    """The answers of one model, as one rule judged them.

    Attributes:
        name: for messages, such as the file that they are from.
        asked: what has to be equal for answers to be compared: benchmark, split, prompt, subtitles, rule, and so on.
        questions: ids of all that were asked.
        left_out: how many more could not be asked, such as those about videos that are not there.
        correct: whether each answer was right, by id; questions without an answer or a key are left out.
    """

    name: str
    asked: Mapping[str, Any]
    questions: frozenset[str]
    correct: Mapping[str, bool]
    left_out: int = 0


@dataclass(frozen=True)
class Comparison:
    """What `compare` finds.

    Attributes:
        pairs: questions that both have a judged answer to.
        unpaired: questions that only one of them has.
        unanswered_a, unanswered_b: of these, those that A, or B, has no answer to.
        accuracy_a, accuracy_b: over the pairs.
        only_a, only_b: ids that only the one got right.
        p: of McNemar's exact test, two-sided: how often as uneven a split of the flips, or a more uneven one, comes
            about where each flip is as likely to one side as to the other.
    """

    pairs: int
    unpaired: int
    accuracy_a: float
    accuracy_b: float
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    p: float
    unanswered_a: int
    unanswered_b: int


def compare(a: Judged, b: Judged) -> Comparison:
    """The paired comparison of two sets of answers.

    Raises:
        DataError: they were asked otherwise, or other questions beside those that one of them left out, or have no
            question in common; names what differs.
    """
    differing = [key for key in sorted({*a.asked, *b.asked}) if a.asked.get(key) != b.asked.get(key)]
    if differing:
        told = "; ".join(f"{key} is {a.asked.get(key)!r} and {b.asked.get(key)!r}" for key in differing)
        raise DataError(f"{a.name} and {b.name} cannot be compared: {told}; evaluate both alike")
    only_in_a, only_in_b = len(a.questions - b.questions), len(b.questions - a.questions)
    if only_in_a > b.left_out or only_in_b > a.left_out:
        raise DataError(
            f"{a.name} and {b.name} cannot be compared: {only_in_a} questions are only in the first and {only_in_b} "
            "only in the second, more than were left out; evaluate both on the same data"
        )
    paired = [name for name in a.correct if name in b.correct]
    if not paired:
        raise DataError(f"{a.name} and {b.name} cannot be compared: no question has an answer in both")
    only_a = tuple(name for name in paired if a.correct[name] and not b.correct[name])
    only_b = tuple(name for name in paired if b.correct[name] and not a.correct[name])
    return Comparison(
        pairs=len(paired),
        unpaired=len({*a.correct} ^ {*b.correct}),
        accuracy_a=sum(a.correct[name] for name in paired) / len(paired),
        accuracy_b=sum(b.correct[name] for name in paired) / len(paired),
        only_a=only_a,
        only_b=only_b,
        p=mcnemar_exact(len(only_a), len(only_b)),
        unanswered_a=len({*b.correct} - {*a.correct}),
        unanswered_b=len({*a.correct} - {*b.correct}),
    )


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided p of `only_a` against `only_b` flips under a fair coin; 1 where nothing flipped."""
    flips, fewer = only_a + only_b, min(only_a, only_b)
    tail = Fraction(sum(comb(flips, count) for count in range(fewer + 1)), 2**flips)
    return float(min(Fraction(1), 2 * tail))
