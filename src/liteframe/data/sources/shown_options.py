"""Whether a question shows its options itself: behind letters or numbers, on lines of their own, or in a row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase

from liteframe.data.sources.options import bare_text

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
LETTERS: tuple[tuple[str, ...], ...] = (tuple(ascii_uppercase),)
NUMBERS: tuple[tuple[str, ...], ...] = (tuple(map(str, range(27))), tuple(map(str, range(1, 27))))
"""The labels that lists of options have, in turn."""


def shows(question: str, texts: Sequence[str]) -> bool:
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


def enumerates(question: str, kinds: tuple[tuple[str, ...], ...], texts: Sequence[str] | None = None) -> bool:
    """Whether a question lists something behind labels, in turn.

    Args:
        question: its text.
        kinds: `LETTERS` or `NUMBERS`.
        texts: options that it may be a list of: then it has as many labels, and the options are no orders of labels
            (``2-1-3``), which are those of events. None for a list of two or more.
    """
    lengths = [_run(question, labels) for labels in kinds]
    if texts is None:
        return max(lengths) > 1
    return len(texts) in lengths and not _are_orders(texts)


def _run(question: str, labels: tuple[str, ...]) -> int:
    """How many of the labels a text has, in turn, from the first one on."""
    at = 0
    for count, label in enumerate(labels):
        match = _label(label).search(question, at)
        if match is None:
            return count
        at = match.end()
    return len(labels)


@lru_cache(128)
def _label(label: str) -> re.Pattern[str]:
    if label.isdigit():
        return re.compile(rf"(?<!\w)(?:[(\[]?{label}[)\]]|{label}[.:]\s)")
    return re.compile(rf"(?<![A-Za-z\d_])(?:{label}[.):\]\u3001\uff0e\uff1a]|{label.lower()}[)\]])")


def _are_orders(texts: Sequence[str]) -> bool:
    """Whether each option is the same labels, or words, in another order."""
    kinds = {"".join(sorted(re.findall(r"\w", text.casefold()))) for text in texts}
    return len(texts) > 1 and len(kinds) == 1 and len(kinds.pop()) > 1
