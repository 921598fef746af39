"""Names under which lists hold videos, and rows that hold more than the one that is read, or none."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from liteframe.data.remote.file import is_url
from liteframe.data.sources.video_suffixes import VIDEO_SUFFIXES
from liteframe.errors import ManifestError

_OF_A_VIDEO = re.compile(
    r"(?i:(?:video|clip|file|media|vid)[-_ ]?(?:path|name|file|filename|url|uri|id|src)?(?:[-_ ]?\d{1,2})?"
    r"|(?:youtube_?|yt_?)id|(?:content_?)?url)"
)
"""Names under which other lists hold their videos."""
_FEW = 4


def require_one_path(fields: dict[str, Any], where: str) -> None:
    """Refuses a row whose `path` and `video` (or `videos`) are files of which neither path ends in the other.

    Other texts in `video`, such as an id, are the list's own.

    Raises:
        ManifestError: names both files.
    """
    path = fields.get("path")
    for name in ("video", "videos"):
        videos = fields.get(name)
        for video in videos if isinstance(videos, list) else [videos]:
            video = video.get("path") if isinstance(video, dict) else video
            if not isinstance(path, str) or not isinstance(video, str) or not _is_file(video):
                continue
            own, other = (PurePosixPath(each.replace("\\", "/")).parts for each in (path, video))
            least = min(len(own), len(other))
            if own[-least:] != other[-least:]:
                raise _several(where, "path", path, name, video)


def require_no_other(fields: dict[str, Any], field: str, path: str, where: str) -> None:
    """Refuses a row that names the file of another video beside its own, by a name without its folder and ending.

    Addresses may be where a file came from, and are not compared.

    Args:
        fields: of the row, or of a part of it, without the one that its video was read from.
        field: that one.
        path: what it holds.
        where: place of the row.

    Raises:
        ManifestError: names both files.
    """
    if is_url(path):
        return
    for name, value in fields.items():
        if not is_of_a_video(name):
            continue
        value = value.get("path") if isinstance(value, dict) else value
        for other in value if isinstance(value, list) else [value]:
            if isinstance(other, str) and _is_file(other) and not is_url(other) and _stem(other) != _stem(path):
                raise _several(where, field, path, name, other)


def _several(where: str, field: str, path: str, name: str, other: str) -> ManifestError:
    return ManifestError(
        f"{where}: fields {field!r} and {name!r}: name different videos, {reprlib.repr(path)} and"
        f" {reprlib.repr(other)}; keep one of them"
    )


def names_nothing(media: Any) -> bool:
    """Whether a field of videos, pictures or sounds names none, as in columns that other rows of a list fill."""
    if isinstance(media, list | dict):
        return all(map(names_nothing, media.values() if isinstance(media, dict) else media))
    return media is None or media == ""


def is_the_same_or_its_sound(media: Any, path: str) -> bool:
    """Whether files in a field are the video at `path` itself, or of its name and no other video: its sound, a frame.

    Videos of one name in several folders may be versions of each other, of which each is another one.
    """
    if isinstance(media, list):
        return bool(media) and all(is_the_same_or_its_sound(each, path) for each in media)
    media = media.get("path") if isinstance(media, dict) else media
    if not isinstance(media, str) or not media or not path:
        return False
    own, other = (PurePosixPath(each.replace("\\", "/")) for each in (path, media))
    if _is_file(media):
        least = min(len(own.parts), len(other.parts))
        return own.parts[-least:] == other.parts[-least:]
    return _stem(path) == other.stem.lower()


def where_else(fields: dict[str, Any]) -> str:
    """Where else a row without a path may have it, to be said behind an error; empty where it is nowhere to be seen."""
    names = [name for name, value in fields.items() if isinstance(value, str) and value and is_of_a_video(name)]
    if len(names) > 1:
        return f" ({', '.join(map(repr, names))} are not read as one; rename the one that names the file to 'video')"
    if names:
        return f" ({names[0]!r} is not read as one; rename it to 'video' if it is)"
    if any(fields.get(name) for name in ("conversations", "questions", "question")):
        return " (a row about pictures, or of text alone, cannot be used; drop it)"
    return next(_lists_in(fields), "")


def _lists_in(fields: dict[str, Any]) -> Iterator[str]:
    """What a row may be, if it is an object that holds rows or tells of lists."""
    for name, value in {"": fields, **fields}.items():
        if isinstance(value, dict) and isinstance(value.get("annotation"), str):
            told = f"{name!r} tells of a list" if name else "it tells of a list"
            yield f" ({told}; name that list, {reprlib.repr(value['annotation'])}, in data.train, with its root)"
    objects = [name for name, value in fields.items() if isinstance(value, dict)]
    if len(objects) > 1 and len(objects) == len(fields):
        names = ", ".join(map(repr, objects[:_FEW]))
        yield f" (an object of rows by name, {names}, ...: write these rows alone, one a line, each with its 'video')"
    for name, value in fields.items():
        items = [value] if isinstance(value, dict) else value
        if isinstance(items, list) and items and all(isinstance(item, dict) for item in items):
            yield f" (if the rows are those in {name!r}, write these alone, one object a line)"


@lru_cache(4096)
def is_of_a_video(name: str) -> bool:
    """Whether a name says that a field is of a video. Rows of a list have the same few."""
    return _OF_A_VIDEO.fullmatch(name) is not None


def _is_file(video: str) -> bool:
    return PurePosixPath(video).suffix.lower() in VIDEO_SUFFIXES


def _stem(path: str) -> str:
    """A file's name without its folder, and without the ending of a video."""
    name = PurePosixPath(path.replace("\\", "/")).name.lower()
    stem, dot, ending = name.rpartition(".")
    return stem if stem and dot + ending in VIDEO_SUFFIXES else name
