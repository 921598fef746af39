"""Accuracy of multiple-choice answers about videos, per question type, with an interval over videos."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from liteframe.errors import DataError
from liteframe.evaluation.bootstrap import bootstrap_over_videos

_NAME_WORDS = 8  # a type's name travels between ranks as 8 int64, so 64 bytes
_COLUMNS = 3 + _NAME_WORDS
_NOT_NUMBERED = -1


class MultipleChoiceAccuracy(Metric):
    """Share of right answers: over all questions, over each type, and the mean of the types.

    ``accuracy`` is the mean over questions; ``macro`` is the mean over types, equal to it where types are balanced.
    One table with a row a question is the whole state; it is gathered once, uneven and empty ranks included.

    Args:
        samples: draws of the bootstrap over videos.
        seed: of those draws.
        level: of the interval.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    answers: list[Tensor]

    def __init__(self, samples: int = 2000, seed: int = 0, level: float = 0.95, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.samples = samples
        self.seed = seed
        self.level = level
        self.add_state("answers", default=[], dist_reduce_fx="cat")

    def update(
        self,
        correct: Tensor | Sequence[bool],
        types: Sequence[str],
        video_ids: Sequence[str | int],
        question_ids: Sequence[int] | None = None,
    ) -> None:
        """Add Q answers.

        Args:
            correct: (Q,), whether each answer was right.
            types: Q names of question types, at most 64 bytes each.
            video_ids: Q ids; questions with the same id are about the same video.
            question_ids: Q numbers within the video; with them, a question counted twice is an error in ``compute``.
        """
        right_Q = torch.as_tensor(correct).reshape(-1).to("cpu", torch.int64)
        numbers = [_NOT_NUMBERED] * len(types) if question_ids is None else [int(number) for number in question_ids]
        lengths = {len(right_Q), len(types), len(video_ids), len(numbers)}
        if len(lengths) != 1:
            raise ValueError(f"correct, types, video_ids and question_ids differ in length: {sorted(lengths)}")
        if not ((right_Q == 0) | (right_Q == 1)).all():
            raise ValueError("correct must hold only 0 and 1 (or False and True)")
        table = np.empty((len(right_Q), _COLUMNS), dtype=np.int64)
        table[:, 0] = right_Q.numpy()
        for row, (video, number, name) in enumerate(zip(video_ids, numbers, types, strict=True)):
            table[row, 1] = _video_key(video)
            table[row, 2] = number
            table[row, 3:] = _pack_name(name)
        self.answers.append(torch.from_numpy(table).to(self.device))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather over ranks; a rank without answers brings an empty table of the right shape and type."""
        if isinstance(self.answers, list) and not self.answers:
            self.answers.append(torch.zeros((0, _COLUMNS), dtype=torch.int64, device=self.device))
        super().sync(*args, **kwargs)

    def compute(self) -> dict[str, Any]:
        """The figures of a report's row.

        Returns:
            ``accuracy``, ``accuracy_low``, ``accuracy_high``, ``macro``, ``questions``, ``videos``,
            ``per_type`` (name -> accuracy) and ``per_type_questions`` (name -> count).

        Raises:
            DataError: no answers, or a numbered question was counted twice.
        """
        table = self._table()
        if len(table) == 0:
            raise DataError("no answers were counted: every video was skipped, or the manifest has no questions")
        _refuse_repeats(table)
        right_Q = table[:, 0].astype(np.float64)
        low, high = bootstrap_over_videos(table[:, 1], right_Q, self.samples, self.seed, self.level)
        names, type_Q = np.unique(table[:, 3:], axis=0, return_inverse=True)
        type_Q = type_Q.reshape(-1)
        counts = np.bincount(type_Q)
        shares = np.bincount(type_Q, weights=right_Q) / counts
        order = sorted(range(len(names)), key=lambda index: _unpack_name(names[index]))
        return {
            "accuracy": float(right_Q.mean()),
            "accuracy_low": low,
            "accuracy_high": high,
            "macro": float(shares.mean()),
            "questions": len(table),
            "videos": len(np.unique(table[:, 1])),
            "per_type": {_unpack_name(names[index]): float(shares[index]) for index in order},
            "per_type_questions": {_unpack_name(names[index]): int(counts[index]) for index in order},
        }

    def _table(self) -> np.ndarray:
        parts = self.answers if isinstance(self.answers, list) else [self.answers]
        if not parts:
            return np.zeros((0, _COLUMNS), dtype=np.int64)
        return torch.cat([part.cpu() for part in parts]).numpy()


def _video_key(video: str | int) -> int:
    """A 63-bit key that is equal in every process; text is hashed, a number stands for its own text."""
    digest = hashlib.blake2b(str(video).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _pack_name(name: str) -> np.ndarray:
    data = name.encode()
    if len(data) > 8 * _NAME_WORDS:
        raise DataError(f"field type: {name!r} is longer than {8 * _NAME_WORDS} bytes; use a shorter name")
    return np.frombuffer(data.ljust(8 * _NAME_WORDS, b"\0"), dtype="<i8")


def _unpack_name(words: np.ndarray) -> str:
    return words.astype("<i8").tobytes().rstrip(b"\0").decode()


def _refuse_repeats(table: np.ndarray) -> None:
    numbered = table[table[:, 2] != _NOT_NUMBERED]
    if len(numbered) == 0:
        return
    _, counts = np.unique(numbered[:, 1:3], axis=0, return_counts=True)
    repeated = int((counts > 1).sum())
    if repeated:
        raise DataError(
            f"{repeated} questions were counted more than once (same video id and question number): "
            "read each sample exactly once, without a sampler that pads ranks to equal length"
        )
