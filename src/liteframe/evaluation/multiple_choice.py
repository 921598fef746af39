"""Accuracy of multiple-choice answers about videos, per question type, with an interval over videos."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from liteframe.data.sources.conversations import MOST_TYPE_BYTES
from liteframe.errors import DataError
from liteframe.evaluation.accuracy import accuracy_by_kind, accuracy_over

_NAME_WORDS = MOST_TYPE_BYTES // 8  # a type's name travels between ranks as int64
_RIGHT, _VIDEO, _NUMBER, _FILE, _NAME = range(5)
_COLUMNS = _NAME + _NAME_WORDS
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
        files: Sequence[str] | None = None,
    ) -> None:
        """Add Q answers.

        Args:
            correct: (Q,), whether each answer was right.
            types: Q names of question types, at most 64 bytes each.
            video_ids: Q ids of rows; questions with the same id are about the same video.
            question_ids: Q numbers within the row; with them, a question counted twice is an error in ``compute``.
            files: Q names of video files, where several rows may be about one file (see `video_key`); questions about
                one file are counted as about one video. By default each row is a video.
        """
        right_Q = torch.as_tensor(correct).reshape(-1).to("cpu", torch.int64)
        numbers = [_NOT_NUMBERED] * len(types) if question_ids is None else [int(number) for number in question_ids]
        names_Q = video_ids if files is None else files
        lengths = {len(right_Q), len(types), len(video_ids), len(numbers), len(names_Q)}
        if len(lengths) != 1:
            raise ValueError(f"correct, types, video_ids, question_ids and files differ in length: {sorted(lengths)}")
        if not ((right_Q == 0) | (right_Q == 1)).all():
            raise ValueError("correct must hold only 0 and 1 (or False and True)")
        table = np.empty((len(right_Q), _COLUMNS), dtype=np.int64)
        table[:, _RIGHT] = right_Q.numpy()
        for row, (video, number, file, name) in enumerate(zip(video_ids, numbers, names_Q, types, strict=True)):
            table[row, _VIDEO], table[row, _FILE] = _key(video), _key(file)
            table[row, _NUMBER] = number
            table[row, _NAME:] = _pack_name(name)
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
        by_type = accuracy_by_kind(table[:, _RIGHT], table[:, _NAME:])
        named = sorted((_unpack_name(words), accuracy, questions) for words, accuracy, questions in by_type)
        return {
            **accuracy_over(table[:, _RIGHT], _clusters(table), self.samples, self.seed, self.level),
            "macro": float(np.mean([accuracy for _, accuracy, _ in by_type])),
            "per_type": {name: accuracy for name, accuracy, _ in named},
            "per_type_questions": {name: questions for name, _, questions in named},
        }

    def answered(self) -> tuple[np.ndarray, np.ndarray]:
        """In the order of updates: whether each answer was right (0 or 1), and a number for its video; int64 (Q,)."""
        table = self._table()
        return table[:, _RIGHT], _clusters(table)

    def _table(self) -> np.ndarray:
        parts = self.answers if isinstance(self.answers, list) else [self.answers]
        if not parts:
            return np.zeros((0, _COLUMNS), dtype=np.int64)
        return torch.cat([part.cpu() for part in parts]).numpy()


def _clusters(table: np.ndarray) -> np.ndarray:
    """A number for the file of each question: the least key of its rows, which is a row's own where it is alone."""
    _, file_Q = np.unique(table[:, _FILE], return_inverse=True)
    least_V = np.full(file_Q.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(least_V, file_Q, table[:, _VIDEO])
    return least_V[file_Q]


def _key(video: str | int) -> int:
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
    numbered = table[table[:, _NUMBER] != _NOT_NUMBERED]
    if len(numbered) == 0:
        return
    _, counts = np.unique(numbered[:, [_VIDEO, _NUMBER]], axis=0, return_counts=True)
    repeated = int((counts > 1).sum())
    if repeated:
        raise DataError(
            f"{repeated} questions were counted more than once (same video id and question number): "
            "read each sample exactly once, without a sampler that pads ranks to equal length"
        )
