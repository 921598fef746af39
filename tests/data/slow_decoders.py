"""Decoders that misbehave, for the tests of the pool; named there as "slow_decoders:function"."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

import numpy as np

from liteframe.data.decode import read_frames_by
from liteframe.data.decode_job import DecodedVideo, DecodeJob, decode
from liteframe.data.sampling import FrameSampler


def sleeps_for_ever_on_bad(path: str, job: DecodeJob) -> DecodedVideo:
    """Hangs inside C code with the interpreter lock held where the file's name has "bad" in it, as decoders may."""
    if "bad" in Path(path).name:
        ctypes.PyDLL(None).sleep(600)
    return decode(job, "pyav")


def dies_on_bad(path: str, job: DecodeJob) -> DecodedVideo:
    if "bad" in Path(path).name:
        ctypes.string_at(0)
    return decode(job, "pyav")


def raises_on_bad(path: str, job: DecodeJob) -> DecodedVideo:
    if "bad" in Path(path).name:
        raise ZeroDivisionError("by design")
    print("a decoder that prints must not harm the pipe", flush=True)
    return decode(job, "pyav")


def wrong(path: str, job: DecodeJob) -> object:
    """Breaks the promise that the file's name says."""
    frames, info = read_frames_by(path, [0, 1, 2], "pyav")
    what = job.row["wrong"]
    if what == "type":
        return frames
    if what == "dtype":
        return DecodedVideo(frames.astype(np.float32), np.arange(3), info, 0.0)
    if what == "count":
        return DecodedVideo(frames, np.arange(2), info, 0.0)
    if what == "order":
        return DecodedVideo(frames, np.array([0, 2, 1]), info, 0.0)
    if what == "range":
        return DecodedVideo(frames, np.array([0, 1, info.frames]), info, 0.0)
    return DecodedVideo(frames[..., 0], np.arange(3), info, 0.0)


def process_id(path: str, job: DecodeJob) -> DecodedVideo:
    """Tells which child served the job, in the seconds of decoding."""
    video = decode(job, "pyav")
    time.sleep(job.row.get("sleep", 0))
    video.decode_s = float(os.getpid())
    return video


class FailingSampler(FrameSampler):
    def indices(self, total: int, count: int, fps: float | None, rng: np.random.Generator, row: dict) -> np.ndarray:  # type: ignore[type-arg]
        raise ZeroDivisionError("sampler by design")


class GreedySampler(FrameSampler):
    def indices(self, total: int, count: int, fps: float | None, rng: np.random.Generator, row: dict) -> np.ndarray:  # type: ignore[type-arg]
        return np.arange(total + 1)
