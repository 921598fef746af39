"""The fields of a row in which a list may hold the options of a question, and their texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from string import ascii_uppercase
from typing import Any, NamedTuple

_NAME = re.compile(r"option(?!al)|choice|candidate|index2ans|^opts?$|^answers?[-_ ]?(?:list|set|pool)$", re.IGNORECASE)
_NUMBERED = re.compile(
    r"(?P<letter>[A-F])|\d{1,2}|a[-_ ]?\d{1,2}"
    r"|(?:option|opt|op|choice|candidate|answer|ans)[-_ ]?(?:\d{1,2}|(?P<last>[A-H]))",
    re.IGNORECASE,
)
_OTHERS = re.compile(
    r"tag|keyword|topic|categor|label|class|skill|domain|frame|caption|subtitle|transcript|object|entit|actor|speaker"
    r"|video|image|clip|audio|path|file|url|source|language|time|stamp|(?:^|_)ids?$"
    r"|program|function|action|rationale|explanation|reason|thought|step|evidence",
    re.IGNORECASE,
)
"""Names of lists that describe a video or a question, or say why its answer is right."""
_OWN = ("questions", "conversations", "messages")
_LABEL = re.compile(r"[A-Za-z]|\d{1,2}")
_ENUMERATED = re.compile(r"(?:^|\s)\(?(?:[A-Z]|\d{1,2})[.):]\s*")
_SEPARATED = re.compile(r"[\n;|]|,\s")
_DEEPEST = 4
_LONGEST_OPTION = 300


class OptionField(NamedTuple):
    """Options of a row as a field, or several, hold them.

    Attributes:
        name: of the field, or of the first one.
        texts: of the options.
        labels: letter or number of each in the names of its field (``a0``, ``option_B``); none where they have none.
    """

    name: str
    texts: list[str]
    labels: list[str]


def option_fields(question: dict[str, Any]) -> Iterator[OptionField]:
    """Each field that may hold what an answer's letter or number stands for.

    Those whose names say so (`options`, `option`, `answer_choices`, `candidates`, ...), if they hold two texts or more,
    and numbered ones (`option_0`, `A`, `opa`), if there are two or more, under the name of the first.
    """
    numbered: dict[str, str] = {}
    for name, value in question.items():
        if (kind := _kind_of(name)) == "one" and isinstance(value, str | int | float) and not isinstance(value, bool):
            numbered[name] = str(value)
        elif kind and len(texts := _texts(value)) > 1 and "".join(texts) != ascii_uppercase[: len(texts)]:
            yield OptionField(name, texts, [])
    if len(numbered) > 1:
        yield OptionField(next(iter(numbered)), list(numbered.values()), [_label_of(name) for name in numbered])


def unnamed_options(question: dict[str, Any]) -> Iterator[OptionField]:
    """Each field of two short texts or more, in a list or an object of letters, whose name says nothing of them."""
    for name, value in question.items():
        if name in _OWN or _kind_of(name) or _OTHERS.search(name) or not isinstance(value, list | dict):
            continue
        if isinstance(value, dict) and not all(isinstance(key, str) and _LABEL.fullmatch(key) for key in value):
            continue
        items = list(value.values() if isinstance(value, dict) else value)
        if len(items) > 1 and all(isinstance(item, str) and 0 < len(item) <= _LONGEST_OPTION for item in items):
            yield OptionField(name, items, [])


@lru_cache(4096)
def _kind_of(name: str) -> str:
    """What a field is by its name: "one" option, "all" of them, or none (empty). Rows of a list have the same few."""
    return "one" if _NUMBERED.fullmatch(name) else "all" if _NAME.search(name) else ""


def _label_of(name: str) -> str:
    match = _NUMBERED.fullmatch(name)
    assert match is not None
    return (match["letter"] or match["last"] or str(int(re.sub(r"\D", "", name)))).upper()


def _texts(value: Any) -> list[str]:
    """The options that a field holds: in a list, an object of letters, a list of objects, or written into one text."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.lstrip()[:1] in ("[", "{") else value
        except (ValueError, RecursionError):
            value = value.strip("[]{} ")
    if isinstance(value, str):
        parts = _ENUMERATED.split(value)
        return [part.strip(" '\"") for part in (parts if len(parts) > 2 else _SEPARATED.split(value)) if part.strip()]
    items = list(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
    leaves = _leaves(items)
    if any(isinstance(item, list | dict) for item in items):  # labels beside texts: {"label": ["A"], "text": ["a cat"]}
        named = [leaf for leaf in leaves if not _LABEL.fullmatch(leaf)]
        return named if len(named) > 1 else leaves
    return leaves


def _leaves(value: Any, depth: int = 0) -> list[str]:
    if isinstance(value, list | dict) and depth < _DEEPEST:
        items = value.values() if isinstance(value, dict) else value
        return [leaf for item in items for leaf in _leaves(item, depth + 1)]
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        return []
    return [str(value)]
