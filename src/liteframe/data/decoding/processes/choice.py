"""Asks a job's sampler for frames, checks what it chooses, and tells whose fault it is where that is wrong."""

from __future__ import annotations

import inspect
import pickle
import reprlib
from typing import TYPE_CHECKING, Any

import numpy as np

from liteframe.data.sampling.frame_times import FrameTimes
from liteframe.data.sampling.key_frames import shift_keys
from liteframe.errors import ConfigError, DecodeError

if TYPE_CHECKING:
    from liteframe.data.decoding.processes.job import DecodeJob

_PLAIN_FRAMES, _PLAIN_FPS = 256, 25.0


class _PlainRow(dict[str, Any]):
    """A row without fields, which knows whether it was asked for one."""

    asked = False

    def __missing__(self, name: str) -> Any:
        self.asked = True
        raise KeyError(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.asked = True
        return default

    def __contains__(self, name: object) -> bool:
        self.asked = True
        return False


class _BadChoice(Exception):
    """Frames that do not exist, are too many, or not in order; or a choice by time without the times."""


def sample_frames(job: DecodeJob, low: int, high: int, fps: float, times: FrameTimes) -> np.ndarray:
    """Frames that the sampler takes of [low, high), counted from `low`: int64 (T,), strictly increasing.

    Args:
        job: has the sampler.
        low, high: frames of the video to choose from.
        fps: mean rate of the video.
        times: of those frames.

    Raises:
        DecodeError: the sampler fails on this video or row, or chooses frames that do not exist.
        ConfigError: it does so on a plain video too, without a look at its row, so that no video can be read.
    """
    count = high - low if job.num_frames is None else job.num_frames
    try:
        return _sample(job.sampler, times, count, fps, job.seed, _row_of_part(job, low, high))
    except Exception as error:
        fault = f"the sampler {repr(job.sampler)[:200]} {_told(error)}"
        if _fails_on_any(job.sampler, count):
            raise ConfigError(f"{job.path}: {fault}; correct the sampler") from error
        raise DecodeError(job.path, f"{fault}; correct the row, or leave it out") from error


def require_sendable(sampler: Any) -> None:
    """Raises ConfigError where a sampler cannot go to another process."""
    try:
        pickle.dumps(sampler)
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ConfigError(
            f"the sampler {reprlib.repr(sampler)} cannot be sent to a decode process ({why}); define its class in a"
            " module, and give it plain settings"
        ) from error


def _row_of_part(job: DecodeJob, low: int, high: int) -> dict[str, Any]:
    whole = job.start_s is None and job.end_s is None
    if whole or "key_frames" not in job.row:
        return job.row
    return {**job.row, "key_frames": shift_keys(job.row["key_frames"], low, high)}


def _sample(sampler: Any, times: FrameTimes, count: int, fps: float, seed: int, row: dict[str, Any]) -> np.ndarray:
    total, takes_times = len(times), _takes_times(sampler)
    if not takes_times and getattr(sampler, "by", None) == "time":
        raise _BadChoice("chooses by time, but its `indices` has no argument `times`")
    given = {"times": times} if takes_times else {}
    indices_T = np.asarray(sampler.indices(total, count, fps, np.random.default_rng(seed), row, **given), np.int64)
    good = indices_T.ndim == 1 and 0 < len(indices_T) <= min(count, total) and (np.diff(indices_T) > 0).all()
    if not good or indices_T[0] < 0 or indices_T[-1] >= total:
        raise _BadChoice(f"chose the frames {reprlib.repr(indices_T.tolist())} out of {total} (at most {count})")
    return indices_T


def _takes_times(sampler: Any) -> bool:
    """Whether its `indices` has the argument; those of before there were times do not."""
    parameters = inspect.signature(sampler.indices).parameters.values()
    return any(one.name == "times" or one.kind is one.VAR_KEYWORD for one in parameters)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, _BadChoice) else f"failed: {type(error).__name__}: {error}"


def _fails_on_any(sampler: Any, count: int) -> bool:
    row = _PlainRow()
    try:
        plain = FrameTimes.constant(max(count, _PLAIN_FRAMES), _PLAIN_FPS)
        _sample(sampler, plain, count, _PLAIN_FPS, 0, row)
    except Exception:
        return not row.asked
    return False
