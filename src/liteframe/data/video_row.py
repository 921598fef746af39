"""One row of a list of videos, and how it is read from whatever fields the list gives."""

from __future__ import annotations

import os
import posixpath
import reprlib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from liteframe.data.remote_file import is_url
from liteframe.data.sources.llava import manifest_fields
from liteframe.errors import ManifestError


@dataclass
class VideoRow:
    """One row of a manifest.

    Attributes:
        path: absolute path of the video file, or its URL.
        id: unique name of the row; by default the path relative to the manifest's folder (or to `root`).
        question, options, answer: one question about the video, where there is one.
        conversations: turns of a dialogue, each a dict, where there are any.
        start, end: part of the video to use, in seconds.
        error: why the file cannot be used, as `liteframe check` found; such a row is never opened.
        extra: every other field of the row.
    """

    path: str
    id: str
    question: str | None = None
    options: list[str] | None = None
    answer: str | None = None
    conversations: list[dict[str, Any]] | None = None
    start: float | None = None
    end: float | None = None
    error: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The row as one flat dict: `extra` is merged at the top level, fields of the class win."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "extra"}
        return {**self.extra, **own}


@dataclass
class ParsedRow:
    """A row as read: `gives_id` where it names itself, `foreign` where it is not in the fields of a manifest."""

    row: VideoRow
    gives_id: bool
    foreign: bool


def parse_row(found: Any, where: str, root: str) -> ParsedRow:
    """Reads the fields of one row.

    Args:
        found: a dict of fields; a ManifestError, which stands for a row that could not be read, is raised.
        where: place of the row, for messages.
        root: folder or URL that paths are relative to.

    Raises:
        ManifestError: a field is missing or of the wrong kind; names place and field.
    """
    if isinstance(found, ManifestError):
        raise found
    if not isinstance(found, dict):
        raise ManifestError(f"{where}: a row is a JSON object with at least 'path', not {type(found).__name__}")
    foreign = "path" not in found
    raw = manifest_fields(found, where, root) if foreign else dict(found)

    def text(name: str) -> str | None:
        value = raw.pop(name, None)
        if value is not None and not isinstance(value, str):
            raise ManifestError(
                f"{where}: field '{name}': a string is needed, not {reprlib.repr(value)}; put it in quotes"
            )
        return value

    def seconds(name: str) -> float | None:
        value = raw.pop(name, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise ManifestError(f"{where}: field '{name}': seconds from 0 on are needed, not {value!r}; give a number")
        return float(value)

    def items(name: str, kind: type, what: str) -> list[Any] | None:
        value = raw.pop(name, None)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, kind) for item in value)):
            raise ManifestError(f"{where}: field '{name}': a list of {what} is needed, not {reprlib.repr(value)}")
        return value

    if isinstance(raw.get("id"), int) and not isinstance(raw["id"], bool):
        raw["id"] = str(raw["id"])
    name, given_id = text("path"), text("id")
    if not name or "\0" in name:
        raise ManifestError(
            f"{where}: field 'path' (or 'video'): the path of a video file is needed, not {name!r}; add it to the row"
        )
    if given_id == "":
        raise ManifestError(f"{where}: field 'id': empty; give a name, or leave the field out")
    start, end = seconds("start"), seconds("end")
    if end is not None and end <= (start or 0.0):
        raise ManifestError(
            f"{where}: field 'end': {end} s is not after the start at {start or 0.0} s; swap or drop them"
        )
    path = locate(name, root)
    row = VideoRow(
        path=path,
        id=given_id or (name if is_url(path) or is_url(root) else Path(os.path.relpath(path, root)).as_posix()),
        question=text("question"),
        options=items("options", str, "strings"),
        answer=text("answer"),
        conversations=items("conversations", dict, "objects"),
        start=start,
        end=end,
        error=text("error"),
        extra=raw,
    )
    return ParsedRow(row, given_id is not None, foreign)


def locate(name: str, root: str) -> str:
    """The absolute path or URL of `name`, which is relative to `root`, a folder or a URL, unless it is absolute."""
    if is_url(name) or (is_url(root) and os.path.isabs(name)):
        return name
    if is_url(root):
        return f"{root.rstrip('/')}/{posixpath.normpath(name)}"
    return os.path.normpath(os.path.join(root, name))
