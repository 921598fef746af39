"""`liteframe.read_video` and `liteframe.probe_video`: one file at a time, in a process that can be killed."""

from __future__ import annotations

import os
from typing import Literal

from liteframe.data.decoding.decode import VideoInfo
from liteframe.data.decoding.processes.job import DecodeJob, VideoFrames
from liteframe.data.decoding.processes.pool import DecodePool
from liteframe.data.decoding.processes.reader_threads import threads_for
from liteframe.data.decoding.read_settings import require_choice, require_path, require_size, require_way
from liteframe.data.remote.file import local_path
from liteframe.data.sampling import FpsCapped, FrameSampler, Linspace

DEADLINE_S = 120.0


def read_video(
    path: str | os.PathLike[str],
    frames: int | None = 64,
    sampler: FrameSampler | None = None,
    start: float | None = None,
    end: float | None = None,
    size: tuple[int, int] | None = None,
    decoder: str = "auto",
    fps: float | None = None,
    deadline_s: float = DEADLINE_S,
    truncated: Literal["error", "use"] = "error",
) -> VideoFrames:
    """Frames of a video file: upright RGB, each the one that a player shows at its place.

    The file is read in another process, which is killed where it does not come to an end.

    Args:
        path: a file, or its `file://` URL.
        frames: that many frames, at most all that there are; with `fps`, the most. None takes every frame, or with
            `fps` or a sampler as many as that gives.
        sampler: chooses the frames; by default they are evenly spaced in time, from the first to the last.
        start: second from which on to look: the frame that is on screen then is the first.
        end: second up to which to look: frames that come on screen before it.
        size: (height, width) that frames are scaled to, bicubic with antialias as InternVL does it. They are scaled as
            they come, so that memory holds one of the file's size at a time. None leaves them as they are.
        decoder: "auto", "decord", "pyav", "torchcodec", or the import path "package.module:function" of one of your
            own.
        fps: frames a second to take, those on screen at `start`, 1 / fps later, and so on; not with `sampler`.
        deadline_s: seconds without progress after which reading is given up; a long video goes on for up to 20 times as
            many, and a second for each 32 KiB.
        truncated: "error", or "use" for what is there of a file that is cut short; `info.cut_short` then says so.

    Returns:
        Frames (T, height, width, 3) uint8, with their indices, times and the decoder that read them.

    Raises:
        DecodeError: the file cannot be read in time, or has no frame there.
        ConfigError: a setting makes no sense.
        DataError: a URL of another machine.
    """
    require_path(path)
    require_choice(frames, sampler, fps, start, end)
    require_size(size)
    require_way(decoder, deadline_s, truncated)
    local = local_path(path)
    chooses = sampler or (Linspace(by="time") if fps is None else FpsCapped(fps))
    shape = None if size is None else (int(size[0]), int(size[1]))
    job = DecodeJob(local, chooses, frames, start_s=start, end_s=end, size=shape, truncated=truncated)
    (found,) = decode_pool(decoder).run([job], deadline_s)
    if not isinstance(found, VideoFrames):
        raise found
    return found


def probe_video(path: str | os.PathLike[str]) -> VideoInfo:
    """What a video file holds: codec, size, rate, number of frames, seconds.

    Raises:
        DecodeError: the file cannot be read.
        ConfigError: `path` is no text or path.
        DataError: a URL of another machine.
    """
    require_path(path)
    local = local_path(path)
    ((_, found),) = decode_pool("auto").call([(local, "liteframe.data.decoding.decode:probe", (local,))])
    if not isinstance(found, VideoInfo):
        raise found
    return found


_pools: dict[str, DecodePool] = {}


def decode_pool(decoder: str) -> DecodePool:
    """The pool of a decoder that reads the files of this process; each thread that reads one has a child meanwhile."""
    if decoder not in _pools:  # a pool that another thread makes now is as good, and has no children yet
        _pools.setdefault(decoder, DecodePool(1, DEADLINE_S, decoder, threads=threads_for(1)))
    return _pools[decoder]
