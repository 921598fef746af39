"""Accuracy over questions, with an interval over videos, and over each kind of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from liteframe.evaluation.bootstrap import bootstrap_over_videos


def accuracy_over(
    correct: ArrayLike, videos: ArrayLike, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> dict[str, Any]:
    """The figures that every table of accuracies has.

    Args:
        correct: (Q,), 1 or True where the answer was right.
        videos: (Q,), a name or number for the video file of each question.
        samples, seed, level: as of `bootstrap_over_videos`.

    Returns:
        ``accuracy``, the mean over questions; ``accuracy_low`` and ``accuracy_high``, its interval when whole videos
        are drawn; ``questions`` and ``videos``, how many.
    """
    low, high = bootstrap_over_videos(videos, correct, samples, seed, level)
    return {
        "accuracy": float(np.mean(np.asarray(correct, np.float64))),
        "accuracy_low": low,
        "accuracy_high": high,
        "questions": np.size(correct),
        "videos": len(np.unique(videos)),
    }


def accuracy_by_kind(correct: ArrayLike, kinds: ArrayLike) -> list[tuple[Any, float, int]]:
    """Each kind of questions in the order of kinds, with the accuracy over its questions and how many it has.

    Args:
        correct: (Q,), 1 or True where the answer was right.
        kinds: (Q,) names, or (Q, ...) rows of numbers that stand for them.
    """
    found, kind_Q = np.unique(np.asarray(kinds), axis=0, return_inverse=True)
    kind_Q = kind_Q.reshape(-1)
    questions_K = np.bincount(kind_Q)
    accuracy_K = np.bincount(kind_Q, weights=np.asarray(correct, np.float64)) / questions_K
    return list(zip(found, accuracy_K.tolist(), questions_K.tolist(), strict=True))
