"""Which part of its video a row is about, under whichever name its list tells it."""

from __future__ import annotations

import re
import reprlib
from datetime import time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from liteframe.data.sources.row_fields import RowFields

_OF_OTHERS = re.compile(
    r"(?:video|clip|segment|seg|time|timestamp|frame)?(start|begin|end|stop)(?:ing)?"
    r"(?:time|timestamp|ts|s|sec|secs|second|seconds|ms|frame|index|idx)?"
)
_MOMENT = re.compile(r"\s*\d+(?::\d+){0,2}(?:[.,]\d+)?\s*s?\s*")
_IN_WORDS = "tells a part of the video, and what is read is 'start' and 'end', in seconds"
_WHOLE = 'where the file is that part already, add "start": 0'


def take_part(row: RowFields, foreign: bool) -> tuple[float | None, float | None]:
    """Takes the start and the end out of a row, in seconds; None where it names none.

    Told as `start` and `end`, as `video_start` and `video_end` (Qwen-VL) or, in rows of a foreign form, as a pair
    `clip` (InternVL). Where a row tells `start` or `end`, fields of other names are its own.

    Raises:
        ManifestError: a value is no number of seconds, the end is not after the start, or the row tells a part in
            fields that are not read (`start_time` and `end_time`, `bound`, ...); names place and field.
    """
    names = "start", "end"
    if all(row.rest.get(name) is None for name in names):
        names = "video_start", "video_end"
        if all(row.rest.get(name) is None for name in names):
            return _taken_clip(row) if foreign and _is_pair(row.rest.get("clip")) else _require_none(row)
    start, end = (row.seconds(name) for name in names)
    _require_order(row, names[1], start, end)
    if (start is None) != (end is None) and len(other := _limits(row.rest)) == 1:
        ((limit, name),) = other.items()
        if limit == ("end" if end is None else "start"):
            raise row.fault(name, f"{_IN_WORDS}; rename it, or drop it")
    return start, end


def _taken_clip(row: RowFields) -> tuple[float, float]:
    start, end = row.rest["clip"]
    if not 0 <= start < 1e12 or not 0 <= end < 1e12:
        raise row.fault("clip", f"seconds from 0 on are needed, not {reprlib.repr([start, end])}; give two numbers")
    _require_order(row, "clip", start, end)
    del row.rest["clip"]
    return float(start), float(end)


def _require_order(row: RowFields, name: str, start: float | None, end: float | None) -> None:
    if end is not None and end <= (start or 0.0):
        raise row.fault(name, f"{end} s is not after the start at {start or 0.0} s; swap or drop them")


def _require_none(row: RowFields) -> tuple[None, None]:
    """Raises ManifestError where the row tells a part under a name that is not read."""
    if len(both := _limits(row.rest)) == 2:
        raise row.fault(both["start"], f"with '{both['end']}' it {_IN_WORDS}; rename both, or {_WHOLE}")
    if _is_pair(row.rest.get("bound")):
        raise row.fault("bound", f"{_IN_WORDS}; write it so, or {_WHOLE}")
    return None, None


def part_of_item(item: dict[str, Any]) -> str | None:
    """The name under which a part of a row (an item of `questions`, a video) tells a part of the video of its own."""
    own = [name for name in ("start", "end", "video_start", "video_end") if item.get(name) is not None]
    both = _limits(item)
    return next(iter([*own, *([both["start"]] if len(both) == 2 else [])]), None)


def _limits(fields: dict[str, Any]) -> dict[str, str]:
    """The first fields with a moment at which, by their names, something begins ("start") and ends ("end")."""
    found: dict[str, str] = {}
    for name, value in fields.items():
        if (limit := _limit(name)) and _is_moment(value):
            found.setdefault(limit, name)
    return found


@lru_cache(4096)
def _limit(name: str) -> str:
    """ "start" or "end", where a name says that; else empty. Rows of a list have the same few names."""
    match = _OF_OTHERS.fullmatch(re.sub(r"[-_ ]", "", name).lower())
    return "" if match is None else "start" if match[1] in ("start", "begin") else "end"


def _is_moment(value: Any) -> bool:
    if isinstance(value, str):
        return _MOMENT.fullmatch(value) is not None
    return _is_number(value) or isinstance(value, time | timedelta | Decimal)  # as Parquet gives them


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
