"""Records of the paper's cells, made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liteframe.bench.paper.cells import CELLS, PaperCell
from liteframe.bench.paper.records import write_cell

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
        accuracy: of an arm, a frame count and a seed.
    """
    tokens = {"encoder": 64, "llm": 16, "asked": 16, "mean_over_layers": None}
    for cell in cells:
        for seed in set(cell.seeds) & set(seeds):
            ease_Q = np.random.default_rng(seed).permutation(np.linspace(0, 1, VIDEOS * QUESTIONS))
            rows = [
                {
                    "arm": arm,
                    "frames": n,
                    "tokens": tokens,
                    "right": (ease_Q < accuracy(arm, n, seed)).astype(int).tolist(),
                }
                for arm, counts in cell.arms
                for n in counts
            ]
            answers = {"videos": np.repeat(np.arange(VIDEOS), QUESTIONS).tolist(), "rows": rows}
            stages = [{"name": "ctd", "seconds": 1.0, "tries": 1, "code": "feed", "digest": "beef"}]
            write_cell(records, cell, seed, ENVIRONMENT, 60.0 * seed, stages, answers)
