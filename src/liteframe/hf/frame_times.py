"""When the frames of arrays and lists are, by what users tell: `video_fps`, or transformers' `video_metadata`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from liteframe.errors import DataError


@dataclass(frozen=True)
class FrameRate:
    """When the frames of a video are.

    Attributes:
        fps: frames a second of the video that they are of.
        indices: of the frames in it; None is all from the first on.
        name: what the user calls `fps`, for errors.
    """

    fps: float
    indices: tuple[int, ...] | None = None
    name: str = "video_fps"

    def __post_init__(self) -> None:
        is_number = isinstance(self.fps, Real) and not isinstance(self.fps, bool | np.bool_)
        if not is_number or not math.isfinite(self.fps) or self.fps <= 0:
            raise DataError(
                f"{self.name} is {str(self.fps)[:60]!r}; give frames a second, a finite number above 0, such as 2.0"
            )

    def times_s(self, frames: int) -> np.ndarray:
        """Seconds of so many frames, (frames,).

        Raises:
            DataError: the indices are of another number of frames, or not in ascending order from 0 on.
        """
        if self.indices is None:
            return np.arange(frames) / float(self.fps)
        indices = np.asarray(self.indices)
        if (
            indices.shape != (frames,)
            or indices.dtype.kind not in "iu"
            or indices[0] < 0
            or (np.diff(indices) < 0).any()
        ):
            raise DataError(
                f"frames_indices of video_metadata is {str(list(self.indices))[:60]}; give one whole number for each of"
                f" the video's {frames} frames, ascending from 0 on"
            )
        return indices / float(self.fps)


def frame_rates(count: int, video_fps: Any, video_metadata: Any) -> list[FrameRate | None]:
    """The rate of each of so many videos; None where nothing tells it.

    Args:
        count: videos.
        video_fps: one rate for all of them, or None.
        video_metadata: one dict or `VideoMetadata` for each video, in lists that may be nested, or None. Of each, `fps`
            and `frames_indices` are read.

    Raises:
        DataError: both are given, not one for each video, or a rate that is no finite number above 0.
    """
    if video_metadata is None:
        return [None if video_fps is None else FrameRate(video_fps)] * count
    if video_fps is not None:
        raise DataError("video_fps and video_metadata both tell the rate of the frames; give one of them")
    told = _flat(video_metadata)
    if len(told) != count:
        raise DataError(f"video_metadata of {len(told)} videos for {count} videos; give one for each")
    return [_rate_of(each) for each in told]


def _flat(given: Any) -> list[Any]:
    if isinstance(given, list | tuple):
        return [each for part in given for each in _flat(part)]
    return [given]


def _rate_of(metadata: Any) -> FrameRate | None:
    fields = metadata if isinstance(metadata, Mapping) else getattr(metadata, "__dict__", {})
    if (fps := fields.get("fps")) is None:
        return None
    indices = fields.get("frames_indices")
    return FrameRate(fps, None if indices is None else tuple(np.ravel(indices).tolist()), "fps of video_metadata")
