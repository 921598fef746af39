"""The frames of a benchmark's videos: decoded once for all frame counts that a model is asked with."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from liteframe.data.decoding.decode import VideoInfo
from liteframe.data.decoding.memory import fits_memory
from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool
from liteframe.data.decoding.processes.reader_threads import threads_for
from liteframe.data.sampling import FrameSampler
from liteframe.data.sampling.frame_times import FrameTimes
from liteframe.data.sampling.samplers_by_name import sampler_from
from liteframe.data.transforms import resize_uint8
from liteframe.errors import ConfigError, DecodeError, DecodeTimeout
from liteframe.evaluation.benchmarks.question import Question
from liteframe.evaluation.benchmarks.subtitles import SeenFrames
from liteframe.models.video_llm.tiling import WHOLE, Grid
from liteframe.system.contained_path import OutsideRoot, contained, in_hub_blobs
from liteframe.system.whole_number import whole_number

_PICTURE = re.compile(r"(?i).*?(\d*)\.(?:jpe?g|png)")


@dataclass(frozen=True)
class Stretch:
    """A video, or the part of it that questions are about; see `Question` for the fields."""

    video: str
    start_s: float | None = None
    end_s: float | None = None
    pictures_fps: float | None = None
    ends_in_video: bool = False

    @classmethod
    def of(cls, question: Question) -> Stretch:
        """The one that a question is about."""
        return cls(question.video, question.start_s, question.end_s, question.pictures_fps, question.ends_in_video)


@dataclass(frozen=True)
class SampledFrames:
    """What was decoded of a stretch.

    Attributes:
        frames_TCHW: uint8, every frame that any count takes, in order.
        places: frame count that was asked for -> which of these frames it takes, (count,) or as many as there are.
        indices_T: their numbers in the video.
        times_T: when they come on screen, in seconds from the first frame of the video.
        fps: rate of the video as its container tells it, else the mean.
        total: frames of the video.
        duration_s: of the video.
        grid: of tiles, to whose size they were scaled.
    """

    frames_TCHW: Tensor
    places: Mapping[int, np.ndarray]
    indices_T: np.ndarray
    times_T: np.ndarray
    fps: float
    total: int
    duration_s: float
    grid: Grid = WHOLE

    def seen(self, count: int) -> SeenFrames:
        """Which frames of the video a model is shown that was asked with `count`."""
        indices, times = (tuple(each_T[self.places[count]].tolist()) for each_T in (self.indices_T, self.times_T))
        return SeenFrames(indices, times, self.fps, self.total)


@dataclass(frozen=True)
class Unread:
    """Frame counts at which there are too many pixels, and why."""

    counts: tuple[int, ...]
    why: str


class FrameReader:
    """Decodes stretches in processes that can be killed; any number of threads may read at a time.

    Args:
        root: folder that videos are named from.
        sampler: chooses the frames, without chance.
        counts: frames to look at, each apart.
        image_size: height and width that frames, or their tiles, are scaled to.
        deadline_s: seconds without progress after which a video is given up.
        grid: of tiles, from the height and width of a video and a frame count; None cuts no frame.
    """

    def __init__(
        self,
        root: Path,
        sampler: FrameSampler,
        counts: Sequence[int],
        image_size: tuple[int, int],
        deadline_s: float = 120.0,
        grid: Callable[[tuple[int, int], int], Grid] | None = None,
    ) -> None:
        self.root, self.sampler, self.counts, self.image_size = root, sampler, tuple(counts), image_size
        self._grid = grid or (lambda size, count: WHOLE)
        self._pool = DecodePool(deadline_s=deadline_s, threads=threads_for(1), setting="--deadline_s")

    def read(self, stretch: Stretch) -> list[SampledFrames | Unread]:
        """The frames of a stretch, together for all frame counts that have one size and fit into memory together.

        Raises:
            DecodeError: it cannot be read in time, or there is nothing there.
            ConfigError: the sampler can be used on no video.
        """
        if stretch.pictures_fps is not None:
            return self._read_pictures(stretch, stretch.pictures_fps)
        return self._read_file(stretch)

    def close(self) -> None:
        """Ends the decode processes."""
        self._pool.close()

    def _read_file(self, stretch: Stretch) -> list[SampledFrames | Unread]:
        path = str(self.root / stretch.video)
        info, chosen = self._choose(path, stretch)
        try:
            return self._decode(path, info, chosen)
        except DecodeTimeout:
            raise
        except DecodeError:
            # Decoding may have shown another number of frames than was counted before.
            info, again = self._choose(path, stretch)
            if all(map(np.array_equal, again, chosen)):
                raise
            return self._decode(path, info, again)

    def _choose(self, path: str, stretch: Stretch) -> tuple[VideoInfo, list[np.ndarray]]:
        row = {"end": stretch.end_s} if stretch.ends_in_video else {}
        jobs = [
            DecodeJob(path, self.sampler, count, row=row, start_s=stretch.start_s, end_s=stretch.end_s)
            for count in self.counts
        ]
        chosen: tuple[VideoInfo, list[np.ndarray]] = self._called(
            path, "liteframe.data.decoding.processes.job:choose_frames", jobs
        )
        return chosen

    def _called(self, path: str, function: str, *arguments: Any) -> Any:
        """What a function returns in a decode process. Raises DecodeError."""
        ((_, found),) = self._pool.call([(path, function, arguments)])
        if isinstance(found, DecodeError):
            raise found
        return found

    def _decode(self, path: str, info: VideoInfo, chosen: Sequence[np.ndarray]) -> list[SampledFrames | Unread]:
        def decode(indices_T: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
            decoded = self._pool.run([DecodeJob(path, indices=tuple(indices_T.tolist()), size=size)])[0]
            if isinstance(decoded, DecodeError):
                raise decoded
            assert decoded.times_s is not None, "decoders of liteframe tell them"
            return decoded.frames_THWC, decoded.times_s

        fps = self._called(path, "liteframe.data.decoding.pyav.header:told_rate", path) or info.fps
        return self._by_grid((info.height, info.width), chosen, decode, fps, info.frames, info.duration)

    def _by_grid(
        self,
        size: tuple[int, int],
        chosen: Sequence[np.ndarray],
        decode: Callable[[np.ndarray, tuple[int, int]], tuple[np.ndarray, np.ndarray]],
        fps: float,
        total: int,
        duration_s: float,
    ) -> list[SampledFrames | Unread]:
        """The frames that each count takes of a video of some height and width, for each grid that they are cut to.

        `decode` gives frames, scaled, and their times.
        """
        counts: dict[Grid, dict[int, np.ndarray]] = {}
        for count, indices_T in zip(self.counts, chosen, strict=True):
            counts.setdefault(self._grid(size, len(indices_T)), {})[count] = indices_T
        found: list[SampledFrames | Unread] = []
        for grid, each in counts.items():
            canvas = (grid[0] * self.image_size[0], grid[1] * self.image_size[1])
            for part in _parts_that_fit(each, canvas):
                union_T = np.unique(np.concatenate([*part.values()]))
                places = {count: np.searchsorted(union_T, indices_T) for count, indices_T in part.items()}
                if not fits_memory(len(union_T), *canvas):
                    why = f"{len(union_T)} frames of {canvas[0]} x {canvas[1]} pixels do not fit into memory"
                    fewer = "--frames" if grid == WHOLE else "--frames or --tiles"
                    found.append(Unread((*part,), f"{why}; give fewer {fewer}"))
                    continue
                frames_THWC, times_T = decode(union_T, canvas)
                frames_TCHW = resize_uint8(frames_THWC, canvas)
                found.append(SampledFrames(frames_TCHW, places, union_T, times_T, fps, total, duration_s, grid))
        return found

    def _read_pictures(self, stretch: Stretch, fps: float) -> list[SampledFrames | Unread]:
        folder = self.root / stretch.video
        names = _pictures(folder)
        times = FrameTimes.constant(len(names), fps)
        low, high = times.between(times.starts_T, stretch.start_s, stretch.end_s)
        if low == high:
            raise DecodeError(str(folder), f"has no frame there: it is {times.end:.2f} s long")
        part = times.part(low, high, stretch.start_s, stretch.end_s)
        rng = np.random.default_rng(0)
        chosen = [self.sampler.indices(high - low, count, fps, rng, {}, times=part) + low for count in self.counts]

        def decode(indices_T: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
            paths = [self._inside(stretch.video, names[index]) for index in indices_T]
            read = "liteframe.data.decoding.pictures:read_pictures"
            return self._called(str(folder), read, paths, size), times.starts_T[indices_T]

        first = self._inside(stretch.video, names[0])
        size = self._called(str(folder), "liteframe.data.decoding.pictures:picture_size", first)
        return self._by_grid(size, chosen, decode, fps, len(names), times.end)

    def _inside(self, folder: str, name: str) -> str:
        """Path of a picture. Raises DecodeError for a link that leads out of `root`."""
        path = f"{folder}/{name}"
        try:
            contained(self.root, path)
        except OutsideRoot as error:
            if not in_hub_blobs(self.root, path):
                raise DecodeError(str(self.root / folder), f"{name} is a link, and {error}") from error
        return str(self.root / path)


def _pictures(folder: Path) -> list[str]:
    """Names of the pictures of a video, by the numbers that they end in. Raises DecodeError where there are none."""
    try:
        found = [match for name in os.listdir(folder) if (match := _PICTURE.fullmatch(name)) and name[0] != "."]
    except OSError as error:
        raise DecodeError(str(folder), f"cannot be read ({error.strerror or error})") from error
    if not found:
        raise DecodeError(str(folder), "holds no pictures (.jpg, .png)")
    return [match[0] for match in sorted(found, key=lambda match: (int(match[1] or 0), match[0]))]


def _parts_that_fit(counts: dict[int, np.ndarray], size: tuple[int, int]) -> list[dict[int, np.ndarray]]:
    """The counts together, or each apart where their frames do not fit into memory together."""
    if fits_memory(len(np.unique(np.concatenate([*counts.values()]))), *size):
        return [counts]
    return [{count: indices_T} for count, indices_T in counts.items()]


def parse_counts(text: str) -> tuple[int, ...]:
    """Frame counts such as "8,64,512". Raises ConfigError for anything else."""
    words = text.replace(",", " ").split()
    counts = tuple(dict.fromkeys(count for word in words if (count := whole_number(word))))
    if not words or not all(map(whole_number, words)):
        raise ConfigError(f"--frames {text!r:.80}: give counts above 0, such as 8,64,512")
    return counts


def parse_sampler(text: str) -> FrameSampler:
    """A sampler by its name and settings, such as "UniformMidpoints" or "FpsCapped:fps=1".

    Raises:
        ConfigError: there is none of that name, it lacks such a setting, or it chooses by chance.
    """
    name, _, rest = text.partition(":")
    settings = dict(word.partition("=")[::2] for word in rest.split(",") if word)
    sampler = sampler_from(
        {"name": name, **{key: _number(value) for key, value in settings.items()}}, f"--sampler {text}", ConfigError
    )
    if sampler is None or sampler.random:
        raise ConfigError(
            f"--sampler {text!r}: choose UniformMidpoints, InnerPoints, Linspace, Linspace:by=time or FpsCapped:fps=1"
        )
    return sampler


def _number(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
