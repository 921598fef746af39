"""Which part of its video a row is about, under whichever name its list tells it."""

from __future__ import annotations

import re
import reprlib
from typing import Any

from liteframe.data.sources.moments import is_blank, is_negative, is_number
from liteframe.data.sources.part_names import (
    ASKED,
    IN_WORDS,
    asked_at,
    length_of,
    other_limit,
    part_elsewhere,
    part_of_item,
)
from liteframe.data.sources.row_fields import RowFields

_FRAGMENT = re.compile(r"(?i:https?)://[^#]*#(?:[^#]*&)?(?P<part>t=[^#&]*\d[^#&]*)")


def take_part(row: RowFields, foreign: bool) -> tuple[float | None, float | None]:
    """Takes the start and the end out of a row, in seconds; None where it names none.

    Told as `start` and `end`, as `video_start` and `video_end` (Qwen-VL) or, in rows of a foreign form, as a pair
    `clip` (InternVL). Where a row tells `start` or `end`, fields of other names are its own.

    Raises:
        ManifestError: a value is no number of seconds, the end is not after the start, or the row tells a part, or a
            moment at which its question is asked, in fields that are not read (`start_time` and `end_time`, `bound`,
            ...); names place and field.
    """
    names = "start", "end"
    if all(is_blank(row.rest.get(name)) for name in names):
        names = "video_start", "video_end"
        if all(is_blank(row.rest.get(name)) for name in names):
            return _taken_clip(row) if foreign and _is_pair(row.rest.get("clip")) else _require_none(row)
    _require_no_negative(row, names)
    start, end = (row.seconds(name) for name in names)
    _require_order(row, names[1], start, end)
    if (start is None) != (end is None) and (name := other_limit(row.rest, start)) is not None:
        raise row.fault(name, f"{IN_WORDS}; rename it, or drop it")
    if start and end is None and (length := length_of(row.rest)) is not None:
        raise row.fault(length, f"may end the part that starts at {start} s; write its 'end', or drop or rename it")
    return start, end


def _taken_clip(row: RowFields) -> tuple[float, float]:
    start, end = row.rest["clip"]
    if not 0 <= start < 1e12 or not 0 <= end < 1e12:
        whole = ", or drop it where the whole video is meant" if start < 0 else ""
        told = reprlib.repr([start, end])
        raise row.fault("clip", f"seconds from 0 on are needed, not {told}; give two numbers{whole}")
    _require_order(row, "clip", start, end)
    del row.rest["clip"]
    return float(start), float(end)


def _require_no_negative(row: RowFields, names: tuple[str, str]) -> None:
    """Raises ManifestError for what some lists have in place of no limit, such as -1."""
    given = [name for name in names if not is_blank(row.rest.get(name))]
    negative = [name for name in given if is_negative(row.rest[name])]
    if not negative:
        return
    name, value = negative[0], reprlib.repr(row.rest[negative[0]])
    if negative == given:
        what = f"drop {' and '.join(map(repr, given))} where the whole video is meant"
    else:
        what = f"drop it where the video is meant {'from its beginning' if name == names[0] else 'to its end'}"
    raise row.fault(name, f"seconds from 0 on are needed, not {value}; {what}")


def _require_order(row: RowFields, name: str, start: float | None, end: float | None) -> None:
    if end is not None and end <= (start or 0.0):
        raise row.fault(name, f"{end} s is not after the start at {start or 0.0} s; swap or drop them")


def _require_none(row: RowFields) -> tuple[None, None]:
    if (told := part_elsewhere(row.rest)) is not None:
        raise row.fault(*told)
    return None, None


def require_no_own_parts(row: RowFields, field: str, items: list[Any] | None) -> None:
    """Raises ManifestError where an item of `questions`, or a turn, is about another part of the video than the row."""
    kind = "item" if field == "questions" else "turn"
    for number, item in enumerate(items or (), start=1):
        if not isinstance(item, dict):
            continue
        # What a turn is about may be said by the one before it or behind it.
        beside = {"conversations": (items or [])[max(0, number - 2) : number + 1]} if kind == "turn" else item
        if (name := part_of_item(item, beside)) is not None:
            what = "and a part of the video is told by the row; split the row, or drop"
            raise row.fault(field, f"{kind} {number} has a {name!r} of its own, {what} {name!r}")
        if not _is_an_answer(item) and (name := asked_at(item, beside)) is not None:
            what = "split the row and write it as 'end', in seconds, or rename"
            raise row.fault(field, f"{kind} {number} has a {name!r}, which {ASKED}; {what} {name!r}")


def _is_an_answer(turn: dict[str, Any]) -> bool:
    return any(turn.get(name) in ("gpt", "assistant") for name in ("from", "role"))


def part_of_url(url: str) -> str | None:
    """The part that a URL asks for behind its ``#`` (``t=10,20``), which no server is told; None where it does not."""
    match = _FRAGMENT.match(url)
    return match["part"] if match else None


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value))
