"""Which frames of a video to look at, by when they are on screen, with chance: pure functions on frame times.

Torch-free, because decode processes import it.
"""

from __future__ import annotations

import math

import numpy as np

from liteframe.data.sampling.frame_times import FrameTimes


def log_uniform_spacing(
    times: FrameTimes, count: int, min_s: float, max_s: float | None, rng: np.random.Generator
) -> np.ndarray:
    """Frames on screen at `count` moments of one spacing, from a random one on: int64, each frame once.

    All where there are no more than `count`; fewer than `count` where one is on screen at several of the moments.

    Args:
        times: of the video.
        count: frames wanted.
        min_s: smallest spacing, in seconds; that of the frames in the mean where this is larger.
        max_s: largest spacing, in seconds; None, and all that is larger, is the video's seconds / count.
        rng: draws the spacing, log-uniformly, and the first moment, uniformly.
    """
    if count >= len(times):
        return np.arange(len(times), dtype=np.int64)
    seconds = times.end - times.begin
    smallest, largest = np.clip([min_s, math.inf if max_s is None else max_s], seconds / len(times), seconds / count)
    spacing = smallest * (largest / smallest) ** rng.random()
    first = times.begin + (seconds - (count - 1) * spacing) * rng.random()
    return times.on_screen_at(first + spacing * np.arange(count))


def jittered_uniform(times: FrameTimes, count: int, rng: np.random.Generator) -> np.ndarray:
    """What is on screen at a random moment of each of `count` equal parts of the time: int64, each frame once.

    A part's moment is drawn from when the frame of the part before has gone, so parts differ at a constant rate; fewer
    than `count` frames where one stays for a whole part.
    """
    if count >= len(times):
        return np.arange(len(times), dtype=np.int64)
    edges, ends_T = np.linspace(times.begin, times.end, count + 1), times.ends_T
    chosen: list[int] = []
    for begin, end, share in zip(edges[:-1], edges[1:], rng.random(count), strict=True):
        begin = max(begin, ends_T[chosen[-1]]) if chosen else begin
        if begin < end:
            chosen += times.on_screen_at(np.array([begin + share * (end - begin)])).tolist()
    return np.asarray(chosen, dtype=np.int64)
