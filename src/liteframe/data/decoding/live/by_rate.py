"""Which frames of a stream to take at a rate, without knowing what comes: the rule of `FpsCapped` by time.

Torch-free, because the process that reads streams imports it.
"""

from __future__ import annotations

import math
from typing import Generic, TypeVar

Frame = TypeVar("Frame")
_CLOSE_S = 1e-6
"""Moments this close count as one."""


class ByRate(Generic[Frame]):
    """Takes the frames on screen at the start, 1 / `fps` seconds later, and so on, each once.

    Which frame is on screen at a moment is known when the next one comes, so each is given then.

    Args:
        fps: frames a second to take; None takes all.
        rounding_s: seconds by which times may be off, as Matroska, WebM and FLV hold whole milliseconds.
    """

    def __init__(self, fps: float | None, rounding_s: float = 0.0) -> None:
        self._fps, self._close_s = fps, rounding_s + _CLOSE_S
        self._held: tuple[Frame, float, int] | None = None
        self._gap_s = 0.0

    def push(self, frame: Frame, time_s: float) -> tuple[Frame, float] | None:
        """The frame before this one, with its time, if it is to be taken.

        Args:
            frame: comes on screen now.
            time_s: seconds from the first frame on, more than those of the frame before.
        """
        if self._fps is None:
            return frame, time_s
        before, self._held = self._held, (frame, time_s, self._first_moment(time_s, self._fps))
        if before is None:
            return None
        self._gap_s = time_s - before[1]
        return before[:2] if before[2] < self._held[2] else None

    def finish(self) -> tuple[Frame, float] | None:
        """The last frame, if it is to be taken; it is held to stay on screen as long as the one before it."""
        if self._held is None or self._fps is None:
            return None
        frame, time_s, moment = self._held
        return (frame, time_s) if moment < (time_s + self._gap_s) * self._fps - _CLOSE_S or moment == 0 else None

    def _first_moment(self, time_s: float, fps: float) -> int:
        """Number of the first moment that is not before a frame: 0 for the first frame alone."""
        return 0 if self._held is None else max(1, math.ceil((time_s - self._close_s) * fps))
