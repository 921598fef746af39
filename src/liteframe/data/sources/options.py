"""The options of a question: without their letters, and which of them is the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

_LETTERED = re.compile(r"\s*\(?(?P<letter>[A-Z])[.):]\s*")
_LABELLED = re.compile(
    r"\A\s*[(\[]?(?P<letter>[A-Za-z])(?:[.):\]]+(?=\s|$|[^\s.]{2})|[)\]][.:]?|[\u3001\uff0e\uff1a])\s*"
)
_MOST_DROPPED = 4
"""Options that may be missing of a list with letters: one further on is an initial (``S. King``)."""
_ANNOUNCED = re.compile(r"(?:the )?(?:correct )?(?:answer|option)(?: is)?(?:\s*:\s*|\s+)", re.IGNORECASE)
_LETTER = re.compile(r"(?:\((?P<inner>[A-Za-z])\)|(?P<outer>[A-Za-z]))(?:[.):]+|(?=\s)|$)\s*(?P<text>.*)", re.DOTALL)
"""Not in either case by a flag: then the Kelvin sign and a dotted capital I would be letters too."""


def without_letters(options: Sequence[str]) -> list[str] | None:
    """The texts of options that bring their letters along, each its own (``A. text``, ``(B) text``); None of others."""
    matches = [_LETTERED.match(option) for option in options]
    if "".join(match["letter"] if match else "-" for match in matches) != ascii_uppercase[: len(options)]:
        return None
    return [option[match.end() :] for option, match in zip(options, matches, strict=True) if match]


def borne_letters(options: Sequence[str]) -> list[str] | None:
    """The letters that options bring along, if each brings one and not all stand at their places.

    None also where one lies too far on: those are initials.
    """
    matches = [_LABELLED.match(option) for option in options]
    letters = [match["letter"].upper() for match in matches if match]
    if len(letters) < max(2, len(options)):
        return None
    numbers = [ascii_uppercase.index(letter) for letter in letters]
    return None if numbers == [*range(len(options))] or max(numbers) >= len(options) + _MOST_DROPPED else letters


def stray_letters(options: Sequence[str]) -> list[str] | None:
    """`borne_letters` that rise (``A. text``, ``C. text``), as where an option was dropped; None of others.

    A letter then means the option that bears it. Where they do not rise, options were shuffled, or are called so
    (``D. Beckham``, ``C. Ronaldo``), which cannot be told apart.
    """
    letters = borne_letters(options)
    return letters if letters is not None and letters == sorted({*letters}) else None


def without_stray_letters(options: Sequence[str], answer: str) -> list[str] | None:
    """The texts of options with `stray_letters`, where the answer is one of these; else None."""
    letters, match = stray_letters(options), _LETTER.fullmatch(unannounced(answer))
    if letters is None or match is None or match["text"]:
        return None
    texts = [_LABELLED.sub("", option, count=1) for option in options]
    return texts if (match["inner"] or match["outer"]).upper() in letters and all(texts) else None


def options_as_list(options: Any) -> Any:
    """Options of an object of letters (``{"A": "a cat", "B": "a dog"}``) as a list; all others as they are.

    So of one of numbers from 0 or 1 on; a number for a text is its text. Where the letters are not A, B, ... in turn,
    or texts begin like others (``{"A": "D. Beckham"}``), the texts bring them along. One that gives a letter twice
    (``A`` and ``a``) is none.
    """
    if not isinstance(options, dict):
        return options
    given = [(name.strip(" ().").upper(), text) for name, text in options.items() if text is not None]
    texts = {name: text if isinstance(text, str) else str(text) for name, text in given}
    if not 2 <= len(texts) == len(given) or not all(_is_text(text) for _, text in given):
        return options
    for first in (0, 1):
        numbers = [str(first + place) for place in range(len(texts))]
        if texts.keys() == {*numbers}:
            return [texts[number] for number in numbers]
    if not all(len(letter) == 1 and letter in ascii_uppercase for letter in texts):
        return options
    listed = [texts[letter] for letter in sorted(texts)]
    if "".join(sorted(texts)) == ascii_uppercase[: len(texts)] and borne_letters(listed) is None:
        return listed
    return [f"{letter}. {texts[letter]}" for letter in sorted(texts)]


def _is_text(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def right_option(question: dict[str, Any], by_place: bool = False) -> int | None:
    """Place of the option that is the answer; None where it is none, or may be one of two.

    A row gives it as the option's text (spaces, case and a full stop at its end do not matter), as its letter (``C``,
    ``c``, ``(C)``, ``C.``, ``Answer: C``), or as both (``C. a ball``), which have to agree. A letter is that of a
    place, unless options bear others (see `place_of_letter`). A number is a text: it may count from 0 or from 1.

    Args:
        question: as `choices_of` gives it.
        by_place: a letter is that of a place whatever options bear, as it is in a reply to a prompt that shows places.
    """
    options, answer = question["options"], question["answer"]
    said = unannounced(answer)
    by_text = options.index(answer) if answer in options else _place_of_text(options, answer)
    by_text = _place_of_text(options, said) if by_text is None else by_text
    by_letter = _place_of_letter(options, said, by_place)
    if said != answer.strip() and (whole := _place_of_text(options, answer)) is not None:
        return whole  # "Option B", where options are called so: its letter is none
    if by_text is None or by_letter is None or options[by_text] == options[by_letter]:
        return by_letter if by_text is None else by_text
    return None


def how_to_answer(options: Sequence[str], answer: str) -> str:
    """What to write in place of an answer that `right_option` makes nothing of, as words behind a message."""
    place = _place_of_text(list(options), unannounced(answer))
    if place is not None and place < len(ascii_uppercase):  # the letter of one, and the text of another
        letter, text = ascii_uppercase[place], options[place]
        return f"write '({letter})' or {f'{letter}. {text}'!r:.80} if the option {text!r:.80} is meant"
    if borne_letters(options) is not None and stray_letters(options) is None:
        return "their letters are not in turn; give the text of one"
    return "give the text of one, or its letter"


def unannounced(answer: str) -> str:
    """An answer without the words that announce it (``Answer: B``)."""
    match = _ANNOUNCED.match(answer.strip())
    return answer.strip()[match.end() if match else 0 :]


def place_of_letter(options: Sequence[str], letter: str, by_place: bool = False) -> int | None:
    """Place of the option that a letter stands for.

    Where options bear others than those of their places, it is the one that bears it if these rise (`stray_letters`),
    and else none, unless that one stands at the letter's place.
    """
    place = ascii_uppercase.index(letter)
    if by_place or (letters := borne_letters(options)) is None:
        return place if place < len(options) else None
    borne = letters.index(letter) if letters.count(letter) == 1 else None
    return borne if borne == place or stray_letters(options) is not None else None


def _place_of_text(options: list[str], answer: str) -> int | None:
    alike = [place for place, option in enumerate(options) if bare_text(option) == bare_text(answer)]
    return alike[0] if len({options[place] for place in alike}) == 1 and bare_text(answer) else None


def _place_of_letter(options: list[str], answer: str, by_place: bool) -> int | None:
    match = _LETTER.fullmatch(answer)
    if match is None:
        return None
    letter = (match["inner"] or match["outer"]).upper()
    if not match["text"]:
        return place_of_letter(options, letter, by_place)
    letters = None if by_place else borne_letters(options)
    if letters is not None and letters.count(letter) == 1:  # its text tells what it means
        place: int | None = letters.index(letter)
    else:
        place = place_of_letter(options, letter, by_place)
    if place is None:
        return None
    spelt = options[place], _LABELLED.sub("", options[place], count=1)
    return place if bare_text(match["text"]) in map(bare_text, spelt) else None


def bare_text(text: str) -> str:
    """A text as it is compared: without case, spaces at its ends or in rows, or full stops at its end."""
    return " ".join(text.split()).rstrip(".").casefold()
