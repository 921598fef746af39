"""Answers by the letter or the number of an option, which mean something only beside the options themselves."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from liteframe.data.sources.option_fields import option_fields
from liteframe.data.sources.options import bare_text, right_option, unannounced, without_letters
from liteframe.errors import ManifestError

_ONE = r"[(\[*\"']*(?:[A-Za-z]|\d{1,2})[)\]*\"']*"
_POINTER = re.compile(rf"\s*{_ONE}(?:(?:\s*[,;/&+]\s*(?:and\s+)?|\s+(?:and|or)\s+){_ONE})*[.:]?\s*")
"""One letter or number, or several: ``B``, ``[B]``, ``A, C``, ``(B) and (C)``."""
_MARK = re.compile(r"(?<![A-Za-z\d])(?:[A-Za-z]|\d{1,2})(?![A-Za-z\d])")
_RUN = re.compile(r"[A-Z]{2,}")
_OPENED_BY = re.compile(r"\s*(?:\((?P<inner>[A-Za-z])\)|\[(?P<square>[A-Z])\]|(?P<outer>[A-Z])(?:[.):](?=\s)|\s*\n))")
_WRAPPED = re.compile(
    r"<answer>\s*\(?(?P<tagged>[A-Z])\b|\\boxed\{\s*(?:\\text\{)?\(?(?P<boxed>[A-Z])\b"
    r"|\b(?i:answer|option|choice)(?i:\s+is)?\s*:?\s*[(\[*\"']*(?P<told>[A-Z]|\d)(?:\b(?!\s+\w)|[)\]])"
)
"""How longer answers tell a letter: ``<answer>B</answer>``, ``\\boxed{B}``, ``..., so the answer is (B)``."""
_NTH = re.compile(r"\b(?:option|choice)\b", re.IGNORECASE)

_COUNTING = re.compile(
    r"\b(?:how (?:many|much|often|old|long|far)|count|number|digits?|score|age|year)\b", re.IGNORECASE
)
"""What is asked of where the answer is a number of its own."""
_COUNT = re.compile(r"\d|\b(?:zero|none|one|two|three|four|five|six|seven|eight|nine|ten|once|twice)\b", re.IGNORECASE)
_BEHIND = re.compile(
    r"(?<![a-z\d])[(\[<*]*(?:[a-z](?:[)\]>*.:\u3001\uff0e\uff1a]+| [-\u2013](?= ))"
    r"|\d{1,2}(?:[)\]>*\u3001\uff0e\uff1a]+|[.:]+(?=\s)))[\s*\"']*$"
)
"""The end of a text in lower case behind which an option may stand: ``(a) ``, ``a.``, ``1. ``."""
_LONGEST_LABEL = 16
_WITHOUT_SPACES = "\u2e80"
"""From here on lie scripts whose words no space parts."""
_AT_A_LINE = re.compile(
    r"^\s*(?:[-*\u2022]\s*)?(?:[(\[<*]*(?:[A-Za-z]|\d{1,2})(?:[)\]>*.:\u3001\uff0e\uff1a-]+|(?=\s))\s*)?"
)
_BETWEEN = r"[\s'\"]*[,;|][\s'\"]*(?:(?:and|or) )?"
_Labels = tuple[re.Pattern[str], re.Pattern[str]]
_LETTERS: _Labels = (
    re.compile(r"(?<![A-Za-z\d_])(?:A[.):\]\u3001\uff0e\uff1a]|a[)\]])"),
    re.compile(r"(?<![A-Za-z\d_])(?:B[.):\]\u3001\uff0e\uff1a]|b[)\]])"),
)
_NUMBERS: _Labels = (
    re.compile(r"(?<!\w)(?:[(\[]?[01][)\]]|[01][.:]\s)"),
    re.compile(r"(?<!\w)(?:[(\[]?[12][)\]]|[12][.:]\s)"),
)
"""How a list of options begins: its first two labels."""


def answer_in_words(question: dict[str, Any]) -> str:
    """The answer as it is learnt from the question alone: the text of an option in place of its letter.

    Where the question shows its options itself, the letter stays.

    Args:
        question: `question` and `answer`, with or without `options`.

    Raises:
        ManifestError: the answer is a letter or a number, or goes by one, and which option it stands for cannot be
            told: the options stand in a field that is not read, or none, or several, are meant.
    """
    options, answer, asked = question.get("options"), question["answer"], question["question"]
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options) or not options:
        for name, texts in option_fields(question):
            if _is_hidden(answer, texts, asked):
                raise ManifestError(
                    f"field {name}: the answer {answer!r} stands for an option, and options are read from 'options', a"
                    " list of texts; write them there, or the answer in words"
                )
        return answer
    texts = _plain(options)
    if texts is options and answer in options:
        return answer
    marks = _marks(answer, len(options))
    is_shown = _shows(asked, texts)
    if is_shown and not (_is_number(answer, marks) and _enumerates(asked, _LETTERS) and not _is_one(answer, texts)):
        return answer
    said = ascii_uppercase[options.index(answer)] if texts is not options and answer in options else answer
    place = right_option({"options": texts, "answer": said})
    if place is not None:
        return answer if bare_text(answer) == bare_text(texts[place]) else texts[place]
    if marks and (is_shown or not _enumerates(asked, _NUMBERS if _is_number(answer, marks) else _LETTERS)):
        shown = "shows them by letters" if is_shown else "does not show them"
        raise ManifestError(
            f"field answer: {reprlib.repr(answer)} is none of the options {reprlib.repr(options)}, nor the letter of"
            f" one, and the question {shown}; give the text of one, or its letter"
        )
    return answer


def require_shown_options(row: dict[str, Any], turns: Sequence[tuple[str, str]], where: str) -> None:
    """Raises ManifestError where a conversation answers by the letter of an option that the row alone holds.

    Args:
        row: whose `options`, or a field in which other loaders find them, may hold what the letters stand for.
        turns: its questions with their answers.
        where: place of the row.
    """
    for name, listed in option_fields(row):
        texts = _plain(listed)
        pointing = [turn for turn in enumerate(turns) if _marks(turn[1][1], len(texts))]
        if not pointing:
            continue
        showing = next((number for number, (asked, _) in enumerate(turns) if _shows(asked, texts)), None)
        for number, (asked, answer) in pointing:
            is_number = _is_number(answer, _marks(answer, len(texts)))
            # Where one question shows them, a number answers it, or another one that has no options.
            is_fine = not _enumerates(asked, _LETTERS) if is_number else number >= (showing or 0)
            if (showing is None or not is_fine) and _is_hidden(answer, texts, asked):
                raise ManifestError(
                    f"{where}: field conversations: the answer {reprlib.repr(answer)} stands for one of the row's"
                    f" {name!r}, which no question up to it shows; write them into it, or the answer in words"
                )


def _is_hidden(answer: str, listed: list[str], asked: str) -> bool:
    """Whether an answer goes by the letter or the number of an option that its question does not show."""
    texts = _plain(listed)
    marks = _marks(answer, len(texts))
    if not marks or _is_one(answer, texts):
        return False
    if not _is_number(answer, marks):
        return not _shows(asked, texts) and not _enumerates(asked, _LETTERS)
    if any(int(mark) > len(texts) for mark in marks) or _enumerates(asked, _NUMBERS):
        return False
    if _COUNTING.search(asked) and not any(map(_COUNT.search, texts)):
        return False
    return _enumerates(asked, _LETTERS) or not _shows(asked, texts)


def _plain(listed: list[str]) -> list[str]:
    """Options without the letters they bring along, if each is more than that; else the same list."""
    plain = without_letters(listed)
    return listed if plain is None or not all(map(str.strip, plain)) else plain


def _marks(answer: str, options: int) -> list[str]:
    """The letters and numbers by which an answer goes; none where it is in words."""
    said = unannounced(answer)
    if _POINTER.fullmatch(said):
        return [mark for mark in _MARK.findall(said) if mark]
    letters, run = ascii_uppercase[:options], answer.strip().rstrip(".")
    if _RUN.fullmatch(run):
        return list(run) if set(run) <= set(letters) else []
    found = [*filter(None, (_OPENED_BY.match(answer),)), *_WRAPPED.finditer(answer)]
    named = [letter for match in found for letter in match.groups() if letter]
    return [letter for letter in named if letter.isdigit() or letter.upper() in letters]


def _is_number(answer: str, marks: list[str]) -> bool:
    """Whether it goes by numbers alone, which ``option 2`` does not: that is the second, however they are shown."""
    return bool(marks) and all(map(str.isdigit, marks)) and not _NTH.search(answer)


def _is_one(answer: str, texts: list[str]) -> bool:
    """Whether an answer is the text of an option."""
    return not {bare_text(answer), bare_text(unannounced(answer))}.isdisjoint(map(bare_text, texts))


def _shows(question: str, texts: list[str]) -> bool:
    """Whether a text shows each option behind a letter, a number or on a line of its own, or all as ``: one, two``."""
    wanted = [bare_text(text) for text in texts]
    if not all(wanted):
        return False
    flat = " ".join(question.split()).casefold()
    lines = {bare_text(spelt) for line in question.splitlines() for spelt in (line, _AT_A_LINE.sub("", line, count=1))}
    if all(text in lines or _is_behind_a_label(text, flat) for text in wanted):
        return True
    if all(f" {letter} {text} " in f" {flat} " for letter, text in zip(ascii_lowercase, wanted, strict=False)):
        return True
    return re.search(rf"[:\[(][\s'\"]*{_BETWEEN.join(map(re.escape, wanted))}(?!\w)", flat) is not None


def _is_behind_a_label(text: str, flat: str) -> bool:
    at = flat.find(text)
    while at >= 0:
        after = flat[at + len(text) : at + len(text) + 1]
        ends = not (after.isalnum() and text[-1].isalnum()) or text[-1] >= _WITHOUT_SPACES
        if ends and _BEHIND.search(flat[max(0, at - _LONGEST_LABEL) : at]):
            return True
        at = flat.find(text, at + 1)
    return False


def _enumerates(question: str, labels: _Labels) -> bool:
    """Whether a question has the first two labels of a list, in order."""
    first = labels[0].search(question)
    return first is not None and labels[1].search(question, first.end()) is not None
