"""Which frames of a video to look at: pure functions on frame counts, and the samplers that configs name.

Every sampler gives strictly increasing frame numbers, at most the distinct frames that there are: never a frame twice.
Torch-free, because decode processes import it.
"""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np

from liteframe.errors import DataError, LiteFrameError

_MOST_FRAMES = 2**40


def uniform_midpoints(total: int, count: int) -> np.ndarray:
    """Middles of `count` equal segments, as InternVL's model card takes them; int64 (T,), T = min(count, total)."""
    if count >= total:
        return np.arange(total, dtype=np.int64)
    segment = (total - 1) / count
    return (segment / 2 + np.round(segment * np.arange(count))).astype(np.int64)


def linspace(total: int, count: int) -> np.ndarray:
    """Evenly spaced from the first to the last frame, rounded down; int64 (T,), T = min(count, total)."""
    if count >= total:
        return np.arange(total, dtype=np.int64)
    if count == 1:
        return np.zeros(1, dtype=np.int64)
    return np.arange(count, dtype=np.int64) * (total - 1) // (count - 1)


def fps_capped(total: int, count: int, video_fps: float, fps: float) -> np.ndarray:
    """A frame every `1 / fps` seconds; where those are more than `count`, `linspace`. LLaVA-NeXT's rule."""
    step = max(1, round(video_fps / fps))
    indices = np.arange(0, total, step, dtype=np.int64)
    return indices if len(indices) <= count else linspace(total, count)


def random_segment(total: int, count: int, strides: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """`count` frames at a stride drawn from those of `strides` that fit, from a start drawn uniformly.

    Where none fits, the largest stride that does; where the video is shorter than `count`, all of it.
    """
    if count >= total:
        return np.arange(total, dtype=np.int64)
    fitting = [stride for stride in strides if (count - 1) * stride < total]
    stride = int(rng.choice(fitting)) if fitting else (total - 1) // (count - 1)
    start = int(rng.integers(total - (count - 1) * stride))
    return start + stride * np.arange(count, dtype=np.int64)


def checked_keys(keys: Any) -> list[int | list[int]]:
    """The `key_frames` of a row, none where it has none. Raises DataError where they are no frames or pairs of them."""
    if keys is None:
        return []
    if not isinstance(keys, list | tuple) or not all(_is_frame(key) or _is_span(key) for key in keys):
        raise DataError(
            f"key_frames: frame numbers, or pairs [start, stop) of them, are needed, not {reprlib.repr(keys)}; correct"
            " the list"
        )
    return [key if isinstance(key, int) else list(key) for key in keys]


def _is_frame(key: Any) -> bool:
    return isinstance(key, int) and not isinstance(key, bool) and 0 <= key < _MOST_FRAMES


def _is_span(key: Any) -> bool:
    return isinstance(key, list | tuple) and len(key) == 2 and all(map(_is_frame, key)) and key[0] < key[1]


def key_frames(total: int, count: int, keys: Sequence[int | Sequence[int]], rng: np.random.Generator) -> np.ndarray:
    """The given frames (a random part of them where they are more than `count`), filled up with random others.

    A key is a frame number, or a pair [start, stop) out of which one frame is drawn.

    Raises:
        DataError: a key is neither, or lies outside of the video.
    """
    keys = checked_keys(keys)
    drawn = [key if isinstance(key, int) else int(rng.integers(key[0], key[1])) for key in keys]
    own = np.unique(np.asarray(drawn, dtype=np.int64))
    if len(own) and not (own[0] >= 0 and own[-1] < total):
        raise DataError(f"key_frames {own.tolist()} lie outside of a video of {total} frames; correct the manifest")
    count = min(count, total)
    if len(own) > count:
        own = rng.choice(own, count, replace=False)
    others = np.setdiff1d(np.arange(total, dtype=np.int64), own)
    return np.sort(np.concatenate([own, rng.choice(others, count - len(own), replace=False)]))


def shift_keys(keys: Sequence[int | Sequence[int]], low: int, high: int) -> list[int | list[int]]:
    """Keys of a whole video as keys of its frames [low, high); those that lie outside are left out.

    Raises:
        DataError: as `key_frames`.
    """
    keys = checked_keys(keys)
    spans = [[max(key[0], low) - low, min(key[1], high) - low] for key in keys if not isinstance(key, int)]
    frames = [key - low for key in keys if isinstance(key, int) and low <= key < high]
    return [*frames, *(span for span in spans if span[0] < span[1])]


class FrameSampler(ABC):
    """Chooses frames. Subclasses are dataclasses of plain fields: picklable, and built by name from a config."""

    random: ClassVar[bool] = False
    """Whether another seed gives other frames."""

    @abstractmethod
    def indices(
        self, total: int, count: int, fps: float | None, rng: np.random.Generator, row: dict[str, Any]
    ) -> np.ndarray:
        """Strictly increasing int64 frame numbers below `total`, at most `min(count, total)` of them.

        Args:
            total: distinct decodable frames of the video, or of its part from `start` to `end`.
            count: frames wanted.
            fps: frames a second of the video, where known.
            rng: the sample's own random numbers; samplers without chance do not touch it.
            row: the manifest row as a dict.

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
    """Middles of equal segments (InternVL's evaluation rule)."""

    def indices(
        self, total: int, count: int, fps: float | None, rng: np.random.Generator, row: dict[str, Any]
    ) -> np.ndarray:
        _check(total, count)
        return uniform_midpoints(total, count)


@dataclass
class Linspace(FrameSampler):
    """Evenly spaced, first and last frame included."""

    def indices(
        self, total: int, count: int, fps: float | None, rng: np.random.Generator, row: dict[str, Any]
    ) -> np.ndarray:
        _check(total, count)
        return linspace(total, count)


@dataclass
class FpsCapped(FrameSampler):
    """Frames at a fixed rate; evenly spaced where those would be too many.

    Args:
        fps: frames a second to take.
    """

    fps: float = 1.0

    def __post_init__(self) -> None:
        if not self.fps > 0:
            raise DataError(f"FpsCapped.fps is {self.fps}; give a rate above 0")

    def indices(
        self, total: int, count: int, fps: float | None, rng: np.random.Generator, row: dict[str, Any]
    ) -> np.ndarray:
        _check(total, count)
        if not fps:
            raise DataError("FpsCapped: the frame rate of the video is unknown; choose UniformMidpoints or Linspace")
        return fps_capped(total, count, fps, self.fps)


@dataclass
class RandomSegment(FrameSampler):
    """A random stretch of the video, for training.

    Args:
        strides: distances between neighbouring frames to draw from, in frames.
    """

    random: ClassVar[bool] = True

    strides: list[int] = field(default_factory=lambda: [1, 2, 4, 8])

    def __post_init__(self) -> None:
        if not self.strides or min(self.strides) < 1:
            raise DataError(f"RandomSegment.strides is {self.strides}; give one or more distances of at least 1")

    def indices(
        self, total: int, count: int, fps: float | None, rng: np.random.Generator, row: dict[str, Any]
    ) -> np.ndarray:
        _check(total, count)
        return random_segment(total, count, self.strides, rng)


@dataclass
class KeyFrames(FrameSampler):
    """What the row lists as `key_frames`, frames or [start, stop) pairs, filled up with random frames."""

    random: ClassVar[bool] = True

    def indices(
        self, total: int, count: int, fps: float | None, rng: np.random.Generator, row: dict[str, Any]
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
    try:
        return kind(**{name: value for name, value in described.items() if name != "name"})
    except (TypeError, ValueError, DataError) as error:
        raise fault(f"{where}: {described['name']} has no such settings ({error})") from error
