"""Which frames of a video to look at, by their number alone: pure functions on frame counts.

Torch-free, because decode processes import it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def uniform_midpoints(total: int, count: int) -> np.ndarray:
    """Middles of `count` equal segments, as InternVL's model card takes them; int64 (T,), T = min(count, total)."""
    if count >= total:
        return np.arange(total, dtype=np.int64)
    segment = (total - 1) / count
    return (segment / 2 + np.round(segment * np.arange(count))).astype(np.int64)


def linspace(total: int, count: int) -> np.ndarray:
    """Evenly spaced from the first to the last frame, rounded down, as LLaVA-Video does with `np.linspace`.

    int64 (T,), T = min(count, total).
    """
    if count >= total:
        return np.arange(total, dtype=np.int64)
    if count == 1:
        return np.zeros(1, dtype=np.int64)
    return np.arange(count, dtype=np.int64) * (total - 1) // (count - 1)


def inner_points(total: int, count: int) -> np.ndarray:
    """The points that cut a video into `count + 1` equal parts, as VLMEvalKit takes them.

    int64 (T,), T = min(count, total).
    """
    if count >= total:
        return np.arange(total, dtype=np.int64)
    return (np.arange(1, count + 1) * (total / (count + 1))).astype(np.int64)


def segment_starts(total: int, count: int, video_fps: float) -> np.ndarray:
    """First frames of equal segments of at least a second, as LongVideoBench's loader takes them.

    int64 (T,), T = min(count, total, whole seconds of the video), at least 1.
    """
    segments = max(1, min(count, total, int(total / video_fps)))
    return np.arange(segments, dtype=np.int64) * (total // segments)


def fps_capped(total: int, count: int, video_fps: float, fps: float) -> np.ndarray:
    """Every n-th frame, n = video_fps / fps rounded, as LLaVA-Video; `linspace` where those are more than `count`."""
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
