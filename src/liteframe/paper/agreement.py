"""Whether records belong together: one world a seed, one run under it, and the times of the same models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liteframe.bench.records import RowRecord
from liteframe.errors import DataError

GROUND_STAGES = ("world", "pretrain-vision", "pretrain-projector", "pretrain-llm", "cache", "ctd", "lma")
"""Of the run that the cells of a seed stand on; a cell's own stages come after them in its record."""
LARGEST_GAP = 0.01
"""One question in a hundred: so far may two runs of the same model be apart, by rounding on other machines."""


class OneWorld:
    """Compares each record of a seed with what the first one said about the world and the run."""

    def __init__(self) -> None:
        self._videos: dict[int, tuple[str, np.ndarray]] = {}
        self._said: dict[tuple[int, str], tuple[str, str]] = {}

    def require(self, record: Mapping[str, Any], name: str) -> np.ndarray:
        """The video of each question of a record.

        Args:
            record: of a cell.
            name: of its file.

        Raises:
            DataError: its questions, its world or a stage of its run are not those of an earlier record.
        """
        seed, videos_Q = int(record["seed"]), np.asarray(record["videos"])
        first, known_Q = self._videos.setdefault(seed, (name, videos_Q))
        if not np.array_equal(known_Q, videos_Q):
            raise DataError(f"{name}: its questions are not those of {first}; {_REMEDY}")
        for what, digest in _digests(record).items():
            before, known = self._said.setdefault((seed, what), (name, digest))
            if known != digest:
                raise DataError(f"{name}: its {what} is not that of {before}; {_REMEDY}")
        return known_Q


_REMEDY = "remove those that were made on another world or run, and run `liteframe paper`"


def _digests(record: Mapping[str, Any]) -> dict[str, str]:
    """What a record says about its world and the stages of its run; records of earlier code say less."""
    found = {"manifest": str(record["manifest"])} if record.get("manifest") else {}
    for stage in record["stages"]:
        name, digest = stage.get("name"), stage.get("digest")
        if name in GROUND_STAGES and digest:
            found.setdefault(f"stage {name}", str(digest))
    return found


def require_same_models(
    rows: Sequence[RowRecord], report: Path, answers: Mapping[tuple[str, int], tuple[float, str]]
) -> None:
    """The rows of a sweep's report have the accuracies that the cells measured, so that its times are of those models.

    Args:
        rows: of the report.
        report: its file.
        answers: arm and frames -> accuracy, and the file of the cell that says so.

    Raises:
        DataError: one differs by more than one question in a hundred.
    """
    for row in rows:
        if (row.arm, row.frames) not in answers:
            continue
        accuracy, cell = answers[row.arm, row.frames]
        if abs(row.accuracy - accuracy) > LARGEST_GAP:
            raise DataError(
                f"{report}: {row.arm} at {row.frames} frames is right in {row.accuracy:.3f}, but in {accuracy:.3f} by "
                f"{cell}: they are of different models; run `make bench` or `liteframe paper` again"
            )
