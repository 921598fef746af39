"""Values of a row that may be moments of a video, in seconds, frames or as clocks write them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import time, timedelta
from decimal import Decimal
from math import inf
from typing import Any

_LATIN = re.ASCII | re.IGNORECASE
"""Without letters of other scripts, of which some are small ones of these: a long s is a second to `re` alone."""
_UNIT = r"(?:\d+\s*h(?:ours?|rs?)?)?\s*(?:\d+\s*m(?:in(?:ute)?s?)?)?\s*(?:\d+(?:[.,]\d+)?\s*(?:m?s|m?secs?|seconds?))?"
_MOMENT = re.compile(rf"\s*(?=[\d.])(?:\d+(?:[:;]\d+){{0,3}}(?:[.,]\d+)?\s*(?:m?s)?|{_UNIT})\s*", _LATIN)
_MEASURED = re.compile(r"\d\s*(?:[:hms]|[.,]\d)", _LATIN)
"""What tells a text about moments from one of numbers and dates joined by a dash: a colon, a unit or a fraction."""
_RANGE = re.compile(r"bounds?|[a-z]*(?:bounds?|range|interval|span|window)")
_BETWEEN = re.compile(r"\s*(?:-+>?|[\u2013\u2014~\u2192]|\.{2,3})\s*|\s+to\s+|\s*,\s+|;\s*")
_CLOCK = re.compile(r"(?<!\d)\d+(?:[:;]\d+)+(?:[.,]\d+)?", re.ASCII)
_SAID = re.compile(rf"{_CLOCK.pattern}|\d+(?:\.\d+)?", re.ASCII)
_UNIT_BEHIND = re.compile(r"\s{0,2}(?:m?s|m?secs?|seconds?|min|minutes?|h|hours?)\b", _LATIN)
_MEASURE = re.compile(r"(\d+(?:[.,]\d+)?)\s*(ms|h|m|s|)", _LATIN)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0, "ms": 1e-3}
_LONGEST = 80
"""Characters of a text that may tell moments."""
_EPOCH = 1e8
"""Seconds from which on a number is a date: three years, which no video lasts."""

_DATE = re.compile(r"(?:19|20)\d\d(?:(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])?)?", re.ASCII)
_OF_DAY = re.compile(r"(?:1\d|2[0-3]):[0-5]\d:[0-5]\d", re.ASCII)


def is_moment(value: Any) -> bool:
    """Whether a value, alone in a list or not, is a number or a text that may be a moment."""
    if isinstance(value, str):
        return len(value) <= _LONGEST and _MOMENT.fullmatch(value) is not None
    if isinstance(value, list):
        return len(value) == 1 and not isinstance(value[0], list) and is_moment(value[0])
    return is_number(value) or isinstance(value, time | timedelta | Decimal)  # as Parquet gives them


def is_single_moment(value: Any) -> bool:
    """Whether a value is a moment behind the start of a video, and no date in seconds since 1970."""
    if not is_moment(value) or is_zero(value):
        return False
    seconds = seconds_of(value)
    return seconds is not None and 0 < seconds < _EPOCH


def is_dated(value: Any) -> bool:
    """Whether a moment may as well be a year, a date without dashes or a time of day from ten o'clock on."""
    if isinstance(value, list):
        return len(value) == 1 and is_dated(value[0])
    if isinstance(value, time):
        return value.hour >= 10
    if isinstance(value, str):
        text = value.strip()
        return are_names([text]) or _DATE.fullmatch(text) is not None or _OF_DAY.fullmatch(text) is not None
    return is_number(value) and value == value // 1 and _DATE.fullmatch(f"{value:.0f}") is not None


def two_ends(name: str, value: Any) -> tuple[Any, Any] | None:
    """The two moments that a pair, alone in a list or not, or a text holds; None of others.

    Args:
        name: of the field, in small letters alone: with that of a range, plain numbers joined by a dash are moments.
        value: of the field.
    """
    if isinstance(value, str):
        return _ends_in_text(name, value.strip()) if len(value) <= _LONGEST else None
    if isinstance(value, list) and len(value) == 1:
        return None if isinstance(value[0], str) else two_ends(name, value[0])
    if not isinstance(value, list) or len(value) != 2 or not all(map(is_moment, value)):
        return None
    return None if all(isinstance(end, str) for end in value) and are_names(value) else (value[0], value[1])


def _ends_in_text(name: str, text: str) -> tuple[str, str] | None:
    if text[:1] in ("[", "(") and text[-1:] in ("]", ")"):
        ends = [end.strip(" '\"") for end in text.strip("[]() ").split(",")]
    elif _MEASURED.search(text) or (_RANGE.fullmatch(name) and not are_names(re.findall(r"\d+", text))):
        ends = _BETWEEN.split(text)
    else:
        return None
    return (ends[0], ends[1]) if len(ends) == 2 and all(map(is_moment, ends)) else None


def seconds_of(moment: Any) -> float | None:
    """A moment in seconds, where no unit says otherwise; None of what is none."""
    if isinstance(moment, list):
        return seconds_of(moment[0]) if len(moment) == 1 else None
    if isinstance(moment, timedelta):
        return moment.total_seconds()
    if isinstance(moment, time):
        return 3600.0 * moment.hour + 60.0 * moment.minute + moment.second + moment.microsecond / 1e6
    if is_number(moment) or isinstance(moment, Decimal):
        return float(moment) if abs(moment) < 1e300 else inf
    if not isinstance(moment, str):
        return None
    if match := _CLOCK.search(moment):
        return _of_clock(match[0])
    found = _MEASURE.findall(moment)
    return sum(float(number.replace(",", ".")) * _SECONDS[unit.casefold()] for number, unit in found) if found else None


def _of_clock(text: str) -> float:
    """Seconds of hours, minutes and seconds, or of the latter two; a fourth number is one of frames."""
    seconds = 0.0
    for number in re.split("[:;]", text.replace(",", "."))[:3]:
        seconds = 60.0 * seconds + float(number)
    return seconds


def are_on_a_clock(moments: Iterable[Any]) -> bool:
    """Whether all are texts as clocks show them, such as ``0:00:20.120``."""
    return all(isinstance(moment, str) and _CLOCK.fullmatch(moment.strip()) for moment in moments)


def say_any(texts: Iterable[str], moments: Iterable[Any], but: Collection[str] = ()) -> bool:
    """Whether texts hold the number of any of the moments, rounded to whatever place or cut off behind the point.

    Args:
        texts: to look through.
        moments: as rows tell them.
        but: numbers that mean something else where neither a clock nor a unit tells otherwise.
    """
    wanted = [seconds for moment in moments if (seconds := seconds_of(moment)) is not None]
    for text in texts:
        for match in _SAID.finditer(text):
            said = match[0]
            if said in but and _UNIT_BEHIND.match(text, match.end()) is None:
                continue
            seconds, places = seconds_of(said) or 0.0, len(said.partition(".")[2])
            if any(_is_rounded(seconds, places, moment) for moment in wanted):
                return True
    return False


def numbers_in(text: str) -> list[str]:
    """The numbers, without those of clocks, in a text."""
    return [said for said in _SAID.findall(text) if said.replace(".", "").isdigit()]


def _is_rounded(said: float, places: int, moment: float) -> bool:
    return abs(said - moment) <= 0.5 * 10.0**-places + 1e-6 or (places == 0 and said <= moment < said + 1)


def is_nothing(value: Any) -> bool:
    """Whether a value stands for a field that is empty."""
    return value is False or is_blank(value)


def is_blank(value: Any) -> bool:
    """Whether it is None, NaN, an empty list or a text of spaces."""
    if isinstance(value, float):
        return value != value
    return value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, list) and not value)


def is_zero(moment: Any) -> bool:
    """Whether a moment is the start of its video."""
    moment = moment[0] if isinstance(moment, list) and moment else moment
    return not moment or (isinstance(moment, str) and not moment.strip(" 0:;.,ms"))


def is_negative(value: Any) -> bool:
    """Whether it is a number below 0, also in a text, as stands where there is no moment."""
    if isinstance(value, str):
        return re.fullmatch(r"\s*-\d+(?:\.\d*)?\s*", value) is not None
    return is_number(value) and value < 0


def is_number(value: Any) -> bool:
    """Whether it is a number, and neither true, false nor NaN, which tables have where they hold nothing."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def are_names(texts: list[str]) -> bool:
    """Whether numbers are those of files or years: of leading zeros, or four digits each."""
    return all(text.isdigit() and ((len(text) > 1 and text[0] == "0") or len(text) == 4) for text in texts)
