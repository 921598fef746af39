"""Answers as lmms-eval 0.7.3 reads them, with what it gets wrong; written from its behaviour, and compared with it.

A benchmark has a rule of its own there. A benchmark that it lacks is read by the rule that its tasks share.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from string import ascii_uppercase

from liteframe.evaluation.benchmarks.question import Question
from liteframe.evaluation.scoring.reading import NONE, Reading, one

_PHRASES = (
    *("the answer is", "answer is", "the correct answer is", "correct answer is", "the best answer is"),
    *("best answer is", "the correct option is", "correct option is", "the best option is", "best option is"),
    *("the choice is", "choice is", "the correct choice is", "correct choice is", "i choose", "i select", "i pick"),
    *("my answer is", "my choice is", "옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは"),
)
_FORMS = (("({})", 6), ("{}.", 5), ("{}:", 4), ("{})", 3), ("{} ", 2))
_START, _END, _PHRASE, _ANYWHERE = 10, 9, 7, 0
_LVB_STOCK = (
    *("The best answer is", "The correct answer is", "The answer is", "The answer", "The best option is"),
    *("The correct option is", "Best answer:", "Best option:"),
)
_MVB_MARKS = (";", "/", "[", "]", '"', "{", "}", "(", ")", "=", "+", "\\", "_", "-", ">", "<", "@", "`", ",", "?", "!")


def shared(answer: str, letters: str) -> Reading:
    """`extract_mcq_answer`: every form a letter may stand in has a rank, and the last in the highest rank counts."""
    if not answer.strip():
        return NONE
    text = answer.strip()
    for mark in ",.!?;:'\"":
        text = text.strip(mark)
    text = f" {text} "
    found = [(rank, text.rfind(form.format(letter)), letter) for form, rank in _FORMS for letter in letters]
    found += _behind_phrases(text, letters)
    bare = text.strip()
    for letter in letters:
        if bare.startswith(letter) and not bare[1:2].isalpha():
            found.append((_START, 0, letter))
        if bare.endswith(letter) and not bare[-2:-1].isalpha():
            found.append((_END, len(text) - 1, letter))
    found = [candidate for candidate in found if candidate[1] >= 0]
    found = found or [(_ANYWHERE, text.rfind(letter), letter) for letter in letters if letter in text]
    if not found:
        return NONE
    return one(ascii_uppercase.index(max(found, key=lambda candidate: candidate[:2])[2]))


def _behind_phrases(text: str, letters: str) -> list[tuple[int, int, str]]:
    """The first of each letter behind the first of each phrase."""
    lower = text.lower()
    ends = [lower.find(phrase) + len(phrase) for phrase in _PHRASES if phrase in lower]
    return [(_PHRASE, text.find(letter, end), letter) for end in ends for letter in letters]


def first_four(answer: str, question: Question) -> Reading:
    """Video-MME and MLVU: the shared rule over A to D, whatever the question offers."""
    return shared(answer, ascii_uppercase[:4])


def by_options(answer: str, question: Question) -> Reading:
    """The shared rule over the letters of the question."""
    return shared(answer, question.letters)


def longvideobench(answer: str, question: Question, seed: int = 0) -> Reading:
    """The first of A to E behind stock phrases; where there is none, an option that is drawn.

    lmms-eval draws from Python's generator as it stands; here the draw is that of `seed` and the question.
    """
    text = answer.strip()
    for stock in _LVB_STOCK:
        text = text.replace(stock, "")
    match = re.search("[ABCDE]", text)
    if match is None:
        return _drawn(question, seed)
    return one(ascii_uppercase.index(match[0]))


def egoschema(answer: str, question: Question, seed: int = 0) -> Reading:
    """``(A)``, ``A`` with a space, ``A.``, wherever; else, in a long answer, an option's text; else one is drawn.

    Of several the one whose last position comes first counts.
    """
    text = answer
    for mark in ",.!?;:'":
        text = text.strip(mark)
    text = f" {text} "
    forms = [form.format(letter) for form in ("({})", "{} ", "{}.") for letter in question.letters]
    found = [(text.rfind(form), form.strip("(). ")) for form in forms if form in text]
    if not found and len(text.split()) > 5:
        lower = text.lower()
        told = zip(question.letters, _as_listed(question), strict=True)
        found = [(lower.rfind(option), letter) for letter, option in told if option in lower]
    if not found:
        return _drawn(question, seed)
    return one(ascii_uppercase.index(min(found, key=lambda candidate: candidate[0])[1]))


def _as_listed(question: Question) -> Sequence[str]:
    """EgoSchema's options in lower case with their letters, which its rows bring along."""
    if question.published is None:
        return [option.strip().lower() for option in question.options]
    lines = zip(question.letters, question.options, strict=True)
    return [f"{letter}. {option}".strip().lower() for letter, option in lines]


def mvbench(answer: str, question: Question) -> Reading:
    """A letter before a full stop at the start, or else the first that stands alone when punctuation is taken out.

    It may be small: an article counts as A. An answer without any letter is compared as text, and is wrong. (An empty
    one lmms-eval leaves out of its average; here it is wrong as well.)
    """
    match = re.match(r"([A-E])\.\s*(.+)$", answer.strip(), re.IGNORECASE)
    if match is None:
        match = re.search(r"\b([A-E])\b", _mvbench_text(answer), re.IGNORECASE)
    return NONE if match is None else one(ascii_uppercase.index(match[1].upper()))


def _mvbench_text(answer: str) -> str:
    """The answer on one line; a mark becomes a space, or nothing if it stands beside one or digits have a comma."""
    line = answer.replace("\n", " ").replace("\t", " ").strip()
    text = line
    for mark in _MVB_MARKS:
        beside = f"{mark} " in line or f" {mark}" in line or re.search(r"\d,\d", line) is not None
        text = text.replace(mark, "" if beside else " ")
    return _without_periods(text).strip("'").strip('"').strip(")").strip("(").strip().lower()


def _without_periods(text: str) -> str:
    """Without full stops that no digit follows: of those, lmms-eval takes out the first 32."""
    return re.sub(r"\.(?!\d)", "", text, count=int(re.UNICODE))


def _drawn(question: Question, seed: int) -> Reading:
    index = random.Random(f"{seed} {question.id}").randrange(len(question.options))
    return Reading(frozenset((index,)), parsed=False)
