"""Samplers with chance, for training: another seed gives other frames.

Torch-free, because decode processes import it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from liteframe.data.sampling.frame_sampler import FrameSampler
from liteframe.data.sampling.frame_times import FrameTimes
from liteframe.data.sampling.index_rules import random_segment
from liteframe.data.sampling.key_frames import checked_keys, key_frames
from liteframe.data.sampling.time_rules import jittered_uniform, log_uniform_spacing
from liteframe.errors import DataError


@dataclass
class RandomSegment(FrameSampler):
    """A random stretch of the video, by index.

    Args:
        strides: distances between neighbouring frames to draw from, in frames.
    """

    random: ClassVar[bool] = True

    strides: list[int] = field(default_factory=lambda: [1, 2, 4, 8])

    def __post_init__(self) -> None:
        if not self.strides or min(self.strides) < 1:
            raise DataError(f"RandomSegment.strides is {self.strides}; give one or more distances of at least 1")

    def indices(
        self,
        total: int,
        count: int,
        fps: float | None,
        rng: np.random.Generator,
        row: dict[str, Any],
        times: FrameTimes | None = None,
    ) -> np.ndarray:
        self._require_frames(total, count)
        return random_segment(total, count, self.strides, rng)


@dataclass
class LogUniformSpacing(FrameSampler):
    """Frames at an even spacing of seconds that is drawn anew for each sample, from a random moment on, by time.

    The spacing is log-uniform, so each doubling of it is as frequent as any other: from frames that hardly differ up to
    the whole video, as models are asked about it. It is never below the mean distance of the video's frames, nor above
    its seconds / frames asked for.

    Args:
        min_s: smallest spacing, in seconds.
        max_s: largest spacing, in seconds; null is the video's seconds / frames asked for.
    """

    random: ClassVar[bool] = True

    min_s: float = 0.05
    max_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.min_s < math.inf:
            raise DataError(f"LogUniformSpacing.min_s is {self.min_s}; give seconds above 0")
        if self.max_s is not None and not self.min_s <= self.max_s < math.inf:
            raise DataError(
                f"LogUniformSpacing.max_s is {self.max_s}, min_s {self.min_s}; give seconds of at least min_s, or null"
            )

    def indices(
        self,
        total: int,
        count: int,
        fps: float | None,
        rng: np.random.Generator,
        row: dict[str, Any],
        times: FrameTimes | None = None,
    ) -> np.ndarray:
        self._require_frames(total, count)
        return log_uniform_spacing(self._times(total, fps, times), count, self.min_s, self.max_s, rng)


@dataclass
class JitteredUniform(FrameSampler):
    """A frame at random from each of equal parts of the video's time, as TSN trains (arXiv 1608.00859)."""

    random: ClassVar[bool] = True

    def indices(
        self,
        total: int,
        count: int,
        fps: float | None,
        rng: np.random.Generator,
        row: dict[str, Any],
        times: FrameTimes | None = None,
    ) -> np.ndarray:
        self._require_frames(total, count)
        return jittered_uniform(self._times(total, fps, times), count, rng)


@dataclass
class KeyFrames(FrameSampler):
    """What the row lists as `key_frames`, frames or [start, stop) pairs, filled up with random frames, by index."""

    random: ClassVar[bool] = True

    def indices(
        self,
        total: int,
        count: int,
        fps: float | None,
        rng: np.random.Generator,
        row: dict[str, Any],
        times: FrameTimes | None = None,
    ) -> np.ndarray:
        self._require_frames(total, count)
        return key_frames(total, count, row.get("key_frames") or [], rng)

    def check_row(self, row: dict[str, Any]) -> None:
        checked_keys(row.get("key_frames"))
