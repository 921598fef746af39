"""Where decoders put frames as they come: an array of all of them, or a stream that sends them on."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class FrameSink(Protocol):
    """Takes the frames of one read; several threads may put them."""

    def held(self, frames: int, height: int, width: int) -> int:
        """How many of so many frames are in memory at a time."""

    def begin(self, frames: int, height: int, width: int, threads: int) -> None:
        """So many frames of that size come now, read by so many threads; what came before counts no more."""

    def put(self, slot: int, frame_HWC: np.ndarray) -> None:
        """The frame of a slot, 0 to frames - 1; each thread puts its own in order."""

    def give_up(self) -> None:
        """No more frames come until `begin`: a thread has failed, and none may wait for what it would have put."""


class FrameArray:
    """All frames in one array.

    Attributes:
        frames_THWC: uint8.
    """

    frames_THWC: np.ndarray[Any, Any]

    def held(self, frames: int, height: int, width: int) -> int:
        return frames

    def begin(self, frames: int, height: int, width: int, threads: int) -> None:
        self.frames_THWC = np.empty((frames, height, width, 3), np.uint8)

    def put(self, slot: int, frame_HWC: np.ndarray) -> None:
        self.frames_THWC[slot] = frame_HWC

    def give_up(self) -> None:
        """Nobody waits here."""
