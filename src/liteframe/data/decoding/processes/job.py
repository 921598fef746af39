"""One decoding job: which frames of which video, and what comes back.

The sampler runs here, where the true number of frames is known.
"""

from __future__ import annotations

import importlib
import reprlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from liteframe.data.decoding.decode import DECODERS, NEXT, VideoInfo, frame_times, probe, read_frames_by, remember_scan
from liteframe.data.decoding.processes.choice import sample_frames
from liteframe.data.decoding.processes.remote_decode import with_copy
from liteframe.data.decoding.pyav.header import told_duration
from liteframe.data.decoding.video_file import NO_SUCH_FILE, looked_for_in
from liteframe.data.remote.cache import RemoteCache
from liteframe.data.remote.file import is_url
from liteframe.data.sampling.frame_times import FrameTimes, outside_of, span_words
from liteframe.errors import ConfigError, DecodeError

T = TypeVar("T")


@dataclass(frozen=True)
class DecodeJob:
    """Which frames of one video to decode.

    Attributes:
        path: the video, a file or a URL.
        sampler: a `liteframe.data.sampling.FrameSampler`; not used with `indices`.
        num_frames: how many frames to sample at most; None for as many as the sampler takes.
        seed: of the random generator given to the sampler.
        row: the manifest row; an `end_s` that it tells must lie in the file, where one of a call may lie behind it.
            `row["decoder"]` must be one of `DECODERS`. It does not choose decord, as older lists of `liteframe check`
            do: only the setting does.
        start_s: only the frame on screen at this second, and those after it.
        end_s: only frames that come on screen before this second.
        indices: exactly these frames, in this order.
        size: (height, width) that frames are scaled to, bicubic with antialias; None for that of the video. A decoder
            of your own may leave it to the data module.
        truncated: "error", or "use" for what is there of files that are cut short.
    """

    path: str
    sampler: Any = None
    num_frames: int | None = None
    seed: int = 0
    row: dict[str, Any] = field(default_factory=dict)
    start_s: float | None = None
    end_s: float | None = None
    indices: tuple[int, ...] | None = None
    size: tuple[int, int] | None = None
    truncated: str = "error"


@dataclass
class VideoFrames:
    """Frames of a video.

    Attributes:
        frames_THWC: uint8, RGB, upright.
        indices: int64 (T,), positions in the file by presentation time.
        info: what the file holds and which decoder read it.
        decode_s: seconds spent on opening, seeking, decoding and scaling.
        times_s: float64 (T,), seconds from the first frame of the file to each, from 0 on and in order; None where a
            decoder of your own does not tell.
    """

    frames_THWC: np.ndarray
    indices: np.ndarray
    info: VideoInfo
    decode_s: float
    times_s: np.ndarray | None = None

    @property
    def decoder(self) -> str:
        """The one that read the frames."""
        return self.info.decoder


def load_function(name: str) -> Callable[..., Any]:
    """The function of an import path "package.module:function", which is never one that data name.

    Raises:
        ConfigError: there is no such module or function.
    """
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever the module itself raises too
        raise ConfigError(f"{name!r} is not an importable 'package.module:function': {error}") from error
    if not callable(function):
        raise ConfigError(f"{name!r} is not a function but {type(function).__name__}")
    return function


def decode(job: DecodeJob, decoder: str, cache: RemoteCache | None = None, threads: int = 1) -> VideoFrames:
    """Samples and reads the frames of one job by `threads`; where its video is remote, it comes from `cache`.

    Raises:
        DecodeError: the file is damaged, has no frame between `start_s` and `end_s`, or cannot be fetched; its row
            names an unknown decoder, or the sampler fails on it.
        ConfigError: the sampler fails on any video; a remote video without a cache.
    """
    if not is_url(job.path):
        try:
            return _decode(job, decoder, threads)
        except DecodeError as error:
            if error.reason.startswith(NO_SUCH_FILE) and (why := looked_for_in(job.path, job.row)):
                raise DecodeError(job.path, f"{error.reason}{why}") from error
            raise
    video = with_copy(job.path, cache, lambda path: _decode(replace(job, path=path), decoder, threads))
    return replace(video, info=replace(video.info, path=job.path)) if isinstance(video, VideoFrames) else video


def _require_known_decoder(job: DecodeJob) -> None:
    choice = job.row.get("decoder")
    if choice is None or choice == "":
        return
    if not isinstance(choice, str) or choice not in DECODERS:
        raise DecodeError(
            job.path,
            f"its row's field 'decoder' is {reprlib.repr(choice)}, which is none of {', '.join(DECODERS)}: correct it"
            " or leave it out; a decoder of your own is named by the setting data.decoder only",
        )


def _decode(job: DecodeJob, decoder: str, threads: int) -> VideoFrames:
    if is_own(decoder):
        return load_function(decoder)(job.path, job)
    started, truncated = time.perf_counter(), job.truncated == "use"

    def read(info: VideoInfo, indices_T: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], VideoInfo]:
        frames_THWC, used = read_frames_by(
            job.path, indices_T, decoder, size=job.size, threads=threads, truncated=truncated
        )
        return (frames_THWC, indices_T), used

    (frames_THWC, indices_T), used = read_chosen(job, decoder, read)
    times_T = frame_times(job.path, truncated)[indices_T]
    return VideoFrames(frames_THWC, indices_T, used, time.perf_counter() - started, times_T)


def is_own(decoder: str) -> bool:
    """Whether a decoder is a function of the user's."""
    return decoder not in (*DECODERS, NEXT)


def read_chosen(
    job: DecodeJob, decoder: str, read: Callable[[VideoInfo, np.ndarray], tuple[T, VideoInfo]]
) -> tuple[T, VideoInfo]:
    """Chooses the frames of a job and reads them; chosen and read again where decoding shows another number of frames.

    Args:
        job: about a file that is here.
        decoder: one of liteframe's.
        read: reads frames, int64 (T,), of a file that is said to hold so many; tells what it holds as they are read.

    Raises:
        DecodeError, ConfigError: as `decode`.
    """
    if decoder in ("auto", NEXT):
        _require_known_decoder(job)
    truncated = job.truncated == "use"
    if job.row.get("scan"):
        remember_scan(job.path, *(job.row.get(name) for name in ("scan", "bytes", "mtime_ns")))
    info, recounted = probe(job.path, decoder, truncated), False
    while True:
        indices_T = _choose_frames(job, info)
        try:
            result, used = read(info, indices_T)
        except DecodeError:
            used = probe(job.path, decoder, truncated)
            if recounted or used.frames == info.frames:
                raise
        else:
            if recounted or used.frames == info.frames:
                return result, used
        info, recounted = used, True  # decoding showed another number of frames than the packets: sample again


def choose_frames(jobs: Sequence[DecodeJob], decoder: str = "auto") -> tuple[VideoInfo, list[np.ndarray]]:
    """What a video file holds, and the frames that each of several jobs about it would take of it.

    Raises:
        DecodeError, ConfigError: as `decode`.
    """
    info = probe(jobs[0].path, decoder, jobs[0].truncated == "use")
    return info, [_choose_frames(job, info) for job in jobs]


def _choose_frames(job: DecodeJob, info: VideoInfo) -> np.ndarray:
    if job.indices is not None:
        return np.asarray(job.indices, np.int64)
    may_end_behind = job.row.get("end") is None or info.cut_short
    if not may_end_behind and (outside := outside_of(job.start_s, job.end_s, info.duration, info.frames)):
        told_s = told_duration(job.path)
        if told_s <= info.duration or outside_of(job.start_s, job.end_s, told_s, info.frames):
            raise DecodeError(job.path, outside)
    told_T = frame_times(job.path, job.truncated == "use")
    times = FrameTimes.of_video(told_T, info.duration, info.fps)
    low, high = times.between(told_T, job.start_s, job.end_s)
    if low == high:
        span = span_words(job.start_s, job.end_s)
        raise DecodeError(job.path, f"has no frame {span}: it is {info.duration:.2f} s long")
    return sample_frames(job, low, high, info.fps, times.part(low, high, job.start_s, job.end_s)) + low
