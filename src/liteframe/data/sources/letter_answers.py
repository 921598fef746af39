"""Answers by the letter or the number of an option, which mean something only beside the options themselves."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from liteframe.data.sources.option_fields import OptionField, option_fields, unnamed_options
from liteframe.data.sources.options import (
    bare_text,
    borne_letters,
    how_to_answer,
    options_as_list,
    right_option,
    unannounced,
    without_letters,
    without_stray_letters,
)
from liteframe.data.sources.shown_options import LETTERS, NUMBERS, enumerates, shows
from liteframe.errors import ManifestError

_ONE = r"[(\[*\"']*(?:[A-Za-z]|\d{1,2}(?:\.0)?)[)\]*\"']*"
_POINTER = re.compile(rf"\s*{_ONE}(?:(?:\s*[,;/&+]\s*(?:and\s+)?|\s+(?:and|or)\s+){_ONE})*[.:]?\s*")
"""One letter or number, or several: ``B``, ``[B]``, ``A, C``, ``(B) and (C)``, ``2.0``."""
_LONE = re.compile(rf"\s*{_ONE}[.:]?\s*")
_MARK = re.compile(r"(?<![A-Za-z\d])(?:[A-Za-z]|(?<!\d\.)\d{1,2})(?![A-Za-z\d])")
_RUN = re.compile(r"[A-Z]{2,}")
_OPENED_BY = re.compile(r"\s*(?:\((?P<inner>[A-Za-z])\)|\[(?P<square>[A-Z])\]|(?P<outer>[A-Z])(?:[.):](?=\s)|\s*\n))")
_WRAPPED = re.compile(
    r"<answer>\s*\(?(?P<tagged>[A-Z])\b|\\boxed\{\s*(?:\\text\{)?\(?(?P<boxed>[A-Z])\b"
    r"|\b(?i:answer|option|choice)(?i:\s+is)?\s*:?\s*[(\[*\"']*(?P<told>[A-Z]|\d)(?:\b(?!\s+\w)|[)\]])"
)
"""How longer answers tell a letter: ``<answer>B</answer>``, ``\\boxed{B}``, ``..., so the answer is (B)``."""
_NTH = re.compile(r"\b(?:option|choice)\b", re.IGNORECASE)

_COUNTING = re.compile(
    r"\b(?:how (?:many|much|often|old)|(?:what|which) (?:(?:is|was) the )?(?:number|count|year|age|score)\b"
    r"|count (?:the|all|how|of)|number of)\b",
    re.IGNORECASE,
)
"""What is asked where the answer is a number of its own."""
_ASKS_NUMBER = re.compile(
    r"\b(?:how (?:many|much|often|old|long|far|tall|high|deep|wide|fast|heavy|big|large)"
    r"|(?:what|which)(?:['\u2019]s)?(?: [\w'\u2019-]+){0,3}?"
    r" (?:number|count|year|age|score|digit|floor|level|page|day|hour|minute|second|time|height|length|distance|total"
    r"|sum|result)s?\b"
    r"|count (?:the|all|how|of)|number of|in (?:seconds|minutes|hours|met(?:re|er)s|total)\b)",
    re.IGNORECASE,
)
_ASKS_LETTER = re.compile(
    r"\b(?:(?:what|which)(?:['\u2019]s)?(?: [\w'\u2019-]+){0,3}? (?:letter|grade|mark)s?\b|letter is)", re.IGNORECASE
)
"""What is asked where a number or a letter is an answer of its own, if only a list of any name may hold options."""
_COUNT = re.compile(r"\d|\b(?:zero|none|one|two|three|four|five|six|seven|eight|nine|ten|once|twice)\b", re.IGNORECASE)
_WITHHELD = {
    *("", "-1", "?", "??", "???", "-", "--", "none", "null", "nil", "nan", "na", "n/a", "tbd", "todo"),
    *("hidden", "withheld", "masked", "mask", "unknown", "undefined", "unavailable"),
    *("not available", "not provided", "not released"),
}
"""What stands in the place of answers that are not published."""


def answer_in_words(question: dict[str, Any]) -> str:
    """The answer as it is learnt from the question alone: the text of an option in place of its letter.

    Where the question shows its options itself, the letter stays.

    Args:
        question: `question` and `answer`, with or without `options`.

    Raises:
        ManifestError: the answer is a letter or a number, or goes by one, and which option it stands for cannot be
            told: the options stand in a field that is not read, or none, or several, are meant; or it stands for one
            that is not published.
    """
    options, answer, asked = options_as_list(question.get("options")), question["answer"], question["question"]
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options) or not options:
        _require_read(question)
        return answer
    _require_published(answer, "options", options)
    texts, stray = _plain(options), without_stray_letters(options, answer)
    place = options.index(answer) if answer in options else None
    if texts is options and place is not None and right_option({"options": options, "answer": answer}) is not None:
        return answer
    marks = marks_of(answer, options)
    is_shown = shows(asked, texts) or (stray is not None and shows(asked, stray))
    if is_shown and not (_is_number(answer, marks) and enumerates(asked, LETTERS) and not _is_one(answer, texts)):
        return answer
    said = ascii_uppercase[place] if texts is not options and place is not None else answer
    # Those that brought the letters of their places along have no others, even if they begin like one (A. D. Beckham).
    if (place := right_option({"options": texts, "answer": said}, by_place=texts is not options)) is not None:
        text = (stray or texts)[place]
        return answer if bare_text(answer) == bare_text(text) else text
    if marks and (is_shown or not enumerates(asked, NUMBERS if _is_number(answer, marks) else LETTERS, texts)):
        shown = "shows them by letters" if is_shown else "does not show them"
        raise ManifestError(
            f"field answer: {reprlib.repr(answer)} is none of the options {reprlib.repr(options)}, nor the letter of"
            f" one, or it may be two of them, and the question {shown}; {how_to_answer(texts, said)}"
        )
    return answer


def _require_read(question: dict[str, Any]) -> None:
    """Raises ManifestError where the answer stands for an option, and the options are in a field that is not read."""
    answer, asked = question["answer"], question["question"]
    known = list(option_fields(question))
    for found in known:
        _require_published(answer, found.name, found.texts)
    if not known and _LONE.fullmatch(said := unannounced(answer)):
        asks = _ASKS_NUMBER if any(map(str.isdigit, said)) else _ASKS_LETTER
        known = [] if asks.search(asked) else list(unnamed_options(question))
    for found in known:
        # "a3", the field that holds it
        is_named = found.labels and answer.strip() in question and not _is_one(answer, found.texts)
        if is_named or _is_hidden(answer, found, asked):
            raise ManifestError(
                f"field {found.name}: the answer {answer!r} stands for an option, and options are read from 'options',"
                " a list of texts; write them there, or the answer in words, or rename the field ('tags') if it"
                " holds none"
            )


def require_shown_options(row: dict[str, Any], turns: Sequence[tuple[str, str]], where: str) -> None:
    """Raises ManifestError where a conversation answers by the letter of an option that the row alone holds.

    Args:
        row: whose `options`, or a field in which other loaders find them, may hold what the letters stand for.
        turns: its questions with their answers.
        where: place of the row.
    """
    for found in option_fields(row):
        texts = _plain(found.texts)
        if len(turns) == 1:
            _require_published(turns[0][1], found.name, texts, f"{where}: field conversations: the answer")
        pointing = [turn for turn in enumerate(turns) if marks_of(turn[1][1], found.texts)]
        if not pointing:
            continue
        showing = next((number for number, (asked, _) in enumerate(turns) if shows(asked, texts)), None)
        for number, (asked, answer) in pointing:
            is_number = _is_number(answer, marks_of(answer, found.texts))
            # Where one question shows them, a number answers it, or another one that has no options.
            is_fine = not enumerates(asked, LETTERS) if is_number else number >= (showing or 0)
            if (showing is None or not is_fine) and _is_hidden(answer, found, asked, True, len(turns) > 1):
                raise ManifestError(
                    f"{where}: field conversations: the answer {reprlib.repr(answer)} stands for one of the row's"
                    f" {found.name!r}, which no question up to it shows; write them into it, or the answer in words"
                )


def _require_published(answer: str, name: str, listed: list[str], about: str = "field answer:") -> None:
    """Raises ManifestError where the answer is none of the options, but what stands for one that is kept back."""
    if bare_text(answer).strip("<>[]()") in _WITHHELD and not _is_one(answer, [*listed, *_plain(listed)]):
        raise ManifestError(
            f"{about} {reprlib.repr(answer)} is none of {name!r}, and stands for an answer that is not"
            " published, as in test splits; drop the row, or write the answer out"
        )


def _is_hidden(answer: str, found: OptionField, asked: str, may_count: bool = False, of_several: bool = False) -> bool:
    """Whether an answer goes by the letter or the number of an option that its question does not show.

    Args:
        answer, asked: of a turn.
        found: the options.
        may_count: where a count is asked for and no option holds one, a number is an answer: they are of another turn.
        of_several: the turn is one of several, and its question may have options of its own.
    """
    texts = _plain(found.texts)
    marks = marks_of(answer, found.texts)
    if not marks or (_is_one(answer, texts) and not _is_another(answer, found._replace(texts=texts))):
        return False
    listed_as = None if of_several else texts
    if not _is_number(answer, marks):
        return not shows(asked, texts) and not enumerates(asked, LETTERS, listed_as)
    if any(int(mark) > len(texts) for mark in marks) or enumerates(asked, NUMBERS, listed_as):
        return False
    if may_count and _COUNTING.search(asked) and not any(map(_COUNT.search, texts)):
        return False
    return enumerates(asked, LETTERS) or not shows(asked, texts)


def _is_another(answer: str, found: OptionField) -> bool:
    """Whether an answer that is the text of an option is the letter, or by its field's name the number, of another."""
    said = unannounced(answer).strip("().: ").upper()
    if said in found.labels:
        return bare_text(found.texts[found.labels.index(said)]) != bare_text(said)
    return right_option({"options": found.texts, "answer": answer}) is None


def _plain(listed: list[str]) -> list[str]:
    """Options without the letters they bring along, if each is more than that; else the same list."""
    plain = without_letters(listed)
    return listed if plain is None or not all(map(str.strip, plain)) else plain


def marks_of(answer: str, listed: list[str]) -> list[str]:
    """The letters and numbers by which an answer goes, of these options; none where it is in words."""
    said = unannounced(answer)
    if _POINTER.fullmatch(said):
        return [mark for mark in _MARK.findall(said) if mark]
    letters = [*ascii_uppercase[: len(listed)], *(borne_letters(listed) or ())]
    run = answer.strip().rstrip(".")
    if _RUN.fullmatch(run):
        return list(run) if set(run) <= set(letters) else []
    found = [*filter(None, (_OPENED_BY.match(answer),)), *_WRAPPED.finditer(answer)]
    named = [letter for match in found for letter in match.groups() if letter]
    return [letter for letter in named if letter.isdigit() or letter.upper() in letters]


def _is_number(answer: str, marks: list[str]) -> bool:
    """Whether it goes by numbers alone, which ``option 2`` does not: that is the second, however they are shown."""
    return bool(marks) and all(map(str.isdigit, marks)) and not _NTH.search(answer)


def _is_one(answer: str, texts: Sequence[str]) -> bool:
    """Whether an answer is the text of an option."""
    return not {bare_text(answer), bare_text(unannounced(answer))}.isdisjoint(map(bare_text, texts))
