"""Which frames of a video to look at: the samplers that configs name.

Every sampler gives strictly increasing frame numbers, at most the distinct frames that there are: never a frame twice.
One chooses by time, as frames are on screen, or by index, as they are counted. At a constant rate both agree; of a
screen recording of 10 s at 60 frames a second and a minute at 1, most frames by index are of the first 10 s.
Torch-free, because decode processes import it.
"""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal

import numpy as np

from liteframe.data.sampling.frame_times import FrameTimes
from liteframe.data.sampling.index_rules import fps_capped, linspace, random_segment, uniform_midpoints
from liteframe.data.sampling.key_frames import checked_keys, key_frames
from liteframe.errors import DataError, LiteFrameError

By = Literal["time", "index"]


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


def _check(total: int, count: int) -> None:
    if total < 1 or count < 1:
        raise DataError(f"cannot choose {count} of {total} frames: both must be at least 1")


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
        _check(total, count)
        return uniform_midpoints(total, count)


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

    def _times(self, total: int, fps: float | None, times: FrameTimes | None) -> FrameTimes:
        return FrameTimes.constant(total, self._known(fps)) if times is None else times

    def _known(self, fps: float | None) -> float:
        if not fps:
            name = type(self).__name__
            raise DataError(f"{name}: the frame rate of the video is unknown; choose UniformMidpoints or Linspace")
        return fps


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
        _check(total, count)
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
        _check(total, count)
        if self.by == "index":
            return fps_capped(total, count, self._known(fps), self.fps)
        shown = self._times(total, fps, times)
        indices = shown.at_rate(self.fps)
        return indices if len(indices) <= count else shown.evenly(count)


@dataclass
class RandomSegment(FrameSampler):
    """A random stretch of the video, for training, by index.

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
        _check(total, count)
        return random_segment(total, count, self.strides, rng)


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
        _check(total, count)
        return key_frames(total, count, row.get("key_frames") or [], rng)

    def check_row(self, row: dict[str, Any]) -> None:
        checked_keys(row.get("key_frames"))


_BY_NAME: dict[str, type[FrameSampler]] = {
    kind.__name__: kind for kind in (UniformMidpoints, Linspace, FpsCapped, RandomSegment, KeyFrames)
}


def is_known(sampler: FrameSampler) -> bool:
    """Whether it is one of liteframe's own, which `sampler_from` finds by its name."""
    return _BY_NAME.get(type(sampler).__name__) is type(sampler)


def sampler_from(described: Any, where: str, fault: type[LiteFrameError] = DataError) -> FrameSampler | None:
    """The sampler that `describe` wrote down; None for one of another name, of which no code is looked for.

    Args:
        described: name and settings.
        where: file and field, for messages.
        fault: class of what is raised.

    Raises:
        LiteFrameError: of class `fault`, for settings that the sampler does not have.
    """
    if not isinstance(described, dict) or not isinstance(described.get("name"), str):
        raise fault(f"{where}: is {reprlib.repr(described)}; a sampler has a name and settings")
    kind = _BY_NAME.get(described["name"])
    if kind is None:
        return None
    # Descriptions without `by` are of before there were rules by time.
    before = {"by": "index"} if any(one.name == "by" for one in fields(kind)) else {}  # type: ignore[arg-type]
    try:
        return kind(**before | {name: value for name, value in described.items() if name != "name"})
    except (TypeError, ValueError, DataError) as error:
        raise fault(f"{where}: {described['name']} has no such settings ({error})") from error
