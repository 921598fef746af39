"""Options that stand in the text of a question, a line each, taken apart."""

from __future__ import annotations

import re
from string import ascii_uppercase

_LETTERED = re.compile(r"\s*(?:\((?P<inner>[A-Z])\)|(?P<outer>[A-Z])[.):])\s*(?P<text>.*?)\s*")
_INSTRUCTION = re.compile(
    r"\s*\(?(?:Please|Directly|Only|Just|Answer|Respond|Reply|Select|Choose|Pick|Give|Write|Provide|Output|Return|Indicate)\b"
    r".*\b(?:answer|option|letter|choice)\b.*"
    r"|\s*(?i:(?:the |your )?(?:best |correct )?(?:answer|option|choice)(?: is:?|:)\s*\(?)\s*"
)
"""A sentence that asks for a letter, or what an answer is to stand behind."""


def taken_apart(published: str) -> tuple[str, tuple[str, ...]] | None:
    """The question without its options, and these without letters; None where there are no such lines.

    They are the last lines that begin with A, B, ... in turn (``A. text``, ``A) text``, ``(A) text``). A line between
    two of them belongs to the first. What follows them may only be an instruction how to answer, which is left out;
    another line may be more of the last option, or not.
    """
    lines = published.splitlines()
    matches = [_LETTERED.fullmatch(line) for line in lines]
    letters = [(match["inner"] or match["outer"]) if match else "" for match in matches]
    starts = [place for place, letter in enumerate(letters) if letter == "A"]
    for start in reversed(starts):
        options, place = _from(start, lines, letters, [match["text"] if match else "" for match in matches])
        rest = [line for line in lines[place:] if line.strip()]
        if len(options) > 1 and all(map(_INSTRUCTION.fullmatch, rest)):
            return "\n".join(lines[:start]).strip(), tuple(options)
    return None


def _from(start: int, lines: list[str], letters: list[str], texts: list[str]) -> tuple[list[str], int]:
    """The options that begin in line `start`, and the line behind the last of them."""
    options: list[str] = []
    place = start
    while len(options) < len(ascii_uppercase):
        following = [at for at in range(place, len(lines)) if letters[at] == ascii_uppercase[len(options)]]
        if not following:
            break
        between = [line.strip() for line in lines[place : following[0]] if line.strip()]
        if between:
            options[-1] = "\n".join([options[-1], *between])
        options.append(texts[following[0]])
        place = following[0] + 1
    return options, place
