"""The questions and answers of a row, taken out of its fields: what is wrong with them is told to those that ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from liteframe.data.sources.option_fields import option_fields
from liteframe.data.sources.options import options_as_list
from liteframe.data.sources.row_fields import RowFields
from liteframe.errors import ManifestError

TEXTS_FAULT = "texts_fault"
"""Field of a row's own that says why its texts cannot be read."""
_TEXTS = ("question", "options", "answer", "conversations", "questions")


def taken_texts(row: RowFields, asked_apart: bool) -> dict[str, Any]:
    """Takes `question`, `options`, `answer` and `conversations` out of a row, and sees that its `questions` are a list.

    Where one of them is of another kind, none is left, and the row says why in `TEXTS_FAULT`: stages that look at
    videos alone can use it all the same. Beside a conversation, which is read in their place, only that one is left
    out; of `options` the texts stay that its letters may stand for.

    Args:
        row: its fields.
        asked_apart: as of `parse_row`.
    """
    row.rest.pop(TEXTS_FAULT, None)
    if isinstance(options := row.rest.get("options"), dict):
        row.rest["options"] = options_as_list(options)
    try:
        conversations = row.items("conversations", dict, "objects")
        texts = _beside_a_talk(row, asked_apart) if conversations else _judged(row, asked_apart)
    except ManifestError as error:
        for name in _TEXTS:
            row.rest.pop(name, None)
        row.rest[TEXTS_FAULT] = str(error).removeprefix(f"{row.where}: ")
        return {}
    if (questions := texts.pop("questions")) is not None:
        row.rest["questions"] = questions
    return {**texts, "conversations": conversations}


def _judged(row: RowFields, asked_apart: bool) -> dict[str, Any]:
    """The texts that are no conversation; ManifestError where one is of another kind."""
    _require_no_count(row)
    return {name: take() for name, take in _taking(row, asked_apart).items()}


def _beside_a_talk(row: RowFields, asked_apart: bool) -> dict[str, Any]:
    """As `_judged`, without those of another kind."""
    options, texts = row.rest.get("options"), {}
    for name, take in _taking(row, asked_apart).items():
        try:
            texts[name] = take()
        except ManifestError:
            texts[name] = None
    if texts["options"] is None and options:
        found = next(option_fields({"options": options}), None)
        texts["options"] = None if found is None else found.texts
    return texts


def _taking(row: RowFields, asked_apart: bool) -> dict[str, Callable[[], Any]]:
    """What takes each of the texts that are no conversation out of a row."""
    return {
        "question": lambda: row.text("question"),
        "answer": lambda: row.text("answer"),
        "options": lambda: row.items("options", str, "strings"),
        "questions": lambda: row.items("questions", object if asked_apart else dict, "objects"),
    }


def _require_no_count(row: RowFields) -> None:
    """Raises ManifestError where the answer is a number beside options: it may count them from 0 or from 1.

    -1, which is no count, stands for an answer that is kept back.
    """
    answer = row.rest.get("answer")
    if not isinstance(answer, int | float) or isinstance(answer, bool):
        return
    found = next(option_fields(row.rest), None)
    if not row.rest.get("options") and found is None:
        return
    if answer == -1 and (found is None or "-1" not in found.texts):
        told = f"{answer} stands for an answer that is not published, as in test splits; drop the row, or write it out"
    else:
        told = f"{answer} may count the options from 0 or from 1; give the letter or the text of one"
    raise row.fault("answer", told)
