"""What a decode child answers, made into what its job may be told: a video that is right, or the job's error."""

from __future__ import annotations

import reprlib
from dataclasses import replace
from typing import Any

import numpy as np

from liteframe.data.decoding.decode import VideoInfo
from liteframe.data.decoding.processes.child import Lost
from liteframe.data.decoding.processes.job import DecodeJob, VideoFrames
from liteframe.errors import ConfigError, DecodeError, DecodeTimeout


def settled(path: str, answer: tuple[str, Any] | Lost, setting: str) -> Any:
    """The result of an answer, or the DecodeError that it stands for.

    Args:
        path: of the video.
        answer: of a child, or why there is none.
        setting: what gives it more time.

    Raises:
        ConfigError: it is one, and so no fault of this video.
    """
    if isinstance(answer, Lost):
        if answer.timed_out:
            return DecodeTimeout(path, f"{answer.reason}; give it more by {setting}")
        return DecodeError(path, answer.reason)
    kind, result = answer
    if kind == "crash":
        return DecodeError(path, result)
    if kind == "error":
        if isinstance(result, ConfigError):
            raise result
        return result if isinstance(result, DecodeError) else DecodeError(path, str(result))
    return result


def checked(job: DecodeJob, video: Any) -> VideoFrames | DecodeError:
    """`video` of whatever decoder, or why it is not what was asked for."""
    if isinstance(video, DecodeError):
        return video
    if not isinstance(video, VideoFrames):
        return _wrong(job, f"{type(video).__name__} instead of a VideoFrames")
    frames, indices = np.asarray(video.frames_THWC), np.asarray(video.indices)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape[1:]:
        return _wrong(job, f"{frames.dtype} frames of shape {frames.shape}, not uint8 (T, H, W, 3)")
    told = reprlib.repr(indices.tolist())
    if len(frames) == 0 or indices.shape != (len(frames),) or indices.dtype.kind not in "iu":
        return _wrong(job, f"{len(frames)} frames for the indices {told}")
    if not isinstance(video.info, VideoInfo) or not isinstance(video.decode_s, float | int):
        return _wrong(job, f"{reprlib.repr(video.info)} and {reprlib.repr(video.decode_s)} for info and decode_s")
    if job.indices is not None:
        if not np.array_equal(indices, np.asarray(job.indices)):
            return _wrong(job, f"the frames {told} instead of {reprlib.repr(list(job.indices))}")
    elif (np.diff(indices) <= 0).any() or indices[0] < 0 or indices[-1] >= video.info.frames:
        return _wrong(job, f"frames out of order or range: {told} of {video.info.frames}")
    if video.times_s is None:
        return video
    times_T = np.asarray(video.times_s)
    if times_T.shape != indices.shape or times_T.dtype.kind not in "fiu":
        return _wrong(job, f"the times_s {reprlib.repr(times_T.tolist())} for {len(frames)} frames; give a number each")
    in_order_T = times_T[np.argsort(indices, kind="stable")]
    if not np.isfinite(in_order_T).all() or in_order_T[0] < 0 or (np.diff(in_order_T) < 0).any():
        return _wrong(
            job,
            f"the times_s {reprlib.repr(times_T.tolist())}, which are not seconds from 0 on in the order of the frames",
        )
    return replace(video, times_s=times_T.astype(np.float64))


def _wrong(job: DecodeJob, what: str) -> DecodeError:
    return DecodeError(job.path, f"the decoder returned {what}")
