"""Intervals over the videos of several worlds: the videos of each are drawn on their own, the worlds count alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

SAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over questions, or over differences between two answers to the same question.

    Attributes:
        mean: of the worlds' means.
        low, high: percentile interval of that mean, over draws of whole videos.
        by_seed: mean of each world.
        questions: in all worlds together.
    """

    mean: float
    low: float
    high: float
    by_seed: dict[int, float]
    questions: int

    @property
    def seeds(self) -> list[int]:
        """The worlds, in order."""
        return sorted(self.by_seed)


def estimate(
    values: Mapping[int, tuple[np.ndarray, np.ndarray]], samples: int = SAMPLES, seed: int = 0, level: float = LEVEL
) -> Estimate:
    """The mean of worlds with an interval by bootstrap, in which the videos of each world are drawn from that world.

    Training is not drawn anew: how far another training of the same world would fall is not in the interval.

    Args:
        values: seed of a world -> ``video_Q`` (equal for questions that are drawn together) and ``value_Q``.
        samples: how many times the videos are drawn.
        seed: of the draws; equal inputs give equal intervals.
        level: share of the draws inside the interval.

    Raises:
        ValueError: no worlds, a world without questions, or lengths that differ.
    """
    if not values:
        raise ValueError("an estimate needs the questions of at least one world")
    total, by_seed, questions = np.zeros(samples), {}, 0
    for position, (world, (video_Q, value_Q)) in enumerate(sorted(values.items())):
        if video_Q.shape != value_Q.shape or value_Q.ndim != 1 or value_Q.size == 0:
            raise ValueError(f"seed {world}: videos {video_Q.shape} and values {value_Q.shape} need one equal length")
        _, cluster_Q = np.unique(video_Q, return_inverse=True)
        asked_V = np.bincount(cluster_Q).astype(np.float64)
        sum_V = np.bincount(cluster_Q, weights=value_Q)
        drawn_SV = _draws(asked_V.size, samples, seed, position)
        total += (drawn_SV @ sum_V) / (drawn_SV @ asked_V)
        by_seed[world] = float(value_Q.mean())
        questions += value_Q.size
    low, high = np.quantile(total / len(values), [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Estimate(float(np.mean(list(by_seed.values()))), float(low), float(high), by_seed, questions)


@lru_cache(maxsize=16)
def _draws(videos: int, samples: int, seed: int, position: int) -> np.ndarray:
    """How often each video is in each draw, (samples, videos): the same draws for every pair of arms."""
    drawn = np.random.default_rng([seed, position]).integers(videos, size=(samples, videos))
    flat = (drawn + np.arange(samples)[:, None] * videos).ravel()
    return np.bincount(flat, minlength=samples * videos).reshape(samples, videos).astype(np.float64)
