"""The options of a question: without their letters, and which of them is the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

_LETTERED = re.compile(r"\s*\(?(?P<letter>[A-Z])[.):]\s*")
_ANNOUNCED = re.compile(r"(?:the )?(?:correct )?(?:answer|option)(?: is)?(?:\s*:\s*|\s+)", re.IGNORECASE)
_LETTER = re.compile(
    r"(?:\((?P<inner>[A-Z])\)|(?P<outer>[A-Z]))(?:[.):]+|(?=\s)|$)\s*(?P<text>.*)", re.IGNORECASE | re.DOTALL
)


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
    said = unannounced(answer)
    by_text = options.index(answer) if answer in options else _place_of_text(options, answer)
    by_text = _place_of_text(options, said) if by_text is None else by_text
    by_letter = _place_of_letter(options, said)
    if said != answer.strip() and (whole := _place_of_text(options, answer)) is not None:
        return whole  # "Option B", where options are called so: its letter is none
    if by_text is None or by_letter is None or options[by_text] == options[by_letter]:
        return by_letter if by_text is None else by_text
    return None


def unannounced(answer: str) -> str:
    """An answer without the words that announce it (``Answer: B``)."""
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
