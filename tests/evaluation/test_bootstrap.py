from __future__ import annotations

import numpy as np
import pytest

from liteframe.evaluation.bootstrap import bootstrap_over_videos


def _slow(video_ids: list[str], correct: list[int], samples: int, seed: int, level: float) -> tuple[float, float]:
    groups: dict[str, list[int]] = {}
    for video, right in zip(video_ids, correct, strict=True):
        groups.setdefault(video, []).append(right)
    answers = [groups[video] for video in sorted(groups)]
    generator = np.random.default_rng(seed)
    draws = generator.integers(len(answers), size=(samples, len(answers)))
    accuracies = []
    for draw in draws:
        picked = [right for video in draw for right in answers[video]]
        accuracies.append(sum(picked) / len(picked))
    tail = 100 * (1 - level) / 2
    return float(np.percentile(accuracies, tail)), float(np.percentile(accuracies, 100 - tail))


def test_equals_the_slow_reference_with_uneven_videos() -> None:
    generator = np.random.default_rng(3)
    ids = [f"v{number:02d}" for number in range(20) for _ in range(1 + number % 4)]
    correct = generator.integers(0, 2, size=len(ids)).tolist()
    assert bootstrap_over_videos(ids, correct, samples=200, seed=5, level=0.9) == pytest.approx(
        _slow(ids, correct, 200, 5, 0.9), abs=1e-12
    )


def test_drawing_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.repeat(np.arange(31), 3)
    correct = np.random.default_rng(0).integers(0, 2, size=93)
    whole = bootstrap_over_videos(ids, correct, samples=101)
    monkeypatch.setattr("liteframe.evaluation.bootstrap._DRAWS_AT_ONCE", 31 * 7)
    assert bootstrap_over_videos(ids, correct, samples=101) == whole


def test_covers_the_truth_where_questions_of_a_video_share_its_difficulty() -> None:
    generator = np.random.default_rng(11)
    ids = np.repeat(np.arange(120), 4)
    hits, naive_hits, trials = 0, 0, 200
    for trial in range(trials):
        chance_of_video = generator.choice([0.2, 0.9], size=120)  # true accuracy .55, strongly clustered
        correct = generator.random(480) < np.repeat(chance_of_video, 4)
        low, high = bootstrap_over_videos(ids, correct, samples=300, seed=trial)
        hits += low <= 0.55 <= high
        low, high = bootstrap_over_videos(np.arange(480), correct, samples=300, seed=trial)
        naive_hits += low <= 0.55 <= high
    assert 0.90 <= hits / trials <= 0.99
    assert naive_hits < hits  # questions drawn apart from their videos pretend to know more


def test_all_right_is_certain_and_bad_input_is_refused() -> None:
    assert bootstrap_over_videos([1, 2, 2], [1, 1, 1]) == (1.0, 1.0)
    with pytest.raises(ValueError, match="equal, non-zero length"):
        bootstrap_over_videos([1, 2], [1])
    with pytest.raises(ValueError, match="level"):
        bootstrap_over_videos([1, 2], [1, 0], level=1.0)
