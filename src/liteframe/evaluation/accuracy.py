"""Accuracy over questions, with an interval over videos, and over each kind of them."""

from __future__ import annotations

from typing import Any, NamedTuple

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


class ByKind(NamedTuple):
    """Accuracy over each kind of questions.

    Attributes:
        kinds: sorted, (K,) or (K, ...).
        accuracy_K: over the questions of each.
        questions_K: how many each has.
    """

    kinds: np.ndarray
    accuracy_K: np.ndarray
    questions_K: np.ndarray


def accuracy_by_kind(correct: ArrayLike, kinds: ArrayLike) -> ByKind:
    """Accuracy over the questions of each kind.

    Args:
        correct: (Q,), 1 or True where the answer was right.
        kinds: (Q,) names, or (Q, ...) rows of numbers that stand for them.
    """
    found, kind_Q = np.unique(np.asarray(kinds), axis=0, return_inverse=True)
    kind_Q = kind_Q.reshape(-1)
    questions_K = np.bincount(kind_Q)
    return ByKind(found, np.bincount(kind_Q, weights=np.asarray(correct, np.float64)) / questions_K, questions_K)
