"""What a rule makes of an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from liteframe.evaluation.benchmarks.question import Question


@dataclass(frozen=True)
class Reading:
    """The options that an answer counts as.

    Attributes:
        chosen: indices: the answer is right where that of the right option is among them. More than one where a rule
            takes one answer for several; one beyond the options where it names a letter that the question lacks.
        parsed: False where the rule found no option, even if it then counts one that it draws.
    """

    chosen: frozenset[int]
    parsed: bool = True


NONE = Reading(frozenset(), parsed=False)
Rule = Callable[[str, Question], Reading]
"""Reads an answer to a question."""


def one(index: int) -> Reading:
    """The reading of one option."""
    return Reading(frozenset((index,)))
