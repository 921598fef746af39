"""Clips of a user's videos, to take the ranges of activations from, and others to see what that has cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import Tensor

from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool
from liteframe.data.sampling import UniformMidpoints
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.data.sources.manifest import VideoRow, read_manifest
from liteframe.data.transforms import resize_uint8
from liteframe.errors import ConfigError, DecodeError

_VIDEOS, _CLIPS, _LEAST, _EVERY = 20, 80, 10, 5
"""Videos and clips that are looked at, at most; the fewest clips; and of how many one is held out."""
_USUAL_FRAMES = 64
Item = TypeVar("Item")


@dataclass(frozen=True)
class Clip:
    """A clip of a video.

    Attributes:
        video: id of its row, or the last part of its path.
        indices: of its frames.
        frames_TCHW: uint8.
    """

    video: str
    indices: tuple[int, ...]
    frames_TCHW: Tensor


@dataclass(frozen=True)
class CalibrationClips:
    """Clips to calibrate with, and clips held out: of other videos where there are several."""

    calibration: list[Clip]
    held_out: list[Clip]


def read_clips(source: str, frames: FrameSpec, size: tuple[int, int]) -> CalibrationClips:
    """Clips from all over a list of videos, at the spacings at which a model may see them.

    Args:
        source: videos in any form that `read_manifest` takes.
        frames: that the model was trained on; its sampler chooses, as many frames as most, or 64.
        size: height and width in pixels.

    Raises:
        ConfigError: there are too few clips to calibrate and check with.
        DataError: the list or a video cannot be read.
    """
    of_path = {(row.path, row.start, row.end): row for row in read_manifest(source)}
    rows = _evenly(list(of_path.values()), _VIDEOS)
    with DecodePool(deadline_s=120.0) as pool:
        clips = [_clips_of(pool, row, number, -(-_CLIPS // len(rows)), frames, size) for number, row in enumerate(rows)]
    count = sum(map(len, clips))
    if count < _LEAST:
        raise ConfigError(
            f"--calibrate {source}: its videos have {count} clips of {frames.clip_frames} frames, and {_LEAST} are the"
            " fewest to calibrate and check with; give more or longer videos"
        )
    groups = clips if len(clips) >= _EVERY else [[clip] for video in clips for clip in video]
    held_out = [clip for group in groups[_EVERY - 1 :: _EVERY] for clip in group]
    kept = [clip for number, group in enumerate(groups, start=1) if number % _EVERY for clip in group]
    return CalibrationClips(kept, held_out)


def _clips_of(
    pool: DecodePool, row: VideoRow, number: int, most: int, frames: FrameSpec, size: tuple[int, int]
) -> list[Clip]:
    if row.error is not None:
        raise DecodeError(row.path, row.error)
    sampler, count = frames.sampler or UniformMidpoints(), frames.most_frames or _USUAL_FRAMES
    job = DecodeJob(row.path, sampler, count, row=row.as_dict(), start_s=row.start, end_s=row.end, size=size)
    (video,) = pool.run([job])
    if isinstance(video, DecodeError):
        raise video
    name = Path(row.id).name if Path(row.id).is_absolute() else row.id
    frames_TCHW = resize_uint8(video.frames_THWC, size)
    return [
        Clip(name, tuple(video.indices[places_T].tolist()), frames_TCHW[places_T])
        for places_T in clip_places(len(frames_TCHW), frames.clip_frames or 1, most, number * most)
    ]


def clip_places(frames: int, length: int, most: int, turn: int = 0) -> list[np.ndarray]:
    """Which frames make the clips of a video: from all over it, a frame after the other or 2, 4, 8, ... apart in turns,
    as fewer frames of it are.

    Args:
        frames: of the video.
        length: of a clip; beyond the end of a short video it repeats the last frame.
        most: clips at most.
        turn: of the first clip.
    """
    spacings = [2**power for power in range(max(1, (frames // length).bit_length()))]
    clips = []
    for number, start in enumerate(_evenly(range(0, frames, length), most), start=turn):
        offsets_T = spacings[number % len(spacings)] * np.arange(length)
        clips.append(np.minimum(max(0, min(start, frames - 1 - offsets_T[-1])) + offsets_T, frames - 1))
    return clips


def _evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, evenly spaced."""
    places = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[place] for place in places]
