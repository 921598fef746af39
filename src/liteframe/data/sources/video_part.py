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
    r"(?:video|clip|segment|seg|chunk|part|shot|time|timestamp|frame|ts|t)?(?:clip|segment|time)?"
    r"(start|begin|end|stop)(?:ing)?(?:time|timestamp|ts|t|frame)?(?:in)?"
    r"(?:s|sec|secs|second|seconds|ms|msec|millisecond|milliseconds|index|idx)?"
)
_UNIT = r"(?:\d+\s*h(?:ours?|rs?)?)?\s*(?:\d+\s*m(?:in(?:ute)?s?)?)?\s*(?:\d+(?:[.,]\d+)?\s*(?:m?s|m?secs?|seconds?))?"
_MOMENT = re.compile(rf"\s*(?=[\d.])(?:\d+(?:[:;]\d+){{0,3}}(?:[.,]\d+)?\s*(?:m?s)?|{_UNIT})\s*", re.IGNORECASE)
_MEASURED = re.compile(r"\d\s*(?:[:hms]|[.,]\d)", re.IGNORECASE)
"""What tells a text about moments from one of numbers and dates joined by a dash: a colon, a unit or a fraction."""
_RANGE = re.compile(r"bounds?|[a-z]*(?:bounds?|range|interval|span|window)")
_BETWEEN = re.compile(r"\s*(?:-+>?|[\u2013\u2014~\u2192]|\.{2,3})\s*|\s+to\s+|\s*,\s+|;\s*")
_BOTH = re.compile(
    r"clip|bounds?|segment|time|timerange|startend"
    r"|(?:video|clip)(?:bounds?|clip|segment|range|interval|span|window|times?)"
)
"""Names of fields in which one value tells both ends, of what is seen and not of what is to be found in it."""
_LENGTH = re.compile(r"(?:clip|segment|seg|part)?(?:duration|length)(?:s|sec|secs|seconds|ms|frames)?")
_FRAGMENT = re.compile(r"(?i:https?)://[^#]*#(?:[^#]*&)?(?P<part>t=[^#&]*\d[^#&]*)")
_LONGEST = 80
"""Characters of a text that may tell moments."""
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
    if (start is None) != (end is None) and (name := _other_limit(row.rest, start)) is not None:
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
    """The first fields at whose moments, by their names, something begins ("start") and ends ("end").

    Where one is a moment, the other is a limit whatever it holds; but none stands for one where all begins at 0.
    """
    found: dict[str, str] = {}
    others: dict[str, str] = {}
    for name, value in fields.items():
        if (told := _told_by(name)) in ("start", "end"):
            (found if _is_moment(value) else others).setdefault(told, name)
    if len(found) == 1:
        ((told, name),) = found.items()
        other = others.get("end" if told == "start" else "start")
        if other is not None and not (told == "start" and _is_zero(fields[name]) and _is_nothing(fields[other])):
            found["end" if told == "start" else "start"] = other
    return found


def _other_limit(fields: dict[str, Any], start: float | None) -> str | None:
    """The field under another name that ends what begins at `start`, or begins it where that is None.

    A row that begins at 0 is its file: what is no moment there is its own.
    """
    limits = _limits(fields)
    if len(limits) == 2:
        return None
    missing = "start" if start is None else "end"
    named = {name: value for name, value in fields.items() if _told_by(name) == missing and not _is_nothing(value)}
    return limits.get(missing) or (next(iter(named), None) if start != 0 else None)


def _both(fields: dict[str, Any]) -> str | None:
    """The first field that by its name and value tells both ends."""
    return next(
        (name for name, value in fields.items() if _told_by(name) == "both" and _are_ends(_bare(name), value)), None
    )


def _length(fields: dict[str, Any]) -> str | None:
    """The first field that by its name and value tells how long something is."""
    return next((name for name, value in fields.items() if _told_by(name) == "length" and _is_moment(value)), None)


def _bare(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).lower()


@lru_cache(4096)
def _told_by(name: str) -> str:
    """What a name says is told: "start", "end", "both" or "length"; else empty. Rows of a list have the same few."""
    bare = _bare(name)
    if match := _OF_OTHERS.fullmatch(bare):
        return "start" if match[1] in ("start", "begin") else "end"
    return "both" if _BOTH.fullmatch(bare) else "length" if _LENGTH.fullmatch(bare) else ""


def _is_moment(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST and _MOMENT.fullmatch(value) is not None
    if isinstance(value, list):
        return len(value) == 1 and not isinstance(value[0], list) and _is_moment(value[0])
    return _is_number(value) or isinstance(value, time | timedelta | Decimal)  # as Parquet gives them


def _is_nothing(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, str) and not value.strip()) or value == []


def _are_ends(name: str, value: Any) -> bool:
    """Whether a value is two moments: a pair, alone in a list or not, an object, or a text."""
    if isinstance(value, dict):
        return len(_limits(value)) == 2
    if isinstance(value, str):
        bare = value.strip() if len(value) <= _LONGEST else ""
        if bare[:1] in ("[", "(") and bare[-1:] in ("]", ")"):
            return len(ends := bare.strip("[]() ").split(",")) == 2 and all(
                _is_moment(end.strip(" '\"")) for end in ends
            )
        is_told = _MEASURED.search(bare) or (_RANGE.fullmatch(name) and not _are_names(re.findall(r"\d+", bare)))
        return bool(is_told) and len(ends := _BETWEEN.split(bare)) == 2 and all(map(_is_moment, ends))
    if isinstance(value, list) and len(value) == 1:
        return not isinstance(value[0], str) and _are_ends(name, value[0])
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_moment, value)):
        return False
    return not all(isinstance(end, str) for end in value) or not _are_names(value)


def _are_names(texts: list[str]) -> bool:
    """Whether numbers are those of files or years: of leading zeros, or four digits each."""
    return all(text.isdigit() and ((len(text) > 1 and text[0] == "0") or len(text) == 4) for text in texts)


def _is_zero(moment: Any) -> bool:
    moment = moment[0] if isinstance(moment, list) and moment else moment
    return not moment or (isinstance(moment, str) and not moment.strip(" 0:;.,ms"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
