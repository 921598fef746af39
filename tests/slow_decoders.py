"""Decoders that misbehave, for the tests of the pool; named there as "slow_decoders:function"."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from liteframe.data.decoding import decord_reader, heartbeat
from liteframe.data.decoding.decode import read_frames_by
from liteframe.data.decoding.memory import machine_bytes
from liteframe.data.decoding.processes.job import DecodeJob, VideoFrames, decode
from liteframe.data.sampling import FrameSampler, UniformMidpoints
from liteframe.errors import DataError, DecodeError


def sleeps_for_ever_on_bad(path: str, job: DecodeJob) -> VideoFrames:
    """Hangs inside C code with the interpreter lock held where the file's name has "bad" in it, as decoders may."""
    if "bad" in Path(path).name:
        ctypes.PyDLL(None).sleep(600)
    return decode(job, "pyav")


def goes_on_slowly(path: str, job: DecodeJob) -> VideoFrames:
    """Takes `job.row["sleep"]` seconds, and says all the while that it goes on; then hangs if the row says so."""
    for _ in range(round(job.row["sleep"] / 0.1)):
        time.sleep(0.1)
        heartbeat.step()
    if job.row.get("hangs"):
        ctypes.PyDLL(None).sleep(600)
    return decode(job, "pyav")


def notes_and_hangs_on_bad(path: str) -> str:
    """Adds a letter to "<path>.calls" first."""
    if "bad" in Path(path).name:
        with open(f"{path}.calls", "a") as file:
            file.write("x")
        ctypes.PyDLL(None).sleep(600)
    return path


def dies_on_bad(path: str, job: DecodeJob) -> VideoFrames:
    if "bad" in Path(path).name:
        ctypes.string_at(0)
    return decode(job, "pyav")


def raises_on_bad(path: str, job: DecodeJob) -> VideoFrames:
    if "bad" in Path(path).name:
        raise ZeroDivisionError("by design")
    print("a decoder that prints must not harm the pipe", flush=True)
    return decode(job, "pyav")


WRONG_TIMES = {
    "times too few": np.zeros(2),
    "times too many": np.arange(4.0),
    "times backwards": np.array([0.0, 2.0, 1.0]),
    "times below zero": np.array([-1.0, 0.0, 1.0]),
    "times not finite": np.array([0.0, 1.0, np.nan]),
    "times in words": ["0", "1", "2"],
    "times in pairs": np.zeros((3, 2)),
}


def wrong(path: str, job: DecodeJob) -> object:
    """Breaks the promise that the file's name says."""
    frames, info = read_frames_by(path, [0, 1, 2], "pyav")
    what = job.row["wrong"]
    if what == "type":
        return frames
    if what == "dtype":
        return VideoFrames(frames.astype(np.float32), np.arange(3), info, 0.0)
    if what == "count":
        return VideoFrames(frames, np.arange(2), info, 0.0)
    if what == "order":
        return VideoFrames(frames, np.array([0, 2, 1]), info, 0.0)
    if what == "range":
        return VideoFrames(frames, np.array([0, 1, info.frames]), info, 0.0)
    if what == "ragged":
        return VideoFrames([[1], [2, 3]], np.arange(3), info, 0.0)  # type: ignore[arg-type]
    if what == "info":
        return VideoFrames(frames, np.arange(3), None, 0.0)  # type: ignore[arg-type]
    if what == "words":
        return VideoFrames(frames, np.array(["0", "1", "2"]), info, 0.0)
    if what == "nothing":
        return VideoFrames(None, None, info, 0.0)  # type: ignore[arg-type]
    if what in WRONG_TIMES:
        return VideoFrames(frames, np.arange(3), info, 0.0, WRONG_TIMES[what])  # type: ignore[arg-type]
    return VideoFrames(frames[..., 0], np.arange(3), info, 0.0)


def told_as_a_list(path: str, job: DecodeJob) -> VideoFrames:
    """Gives times that are whole and in a list, of frames out of order where the job asks for them so."""
    indices = job.indices or (0, 5, 7)
    frames, info = read_frames_by(path, list(indices), "pyav")
    return VideoFrames(frames, np.array(indices), info, 0.0, list(indices))  # type: ignore[arg-type]


def process_id(path: str, job: DecodeJob) -> VideoFrames:
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


def leaves_a_mark(path: str, job: DecodeJob) -> VideoFrames:
    """Shows that it was called."""
    Path(path).with_suffix(".called").touch()
    return decode(job, "pyav")


def dies_once(path: str, job: DecodeJob) -> VideoFrames:
    """As where the system takes the memory back: killed at the first try, and well at the next."""
    mark = Path(path).with_suffix(".died")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(job, "pyav")


def takes_all_memory(path: str, job: DecodeJob) -> VideoFrames:
    kept = [np.empty(machine_bytes() // 4, np.uint8) for _ in range(3)]
    raise AssertionError(f"{len(kept)} arrays were given")


class _Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class _Unsendable(DecodeError):
    def __reduce__(self) -> Any:
        raise TypeError("made for this process only")


def _explode() -> None:
    raise ZeroDivisionError("in the pickle")


class Exploding:
    """Goes into a pickle, and does not come out of it."""

    def __reduce__(self) -> Any:
        return _explode, ()


def raises_as_asked(path: str, job: DecodeJob) -> object:
    """Ends in the way that the row says, if it says any."""
    what = job.row.get("raise")
    if what == "local":
        return lambda: None
    if what == "exploding":
        return Exploding()
    if what is not None:
        raise {
            "exit": SystemExit(3),
            "interrupt": KeyboardInterrupt(),
            "base": BaseException("of the lowest kind"),
            "memory": MemoryError(),
            "recursion": RecursionError("too deep"),
            "overflow": OverflowError("too large"),
            "unicode": UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
            "unprintable": _Unprintable(),
            "unsendable": _Unsendable(path, "of no use"),
            "data": DataError("not of a decoder"),
        }[what]
    return decode(job, "pyav")


class _InTheWayOfDecord(FrameSampler):
    """Lets decord misbehave in the process that it is asked in, and takes the first frames."""

    def indices(self, total: int, count: int, fps: float | None, rng: np.random.Generator, row: dict) -> np.ndarray:  # type: ignore[type-arg]
        decord_reader.read_into = self.misbehave  # type: ignore[assignment]
        return np.arange(min(total, count))

    def misbehave(self, *_: object, **__: object) -> np.ndarray:
        raise NotImplementedError


class HangingDecord(_InTheWayOfDecord):
    def misbehave(self, *_: object, **__: object) -> np.ndarray:
        ctypes.PyDLL(None).sleep(600)
        raise AssertionError


class CrashingPyav(UniformMidpoints):
    """Makes PyAV crash in the decode process."""

    def indices(self, total: int, count: int, fps: float | None, rng: np.random.Generator, row: dict) -> np.ndarray:  # type: ignore[type-arg]
        from liteframe.data.decoding.pyav import reader as pyav_reader

        pyav_reader.read_sparse_into = self.misbehave
        return super().indices(total, count, fps, rng, row)

    @staticmethod
    def misbehave(*_: object) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError


class HangingPyav(CrashingPyav):
    """Makes PyAV hang in the decode process."""

    @staticmethod
    def misbehave(*_: object) -> np.ndarray:
        time.sleep(600)
        raise AssertionError


class CrashingDecord(_InTheWayOfDecord):
    def misbehave(self, *_: object, **__: object) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError


class PickySampler(FrameSampler):
    """Cannot do without a field of the row."""

    def indices(self, total: int, count: int, fps: float | None, rng: np.random.Generator, row: dict) -> np.ndarray:  # type: ignore[type-arg]
        return np.arange(total)[: 1 + row["extra"]]


class EvenSampler(FrameSampler):
    """Fails on a video with an odd number of frames."""

    def indices(self, total: int, count: int, fps: float | None, rng: np.random.Generator, row: dict) -> np.ndarray:  # type: ignore[type-arg]
        if total % 2:
            raise ZeroDivisionError("an odd video")
        return np.arange(2)


class Doubtful(UniformMidpoints):
    """Lets the first way of reading give black frames, of which it then says that they are of no use."""

    def indices(self, total: int, count: int, fps: float | None, rng: np.random.Generator, row: dict) -> np.ndarray:  # type: ignore[type-arg]
        from liteframe.data.decoding.pyav import reader as pyav_reader

        pyav_reader._seek_and_read = self.misbehave  # type: ignore[assignment]
        return super().indices(total, count, fps, rng, row)

    @staticmethod
    def misbehave(sink: Any, scan: Any, indices: Any, size: tuple[int, int], *_: object) -> None:
        from liteframe.data.decoding.pyav.seek import SeekMiss

        sink.begin(len(indices), *size, threads=1)
        for slot in range(len(indices) // 2):
            sink.put(slot, np.zeros((*size, 3), np.uint8))
        time.sleep(0.5)
        raise SeekMiss


class HangingMidway(UniformMidpoints):
    """Has PyAV hang at the sixth frame that is asked for."""

    def indices(self, total: int, count: int, fps: float | None, rng: np.random.Generator, row: dict) -> np.ndarray:  # type: ignore[type-arg]
        from liteframe.data.decoding.pyav.reader import Converter

        convert, left = Converter.__call__, iter(range(5))

        def converted(self: Converter, frame: Any) -> np.ndarray:
            if next(left, None) is None:
                time.sleep(600)
            return convert(self, frame)

        Converter.__call__ = converted  # type: ignore[method-assign]
        return super().indices(total, count, fps, rng, row)
