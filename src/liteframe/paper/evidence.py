"""What the records of the cells say: the answers of every arm, and what can be computed from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from liteframe.bench.records import RowRecord, read_json, rows_of
from liteframe.errors import DataError
from liteframe.evaluation.paired import Estimate, estimate
from liteframe.paper.cells import CELLS, PaperCell, plan
from liteframe.paper.records import read_cell, record_path
from liteframe.paper.shapes import Shapes

Point = tuple[str, int]
"""An arm and a frame count."""
Weights = Mapping[Point, float]
"""A sum of accuracies, each with a weight: a difference, a mean over frame counts, or a value between two of them."""
LATENCIES = "latency*.json"
"""Records of `liteframe latency`, in the same place."""
REPORTS = "tiny-seed{seed}/report.json"
"""The sweep's report of a seed, beside the folder of the cells' records."""


@dataclass
class Evidence:
    """All records that there are.

    Attributes:
        right: arm and frames -> seed -> 1 or 0 for each question.
        tokens: arm and frames -> tokens of a video, see ``answer``.
        videos: seed -> the video of each question.
        times: seed -> rows of the sweep's report, which have latencies.
        open_cells: name -> the seeds that have no record yet.
        made: the records themselves, by cell and seed.
        shapes: records of latencies at the paper's shapes, by the name of the machine's kind.
    """

    right: dict[Point, dict[int, np.ndarray]] = field(default_factory=dict)
    tokens: dict[Point, dict[str, float | None]] = field(default_factory=dict)
    videos: dict[int, np.ndarray] = field(default_factory=dict)
    times: dict[int, list[RowRecord]] = field(default_factory=dict)
    open_cells: dict[str, list[int]] = field(default_factory=dict)
    made: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    shapes: dict[str, Shapes] = field(default_factory=dict)

    def add(self, record: Mapping[str, Any]) -> None:
        """Takes in the record of a cell.

        Raises:
            DataError: its questions are not those of another record of the seed, or a point is measured twice.
        """
        seed, name = int(record["seed"]), str(record["cell"])
        videos = np.asarray(record["videos"])
        if seed in self.videos and not np.array_equal(self.videos[seed], videos):
            raise DataError(
                f"record of {name}, seed {seed}: its questions are not those of the other records of this seed; "
                "remove those that were made on another world"
            )
        self.videos[seed] = videos
        self.made[name, seed] = dict(record)
        for row in record["rows"]:
            point = (str(row["arm"]), int(row["frames"]))
            if seed in self.right.get(point, {}):
                raise DataError(
                    f"{point[0]} at {point[1]} frames, seed {seed}: measured in two cells; remove one record"
                )
            self.right.setdefault(point, {})[seed] = np.asarray(row["right"], dtype=np.float64)
            self.tokens[point] = dict(row["tokens"])

    def accuracy(self, arm: str, frames: int, seeds: Sequence[int] | None = None) -> Estimate | None:
        """Accuracy over all seeds that there are, or these; None where there is none."""
        return self.combine({(arm, frames): 1.0}, seeds)

    def frames_of(self, arm: str) -> list[int]:
        """Frame counts at which an arm was asked."""
        return sorted(frames for name, frames in self.right if name == arm)

    def combine(
        self, weights: Weights | Callable[[int], Weights | None], seeds: Sequence[int] | None = None
    ) -> Estimate | None:
        """A weighted sum of accuracies, question by question, over the seeds that have all that it needs.

        Args:
            weights: of the points; or a function of the seed, which may give None where it has none.
            seeds: these alone; by default all.
        """
        values: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for seed, video_Q in sorted(self.videos.items()):
            if seeds is not None and seed not in seeds:
                continue
            of_seed = weights(seed) if callable(weights) else weights
            if not of_seed or any(seed not in self.right.get(point, {}) for point in of_seed):
                continue
            total_Q = np.zeros(len(video_Q))
            for point, weight in of_seed.items():
                total_Q += weight * self.right[point][seed]
            values[seed] = (video_Q, total_Q)
        return estimate(values) if values else None

    def milliseconds(self, arm: str, frames: int, field: str = "model_ms") -> dict[int, float]:
        """A latency by seed, from the sweep's reports; empty where none timed this arm."""
        return {
            seed: float(getattr(row, field))
            for seed, rows in sorted(self.times.items())
            for row in rows
            if (row.arm, row.frames) == (arm, frames)
        }


def difference(arm: str, other: str, frames: Sequence[int]) -> dict[Point, float]:
    """Weights of the accuracy of one arm less that of another, mean over frame counts."""
    share = 1.0 / len(frames)
    return {(arm, count): share for count in frames} | {(other, count): -share for count in frames}


def read_evidence(records: Path, cells: Sequence[PaperCell] = CELLS) -> Evidence:
    """Reads the records of the cells, and the sweep's reports beside them.

    Raises:
        DataError: a record cannot be read, or contradicts another.
    """
    evidence = Evidence()
    for cell, seed in plan(cells=cells):
        record = read_cell(records, cell, seed)
        if record is None:
            evidence.open_cells.setdefault(cell.name, []).append(seed)
        elif (record["cell"], record["seed"]) != (cell.name, seed):
            raise DataError(f"{record_path(records, cell, seed)}: is the record of another cell; remove it")
        else:
            evidence.add(record)
    for seed in sorted({seed for cell in cells for seed in cell.seeds}):
        report = records.parent / REPORTS.format(seed=seed)
        if report.is_file():
            evidence.times[seed] = rows_of(read_json(report), str(report))
    for path in sorted(records.parent.glob(LATENCIES)):
        record = read_json(path)
        if record.get("kind") == "latency" and record.get("settings", {}).get("size") == "real":
            evidence.shapes[path.stem] = Shapes(record)
    return evidence
