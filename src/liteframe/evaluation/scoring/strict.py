"""liteframe's own rule: an answer counts only as what it says without doubt."""

from __future__ import annotations

import re
from string import ascii_uppercase

from liteframe.data.sources.options import right_option
from liteframe.evaluation.benchmarks.question import Question
from liteframe.evaluation.scoring.reading import NONE, Reading, one

_LETTER = re.compile(r"\(?([A-Z])\)?[.:]?")
_LEADING = re.compile(r"\(([A-Z])\)(?!\w)")
_SAID = re.compile(
    r"\b(?i:answer|option|choice)(?:\s+(?i:is)\b\s*:?|\s*:)\s*[(*\"']*([A-Z])[)*\"']*(?=\s*(?:[.,;:!?]|$|\n))"
)


def strict(answer: str, question: Question) -> Reading:
    """One option, or none.

    The whole answer is a letter, an option's text, or both (``C``, ``(C)``, ``C. a ball``, ``a ball``). Else it begins
    with a letter in brackets, or says ``answer is C``, or ``Best option: C``, with nothing but punctuation behind the
    letter. Where it says two letters by these forms, it counts as none.
    """
    letter = _LETTER.fullmatch(answer.strip())
    if letter is not None:  # even where another option's text is this letter
        index = ascii_uppercase.index(letter[1])
        return one(index) if index < len(question.options) else NONE
    whole = right_option({"options": list(question.options), "answer": answer.strip()}, by_place=True)
    if whole is not None:
        return one(whole)
    leading = _LEADING.match(answer.strip())
    said = {match[1] for match in (leading, *_SAID.finditer(answer)) if match}
    if len(said) != 1:
        return NONE
    index = ascii_uppercase.index(said.pop())
    return one(index) if index < len(question.options) else NONE
