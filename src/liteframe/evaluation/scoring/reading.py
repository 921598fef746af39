"""What a rule makes of an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from liteframe.evaluation.benchmarks.question import Question


@dataclass(frozen=True)
class Reading:
    """The options that an answer counts as.

    Attributes:
        chosen: indices. More than one where a rule takes one answer for several, of which one right one is enough; one
            beyond the options where it names a letter that the question lacks.
        parsed: False where the rule found no option, even if it then counts one that it draws.
        by_letter: whether the rule is that of a harness, which compares letters, so that an option that reads like the
            right one is wrong.
    """

    chosen: frozenset[int]
    parsed: bool = True
    by_letter: bool = False

    def is_right(self, question: Question) -> bool:
        """Whether the answer to `question` that was read so counts as right."""
        if self.by_letter:
            return question.answer in self.chosen
        return any(question.is_right(index) for index in self.chosen if index < len(question.options))


NONE = Reading(frozenset(), parsed=False)
Rule = Callable[[str, Question], Reading]
"""Reads an answer to a question."""


def one(index: int) -> Reading:
    """The reading of one option."""
    return Reading(frozenset((index,)))
