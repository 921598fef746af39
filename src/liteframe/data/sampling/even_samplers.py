"""Samplers without chance: the same frames of a video each time.

Torch-free, because decode processes import it.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from liteframe.data.sampling.frame_sampler import FrameSampler
from liteframe.data.sampling.frame_times import FrameTimes
from liteframe.data.sampling.index_rules import (
    fps_capped,
    inner_points,
    linspace,
    segment_starts,
    uniform_midpoints,
)
from liteframe.errors import DataError

By = Literal["time", "index"]


@dataclass
class UniformMidpoints(FrameSampler):
    """Middles of equal segments, by index: the rule of InternVL's model card, which its evaluation follows."""

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
        return uniform_midpoints(total, count)


@dataclass
class InnerPoints(FrameSampler):
    """Ends of equal segments but the last, by index: VLMEvalKit's rule, which shows neither first nor last frame."""

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
        return inner_points(total, count)


@dataclass
class SegmentStarts(FrameSampler):
    """Starts of equal segments, by index, one a second at most: the rule of LongVideoBench's loader."""

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
        return segment_starts(total, count, self._known(fps))


class _ByTimeOrIndex(FrameSampler):
    """A sampler with a rule of each kind. What it says of itself names `by` only where that is time.

    Without, it reads as before there were rules by time: records, feature stores and checkpoints of then are by index.
    """

    by: By

    def describe(self) -> dict[str, Any]:
        settings = super().describe()
        return {name: value for name, value in settings.items() if name != "by" or value != "index"}

    def __repr__(self) -> str:
        settings = [f"{name}={value!r}" for name, value in self.describe().items() if name != "name"]
        return f"{type(self).__name__}({', '.join(settings)})"

    def _check_by(self) -> None:
        if self.by not in ("time", "index"):
            raise DataError(f"{type(self).__name__}.by is {reprlib.repr(self.by)}; give 'time' or 'index'")


@dataclass(repr=False)
class Linspace(_ByTimeOrIndex):
    """Evenly spaced, first and last frame included.

    Args:
        by: "index" is LLaVA-Video's rule. "time" takes what is on screen at moments that are evenly spaced, each frame
            once: fewer frames where one is on screen at several of them.
    """

    by: By = "index"

    def __post_init__(self) -> None:
        self._check_by()

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
        return linspace(total, count) if self.by == "index" else self._times(total, fps, times).evenly(count)


@dataclass(repr=False)
class FpsCapped(_ByTimeOrIndex):
    """Frames at a fixed rate; evenly spaced where those would be too many.

    Args:
        fps: frames a second to take.
        by: "time" takes what is on screen at the start, 1 / fps later, and so on, each frame once. "index" is
            LLaVA-Video's rule: every n-th frame, n = mean rate of the video / fps, rounded.
    """

    fps: float = 1.0
    by: By = "time"

    def __post_init__(self) -> None:
        self._check_by()
        if not self.fps > 0:
            raise DataError(f"FpsCapped.fps is {self.fps}; give a rate above 0")

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
        if self.by == "index":
            return fps_capped(total, count, self._known(fps), self.fps)
        shown = self._times(total, fps, times)
        indices = shown.at_rate(self.fps)
        return indices if len(indices) <= count else shown.evenly(count)
