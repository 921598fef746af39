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
_MOMENT = re.compile(
    r"\s*(?=[\d.])(?:\d+(?::\d+){0,2}(?:[.,]\d+)?\s*s?|(?:\d+\s*h)?\s*(?:\d+\s*m(?:in)?)?\s*(?:\d+(?:\.\d+)?\s*s)?)\s*"
)
_BOTH = re.compile(r"clip|bounds?|segment|timerange|(?:video|clip)(?:bounds?|segment|range|interval|span|window|time)")
"""Names of fields in which one value tells both ends, of what is seen and not of what is to be found in it."""
_LENGTH = re.compile(r"(?:clip|segment|seg|part)?(?:duration|length)(?:s|sec|secs|seconds|ms|frames)?")
_FRAGMENT = re.compile(r"(?i:https?)://[^#]*#(?:[^#]*&)?(?P<part>t=[^#&]*\d[^#&]*)")
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
    if start and end is None and (length := _length(row.rest)) is not None:
        raise row.fault(length, f"may end the part that starts at {start} s; write its 'end', or drop or rename it")
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
    if len(limits := _limits(row.rest)) == 2:
        raise row.fault(limits["start"], f"with '{limits['end']}' it {_IN_WORDS}; rename both, or {_WHOLE}")
    if (start := limits.get("start")) and not _is_zero(row.rest[start]) and (length := _length(row.rest)) is not None:
        raise row.fault(start, f"with '{length}' it {_IN_WORDS}; write it so, or {_WHOLE}")
    if (name := _both(row.rest)) is not None:
        raise row.fault(name, f"{_IN_WORDS}; write it so, or {_WHOLE}")
    return None, None


def part_of_item(item: dict[str, Any]) -> str | None:
    """The name under which a part of a row (an item of `questions`, a video) tells a part of the video of its own."""
    own = [name for name in ("start", "end", "video_start", "video_end") if item.get(name) is not None]
    limits = _limits(item)
    return next(iter([*own, *([limits["start"]] if len(limits) == 2 else []), *filter(None, [_both(item)])]), None)


def part_of_url(url: str) -> str | None:
    """The part that a URL asks for behind its ``#`` (``t=10,20``), which no server is told; None where it does not."""
    match = _FRAGMENT.match(url)
    return match["part"] if match else None


def _limits(fields: dict[str, Any]) -> dict[str, str]:
    """The first fields with a moment at which, by their names, something begins ("start") and ends ("end")."""
    found: dict[str, str] = {}
    for name, value in fields.items():
        if (told := _told_by(name)) in ("start", "end") and _is_moment(value):
            found.setdefault(told, name)
    return found


def _both(fields: dict[str, Any]) -> str | None:
    """The first field that by its name and value tells both ends."""
    return next((name for name, value in fields.items() if _told_by(name) == "both" and _are_ends(value)), None)


def _length(fields: dict[str, Any]) -> str | None:
    """The first field that by its name and value tells how long something is."""
    return next((name for name, value in fields.items() if _told_by(name) == "length" and _is_moment(value)), None)


@lru_cache(4096)
def _told_by(name: str) -> str:
    """What a name says is told: "start", "end", "both" or "length"; else empty. Rows of a list have the same few."""
    bare = re.sub(r"[-_ ]", "", name).lower()
    if match := _OF_OTHERS.fullmatch(bare):
        return "start" if match[1] in ("start", "begin") else "end"
    return "both" if _BOTH.fullmatch(bare) else "length" if _LENGTH.fullmatch(bare) else ""


def _is_moment(value: Any) -> bool:
    if isinstance(value, str):
        return _MOMENT.fullmatch(value) is not None
    return _is_number(value) or isinstance(value, time | timedelta | Decimal)  # as Parquet gives them


def _are_ends(value: Any) -> bool:
    """Whether a value is two moments: a pair, alone in a list or not, an object, or a text."""
    if isinstance(value, dict):
        return len(_limits(value)) == 2
    if isinstance(value, str):
        return len(ends := re.split(r"-|\u2013|~| to ", value)) == 2 and all(map(_is_moment, ends))
    if isinstance(value, list) and len(value) == 1:
        return not isinstance(value[0], str) and _are_ends(value[0])
    return isinstance(value, list) and len(value) == 2 and all(map(_is_moment, value))


def _is_zero(moment: Any) -> bool:
    return not moment or (isinstance(moment, str) and not moment.strip(" 0:.,s"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
