"""Answers as VLMEvalKit reads them without a judge ("exact_matching"), with what it gets wrong.

Written from its behaviour, and compared with it. What a judge would read into an answer is left as no option.
"""

from __future__ import annotations

import re
from string import ascii_uppercase

from liteframe.evaluation.benchmarks.question import Question
from liteframe.evaluation.scoring.reading import NONE, Reading, one

_STOCK = (
    *("The best answer is", "The correct answer is", "The answer is", "The answer"),
    # A comma lacks twice in its list, so that these four are taken out only two by two.
    *("The best option isThe correct option is", "Best answer:Best option:", "Answer:", "Option:"),
)
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_API_FAILED = "Failed to obtain answer via API"
_ANSWER_IS = re.compile(r"(?:correct\s+)?answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)


def _first_letter(answer: str, letters: str) -> Reading:
    """The first of the letters behind stock phrases, be it the start of a word."""
    text = answer.strip()
    for stock in _STOCK:
        text = text.replace(stock, "")
    match = re.search(f"[{letters}]", text)
    return NONE if match is None else one(ascii_uppercase.index(match[0]))


def video_mme(answer: str, question: Question) -> Reading:
    """The first capital from A to D."""
    return _first_letter(answer, "ABCD")


def longvideobench(answer: str, question: Question) -> Reading:
    """The first capital from A to E; nothing is drawn."""
    return _first_letter(answer, "ABCDE")


def mlvu(answer: str, question: Question) -> Reading:
    """The character before the first bracket that closes, or the whole answer; and what `_inferred` finds besides."""
    said = answer
    if ")" in answer:
        end = answer.index(")")
        said = answer[end - 1 : end]
    chosen = {index for index, letter in enumerate(question.letters) if said == letter}
    return _reading(chosen | _called(_inferred(answer, question), question))


def mvbench(answer: str, question: Question) -> Reading:
    """Each option whose letter in brackets holds the first word, or the other way round; and `_inferred`.

    An answer that is empty, or a lone full stop, is thus right whatever the option.
    """
    word = answer.lower().strip().split(" ")[0]
    bracketed = [f"({letter.lower()})" for letter in question.letters]
    chosen = {index for index, it in enumerate(bracketed) if word.replace(".", "") in it or it in word}
    return _reading(chosen | _called(_inferred(answer, question), question))


def _called(inferred: str, question: Question) -> set[int]:
    """The options that are right where VLMEvalKit infers that letter.

    It renames the answer to its letter while it goes through the options, and where a later option is that letter
    itself, renames it again.
    """
    found = set()
    for index, name in enumerate(question.options):
        for letter, option in zip(question.letters, question.options, strict=True):
            name = letter if option == name else name
        if inferred == name:
            found.add(index)
    return found


def _reading(chosen: set[int]) -> Reading:
    return Reading(frozenset(chosen)) if chosen else NONE


def _inferred(answer: str, question: Question) -> str:
    """What `can_infer` finds: the one letter that is a word near the end; ``answer is C``; or the one option's text."""
    if _API_FAILED not in answer:
        if any(refusal in answer for refusal in _REFUSALS):
            return ""
        words = re.sub(r"[.()\[\],:;!*#{}]", " ", answer).split()
        letters = [letter for letter in question.letters if letter in words]
        if len(letters) == 1 and words.index(letters[0]) > len(words) - 5:
            return letters[0]
        if not letters and "Z" in words:
            return ""
        match = _ANSWER_IS.search(answer)
        if match and match[1].upper() in question.letters:
            return match[1].upper()
    lower, options = answer.lower(), [option.lower() for option in question.options]
    if len(lower) > 2 * sum(map(len, question.options)):
        return ""
    told = [letter for letter, option in zip(question.letters, options, strict=True) if option in lower]
    return told[0] if len(told) == 1 else ""
