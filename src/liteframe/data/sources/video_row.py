"""One row of a list of videos, and how it is read from whatever fields the list gives."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from liteframe.data.sources.json_list import json_list
from liteframe.data.sources.list_root import ListRoot
from liteframe.data.sources.llava import manifest_fields
from liteframe.data.sources.messages import require_one_video
from liteframe.data.sources.one_video import require_no_other, require_one_path, where_else
from liteframe.data.sources.row_fields import MAX_NAME, RowFields
from liteframe.data.sources.row_texts import TEXTS_FAULT, taken_texts
from liteframe.data.sources.video_part import part_of_url, require_no_own_parts, take_part
from liteframe.errors import ManifestError
from liteframe.system.contained_path import OutsideRoot

_NO_ERROR = ("", "none", "no", "null", "nan", "n/a", "na", "false", "0", "ok", "no error", "-")
"""What a column of errors says of what has none."""


@dataclass
class VideoRow:
    """One row of a manifest.

    Attributes:
        path: absolute path of the video file, or its URL.
        id: unique name of the row; by default the path relative to the manifest's folder (or to `root`). A row that
            cannot be read has its place in the list as path and id.
        question, options, answer: one question about the video, where there is one.
        conversations: turns of a dialogue, each a dict, where there are any. Where one of these, or `questions`, cannot
            be read, there is none of them, and `extra` says why in `texts_fault`.
        start, end: part of the video to use, in seconds.
        error: why the row cannot be used, as `liteframe check` found of its file, or as reading the list did; such a
            row is never opened.
        extra: every other field of the row, in values of JSON; a time out of Parquet is its text. A `decoder` in there
            is "auto", "decord", "pyav" or "torchcodec".
        place: of the row in its list (`file:3`), for messages; empty for the videos of a folder.
        own_id: the id that the row itself gives, if no other row of its list may have that too.
        name: the path as seen from the manifest's folder (or `root`); empty for the path itself.
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
    place: str = field(default="", compare=False, repr=False)
    own_id: str | None = field(default=None, compare=False, repr=False)
    name: str = field(default="", compare=False, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """The row as one flat dict: `extra` is merged at the top level, fields of the class win.

        Without `place`, `own_id` and `name`, which tell how it was read.
        """
        return {**self.extra, **{name: getattr(self, name) for name in _OWN_FIELDS}}

    ID_AS_LISTED: ClassVar[int] = 1
    """Where the id stands in `as_listed`."""

    def content(self) -> str:
        """What a run learns from: the part of the video, and what is asked and said about it."""
        read = [self.name or self.path, self.start, self.end, self.question, self.options, self.answer]
        return json_list([*read, self.conversations, self.extra.get("questions")])

    def as_listed(self) -> str:
        """All that its list says of it, the same wherever list and videos lie together."""
        if self.error and not self.place:  # which could not be read, and is called by where it is
            return "unreadable"
        where = self.name if self.name and not self.name.startswith("..") else self.path
        told = [where, self.id, self.start, self.end, self.question, self.options, self.answer, self.error]
        return json_list([*told, self.conversations, self.extra])


_OWN_FIELDS = tuple(each.name for each in fields(VideoRow) if each.compare and each.name != "extra")


@dataclass
class ParsedRow:
    """A row as read: `gives_id` where it names itself, `foreign` where it is not in the fields of a manifest."""

    row: VideoRow
    gives_id: bool
    foreign: bool

    @property
    def keeps_id(self) -> bool:
        """Whether its id is one that no other row of its list may have."""
        return self.gives_id and not self.foreign


def parse_row(found: Any, where: str, root: ListRoot, asked_apart: bool = False) -> ParsedRow:
    """Reads the fields of one row.

    Args:
        found: a dict of fields; a ManifestError, which stands for a row that could not be read, is raised.
        where: place of the row, for messages.
        root: what its path is relative to.
        asked_apart: keep items of `questions` that are no objects, for a reader that refuses each by itself.

    Raises:
        ManifestError: a field is missing or of the wrong kind, or leads out of the root; names place and field. Its
            questions and answers are not asked.
    """
    if isinstance(found, ManifestError):
        raise found
    if not isinstance(found, dict):
        raise ManifestError(f"{where}: a row is a JSON object with at least 'path', not {type(found).__name__}")
    found = _without_nans(found)
    foreign = found.get("path") in (None, "")
    if not foreign:
        require_one_path(found, where)
    row = RowFields(manifest_fields(found, where) if foreign else found, where)
    data_source = row.rest.get("data_source") if foreign else None
    named_in = "video" if foreign else "path"
    name, given_id = row.text("path", MAX_NAME), row.name("id")
    if not name or "\0" in name:
        raise ManifestError(
            f"{where}: field 'path' (or 'video'): the path of a video file is needed, not {reprlib.repr(name)}; add it"
            f" to the row{where_else(row.rest)}"
        )
    if (part := part_of_url(name)) is not None:
        told = f"its URL asks for a part (#{part}), which is not read; write it into 'start' and 'end', in seconds"
        raise row.fault(named_in, told)
    start, end = take_part(row, foreign)
    row.choose_decoder(foreign)
    is_chat = foreign and found.get("messages") and not found.get("conversations")
    turns_in = "messages" if is_chat else "conversations"
    texts = taken_texts(row, asked_apart)
    if is_chat and TEXTS_FAULT in row.rest:
        row.rest[TEXTS_FAULT] = row.rest[TEXTS_FAULT].replace("field 'conversations'", "field 'messages'", 1)
    require_no_own_parts(row, "questions", row.rest.get("questions"))
    if conversations := texts.get("conversations"):
        require_one_video(conversations, name, where, turns_in)
        require_no_own_parts(row, turns_in, conversations)
    _require_no_other(row, named_in, name)
    try:
        path = root.locate(name, data_source if isinstance(data_source, str) else None)
    except OutsideRoot as error:
        raise row.fault(
            named_in,
            f"{error}; correct the row, or put the video in there (a list to be trusted may be read without a root)",
        ) from error
    short_name = root.short_name(name, path)
    parsed = VideoRow(
        path=path,
        id=given_id if given_id is not None else short_name,
        **texts,
        start=start,
        end=end,
        error=_taken_error(row),
        extra=row.rest,
        place=where,
        own_id=None if foreign else given_id,
        name=short_name,
    )
    return ParsedRow(parsed, given_id is not None, foreign)


def _without_nans(fields: dict[str, Any], depth: int = 4) -> dict[str, Any]:
    """The fields without those that hold no number (NaN), as tables have it where they hold nothing.

    Also without those of the objects in there, so deep: a video in a part of a turn of the row.
    """
    kept = {}
    for name, value in fields.items():
        if isinstance(value, float):
            if value != value:
                continue
        elif depth and isinstance(value, dict):
            value = _without_nans(value, depth - 1)
        elif depth and isinstance(value, list) and value and isinstance(value[0], dict):
            value = [_without_nans(item, depth - 1) if isinstance(item, dict) else item for item in value]
        kept[name] = value
    return kept


def _require_no_other(row: RowFields, field: str, path: str) -> None:
    """Raises ManifestError where the row, or an item of its `questions`, names another video than its own."""
    require_no_other(row.rest, field, path, row.where)
    for number, item in enumerate(row.rest.get("questions") or (), start=1):
        if isinstance(item, dict):
            require_no_other(item, field, path, f"{row.where}: item {number} of 'questions'")


def _taken_error(row: RowFields) -> str | None:
    """Takes out why a row's file cannot be used; None where nothing is wrong with it.

    `liteframe check` writes it beside `"ok": false`. A column of that name without one is another list's own.

    Raises:
        ManifestError: it says something else than that there is none, and no `ok` is false.
    """
    error = row.rest.pop("error", None)
    if row.rest.get("ok") is False and isinstance(error, str) and error.strip():
        return error
    if not error or error != error or (isinstance(error, str) and error.strip().lower() in _NO_ERROR):
        return None
    raise row.fault(
        "error",
        f'{reprlib.repr(error)} is not read: only a text beside "ok": false, as `liteframe check` writes both, says'
        " that a video cannot be used; rename the field where it means something else",
    )


def unusable(where: str, error: ManifestError) -> VideoRow:
    """What stands for a row that cannot be read, so that it is skipped, listed and counted."""
    return VideoRow(path=where, id=where, error=str(error))


def put_in_json(row: VideoRow) -> None:
    """Puts a row out of a format with more kinds of values than JSON has into values of JSON: others become texts.

    So it is the same whether its list is short, and rows are held as they are, or long, and they are kept as JSON.
    """
    row.conversations, row.extra = _in_json(row.conversations), _in_json(row.extra)


def _in_json(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        return {name: _in_json(item) for name, item in value.items()}
    return [_in_json(item) for item in value] if isinstance(value, list | tuple) else str(value)
