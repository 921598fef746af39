"""Intervals for an accuracy whose questions come in clusters: several questions about one video are not independent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

_DRAWS_AT_ONCE = 4_000_000


def bootstrap_over_videos(
    video_ids: Sequence[object] | ArrayLike,
    correct: ArrayLike,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of the accuracy (mean over questions) when whole videos are drawn with replacement.

    Args:
        video_ids: one id a question, shape (Q,); questions with an equal id are drawn together.
        correct: shape (Q,), 1 or True where the answer was right.
        samples: how many times the videos are drawn.
        seed: of the draws; equal inputs give an equal interval.
        level: share of the draws inside the interval.

    Returns:
        (low, high), both in [0, 1].

    Raises:
        ValueError: no questions, lengths that differ, or settings out of range.
    """
    ids = np.asarray(video_ids)
    right = np.asarray(correct, dtype=np.float64)
    if ids.ndim != 1 or ids.shape != right.shape or ids.size == 0:
        raise ValueError(f"video_ids and correct need one equal, non-zero length, got {ids.shape} and {right.shape}")
    if samples < 1 or not 0.0 < level < 1.0:
        raise ValueError(f"samples must be at least 1 and level between 0 and 1, got {samples} and {level}")
    _, cluster_Q = np.unique(ids, return_inverse=True)
    questions_V = np.bincount(cluster_Q).astype(np.float64)
    right_V = np.bincount(cluster_Q, weights=right)
    videos = questions_V.size
    generator = np.random.default_rng(seed)
    accuracies = np.empty(samples)
    rows = max(1, _DRAWS_AT_ONCE // videos)
    for start in range(0, samples, rows):
        stop = min(samples, start + rows)
        drawn = generator.integers(videos, size=(stop - start, videos))
        accuracies[start:stop] = right_V[drawn].sum(axis=1) / questions_V[drawn].sum(axis=1)
    low, high = np.quantile(accuracies, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)
