"""Intervals over several worlds, against a loop that draws video by video."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from liteframe.evaluation.bootstrap import bootstrap_over_videos
from report.evidence import LEVEL, SAMPLES, estimate


def world(videos: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Questions of videos that are easier or harder as a whole, 1 to 4 of each."""
    generator = np.random.default_rng(seed)
    video_Q = np.repeat(np.arange(videos), generator.integers(1, 5, videos))
    ease = generator.normal(shift, 1.0, videos)
    return video_Q, ease[video_Q] + generator.normal(0, 0.3, video_Q.size)


def test_as_a_loop_over_draws() -> None:
    worlds = {4: world(30, 1), 5: world(50, 2, 0.4)}
    found = estimate(worlds)
    generator, means = np.random.default_rng(9), []
    for _ in range(1500):
        of_worlds = []
        for video_Q, value_Q in worlds.values():
            drawn = generator.choice(np.unique(video_Q), size=len(np.unique(video_Q)))
            of_worlds.append(np.concatenate([value_Q[video_Q == video] for video in drawn]).mean())
        means.append(np.mean(of_worlds))
    assert found.mean == pytest.approx(np.mean([value_Q.mean() for _, value_Q in worlds.values()]))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.03)
    assert found.seeds == [4, 5] and found.by_seed[5] == pytest.approx(worlds[5][1].mean())


def test_one_world_is_the_bootstrap_of_scipy() -> None:
    video_Q, value_Q = world(60, 3)
    asked_V, sum_V = np.bincount(video_Q), np.bincount(video_Q, weights=value_Q)
    expected = bootstrap(
        (sum_V, asked_V),
        lambda sums, asked, axis: sums.sum(axis=axis) / asked.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=SAMPLES,
        confidence_level=LEVEL,
        rng=np.random.default_rng([0, 0]),
    ).confidence_interval
    found = estimate({4: (video_Q, value_Q)})
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-12)


def test_one_world_is_the_bootstrap_that_reports_have() -> None:
    video_Q, value_Q = world(60, 3)
    right_Q = (value_Q > 0).astype(float)
    found = estimate({0: (video_Q, right_Q)})
    assert (found.low, found.high) == pytest.approx(bootstrap_over_videos(video_Q, right_Q), abs=0.012)


def test_worlds_count_alike_and_more_of_them_narrow_the_interval() -> None:
    one, many = {1: world(40, 1)}, {seed: world(40, seed) for seed in range(1, 9)}
    few, all_of_them = estimate(one), estimate(many)
    assert all_of_them.high - all_of_them.low < 0.6 * (few.high - few.low)
    unequal = {1: (np.arange(100), np.zeros(100)), 2: (np.arange(10), np.ones(10))}
    assert estimate(unequal).mean == 0.5, "not 10 of 110"


def test_equal_inputs_give_equal_intervals_whatever_the_order() -> None:
    a, b = world(20, 1), world(20, 2)
    assert estimate({4: a, 5: b}) == estimate({5: b, 4: a})


def test_what_is_no_world_is_refused() -> None:
    with pytest.raises(ValueError, match="need one equal length above 0"):
        estimate({3: (np.arange(4), np.zeros(5))})
