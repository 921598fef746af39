"""The options of a question: without their letters, and which of them is the answer."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from liteframe.errors import ManifestError

_LETTERED = re.compile(r"\s*\(?(?P<letter>[A-Z])[.):]\s*")
_ANNOUNCED = re.compile(r"(?:the )?(?:correct )?(?:answer|option)(?: is)?(?:\s*:\s*|\s+)", re.IGNORECASE)
_LETTER = re.compile(
    r"(?:\((?P<inner>[A-Z])\)|(?P<outer>[A-Z]))(?:[.):]+|(?=\s)|$)\s*(?P<text>.*)", re.IGNORECASE | re.DOTALL
)

_ONE = r"[(\[*\"']*(?:[A-Za-z]|\d{1,2})[)\]*\"']*"
_POINTER = re.compile(rf"\s*{_ONE}(?:(?:\s*[,;/&+]\s*(?:and\s+)?|\s+(?:and|or)\s+){_ONE})*[.:]?\s*")
"""One letter or number, or several: ``B``, ``[B]``, ``A, C``, ``(B) and (C)``."""
_RUN = re.compile(r"[A-Z]{2,}")
_OPENED_BY = re.compile(r"\s*(?:\((?P<inner>[A-Za-z])\)|\[(?P<square>[A-Z])\]|(?P<outer>[A-Z])(?:[.):](?=\s)|\s*\n))")
_WRAPPED = re.compile(
    r"<answer>\s*\(?(?P<tagged>[A-Z])\b|\\boxed\{\s*(?:\\text\{)?\(?(?P<boxed>[A-Z])\b"
    r"|\b(?i:answer|option|choice)(?i:\s+is)?\s*:?\s*[(\[*\"']*(?P<told>[A-Z]|\d)(?:\b(?!\s+\w)|[)\]])"
)
"""How longer answers tell a letter: ``<answer>B</answer>``, ``\\boxed{B}``, ``..., so the answer is (B)``."""
_NUMBERED = re.compile(r"[A-F]|(?:option|choice|candidate|answer|a)_?(?:\d|[A-Fa-f])", re.IGNORECASE)


def without_letters(options: Sequence[str]) -> list[str] | None:
    """The texts of options that bring their letters along, each its own (``A. text``, ``(B) text``); None of others."""
    matches = [_LETTERED.match(option) for option in options]
    if "".join(match["letter"] if match else "-" for match in matches) != ascii_uppercase[: len(options)]:
        return None
    return [option[match.end() :] for option, match in zip(options, matches, strict=True) if match]


def right_option(question: dict[str, Any]) -> int | None:
    """Place of the option that is the answer; None where it is none, or may be one of two.

    A row gives it as the option's text (spaces, case and a full stop at its end do not matter), as its letter (``C``,
    ``c``, ``(C)``, ``C.``, ``Answer: C``), or as both (``C. a ball``), which have to agree. A number is a text: it may
    count from 0 or from 1.

    Args:
        question: as `choices_of` gives it.
    """
    options, answer = question["options"], question["answer"]
    said = _unannounced(answer)
    by_text = options.index(answer) if answer in options else _place_of_text(options, answer)
    by_text = _place_of_text(options, said) if by_text is None else by_text
    by_letter = _place_of_letter(options, said)
    if said != answer.strip() and (whole := _place_of_text(options, answer)) is not None:
        return whole  # "Option B", where options are called so: its letter is none
    if by_text is None or by_letter is None or options[by_text] == options[by_letter]:
        return by_letter if by_text is None else by_text
    return None


def answer_in_words(question: dict[str, Any]) -> str:
    """The answer as it is learnt from the question alone: the text of an option in place of its letter.

    Where the question shows its options itself, the letter stays.

    Args:
        question: `question` and `answer`, with or without `options`.

    Raises:
        ManifestError: the answer is a letter or a number, or goes by one, and which option it stands for cannot be
            told: the options stand in a field that is not read, or none, or several, are meant.
    """
    options, answer = question.get("options"), question["answer"]
    is_pointer = _POINTER.fullmatch(_unannounced(answer)) is not None
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options) or not options:
        if is_pointer and (name := _unread_options(question)) is not None:
            raise ManifestError(
                f"field {name}: the answer {answer!r} stands for an option, and options are read from 'options', a list"
                " of texts; write them there, or the answer in words"
            )
        return answer
    plain = without_letters(options)
    texts = options if plain is None or not all(map(str.strip, plain)) else plain
    if (texts is options and answer in options) or all(text in question["question"] for text in texts):
        return answer
    said = ascii_uppercase[options.index(answer)] if texts is plain and answer in options else answer
    place = right_option({"options": texts, "answer": said})
    if place is not None:
        return answer if bare_text(answer) == bare_text(texts[place]) else texts[place]
    if is_pointer or _goes_by_letter(answer, len(options)):
        raise ManifestError(
            f"field answer: {reprlib.repr(answer)} is none of the options {reprlib.repr(options)}, nor the letter of"
            " one, and the question does not show them; give the text of one, or its letter"
        )
    return answer


def require_shown_options(row: dict[str, Any], turns: Sequence[tuple[str, str]], where: str) -> None:
    """Raises ManifestError where a conversation answers by the letter of an option that the row alone holds.

    Args:
        row: whose `options`, or a field in which other loaders find them, may hold what the letters stand for.
        turns: its questions with their answers.
        where: place of the row.
    """
    pointers = [number for number, (_, answer) in enumerate(turns) if _POINTER.fullmatch(_unannounced(answer))]
    name = "options" if row.get("options") else _unread_options(row) if pointers else None
    if not pointers or name is None:
        return
    value = row[name]
    options = list(value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value])
    texts = without_letters(options) if all(isinstance(option, str) for option in options) else None
    shown = "\n".join(question for question, _ in turns[: pointers[0] + 1])
    answer = turns[pointers[0]][1]
    if answer not in options and not all(str(text) in shown for text in texts or options):
        raise ManifestError(
            f"{where}: field conversations: the answer {answer!r} stands for one of the row's {name!r}, which no"
            " question shows; write them into it, or the answer in words"
        )


def _goes_by_letter(answer: str, options: int) -> bool:
    """Whether an answer that is no option opens with the letter of one, is letters of several, or tells one."""
    letters = ascii_uppercase[:options]
    if _RUN.fullmatch(answer.strip().rstrip(".")):
        return set(answer.strip().rstrip(".")) <= set(letters)
    found = [*filter(None, (_OPENED_BY.match(answer),)), *_WRAPPED.finditer(answer)]
    named = [letter for match in found for letter in match.groups() if letter]
    return any(letter.isdigit() or letter.upper() in letters for letter in named)


def _unread_options(question: dict[str, Any]) -> str | None:
    """Name of a field in which other loaders find options."""
    for name in ("candidates", "choices", "multiple_choice"):
        if isinstance(question.get(name), list | dict | str):
            return name
    numbered = [name for name, value in question.items() if isinstance(value, str) and _NUMBERED.fullmatch(name)]
    return numbered[0] if len(numbered) > 1 else None


def _unannounced(answer: str) -> str:
    match = _ANNOUNCED.match(answer.strip())
    return answer.strip()[match.end() if match else 0 :]


def _place_of_text(options: list[str], answer: str) -> int | None:
    alike = [place for place, option in enumerate(options) if bare_text(option) == bare_text(answer)]
    return alike[0] if len({options[place] for place in alike}) == 1 and bare_text(answer) else None


def _place_of_letter(options: list[str], answer: str) -> int | None:
    match = _LETTER.fullmatch(answer)
    if match is None:
        return None
    place = ascii_uppercase.index((match["inner"] or match["outer"]).upper())
    if place >= len(options) or (match["text"] and bare_text(match["text"]) != bare_text(options[place])):
        return None
    return place


def bare_text(text: str) -> str:
    """A text as it is compared: without case, spaces at its ends or in rows, or full stops at its end."""
    return " ".join(text.split()).rstrip(".").casefold()
