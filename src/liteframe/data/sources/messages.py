"""What is said in a row's `conversations`, as ShareGPT or chat messages spell it, and which video it names."""

from __future__ import annotations

import os.path
import reprlib
from collections.abc import Callable
from itertools import chain
from typing import Any

from liteframe.data.sources.part_names import part_of_item
from liteframe.data.sources.unread_fields import require_no_media, require_whole_answer
from liteframe.errors import ManifestError
from liteframe.system.file_url import NotHere, without_file_url

VIDEO = "<video>\n"
"""What stands for a video in the text of a message."""
_ROLES = {
    **{"human": "question", "user": "question", "gpt": "answer", "assistant": "answer"},
    **{"system": "system", "developer": "system"},
}
_ROLE_NAMES = ("from", "role")
_TEXT_NAMES = ("value", "content")
_VIDEOS = ("video", "video_url", "input_video")
_NAMED_BY = ("video", "video_url", "input_video", "path", "url")
_OF_A_TURN = ("video", "videos")
_PLACES = ("url", "path", "src")
_PICTURE_BY = ("image", "image_url", "path", "url")


def said(row: dict[str, Any], where: str) -> list[tuple[str, str]]:
    """Role ("system", "question" or "answer") and text of each turn of `conversations`, the row's `system` before them.

    Raises:
        ManifestError: a turn cannot be read, is not to be learnt, or is about pictures or sounds; names field and turn.
    """
    turns, system = said_by_turns(row["conversations"], where), row.get("system")
    system = text_of_parts(system) if isinstance(system, list) else system
    if system and not isinstance(system, str):
        raise ManifestError(f"{where}: field system: a text is needed, not {reprlib.repr(system)}; write it so")
    if not system or not system.strip() or turns[:1] == [("system", system)]:
        return turns
    if turns[:1] and turns[0][0] == "system":
        raise ManifestError(
            f"{where}: field system: says something else than the system turn of the conversation; keep one of them"
        )
    return [("system", system), *turns]


def said_by_turns(turns: list[dict[str, Any]], where: str) -> list[tuple[str, str]]:
    """Role and text of each turn, in either spelling; errors as of `said`."""
    found = []
    for number, turn in enumerate(turns, start=1):
        about = f"{where}: field conversations: turn {number}"
        name, text = _in_either(turn, _ROLE_NAMES, _role, about), _in_either(turn, _TEXT_NAMES, _bare_text, about)
        text, role = text_of_parts(text) if isinstance(text, list) else text, _role(name)
        require_no_media(turn, number, where)
        if role == "answer":
            require_whole_answer(turn, number, where)
        if role is None or not isinstance(text, str):
            raise ManifestError(
                f"{about} is of {reprlib.repr(name)} and says {reprlib.repr(text)}; wanted one of {', '.join(_ROLES)}"
                " in 'from' (or 'role') and a text in 'value' (or 'content')"
            )
        found.append((role, text))
    return found


def _given(turn: dict[str, Any], names: tuple[str, ...]) -> list[Any]:
    """What a turn has in those of some fields that hold anything: Parquet fills those of other turns with nulls."""
    return [value for name in names if (value := turn.get(name)) is not None]


def _in_either(turn: dict[str, Any], names: tuple[str, str], meaning: Callable[[Any], Any], about: str) -> Any:
    """What a turn has in one of two fields, or in both with the same meaning."""
    values = _given(turn, names)
    if len(values) == 2 and values[0] != values[1] and (meaning(values[0]) or 0) != (meaning(values[1]) or 1):
        raise ManifestError(f"{about} says different things in {names[0]!r} and {names[1]!r}; keep one of them")
    return values[0] if values else None


def _role(name: Any) -> str | None:
    """What a name of a speaker means; None of one that is not known."""
    return _ROLES.get(name.lower()) if isinstance(name, str) else None


def _bare_text(text: Any) -> Any:
    """What a text says, however its video and its parts are written."""
    text = text_of_parts(text) if isinstance(text, list) else text
    return text.replace(VIDEO, VIDEO.strip()).strip() if isinstance(text, str) else text


def says_the_same(turns: Any, others: Any) -> bool:
    """Whether two lists of turns are the same but for the names of speakers and fields."""
    try:
        return turns == others or _meaning(turns) == _meaning(others)
    except (ManifestError, AttributeError, TypeError):  # of turns that cannot be read
        return False


def _meaning(turns: list[dict[str, Any]]) -> list[Any]:
    read = _ROLE_NAMES + _TEXT_NAMES
    own = [{name: value for name, value in turn.items() if value is not None and name not in read} for turn in turns]
    return [(role, _bare_text(text), rest) for (role, text), rest in zip(said_by_turns(turns, ""), own, strict=True)]


def text_of_parts(parts: list[Any]) -> Any:
    """The text of a message in parts, with `VIDEO` for its video; `parts` themselves where one is none that is read.

    A part of a picture that names none stands for the video, as ``<image>`` does; one that does name a picture, sounds
    and all others are not read.
    """
    texts = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in _VIDEOS or (kind == "image" and not any(part.get(name) for name in _PICTURE_BY)):
            texts.append(VIDEO)
        elif kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            return parts
    return "".join(texts)


def video_said(conversations: Any) -> Any:
    """The video that messages in parts name, as their list writes it; None where they name none, or several."""
    named = [video for _, video, _ in _videos(conversations)]
    return named[0] if named and all(video == named[0] for video in named) else None


def require_one_video(conversations: list[dict[str, Any]], name: str, where: str, field: str = "conversations") -> None:
    """Raises ManifestError where a message in parts names another video than the row, or a part of it.

    Args:
        conversations: of the row.
        name: of the row's video, as its list writes it.
        where: place of the row.
        field: that the conversation stands in.
    """
    for number, video, part in _videos(conversations):
        about = f"{where}: field {field!r}: turn {number}"
        if (limit := part_of_item(part)) is not None:
            raise ManifestError(
                f"{about} has a {limit!r} of its own, and a part of the video is told by the row; write it into the"
                " row's 'start' and 'end', in seconds"
            )
        if not isinstance(video, str) or not _is_same(video, name):
            raise ManifestError(
                f"{about} names {reprlib.repr(video)}, and the row's video is {reprlib.repr(name)}; a row is about one"
                " video file: correct it, or split the row"
            )


def _videos(conversations: Any) -> list[tuple[int, Any, dict[str, Any]]]:
    """Number of the turn, from 1, name and part of each video that a message in parts names."""
    found = []
    for number, turn in enumerate(conversations if isinstance(conversations, list) else [], start=1):
        if not isinstance(turn, dict):
            continue
        listed = [text for text in _given(turn, _TEXT_NAMES) if isinstance(text, list)]
        parts = [part for part in chain(*listed) if isinstance(part, dict) and part.get("type") in _VIDEOS]
        named = [(part, next((part[name] for name in _NAMED_BY if part.get(name)), None)) for part in parts]
        for value in _given(turn, _OF_A_TURN):
            named += [(turn, video) for video in (value if isinstance(value, list) else [value])]
        for part, video in named:
            place = next(iter(_given(video, _PLACES)), None) if isinstance(video, dict) else video
            if place:
                found.append((number, place, part))
    return found


def _is_same(name: str, other: str) -> bool:
    """Whether two ways to write a path or a URL may mean the same file: one of them may lie further out."""
    short, long = sorted((_plain(name), _plain(other)), key=len)
    return short == long or long.endswith(f"/{short}")


def _plain(name: str) -> str:
    try:
        return os.path.normpath(without_file_url(name)).lstrip("/")
    except NotHere:
        return name
