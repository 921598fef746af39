"""What changes the meaning of a row's texts and is not read: refused by name, as it would be lost without a word."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Sequence
from typing import Any, Literal

from liteframe.data.sources.one_video import is_the_same_or_its_sound, names_nothing
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
_REGIONS = re.compile(r"<(?P<closes>/?)(?P<name>ref-object|bbox|region|mask)\d*>")
_MORE_MEDIA = re.compile(
    r"(?:ref|reference|query|target|second)[-_ ]?(?:image|img|picture|photo|audio|video|clip)s?(?:[-_ ]?(?:path|url))?"
    r"|(?:video|image)[-_ ]?(?:2|b)(?:[-_ ]?(?:path|url))?",
    re.IGNORECASE,
)
"""What a question may be about beside the video of its row: ``query_image``, ``video_2``."""
_PICTURES = re.compile(r"image|img|picture|photo", re.IGNORECASE)
_THUMBNAIL = re.compile(r"thumb|poster|cover|preview|default\.(?:jpg|webp)", re.IGNORECASE)
_TIMES = re.compile(r"<(?P<closes>/?)(?P<name>[se]\d+|time(?:_?stamp|_\w+)?|stamp)>", re.IGNORECASE)
"""What stands for moments that a row tells elsewhere, as VTimeLLM writes them."""
_IN_BRACKETS = re.compile(r"<[^<>]+>|\[[^\[\]]+\]|\{[^{}]+\}")
"""Names that stand for something: others are in a text as words."""


def require_meaning(row: dict[str, Any], where: str) -> None:
    """Raises ManifestError where a question of the row is about more than its video and the turns that are read."""
    path = str(row.get("path") or "")
    _require_no_others(row, path, f"{where}: field ", "the row", bool(row.get("conversations")))
    for number, item in enumerate(_items(row.get("questions")), start=1):
        if isinstance(item, dict):
            _require_no_others(item, path, f"{where}: field questions: item {number}: ", "it", False)
    for name, what in (("tools", "what the model may call"), ("functions", "what the model may call")):
        if any(isinstance(item, dict) and any(key in item for key in _SCHEMA) for item in _items(row.get(name))):
            raise _unread(row[name], name, what, where)
    if any(map(_is_a_turn, _items(row.get("history")))):
        raise _unread(row["history"], "history", "turns of before", where)


def _require_no_others(fields: dict[str, Any], path: str, about: str, of: str, talks: bool) -> None:
    """Raises ManifestError where a question or a conversation has pictures or sounds beside its video.

    A picture that its name calls a thumbnail of the video, or that bears the name of the video, is nothing that a
    single question is about. Its own sound, and the video again, are nothing beside it.
    """
    for name in (*_OTHER_MEDIA, *filter(_MORE_MEDIA.fullmatch, fields)):
        value = fields.get(name)
        if not isinstance(value, str | list | dict) or names_nothing(value):
            continue
        may_be_its_own = not talks or _PICTURES.search(name) is None
        if (talks or not _is_thumbnail(value)) and not (may_be_its_own and is_the_same_or_its_sound(value, path)):
            asked = "a conversation" if talks else "a question"
            raise ManifestError(
                f"{about}{name}: {of} has {reprlib.repr(value)} beside its video, and {asked} is read about one video"
                " alone; drop the row, or the field and what is said about it"
            )


def _is_thumbnail(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_thumbnail, value))
    value = value.get("path") if isinstance(value, dict) else value
    return isinstance(value, str) and _THUMBNAIL.search(value.rpartition("/")[2]) is not None


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
    return [share for share in shares if share is not None and share == share and share != (name not in _MASKS)]


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
        value = turn.get(name)
        if isinstance(value, str | list | dict) and not names_nothing(value):
            raise ManifestError(
                f"{where}: field conversations: turn {number} has {name!r}: {reprlib.repr(value)}, and a conversation"
                " is read about one video alone; drop the row, or the field and what is said about it"
            )


def named_times(row: dict[str, Any]) -> list[str]:
    """What stands in the texts of a row for the moments in its `meta`: ``{"token": {"<s0>": 12.1}}``."""
    meta = row.get("meta")
    tokens = meta.get("token") if isinstance(meta, dict) else None
    return list(filter(_IN_BRACKETS.fullmatch, tokens)) if isinstance(tokens, dict) else []


def unread_mark(text: str, part: Literal["question", "answer"], times: Sequence[str] = ()) -> str | None:
    """What stands in a text, but for placeholders that are read, for pictures, sounds, moments or places in a picture.

    Args:
        text: of a question or an answer.
        part: which of them.
        times: as `named_times` gives them.
    """
    if (named := next((name for name in times if name in text), None)) is not None:
        return named
    if (mark := _unclosed(_REGIONS, text) or _unclosed(_TIMES, text)) is not None or part == "answer":
        return mark
    match = _MARKS.search(text)
    return match[0] if match else None


def _unclosed(tags: re.Pattern[str], text: str) -> str | None:
    """The first of some tags behind which none of its name is closed: one that is holds what it is about."""
    first: dict[str, re.Match[str]] = {}
    for match in tags.finditer(text):
        name = match["name"].lower()
        if match["closes"]:
            first.pop(name, None)
        else:
            first.setdefault(name, match)
    return min(first.values(), key=re.Match.start)[0] if first else None
