"""The forms in which a row asks its questions, of which each reader reads one: two have to say the same."""

from __future__ import annotations

import html
import re
import unicodedata
from string import ascii_uppercase
from typing import Any, NamedTuple

from liteframe.data.sources.letter_answers import marks_of
from liteframe.data.sources.messages import said_by_turns
from liteframe.data.sources.options import bare_text, options_as_list, right_option, unannounced
from liteframe.errors import ManifestError

_ANY = list(ascii_uppercase)
_AROUND = re.compile(r"<\w+>|\b(?:options|choices|candidates)\s*:", re.IGNORECASE)
"""What one form of a question may have and the other not: placeholders, and what stands before its options."""
_QUOTES = {**dict.fromkeys(map(ord, "\u2018\u2019\u2032\u00b4`"), "'"), **dict.fromkeys(map(ord, "\u201c\u201d"), '"')}
_WITHOUT_SPACES = "\u2e80"
"""From here on lie scripts whose words no space parts."""


class _Asked(NamedTuple):
    """A question, its answer and its options, if it has any; and its words and what it is answered, to be compared."""

    question: str
    answer: str
    options: Any
    words: str
    said: str


def require_one_form(row: dict[str, Any], where: str) -> None:
    """Raises ManifestError where `conversations`, `questions`, and `question` with `answer` do not say the same.

    They do where the words of each question of one are part of those of one of the other, or the other way round, and
    so is its answer, or both answers mean the same option. What has no answer asks nothing that could be learnt.
    """
    if sum(bool(row.get(name)) for name in ("conversations", "questions", "question")) < 2:
        return
    try:
        forms = [(name, asked) for name, asked in _forms(row).items() if asked]
    except (ManifestError, AttributeError, KeyError, TypeError):  # of a form that cannot be read, which its reader says
        return
    for number, (name, asked) in enumerate(forms):
        for other, others in forms[number + 1 :]:
            few, many = sorted((asked, others), key=len)
            if not all(any(_is_same(one, another) for another in many) for one in few):
                raise ManifestError(
                    f"{where}: fields {name!r} and {other!r}: ask or answer different things, and only one of them is"
                    " read; keep one of them"
                )


def _forms(row: dict[str, Any]) -> dict[str, list[_Asked]]:
    turns = said_by_turns(row.get("conversations") or [], "")
    turns = turns[1:] if turns[:1] and turns[0][0] == "system" else turns
    talk = [_asked(asked, answer, None) for (_, asked), (_, answer) in zip(turns[::2], turns[1::2], strict=False)]
    items = [
        _asked(_text(item["question"]), _text(item["answer"]), item.get("options"))
        for item in row.get("questions") or []
    ]
    is_asked = all(isinstance(row.get(name), str) for name in ("question", "answer"))
    forms: dict[str, list[_Asked]] = {"conversations": talk, "questions": items}
    forms["question"] = [_asked(row["question"], row["answer"], row.get("options"))] if is_asked else []
    return {name: [each for each in asked if each.answer.strip()] for name, asked in forms.items()}


def _asked(question: str, answer: str, options: Any) -> _Asked:
    return _Asked(question, answer, options, _words(question), bare_text(unannounced(_plain(answer))))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _is_same(one: _Asked, other: _Asked) -> bool:
    if one.words not in other.words and other.words not in one.words:
        return False
    if _is_part(one.said, other.said) or _is_part(other.said, one.said):
        return True
    shown = f"{one.question}\n{other.question}"
    return any(_means_the_same(one.answer, other.answer, options, shown) for options in (one.options, other.options))


def _plain(text: str) -> str:
    """A text as it is compared, however its characters are written (``&#39;``, typographic quotes, wide letters)."""
    return unicodedata.normalize("NFKC", html.unescape(text).translate(_QUOTES))


def _words(question: str) -> str:
    """The words of a question, a space around each, without punctuation; nothing of one that has none."""
    letters = map(_spaced, _AROUND.sub(" ", _plain(question)).casefold())
    words = "".join(letters).split()
    return f" {' '.join(words)} " if words else ""


def _spaced(letter: str) -> str:
    """A character as it parts words: a space for punctuation, spaces around what is a word of its own."""
    kind = unicodedata.category(letter)[0]
    if kind in "LMN" and letter < _WITHOUT_SPACES:
        return letter
    return f" {letter} " if kind in "LMNS" else " "


def _is_part(text: str, whole: str) -> bool:
    return text == whole or (len(text) > 1 and re.search(rf"(?<!\w){re.escape(text)}(?!\w)", whole) is not None)


def _told(answer: str, options: list[str]) -> str:
    """The letter by which an answer goes, if it is one alone (``<answer>B</answer>``); else the answer."""
    letters = {mark.upper() for mark in marks_of(answer, options)}
    return letters.pop() if len(letters) == 1 else answer


def _means_the_same(answer: str, other: str, options: Any, asked: str) -> bool:
    """Whether one of two answers is the letter of the other, among the options or in the text of a question."""
    options = options_as_list(options)
    if isinstance(options, list) and all(isinstance(option, str) for option in options):
        places = {right_option({"options": options, "answer": _told(each, options)}) for each in (answer, other)}
        return len(places) == 1 and None not in places
    told, also_told = (_told(each, _ANY) for each in (answer, other))
    if told == also_told:
        return True
    for letter, text in ((told, other), (also_told, answer)):
        if letter in _ANY:
            shown = rf"(?<!\w){letter}[.):\]]+\s*{re.escape(bare_text(_plain(text)))}"
            if re.search(shown, bare_text(_plain(asked)), re.IGNORECASE):
                return True
    return False
