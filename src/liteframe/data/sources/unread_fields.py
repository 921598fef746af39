"""What changes the meaning of a row's texts and is not read: refused by name, as it would be lost without a word."""

from __future__ import annotations

import json
import re
import reprlib
from typing import Any, Literal

from liteframe.errors import ManifestError

_OTHER_MEDIA = ("image", "images", "audio", "audios")
_SHARES = (
    *("loss", "loss_scale", "loss_weight", "loss_mask", "weight", "sample_weight", "compute_loss"),
    *("train", "training", "trainable", "train_on_turn", "learn", "learnable", "supervise", "supervised"),
)
"""What others multiply the loss of an answer by."""
_MASKS = ("mask", "masked", "ignore_loss", "no_loss")
_OWN = ("loss", "train", "training", "trainable", "learn", "learnable", "supervise", "supervised")
"""Of a row, these may be figures of its own: only a no is one about its answers."""
_BESIDE_THE_TEXT = ("reasoning_content", "reasoning", "thinking", "think", "tool_calls", "function_call", "refusal")
"""What an answer says elsewhere than in its text, as OpenAI's clients and those of reasoning models write it."""
_VERDICTS = ("kto_tag", "kto_label", "desirable", "is_desirable")
"""False where an answer is one that a model is to unlearn (KTO)."""
_SAID_NO, _SAID_YES = ("false", "0", "no", "off"), ("true", "1", "yes", "on")
_SCHEMA = ("function", "parameters", "input_schema", "inputSchema", "arguments")
"""What the object of a function that a model may call has, and that of a kitchen knife has not."""
_SPEAKERS = ("role", "from", "question", "answer", "query", "response", "user", "assistant", "human", "gpt")

_MARKS = re.compile(
    r"<\|?/?(?:video|image|audio|speech|sound|frame|vision)s?(?:[ _-]?(?:\d+|here|token\w*|start|end|pad))?\|?>",
    re.IGNORECASE,
)
_REGIONS = re.compile(r"<(?P<name>ref-object|bbox|region|mask)\d*>(?!.*</(?P=name)\d*>)", re.DOTALL)


def require_meaning(row: dict[str, Any], where: str) -> None:
    """Raises ManifestError where a question of the row is about more than its video and the turns that are read."""
    for name in _OTHER_MEDIA if row.get("conversations") else ():
        if (value := row.get(name)) and isinstance(value, str | list | dict):
            raise ManifestError(
                f"{where}: field {name}: the row has {reprlib.repr(value)} beside its video, and a conversation is read"
                " about one video alone; drop the row, or the field and what is said about it"
            )
    for name, what in (("tools", "what the model may call"), ("functions", "what the model may call")):
        if any(isinstance(item, dict) and any(key in item for key in _SCHEMA) for item in _items(row.get(name))):
            raise _unread(row[name], name, what, where)
    if any(map(_is_a_turn, _items(row.get("history")))):
        raise _unread(row["history"], "history", "turns of before", where)


def _unread(value: Any, name: str, what: str, where: str) -> ManifestError:
    return ManifestError(
        f"{where}: field {name}: {what} ({reprlib.repr(value)}), which is not read; write it into 'conversations', or"
        " drop it"
    )


def _items(value: Any) -> list[Any]:
    """What is in a list, also in one written as a text of JSON; a single object is a list of it."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.lstrip()[:1] in ("[", "{") else None
        except (ValueError, RecursionError):
            value = None
    return [value] if isinstance(value, dict) else value if isinstance(value, list) else []


def _is_a_turn(item: Any) -> bool:
    """Whether it is a turn of a talk, or a question with its answer."""
    if isinstance(item, dict):
        return any(isinstance(item.get(name), str) for name in _SPEAKERS)
    return isinstance(item, list) and len(item) == 2 and all(isinstance(text, str) for text in item)


def require_to_be_learnt(row: dict[str, Any], where: str) -> None:
    """Raises ManifestError where the row, or one of its `questions`, says that its answer is no or a bad example."""
    talk, questions = row.get("conversations"), row.get("questions")
    _require_example(row, f"{where}: field ", len(talk or ()))
    if not talk and isinstance(questions, list):
        for number, item in enumerate(questions, start=1):
            if isinstance(item, dict):
                _require_example(item, f"{where}: field questions: item {number}: ", 0)


def _require_example(fields: dict[str, Any], about: str, turns: int) -> None:
    """Raises ManifestError about fields of a row with so many turns, or of a single question if there are none."""
    for name in ("label", *_VERDICTS):
        if _calls_it_bad(name, fields.get(name), bool(turns)):
            raise ManifestError(
                f"{about}{name}: {json.dumps(fields[name])} calls the answer one to unlearn (KTO), and every answer is"
                " learnt; drop the row, or rename the field where it means something else"
            )
    for name in (*_SHARES, *_MASKS):
        value = fields.get(name)
        if isinstance(value, list) and turns and len(value) == turns:
            value = value[::-2][: turns // 2]  # of all turns: those of questions are never learnt
        if any(_is_of_an_answer(name, share, bool(turns)) for share in _lesser(name, value)):
            raise ManifestError(
                f"{about}{name}: {reprlib.repr(fields[name])} would have the answer learnt less than others, or not at"
                " all, and all are learnt alike; drop the row, or drop or rename the field"
            )


def _calls_it_bad(name: str, value: Any, talks: bool) -> bool:
    said = value.strip().lower() if isinstance(value, str) else value
    if name == "label":  # of a question alone it is often the answer, and a number or a word that of a class
        return said == "undesirable" or (talks and (said is False or said in ("false", "rejected")))
    return said == 0 or said in ("undesirable", "rejected", *_SAID_NO)


def _is_of_an_answer(name: str, share: float, talks: bool) -> bool:
    """Whether a row's field means its answers: a `weight` may be that of what is seen, and a `loss` one measured."""
    if name in _MASKS:
        return talks
    if name == "weight":
        return share == 0 or (talks and 0 < share < 1)
    return share == 0 or name not in _OWN


def _lesser(name: str, value: Any) -> list[float]:
    """The shares that a field of `_SHARES` or `_MASKS`, a value or a list of them, tells otherwise than in full."""
    shares = [_share(item) for item in (value if isinstance(value, list) else [value])]
    return [share for share in shares if share is not None and share != (name not in _MASKS)]


def _share(value: Any) -> float | None:
    """A number, or what a text says as one; None of others."""
    if isinstance(value, str):
        text = value.strip().lower()
        if text in _SAID_NO + _SAID_YES:
            return float(text in _SAID_YES)
        try:
            return float(text)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) else None


def require_whole_answer(turn: dict[str, Any], number: int, where: str) -> None:
    """Raises ManifestError where an answer is to count for less than others, or says more than its text.

    Args:
        turn: of `conversations`, an answer.
        number: of the turn, from 1.
        where: place of the row.
    """
    about = f"{where}: field conversations: turn {number} has"
    for name in (*_SHARES, *_MASKS):
        if _lesser(name, turn.get(name)):
            raise ManifestError(
                f"{about} {name!r}: {reprlib.repr(turn[name])}, and all answers are learnt alike; end the conversation"
                f" before it, or drop {name!r}"
            )
    for name in ("label", *_VERDICTS):
        if _calls_it_bad(name, turn.get(name), True):
            raise ManifestError(
                f"{about} {name!r}: {json.dumps(turn[name])}, which calls it one to unlearn, and every answer is"
                " learnt; end the conversation before it, or rename the field where it means something else"
            )
    for name in _BESIDE_THE_TEXT:
        if (value := turn.get(name)) and isinstance(value, str | list | dict):
            raise ManifestError(
                f"{about} {name!r}: {reprlib.repr(value)}, and what is learnt is the text of an answer alone; write it"
                " there, or drop it"
            )


def require_no_media(turn: dict[str, Any], number: int, where: str) -> None:
    """Raises ManifestError where a turn has pictures or sounds of its own, beside its text."""
    for name in _OTHER_MEDIA:
        if (value := turn.get(name)) and isinstance(value, str | list | dict):
            raise ManifestError(
                f"{where}: field conversations: turn {number} has {name!r}: {reprlib.repr(value)}, and a conversation"
                " is read about one video alone; drop the row, or the field and what is said about it"
            )


def unread_mark(text: str, part: Literal["question", "answer"]) -> str | None:
    """What stands in a text, without the placeholders that are read, for pictures, sounds or places in a picture."""
    match = _REGIONS.search(text) or (_MARKS.search(text) if part == "question" else None)
    return match[0] if match else None
