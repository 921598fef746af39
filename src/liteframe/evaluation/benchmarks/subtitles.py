"""Subtitles of SRT files and of LongVideoBench's JSON, and the rules by which they come into a prompt."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from liteframe.errors import DataError
from liteframe.system.bounded_text import parse_json

MOST_BYTES = 32 << 20
_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,6}))?"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}\b.*")
_NUMBER = re.compile(r"\s*\d+\s*")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|\{\\[^{}]*\}")
_FONT = re.compile(r'<font color="white" size=".72c">(.*?)</font>')
"""What lmms-eval takes the words of Video-MME's subtitles from; others it leaves out."""
_SHORT_S = 1.0
_MOST_S = 1e9


@dataclass(frozen=True)
class Subtitle:
    """What is said from `start_s` to `end_s`, on the clock of the video.

    Attributes:
        text: without tags, on one line.
        raw: as the file has it, its lines joined by spaces.
    """

    start_s: float
    end_s: float
    text: str
    raw: str


def read_srt(path: Path) -> list[Subtitle]:
    """Subtitles of an SRT (or WebVTT) file, in its order.

    A line of times begins one, with or without a blank line and a number before it; hours may lack, and fractions
    follow a comma or a dot. Text that is no UTF-8 is read as Latin-1.

    Raises:
        DataError: it cannot be read, has no line of times, or one that no video lasts to.
    """
    lines = _text_of(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    starts = [place for place, line in enumerate(lines) if _TIMES.fullmatch(line)]
    if not starts and any(line.strip() for line in lines):
        raise DataError(f"{path}: not one line of times (00:00:01,000 --> 00:00:02,000); give SRT subtitles")
    numbered = bool(starts and starts[0] and _NUMBER.fullmatch(lines[starts[0] - 1]))
    said = []
    for start, following in pairwise([*starts, len(lines)]):
        match = _TIMES.fullmatch(lines[start])
        assert match is not None
        times = match.groups()
        words = _words(lines[start + 1 : following], numbered and following < len(lines))
        try:
            said.append(_subtitle(_seconds(times[:4]), _seconds(times[4:]), " ".join(words)))
        except ValueError as error:
            raise DataError(f"{path}: line {start + 1}: {error}; repair it") from error
    return said


def _words(words: list[str], numbered: bool) -> list[str]:
    """The lines of one subtitle, without the blank lines behind it, and the number of the next one."""
    if numbered and words and _NUMBER.fullmatch(words[-1]):
        words.pop()
    while words and not words[-1].strip():
        words.pop()
    return words


def read_json(path: Path, begins_s: float, duration_s: float, as_loader: bool = False) -> list[Subtitle]:
    """Subtitles in the JSON of LongVideoBench, in the order of the file.

    Each has `timestamp` (two numbers; the last end may lack) and `text`, or `start`, `end` (``h:m:s``) and `line`.

    Args:
        path: of the file.
        begins_s: on the clock of the subtitles, where the video begins.
        duration_s: of the video; a subtitle whose end is not given lasts to its end.
        as_loader: put an end as LongVideoBench's loader does where it is no number with a fraction, be it a whole one:
            `duration_s` on the clock of the subtitles.

    Raises:
        DataError: it cannot be read, or an item is of neither form.
    """
    items = parse_json(_bytes_of(path), str(path), DataError)
    if not isinstance(items, list):
        raise DataError(f"{path}: a list of subtitles is needed, not {type(items).__name__}")
    last_s = duration_s if as_loader else begins_s + duration_s
    return [
        _of_json(item, f"{path}: item {number}", begins_s, last_s, as_loader) for number, item in enumerate(items, 1)
    ]


def _of_json(item: Any, where: str, begins_s: float, last_s: float, as_loader: bool) -> Subtitle:
    try:
        if "timestamp" in item:
            (start, end), text = item["timestamp"], item["text"]
            end = last_s if end is None or (as_loader and not isinstance(end, float)) else end
        else:
            start, end = (_clock(item[name]) for name in ("start", "end"))
            text = item["line"]
        return _subtitle(float(start) - begins_s, float(end) - begins_s, text)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{where}: neither 'timestamp' and 'text' nor 'start', 'end' and 'line' ({error}); repair it"
        ) from error


def _clock(text: str) -> float:
    hours, minutes, seconds = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _subtitle(start_s: float, end_s: float, raw: str) -> Subtitle:
    if not all(abs(time_s) < _MOST_S for time_s in (start_s, end_s)):  # a NaN is none either
        raise ValueError(f"{start_s:g} and {end_s:g} are no times in seconds")
    return Subtitle(start_s, end_s, " ".join(html.unescape(_TAG.sub("", raw)).split()), raw)


def _seconds(groups: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = groups
    return float(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(f"0.{fraction or 0}")


def _text_of(path: Path) -> str:
    data = _bytes_of(path)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _bytes_of(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path}: more than {MOST_BYTES >> 20} MiB are no subtitles of one video")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


@dataclass(frozen=True)
class SeenFrames:
    """Which frames of a video a model is shown.

    Attributes:
        indices: their numbers in the video.
        times_s: when they come on screen.
        fps: rate that the container tells; harnesses take index / fps for the time of a frame, whatever its rate there.
        total: frames of the video.
    """

    indices: tuple[int, ...]
    times_s: tuple[float, ...]
    fps: float
    total: int


def overlapping(subtitles: Sequence[Subtitle], frames: SeenFrames) -> list[str]:
    """What is said while a frame is shown, each once and in the order of time: liteframe's own rule."""
    times = frames.times_s
    in_order = sorted(subtitles, key=lambda item: item.start_s)
    return [item.text for item in in_order if item.text and any(item.start_s <= time < item.end_s for time in times)]


def as_lmms_eval(subtitles: Sequence[Subtitle], frames: SeenFrames, count: int) -> list[str]:
    """What lmms-eval 0.7.3 puts before a question of `videomme_w_subtitle`.

    It looks at `count` frames of its own, from first to last, however many the model sees; takes each subtitle that one
    of them falls in, in the order of a Python set of their positions; and of its text what one font tag encloses.
    """
    raw_of = {(item.start_s, item.end_s): item.raw for item in subtitles if item.raw}
    spans = [(int(start * frames.fps), int(end * frames.fps)) for start, end in raw_of]
    looked_at = np.linspace(0, frames.total - 1, count, dtype=int).tolist()
    places = [place for frame in looked_at for place, (start, end) in enumerate(spans) if start <= frame < end]
    raw = list(raw_of.values())
    found = (_FONT.findall(raw[place]) for place in list(set(places)))
    return [words[0] for words in found if words]


def as_vlmevalkit(subtitles: Sequence[Subtitle], frames: SeenFrames) -> list[str]:
    """What VLMEvalKit puts before a question of Video-MME: for each frame the first subtitle that it falls in.

    One that several frames fall in comes once for each. Times are compared in whole milliseconds.
    """
    said = []
    for index in frames.indices:
        now = round(index * (1000 / frames.fps))
        said.append(
            next(
                (item.text for item in subtitles if round(item.start_s * 1000) < now < round(item.end_s * 1000)),
                "",
            )
        )
    return [text for text in said if text.strip()]


def interleaved(
    subtitles: Sequence[Subtitle], times_s: Sequence[float], looked_at_s: Sequence[float] | None = None
) -> Iterator[int | str]:
    """Frames, as their positions in `times_s`, and subtitles by time, as LongVideoBench's loader puts them.

    A subtitle stands at its middle, behind the frames up to there; one that no frame falls in is left out. One shorter
    than a second counts as a second long.

    Args:
        subtitles: in the order of their file.
        times_s: of the frames.
        looked_at_s: moments of which one has to fall in a subtitle; by default those of the frames.
    """
    looked_at_s = times_s if looked_at_s is None else looked_at_s
    shown = 0
    for item in subtitles:
        start, end = item.start_s, item.end_s
        middle = (start + end) / 2
        while shown < len(times_s) and times_s[shown] <= middle:
            yield shown
            shown += 1
        if end - start < _SHORT_S:
            start, end = middle - _SHORT_S / 2, middle + _SHORT_S / 2
        if any(start < time < end for time in looked_at_s):
            yield item.raw
    yield from range(shown, len(times_s))


def interleaved_as_lmms_eval(
    subtitles: Sequence[Subtitle], frames: SeenFrames, count: int, duration_s: float
) -> Iterator[int | str]:
    """Frames and subtitles as lmms-eval 0.7.3 puts them in `longvideobench_val_i`.

    It goes by moments of its own, whatever frames it shows at them: `lmms_eval_times_s`. A model that is shown another
    number of frames than those moments is told the same subtitles, between its frames by their times.

    Args:
        subtitles: as the loader reads them, see `read_json`.
        frames: that the model sees.
        count: that were asked for, `max_num_frames` there (16 as it is published).
        duration_s: of the video.
    """
    moments_s = lmms_eval_times_s(duration_s, count)
    same = len(moments_s) == len(frames.indices)
    return interleaved(subtitles, moments_s if same else frames.times_s, moments_s)


def lmms_eval_times_s(duration_s: float, count: int) -> list[float]:
    """When the frames of lmms-eval's `longvideobench_val_i` are shown: `count`, or one a second of shorter videos."""
    if duration_s > count:
        return [duration_s / count * place for place in range(count)]
    return [float(second) for second in range(int(duration_s))]
