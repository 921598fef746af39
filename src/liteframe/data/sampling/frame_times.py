"""When the frames of a video are on screen, and which are at given moments: what samplers that choose by time ask.

Torch-free, because decode processes import it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from liteframe.errors import ConfigError

_CLOSE_S = 1e-6
"""Moments this close count as one: seconds are sums of fractions that binary numbers do not hold."""
_ROUNDING_S = 1e-3
"""Times may be off by so much: Matroska, WebM and FLV hold whole milliseconds."""
_MOST_FPS = 1e9


@dataclass(frozen=True, eq=False)
class FrameTimes:
    """When the frames of a video, or of a part of it, come on screen.

    Attributes:
        starts_T: float64 (T,), seconds from the first frame of the file, ascending.
        begin: second from which on the video is looked at; the first of the frames is on screen then.
        end: second up to which it is, at the latest the one at which the last frame goes.
    """

    starts_T: np.ndarray
    begin: float
    end: float

    @classmethod
    def of_video(cls, starts_T: np.ndarray, end: float, fps: float) -> FrameTimes:
        """Times of a whole video. Where its file rounds those of a constant rate, they are made exact.

        So 15 frames a second of a video of 30 are every other frame, whatever the container.

        Args:
            starts_T: seconds at which frames come on screen, the first at 0.
            end: second at which the last one goes.
            fps: rate that the file tells, which may be wrong.
        """
        mean = (len(starts_T) - 1) / starts_T[-1] if len(starts_T) > 1 else fps
        for rate in (_usual(fps), fps, _usual(mean)):
            exact = cls.constant(len(starts_T), max(rate, 1e-9))
            if np.abs(exact.starts_T - starts_T).max() <= min(_ROUNDING_S, 0.5 / mean):
                return exact if abs(exact.end - end) <= 2 * _ROUNDING_S else cls(exact.starts_T, 0.0, end)
        return cls(starts_T, 0.0, end)

    @classmethod
    def constant(cls, total: int, fps: float) -> FrameTimes:
        """Times of frames of which only the number is known: index / fps."""
        return cls(np.arange(total) / fps, 0.0, total / fps)

    def __len__(self) -> int:
        return len(self.starts_T)

    def between(self, told_T: np.ndarray, start: float | None, end: float | None) -> tuple[int, int]:
        """[low, high): the frame on screen at `start`, and those that come before `end`; (0, 0) for a span outside.

        Args:
            told_T: times as the file has them; a span may begin or end at these or at the exact ones.
            start: None is the beginning.
            end: None is the end.
        """
        begin = max(0.0, start or 0.0)
        if begin > self.end - _CLOSE_S or (end is not None and end <= begin):
            return 0, 0
        first_T, last_T = np.minimum(self.starts_T, told_T), np.maximum(self.starts_T, told_T)
        low = 0 if begin <= first_T[0] else int(np.searchsorted(first_T, begin + _CLOSE_S, side="right")) - 1
        high = len(self) if end is None else int(np.searchsorted(last_T, end - _CLOSE_S))
        return low, max(high, low + 1)

    def part(self, low: int, high: int, start: float | None, end: float | None) -> FrameTimes:
        """Times of the frames [low, high), which `between` gave for `start` and `end`."""
        starts_T = self.starts_T[low:high]
        gone = self.end if high == len(self) else float(self.starts_T[high])
        return FrameTimes(starts_T, max(start or 0.0, float(starts_T[0])), gone if end is None else min(end, gone))

    def at_rate(self, fps: float) -> np.ndarray:
        """Frames on screen at `begin`, 1 / fps later, and so on before `end`: int64, each frame once."""
        rate = min(fps, _MOST_FPS)
        return self._on_screen(rate, max(1.0, np.ceil((self.end - self.begin - _CLOSE_S) * rate)))

    def evenly(self, count: int) -> np.ndarray:
        """Frames on screen at `count` even moments from `begin` to the start of the last frame: int64, each frame once.

        All where there are no more than `count`; fewer than `count` where one is on screen at several of the moments.
        """
        if count >= len(self):
            return np.arange(len(self), dtype=np.int64)
        return self._on_screen((count - 1) / (float(self.starts_T[-1]) - self.begin), count)

    def on_screen_at(self, moments_M: np.ndarray) -> np.ndarray:
        """Frames on screen at given moments, seconds from the first frame of the file, ascending: int64, each once."""
        shown_M = np.searchsorted(self.starts_T, moments_M + _CLOSE_S, side="right") - 1
        return np.unique(np.maximum(shown_M, 0)).astype(np.int64)

    @property
    def ends_T(self) -> np.ndarray:
        """When each frame goes: float64 (T,), seconds from the first frame of the file."""
        return np.append(self.starts_T[1:], self.end)

    def _on_screen(self, rate: float, moments: float) -> np.ndarray:
        """Frames on screen at any of `begin + k / rate`, k from 0 to moments - 1."""
        # For each frame, the first moment that is not before it: the frame is on screen then, unless the next one is.
        first_T = np.ceil((self.starts_T - self.begin - _CLOSE_S) * rate)
        first_T[0], first_T[1:] = 0, np.maximum(first_T[1:], 1)
        return np.flatnonzero(np.diff(np.minimum(first_T, moments), append=moments) > 0)


def _usual(fps: float) -> float:
    """A rate close by that is whole, or a whole one slowed down for television, such as 29.97; else the rate itself."""
    usual = min(round(fps), round(1.001 * fps) / 1.001, key=lambda rate: abs(rate - fps))
    return usual if abs(usual - fps) <= 0.005 * fps else fps


def span_words(start: float | None, end: float | None) -> str:
    """A span in words, such as "from 3 s to 4.5 s"."""
    if start is None:
        return "at all" if end is None else f"up to {end:g} s"
    return f"from {start:g} s on" if end is None else f"from {start:g} s to {end:g} s"


def outside_of(start: float | None, end: float | None, duration: float, frames: int) -> str:
    """Why a part is not in its file, and what to do; empty where it is.

    An end may lie behind the file's by a second, a fiftieth of the file, or two of its frames: lists round, and sounds
    last longer than pictures.

    Args:
        start, end: of the part, in seconds.
        duration: of the file, in seconds.
        frames: of the file. One is a picture, which is there at any time.
    """
    if start is not None and start > duration - _CLOSE_S:
        return f"has no frame {span_words(start, end)}: it is {duration:.2f} s long"
    if end is None or frames < 2 or end <= duration + max(1.0, 0.02 * duration, 2 * duration / frames):
        return ""
    return (
        f"is {duration:.2f} s long, and its part ends at {end:g} s; where the file is that part already, drop the"
        " fields that tell it (start and end, clip, ...), which are in seconds of the file"
    )


def require_span(start: float | None, end: float | None) -> None:
    """Raises ConfigError where there cannot be such a span in any video."""
    for name, value in (("start", start), ("end", end)):
        if value is not None and not value >= 0:
            raise ConfigError(f"{name} is {value:g} s; give seconds from the first frame on, 0 or more")
    if end is not None and end <= (start or 0.0):
        raise ConfigError(f"end is {end:g} s and start {start or 0.0:g} s; let the end come after the start")
