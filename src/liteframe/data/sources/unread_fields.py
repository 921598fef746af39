"""What changes the meaning of a row's texts and is not read: refused by name, as it would be lost without a word."""

from __future__ import annotations

import json
import re
import reprlib
from typing import Any, Literal

from liteframe.errors import ManifestError

_OTHER_MEDIA = ("image", "images", "audio", "audios")
_SHARES = ("loss", "loss_scale", "loss_weight", "weight", "train", "training", "trainable", "train_on_turn")
"""What others multiply the loss of an answer by."""
_MASKS = ("mask", "masked")
_BESIDE_THE_TEXT = ("reasoning_content", "reasoning", "thinking", "think", "tool_calls", "function_call", "refusal")
"""What an answer says elsewhere than in its text, as OpenAI's clients and those of reasoning models write it."""
_VERDICTS = ("label", "kto_tag")
"""False where an answer is one that a model is to unlearn (KTO)."""
_BEFORE_THE_TURNS = {"tools": "what the model may call", "history": "turns of before"}

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
    for name, what in _BEFORE_THE_TURNS.items():
        if (value := row.get(name)) and isinstance(value, str | list | dict) and value != "[]":
            raise ManifestError(
                f"{where}: field {name}: {what} ({reprlib.repr(value)}), which is not read; write it into"
                " 'conversations', or drop it"
            )


def require_to_be_learnt(row: dict[str, Any], where: str) -> None:
    """Raises ManifestError where the row says that its answer is a bad one."""
    for name in _VERDICTS:
        if row.get(name) is False:
            raise ManifestError(
                f"{where}: field {name}: false calls the answer one to unlearn (KTO), and every answer is learnt; drop"
                " the row, or rename the field where it means something else"
            )


def require_whole_answer(turn: dict[str, Any], number: int, where: str) -> None:
    """Raises ManifestError where an answer is to count for less than others, or says more than its text.

    Args:
        turn: of `conversations`, an answer.
        number: of the turn, from 1.
        where: place of the row.
    """
    about = f"{where}: field conversations: turn {number} has"
    for name in (*_SHARES, *_MASKS):
        value = turn.get(name)
        if isinstance(value, int | float) and value != (name not in _MASKS):
            raise ManifestError(
                f"{about} {name!r}: {json.dumps(value)}, and all answers are learnt alike; end the conversation before"
                f" it, or drop {name!r}"
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
