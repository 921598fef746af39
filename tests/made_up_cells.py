"""Records of the paper's cells, made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liteframe.bench.paper.cells import CELLS, PaperCell
from liteframe.bench.paper.records import AnswerRow, Answers, Measured, new_cell, write_cell
from liteframe.models.video_llm.answering_model import TokenCounts

VIDEOS, QUESTIONS = 40, 4
ENVIRONMENT: dict[str, Any] = {
    "device": "a machine",
    "threads": 1,
    "dtype": "bfloat16",
    "commit": "0123456789abcdef",
    "dirty": False,
    "packages": {"torch": "2", "transformers": "5"},
}


def fill(
    records: Path,
    accuracy: Callable[[str, int, int], float],
    cells: Sequence[PaperCell] = CELLS,
    seeds: Sequence[int] = (4, 5, 6),
) -> None:
    """Records of made-up answers; a question is as hard for every method, so that differences show as in a real run.

    Args:
        accuracy: of a method, a frame count and a seed.
    """
    tokens = TokenCounts(64, 16, 16)
    for cell in cells:
        for seed in set(cell.seeds) & set(seeds):
            ease_Q = np.random.default_rng(seed).permutation(np.linspace(0, 1, VIDEOS * QUESTIONS))
            rows = [
                AnswerRow(method, n, tokens, (ease_Q < accuracy(method, n, seed)).astype(int).tolist())
                for method, counts in cell.methods
                for n in counts
            ]
            answers = Answers(np.repeat(np.arange(VIDEOS), QUESTIONS).tolist(), rows)
            stages = [{"name": "ctd", "seconds": 1.0, "tries": 1, "code": "feed", "digest": "beef"}]
            write_cell(records, cell, new_cell(cell, seed, Measured(answers, 60.0 * seed, stages, ENVIRONMENT)))
