"""What every sampler is: a choice of frames of one video.

Every sampler gives strictly increasing frame numbers, at most the distinct frames that there are: never a frame twice.
One chooses by time, as frames are on screen, or by index, as they are counted. At a constant rate both agree; of a
screen recording of 10 s at 60 frames a second and a minute at 1, most frames by index are of the first 10 s.
Torch-free, because decode processes import it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np

from liteframe.data.sampling.frame_times import FrameTimes
from liteframe.errors import DataError


class FrameSampler(ABC):
    """Chooses frames. Subclasses are dataclasses of plain fields: picklable, and built by name from a config."""

    random: ClassVar[bool] = False
    """Whether another seed gives other frames."""

    @abstractmethod
    def indices(
        self,
        total: int,
        count: int,
        fps: float | None,
        rng: np.random.Generator,
        row: dict[str, Any],
        times: FrameTimes | None = None,
    ) -> np.ndarray:
        """Strictly increasing int64 frame numbers below `total`, at most `min(count, total)` of them.

        Args:
            total: distinct decodable frames of the video, or of its part from `start` to `end`.
            count: frames wanted.
            fps: frames a second of the video, where known.
            rng: the sample's own random numbers; samplers without chance do not touch it.
            row: the manifest row as a dict.
            times: when the frames are on screen; None is at a constant `fps`. Those of a file are told (index / fps
                where it has none of use), unless a sampler's own method lacks the argument.

        Raises:
            DataError: the row, or the video, is not fit for it.
        """

    def check_row(self, row: dict[str, Any]) -> None:
        """Raises DataError where what the sampler reads of the row is of no use to any video."""
        return

    def describe(self) -> dict[str, Any]:
        """Name and settings, for the keys of caches."""
        return {"name": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]

    def _require_frames(self, total: int, count: int) -> None:
        if total < 1 or count < 1:
            raise DataError(f"cannot choose {count} of {total} frames: both must be at least 1")

    def _times(self, total: int, fps: float | None, times: FrameTimes | None) -> FrameTimes:
        return FrameTimes.constant(total, self._known(fps)) if times is None else times

    def _known(self, fps: float | None) -> float:
        if not fps:
            name = type(self).__name__
            raise DataError(f"{name}: the frame rate of the video is unknown; choose UniformMidpoints or Linspace")
        return fps
