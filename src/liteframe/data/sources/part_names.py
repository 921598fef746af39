"""Which fields of a row, by their names and values, tell a part or a moment of its video."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from liteframe.data.sources.moments import (
    are_names,
    are_on_a_clock,
    is_blank,
    is_dated,
    is_moment,
    is_negative,
    is_nothing,
    is_single_moment,
    is_zero,
    numbers_in,
    say_any,
    seconds_of,
    two_ends,
)

_OF_OTHERS = re.compile(
    r"(?:video|clip|segment|seg|chunk|part|shot|time|timestamp|frame|ts|t)?(?:clip|segment|time)?"
    r"(start|begin|end|stop)(?:ing)?(?:time|timestamp|ts|t|frame)?(?:in)?"
    r"(?:s|sec|secs|second|seconds|ms|msec|millisecond|milliseconds|index|idx)?"
)
_PAIRS = {
    name: (number, limit)
    for number, pair in enumerate(
        (
            *("from to", "timefrom timeto", "framefrom frameto", "fromframe toframe", "firstframe lastframe"),
            *("t0 t1", "ts te", "in out", "inpoint outpoint"),
        )
    )
    for limit, name in zip(("start", "end"), pair.split(), strict=True)
}
"""Names that tell an end of a part only where both of a pair do."""
_BOTH = re.compile(
    r"clip|bounds?|segment|time|timerange|startend|frames?(?:bounds?|range|interval|span|window)"
    r"|(?:video|clip)(?:bounds?|clip|segment|range|interval|span|window|times?)"
)
"""Names of fields in which one value tells both ends, of what is seen and not of what is to be found in it."""
_BOTH_UNLESS_SAID = re.compile(r"(?:time)?(?:span|interval|window)|times")
"""The same, but for what the row's texts say."""
_SOUGHT = re.compile(r"timestamps?|spans|intervals|windows|moments?")
"""Names of fields that as often tell what is to be found."""
_ASKED = re.compile(r"(?:real|query|ask|asked|question|current)?time(?:stamp)?(?:s|sec|secs|seconds|ms)?")
"""Names of the moment at which a question is asked, about what has been shown by then."""
_OF_ONE_QUESTION = re.compile(r"(?:current)?time(?:stamp)?(?:s|sec|secs|seconds|ms)?")
"""Those that are another moment where a row has several questions."""
_SHOWN = re.compile(r"^[ \t]{0,8}\(?[A-Z][.):]\)?[ \t]{0,8}(\d+(?:\.\d+)?)", re.ASCII | re.MULTILINE)
"""A number that a question shows behind the letter of an option."""
_LENGTH = re.compile(r"(?:clip|segment|seg|part)?(?:duration|length)(?:s|sec|secs|seconds|ms|frames)?")
_OFFSET = re.compile(r"(?:video|clip|segment|time|start|frame)?offset(?:s|sec|secs|seconds|ms|frames)?")
_NESTED = re.compile(r"(?:video|clip|segment|sample)?(?:meta|metadata|info)")
"""Names of objects in which lists keep what they know of a video."""
_OWN = ("start", "end", "video_start", "video_end")
ASKED = "tells when the question is asked, and it would be asked about the whole video"
IN_WORDS = "tells a part of the video, and what is read is 'start' and 'end', in seconds"
_FILE = 'where the file is that part already, add "start": 0'
_WHOLE = f"rename it where it means something else, or {_FILE}"


def part_elsewhere(fields: dict[str, Any]) -> tuple[str, str] | None:
    """The field of a row that tells a part of its video under a name which is not read, and words about it."""
    if (told := _part_in(fields, fields)) is not None:
        return told
    for name, value in fields.items():
        told = _part_in(value, fields) if isinstance(value, dict) and _NESTED.fullmatch(_bare(name)) else None
        if told is not None and not is_negative(value[told[0]]):
            return name, f"its {told[0]!r} {IN_WORDS}, of the row; write it so, {_WHOLE}"
    if (asked := asked_at(fields, several=_questions(fields) > 1)) is not None:
        return asked, f"{ASKED}; write it as 'end', in seconds, or rename it where it means something else"
    return None


def _part_in(fields: dict[str, Any], row: dict[str, Any]) -> tuple[str, str] | None:
    """As `part_elsewhere`, without moments, of fields beside which a row has its texts."""
    limits = limits_of(fields)
    if len(limits) == 2:
        start, end = limits["start"], limits["end"]
        if is_negative(fields[start]) and is_negative(fields[end]):
            return start, f"with '{end}' is no part of a video; drop both where the whole video is meant"
        return start, f"with '{end}' it {IN_WORDS}; rename both, or {_FILE}"
    begin = limits.get("start") or _first(fields, _OFFSET)
    if begin and not is_zero(fields[begin]) and (length := length_of(fields)) is not None:
        return begin, f"with '{length}' it {IN_WORDS}; write it so, {_WHOLE}"
    for limit in limits.values():
        value = fields[limit]
        if is_single_moment(value) and not is_dated(value) and not say_any(_texts(row), [value]):
            return limit, f"{IN_WORDS}; write it so, {_WHOLE}"
    if (name := _both(fields, row)) is not None:
        return name, f"{IN_WORDS}; write it so, {_WHOLE}"
    return None


def part_of_item(item: dict[str, Any], beside: dict[str, Any] | None = None) -> str | None:
    """The name under which a part of a row (an item of `questions`, a video) tells a part of the video of its own.

    Args:
        item: the part of the row.
        beside: what has its texts; the item itself if None.
    """
    own = next((name for name in _OWN if not is_blank(item.get(name))), None)
    if own is not None:
        return own
    told = _part_in(item, item if beside is None else beside)
    return None if told is None else told[0]


def asked_at(item: dict[str, Any], beside: dict[str, Any] | None = None, several: bool = False) -> str | None:
    """The name under which a row, an item of `questions` or a turn tells when its question is asked.

    None where its texts say that, other than as one of the numbers to choose from, or where it has none.

    Args:
        item: the row, the item or the turn.
        beside: what has its texts; the item itself if None.
        several: whether it has several questions, of which a plain `time` may be another moment.
    """
    found = [
        name
        for name, value in item.items()
        if _is(name, _ASKED) and _is_asked_at(name, value) and not (several and _is(name, _OF_ONE_QUESTION))
    ]
    texts = list(_texts(item if beside is None else beside)) if found else []
    chosen = {number for text in _options(item) for number in numbers_in(text)} if found else set()
    chosen |= {number for text in texts for number in _SHOWN.findall(text)}
    return next((name for name in found if texts and not say_any(texts, [item[name]], chosen)), None)


def _is_asked_at(name: str, value: Any) -> bool:
    """Whether the value of a name of `_ASKED` is a moment: `times` are a number, and the plain names tell dates too."""
    if not is_single_moment(value) or name.lower() == "times":
        return False
    return not (_is(name, _OF_ONE_QUESTION) and is_dated(value))


def limits_of(fields: dict[str, Any]) -> dict[str, str]:
    """The first fields at whose moments, by their names, something begins ("start") and ends ("end").

    Where one is a moment, the other is a limit whatever it holds; but none stands for one where all begins at 0.
    """
    found: dict[str, str] = {}
    others: dict[str, str] = {}
    pairs: dict[int, dict[str, str]] = {}
    for name, value in fields.items():
        if (told := limit_told_by(name)) is not None:
            (found if is_moment(value) else others).setdefault(told, name)
        elif (pair := _PAIRS.get(_bare(name))) is not None and _is_of_a_pair(value):
            pairs.setdefault(pair[0], {}).setdefault(pair[1], name)
    if len(found) == 1:
        ((told, name),) = found.items()
        other = others.get("end" if told == "start" else "start")
        if other is not None and not (told == "start" and is_zero(fields[name]) and is_nothing(fields[other])):
            found["end" if told == "start" else "start"] = other
    if len(found) == 2:
        return found
    return next((pair for pair in pairs.values() if len(pair) == 2 and not _are_counts(pair, fields)), found)


def _are_counts(pair: dict[str, str], fields: dict[str, Any]) -> bool:
    """Whether it may be how many came in and went out."""
    return _bare(pair["start"]) == "in" and all(isinstance(fields[name], int) for name in pair.values())


def _is_of_a_pair(value: Any) -> bool:
    return is_moment(value) and not (isinstance(value, str) and are_names([value.strip()]))


def other_limit(fields: dict[str, Any], start: float | None) -> str | None:
    """The field under another name that ends what begins at `start`, or begins it where that is None.

    A row that begins at 0 is its file: what is no moment there is its own.
    """
    limits = limits_of(fields)
    if len(limits) == 2:
        return None
    missing = "start" if start is None else "end"
    named = (name for name, value in fields.items() if limit_told_by(name) == missing and not is_nothing(value))
    return limits.get(missing) or (next(named, None) if start != 0 else None)


def length_of(fields: dict[str, Any]) -> str | None:
    """The first field that by its name and value tells how long something is."""
    return _first(fields, _LENGTH)


def _first(fields: dict[str, Any], names: re.Pattern[str]) -> str | None:
    """The first moment under one of some names."""
    return next((name for name, value in fields.items() if _is(name, names) and is_moment(value)), None)


def _both(fields: dict[str, Any], row: dict[str, Any]) -> str | None:
    """The first field that by its name and value tells both ends, and not what is to be found.

    That is what the texts of the row say the numbers of. Under a name of what is sought, it is told too where there
    are no texts, but for times of a clock, by which films are cut.
    """
    for name, value in fields.items():
        kind = next((kind for kind in (_BOTH, _BOTH_UNLESS_SAID, _SOUGHT) if _is(name, kind)), None)
        if kind is None or is_nothing(value):
            continue
        if isinstance(value, dict):
            limits = limits_of(value)
            ends = (value[limits["start"]], value[limits["end"]]) if len(limits) == 2 else None
        else:
            ends = two_ends(_bare(name), value)
        if ends is None or _are_no_span(*ends):
            continue
        texts = [] if kind is _BOTH else list(_texts(row))
        if not say_any(texts, ends) and (kind is not _SOUGHT or texts or are_on_a_clock(ends)):
            return name
    return None


def _are_no_span(start: Any, end: Any) -> bool:
    """Whether two numbers are none of a part, such as sizes: the second is not the greater, nor stands for the end."""
    seconds = seconds_of(start), seconds_of(end)
    if seconds[0] is None or seconds[1] is None or (is_negative(end) and not is_negative(start)):
        return False
    return seconds[1] <= seconds[0]


def _texts(fields: dict[str, Any]) -> Iterator[str]:
    """What is asked and answered in a row, an item of `questions` or a turn."""
    for name in ("question", "answer", "system", "value", "content", "text"):
        if isinstance(text := fields.get(name), str) and text.strip():
            yield text
    for name in ("options", "questions", "conversations", "content", "value"):
        for item in items if isinstance(items := fields.get(name), list) else ():
            if isinstance(item, str):
                yield item
            elif isinstance(item, dict):
                yield from _texts(item)


def _options(fields: dict[str, Any]) -> Iterator[str]:
    """The options of a row, or of an item of `questions`, and those of the row's items."""
    options, items = fields.get("options"), fields.get("questions")
    for option in options.values() if isinstance(options, dict) else options if isinstance(options, list) else ():
        if isinstance(option, str):
            yield option
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and "questions" not in item:
            yield from _options(item)


def _questions(fields: dict[str, Any]) -> int:
    """How many questions a row has."""
    if isinstance(turns := fields.get("conversations"), list) and turns:
        return len(turns) // 2
    return len(items) if isinstance(items := fields.get("questions"), list) else 1


@lru_cache(4096)
def _bare(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).lower()


@lru_cache(4096)
def limit_told_by(name: str) -> str | None:
    """The limit of a part that a name tells, "start" or "end"; None of others. Rows of a list have the same few."""
    match = _OF_OTHERS.fullmatch(_bare(name))
    return None if match is None else "start" if match[1] in ("start", "begin") else "end"


@lru_cache(4096)
def _is(name: str, names: re.Pattern[str]) -> bool:
    return names.fullmatch(_bare(name)) is not None
